"""Invalid data and flags end fairseq's commands with a one-line error message.

fairseq would stop with a traceback, often hours later, at the first sentence that is not there, or at a token that
the dictionary does not have, on a GPU with no hint at what is wrong.
"""

import functools
import itertools
import re
from pathlib import Path

import numpy as np
import torch
from fairseq import options
from fairseq.data import data_utils
from fairseq.data.indexed_dataset import _code_to_dtype as DTYPES
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from torch.multiprocessing import ProcessExitedException

from ..data.indexed import HEAD, MARK
from ..errors import UsageError
from ..limits import check_precision, check_seed
from ..methods import setting
from . import training_loop

AGAIN = "make the dataset again"
#: Of --best-checkpoint-metric, those that fairseq's tasks and ours log.
HIGHER_IS_BETTER = ("bleu", "accuracy", "f1", "mcc", "acc_and_f1", "pearson", "spearman", "pearson_and_spearman")
LOWER_IS_BETTER = ("loss", "nll_loss", "ppl", "task_loss", "distillation_loss")


def apply():
    """Puts the checks into fairseq's modules."""
    _need_a_task()
    _check_common_flags()
    _report_a_metric_that_is_not_measured(training_loop.module())
    _leave_the_last_word_to_workers()
    _check_data()
    _report_sentences_that_are_too_long()


def _need_a_task():
    """fairseq-validate alone has no default."""
    parse = options.parse_args_and_arch

    @functools.wraps(parse)
    def parse_args_and_arch(*args, **kwargs):
        try:
            return parse(*args, **kwargs)
        except KeyError as error:
            if error.args != (None,):
                raise
            raise UsageError("--task is missing: give that of the data, such as --task translation") from None

    options.parse_args_and_arch = parse_args_and_arch


def _check_common_flags():
    call, setup = distributed_utils.call_main, Trainer.__init__

    @functools.wraps(call)
    def call_main(cfg, main, **kwargs):
        if cfg.common.seed is not None:
            check_seed(cfg.common.seed)
        if main is training_loop.module().main:
            _check_precision(cfg.common)
            _check_metric(cfg)
        return call(cfg, main, **kwargs)

    # fairseq-hydra-train reads --user-dir after that.
    @functools.wraps(setup)
    def __init__(self, cfg, *args, **kwargs):
        _check_metric(cfg)
        _check_precision(cfg.common)
        setup(self, cfg, *args, **kwargs)

    distributed_utils.call_main, Trainer.__init__ = call_main, __init__


def _leave_the_last_word_to_workers():
    """fairseq starts a worker for each GPU; what one of them has said would be followed by torch's traceback."""
    call = distributed_utils.call_main

    @functools.wraps(call)
    def call_main(*args, **kwargs):
        try:
            return call(*args, **kwargs)
        except ProcessExitedException as error:
            if error.signal_name:
                raise UsageError(f"a worker was ended by {error.signal_name}") from None
            raise SystemExit(error.exit_code) from None

    distributed_utils.call_main = call_main


def _check_precision(common):
    no_gpu = "--cpu is given" if common.cpu else "" if torch.cuda.is_available() else "torch sees none"
    check_precision([f"--{name}" for name in ("fp16", "bf16", "amp") if common[name]], no_gpu)


def _check_metric(cfg):
    """By the wrong direction fairseq would keep the worst checkpoint as the best, and --patience end at the first."""
    metric, maximize = cfg.checkpoint.best_checkpoint_metric, cfg.checkpoint.maximize_best_checkpoint_metric
    if metric in HIGHER_IS_BETTER and not maximize:
        raise UsageError(
            f"--best-checkpoint-metric {metric} is better the higher it is: add --maximize-best-checkpoint-metric"
        )
    if metric in LOWER_IS_BETTER and maximize:
        raise UsageError(
            f"--best-checkpoint-metric {metric} is better the lower it is: "
            "leave out --maximize-best-checkpoint-metric"
        )
    if metric == "bleu" and setting(cfg.task, "eval_bleu") is False and not cfg.dataset.disable_validation:
        raise UsageError("--best-checkpoint-metric bleu needs --eval-bleu")


class _Measured(dict):
    """What a validation has measured, by name; fairseq asks it for --best-checkpoint-metric."""

    def __init__(self, stats, eval_bleu):
        super().__init__(stats)
        self._eval_bleu = eval_bleu

    def __missing__(self, name):
        if name == "bleu" and self._eval_bleu:
            # Of empty translations alone, as an early model may make them, fairseq logs none.
            return 0.0
        there = ", ".join(other for other in self if other != "num_updates")
        raise UsageError(f"--best-checkpoint-metric {name} is nothing that this validation measures: {there}")


def _report_a_metric_that_is_not_measured(program):
    """fairseq looks for it when the first validation has ended, and stops with a KeyError."""
    get_stats = program.get_valid_stats

    @functools.wraps(get_stats)
    def get_valid_stats(cfg, trainer, stats, *args, **kwargs):
        return get_stats(cfg, trainer, _Measured(stats, setting(cfg.task, "eval_bleu")), *args, **kwargs)

    program.get_valid_stats = get_valid_stats


def _check_data():
    load = data_utils.load_indexed_dataset

    @functools.wraps(load)
    def load_indexed_dataset(path, dictionary=None, dataset_impl=None, combine=False, **kwargs):
        for number in itertools.count() if combine else [0]:
            if not check_binarised(f"{path}{number or ''}", dictionary):
                break
        return load(path, dictionary, dataset_impl, combine, **kwargs)

    data_utils.load_indexed_dataset = load_indexed_dataset


def check_binarised(prefix: str, dictionary=None) -> bool:
    """Looks at PREFIX.idx and PREFIX.bin, which fairseq-preprocess made; False where there is neither.

    Other formats than its default one are left to fairseq.

    Raises:
        UsageError: if one is missing or truncated, or holds a token that the dictionary does not have.
    """
    index, content = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    if not index.is_file() and not content.is_file():
        return False
    for path, other in ((index, content), (content, index)):
        if not path.is_file():
            raise UsageError(f"{path} is missing beside {other.name}; {AGAIN}")
    with index.open("rb") as file:
        head = file.read(HEAD.size)
        if head[: len(MARK)] != MARK[: len(head)]:
            return True
        if len(head) < HEAD.size:
            raise UsageError(f"{index} is truncated: {len(head)} bytes; {AGAIN}")
        _, _, code, count = HEAD.unpack(head)
        # Every sentence's length, then where it begins.
        needed = HEAD.size + 12 * count
        if index.stat().st_size < needed:
            raise UsageError(f"{index} is truncated: {index.stat().st_size} bytes of {needed}; {AGAIN}")
        sizes = np.fromfile(file, np.int32, count)
    dtype = np.dtype(DTYPES[code])
    needed = int(sizes.sum(dtype=np.int64)) * dtype.itemsize
    if content.stat().st_size < needed:
        raise UsageError(f"{content} is truncated: {content.stat().st_size} bytes of {needed}; {AGAIN}")
    if dictionary is not None and needed:
        highest = int(np.memmap(content, dtype, mode="r").max())
        if highest >= len(dictionary):
            raise UsageError(
                f"{content} has token number {highest}, and its dictionary only {len(dictionary)} types: it was made "
                f"with another dictionary; {AGAIN}"
            )
    return True


def _report_sentences_that_are_too_long():
    """fairseq says no more than that there is one, in an assertion, or gives a number that counts from 0."""
    get_iterator = FairseqTask.get_batch_iterator

    @functools.wraps(get_iterator)
    def get_batch_iterator(self, dataset, max_tokens=None, *args, **kwargs):
        try:
            return get_iterator(self, dataset, max_tokens, *args, **kwargs)
        except AssertionError as error:
            if not max_tokens or "max_tokens" not in str(error):
                raise
            sizes = [int(dataset.num_tokens(index)) for index in range(len(dataset))]
            line = next(line for line, size in enumerate(sizes, 1) if size > max_tokens)
            raise UsageError(
                f"line {line} of {_split_of(self, dataset)} has {sizes[line - 1]} tokens, and a mini-batch holds "
                f"{max_tokens} (--max-tokens; in validation --max-tokens-valid, the same by default); set it to "
                f"{max(sizes)}, the longest, or more"
            ) from None
        except Exception as error:
            found = re.fullmatch(r"Size of sample #(\d+) is invalid .* since max_positions=(.*), skip .*", str(error))
            if not found:
                raise
            size = np.max(dataset.size(int(found[1])))
            raise UsageError(
                f"line {int(found[1]) + 1} of {_split_of(self, dataset)} has {size} tokens, more than the "
                f"{found[2].strip('()')} positions of the model; leave such lines out by "
                "--skip-invalid-size-inputs-valid-test"
            ) from None

    FairseqTask.get_batch_iterator = get_batch_iterator


def _split_of(task, dataset):
    return next((split for split, loaded in task.datasets.items() if loaded is dataset), "the input")
