"""The task `translation_intra_distillation`: translation whose criterion's alpha grows with the update number."""

import contextlib
import logging
import random
from dataclasses import dataclass, field, fields

import torch
from fairseq.distributed import FullyShardedDataParallel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import DictConfig, OmegaConf

from .criterion import IntraDistillationCriterionConfig, TranslationFlags
from .errors import UsageError
from .late_start import LateStartFlags, LateStartTask

logger = logging.getLogger(__name__)

PLAIN_CRITERION = "label_smoothed_cross_entropy"
CRITERION = "intra_distillation"
FLAGS = {f.name: f.default for f in fields(TranslationFlags) if not f.name.startswith("_")}


@dataclass
class TranslationIntraDistillationConfig(LateStartFlags, TranslationFlags, TranslationConfig):
    split_batch: int = field(
        default=1,
        metadata={
            "help": "split every mini-batch into this many micro-batches, one after another in memory, where K "
            "passes over --max-tokens do not fit in memory together; gradients are those of the whole"
        },
    )
    distill_part: int = field(
        default=1,
        metadata={
            "help": "beyond the paper: an update of intra-distillation takes one in N sentences of its mini-batches, "
            "sampled anew for every update, so that with N = K it costs what a plain one does; 1 means all"
        },
    )


@register_task("translation_intra_distillation", dataclass=TranslationIntraDistillationConfig)
class TranslationIntraDistillationTask(LateStartTask, TranslationTask):
    """fairseq's translation task with the intra-distillation criterion and the schedule of its alpha.

    With `--criterion label_smoothed_cross_entropy` it builds `intra_distillation` in its place, so that the
    authors' command works as published.
    """

    FOR_PASSES = LateStartTask.FOR_PASSES | {"distill_part": 1}

    def build_criterion(self, cfg: DictConfig, **more):
        """The criterion `intra_distillation`, its alpha ready to follow the schedule.

        Raises:
            UsageError: if the criterion is another, values contradict each other, p >= q, or the number of updates
                is unknown.
        """
        for name in ("split_batch", "distill_part"):
            if self.cfg[name] < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {self.cfg[name]}")
        return super().build_criterion(self._criterion_config(cfg), **more)

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        if self.cfg.split_batch > 1 and isinstance(model, FullyShardedDataParallel):
            # Its workers wait for each other in every forward, and one may have fewer sentences than micro-batches.
            raise UsageError("--split-batch does not work with --ddp-backend fully_sharded; use --update-freq")
        pad = self.target_dictionary.pad()
        if not self._is_plain(update_num):
            sample = part_of(sample, self.cfg.distill_part, update_num, pad)
        *first, last = micro_batches(sample, self.cfg.split_batch, pad)
        more = (model, criterion, optimizer, update_num, ignore_grad)
        train = super().train_step
        with _no_sync(model):
            results = [train(part, *more) for part in first]
        return joined_results([*results, train(last, *more)])

    def _criterion_config(self, cfg):
        if cfg._name not in (PLAIN_CRITERION, CRITERION):
            raise UsageError(
                f"--task translation_intra_distillation works with --criterion {CRITERION} or {PLAIN_CRITERION}, "
                f"not {cfg._name}"
            )
        if cfg._name == PLAIN_CRITERION:
            logger.info("task translation_intra_distillation: criterion %s in place of %s", CRITERION, cfg._name)
            cfg = {**cfg, **{name: self.cfg[name] for name in FLAGS}}
        self._check_flags_agree(cfg)
        known = {f.name for f in fields(IntraDistillationCriterionConfig)}
        return OmegaConf.create({**{name: cfg[name] for name in known & set(cfg)}, "_name": CRITERION})

    def _check_flags_agree(self, cfg):
        """On the command line one flag serves both; a configuration file has two places for it."""
        for name, default in FLAGS.items():
            if name in cfg and str(self.cfg[name]) not in (str(cfg[name]), str(default)):
                raise UsageError(
                    f"task.{name}={self.cfg[name]} contradicts criterion.{name}={cfg[name]}: "
                    f"set criterion.{name} alone"
                )


def _no_sync(model):
    """Gradients are summed up on this worker alone, as fairseq's trainer has it for --update-freq."""
    return model.no_sync() if hasattr(model, "no_sync") else contextlib.nullcontext()


def part_of(sample, number, update_num, padding_idx):
    """One in `number` sentences of a mini-batch, in their order; in other updates they are others.

    Which of them is drawn, so that nothing that comes at intervals, of updates or epochs, has the same ones always.

    Args:
        sample: what fairseq's loader of language pairs gives, at least one sentence.
        number: 1 gives the sample itself.
        update_num: the number of the update, the seed of the draw: all workers and resumed runs agree.
        padding_idx: index of the padding, which ntokens does not count.
    """
    if number == 1:
        return sample
    first = random.Random(update_num).randrange(min(number, len(sample["target"])))
    return _micro_batch(sample, slice(first, None, number), padding_idx)


def micro_batches(sample, number, padding_idx):
    """The micro-batches of a mini-batch: some of its sentences each, in their order.

    The criterion's loss is a sum over tokens, so that the micro-batches' gradients add up to those of the whole.

    Args:
        sample: what fairseq's loader of language pairs gives.
        number: how many; fewer where there are fewer sentences. 1 gives the sample itself.
        padding_idx: index of the padding, which ntokens does not count.
    """
    if number == 1:
        # The plain step: counting tokens would make it wait for the GPU.
        return [sample]
    sentences = torch.arange(len(sample["target"]))
    parts = [rows.tolist() for rows in sentences.tensor_split(number) if len(rows)]
    return [_micro_batch(sample, slice(rows[0], rows[-1] + 1), padding_idx) for rows in parts]


def joined_results(results):
    """What `train_step` returns for a whole mini-batch, from what it returned for its micro-batches."""
    losses, sample_sizes, logging_outputs = zip(*results, strict=True)
    logged = {name: sum(log[name] for log in logging_outputs) for name in logging_outputs[0]}
    return sum(losses), sum(sample_sizes), logged


def _micro_batch(sample, rows, padding_idx):
    kept = {name: sample[name][rows] for name in ("id", "target")}
    net_input = {
        name: value[rows] if torch.is_tensor(value) else value for name, value in sample["net_input"].items()
    }
    # fairseq's LSTM wants the longest source to fill its mini-batch.
    used = net_input["src_tokens"].ne(padding_idx).any(0)
    if used.any():
        net_input["src_tokens"] = net_input["src_tokens"][:, used]
    ntokens = kept["target"].ne(padding_idx).sum().item()
    return {**kept, "net_input": net_input, "nsentences": len(kept["target"]), "ntokens": ntokens}
