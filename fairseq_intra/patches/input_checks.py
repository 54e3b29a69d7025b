"""Invalid data, checkpoints and flags end fairseq's commands with a one-line error message.

fairseq would stop with a traceback, often hours later, at the first sentence that is not there, or at a token that
the dictionary does not have, on a GPU with no hint at what is wrong.
"""

import functools
import itertools
import re
from pathlib import Path

import numpy as np
import torch
from fairseq import checkpoint_utils, models
from fairseq.data import data_utils
from fairseq.data.indexed_dataset import _code_to_dtype as DTYPES
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from torch.multiprocessing import ProcessExitedException

from ..data.indexed import HEAD, MARK
from ..errors import UsageError, reason
from ..limits import check_precision, check_seed
from ..methods import setting
from . import training_loop

#: What torch says where names or shapes of parameters are not the model's.
MISFIT = "loading state_dict"
#: The default of --restore-file, in --save-dir.
LAST = "checkpoint_last.pt"
#: What fairseq says of a checkpoint that is not there, before its name.
NO_FILE = "Model file not found:"
AGAIN = "make the dataset again"
#: Of --best-checkpoint-metric, those that fairseq's tasks and ours log.
HIGHER_IS_BETTER = ("bleu", "accuracy", "f1", "mcc", "acc_and_f1", "pearson", "spearman", "pearson_and_spearman")
LOWER_IS_BETTER = ("loss", "nll_loss", "ppl", "task_loss", "distillation_loss")


def apply():
    """Puts the checks into fairseq's modules."""
    _check_common_flags()
    _report_a_metric_that_is_not_measured(training_loop.module())
    _leave_the_last_word_to_workers()
    _check_data()
    _report_sentences_that_are_too_long()
    _report_what_does_not_fit_in_training()
    _report_what_does_not_fit_elsewhere()
    _report_a_checkpoint_that_is_not_there()
    _report_a_model_that_is_not_registered()
    _report_flags_that_exclude_each_other()


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


def _report_what_does_not_fit_in_training():
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, filename, *args, **kwargs):
        try:
            return load(self, filename, *args, **kwargs)
        except AssertionError as error:
            # Of another criterion or optimizer.
            raise UsageError(f"checkpoint {filename}: {reason(error)}") from None
        except Exception as error:
            if MISFIT not in str(error.__context__):
                raise
            raise UsageError(_unfit(filename, error.__context__)) from None

    Trainer.load_checkpoint = load_checkpoint


def _report_what_does_not_fit_elsewhere():
    load = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(load)
    def load_model_ensemble_and_task(filenames, *args, **kwargs):
        try:
            return load(filenames, *args, **kwargs)
        except OSError as error:
            if not str(error).startswith(NO_FILE):
                raise
            raise UsageError(f"--path{str(error).removeprefix(NO_FILE)}: no such file") from None
        except RuntimeError as error:
            if MISFIT not in str(error):
                raise
            raise UsageError(_unfit(", ".join(map(str, filenames)), error)) from None

    checkpoint_utils.load_model_ensemble_and_task = load_model_ensemble_and_task


def _report_a_checkpoint_that_is_not_there():
    """fairseq would train from scratch."""
    load = checkpoint_utils.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(cfg, trainer, *args, **kwargs):
        path, own = cfg.restore_file, Path(cfg.save_dir, LAST)
        # A run's own last checkpoint is not there yet when it begins.
        if path != LAST and Path(path).absolute() != own.absolute():
            part = path.replace(".pt", f"{trainer.checkpoint_suffix or ''}.pt")
            if not PathManager.exists(part):
                raise UsageError(f"--restore-file {part}: no such file")
        return load(cfg, trainer, *args, **kwargs)

    checkpoint_utils.load_checkpoint = load_checkpoint


def _report_flags_that_exclude_each_other():
    """As --share-all-embeddings and two dictionaries; fairseq's errors name the flag."""
    models.build_model = _in_one_line(models.build_model)
    checkpoint_utils.load_checkpoint = _in_one_line(checkpoint_utils.load_checkpoint)


def _in_one_line(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            if not str(error).startswith("--"):
                raise
            raise UsageError(str(error)) from None

    return call


def _report_a_model_that_is_not_registered():
    build = models.build_model

    @functools.wraps(build)
    def build_model(cfg, *args, **kwargs):
        name = getattr(cfg, "_name", None) or getattr(cfg, "arch", None)
        if name and name not in models.ARCH_MODEL_REGISTRY and name not in models.MODEL_DATACLASS_REGISTRY:
            raise UsageError(
                f"no model '{name}' is registered: give fairseq's commands the --user-dir that registers it, and "
                "import fairseq_intra.plugin in its __init__.py"
            )
        return build(cfg, *args, **kwargs)

    models.build_model = build_model


def _unfit(filename, error):
    return f"checkpoint {filename} does not fit the dictionaries of the data or the settings: {reason(error)}"
