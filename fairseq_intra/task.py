"""The task `translation_intra_distillation`: translation whose criterion's alpha grows with the update number."""

import contextlib
import logging
import math
from dataclasses import dataclass, field, fields

from fairseq.distributed import FullyShardedDataParallel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import II, DictConfig, OmegaConf

from .criterion import IntraDistillationCriterionConfig, IntraDistillationFlags
from .errors import UsageError
from .schedule import adaptive_alpha
from .split_batch import joined, split_batch

logger = logging.getLogger(__name__)

PLAIN_CRITERION = "label_smoothed_cross_entropy"
CRITERION = "intra_distillation"
FLAGS = {f.name: f.default for f in fields(IntraDistillationFlags) if not f.name.startswith("_")}


@dataclass
class TranslationIntraDistillationConfig(IntraDistillationFlags, TranslationConfig):
    adaptive_alpha: int = field(
        default=0,
        metadata={
            "help": "1: alpha grows from 0, reaches 1 at the share 1/q of all updates and --alpha at the share "
            "1/p; 0: alpha is constant"
        },
    )
    temperature_p: float = field(
        default=5.0,
        metadata={"help": "p: adaptive alpha is at its full value after 1/p of all updates"},
    )
    temperature_q: float = field(
        default=10.0,
        metadata={"help": "q: adaptive alpha is 1 after 1/q of all updates; greater than p"},
    )
    max_updates_train: int = field(
        default=0,
        metadata={"help": "number of updates adaptive alpha counts on; 0 means that of --max-update"},
    )
    split_batch: int = field(
        default=1,
        metadata={
            "help": "cut every mini-batch into this many parts of its sentences, one after another in memory, where "
            "K passes over --max-tokens are too many at once; gradients are those of the whole"
        },
    )
    max_update: int = II("optimization.max_update")


@register_task("translation_intra_distillation", dataclass=TranslationIntraDistillationConfig)
class TranslationIntraDistillationTask(TranslationTask):
    """fairseq's translation task with the intra-distillation criterion and the schedule of its alpha.

    With `--criterion label_smoothed_cross_entropy` it builds `intra_distillation` in its place, so that the
    authors' command works as published.
    """

    def build_criterion(self, cfg: DictConfig, **more):
        """The criterion `intra_distillation`, its alpha ready to follow the schedule.

        Raises:
            UsageError: on another criterion, contradicting values, p >= q, or an unknown number of updates.
        """
        criterion = super().build_criterion(self._criterion_config(cfg), **more)
        self.max_alpha = criterion.alpha
        if self.cfg.split_batch < 1:
            raise UsageError(f"--split-batch must be at least 1, not {self.cfg.split_batch}")
        self._check_schedule()
        return criterion

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        criterion.alpha = self.alpha_at(update_num)
        *parts, last = split_batch(sample, self.cfg.split_batch, self.target_dictionary.pad())
        more = (model, criterion, optimizer, update_num, ignore_grad)
        train = super().train_step
        with _no_sync(model):
            results = [train(part, *more) for part in parts]
        return joined([*results, train(last, *more)])

    def alpha_at(self, num_updates: int) -> float:
        """The criterion's alpha in the update that follows `num_updates` finished ones."""
        if not self._adaptive:
            return self.max_alpha
        return adaptive_alpha(
            num_updates, self._total_updates, self.max_alpha, self.cfg.temperature_p, self.cfg.temperature_q
        )

    @property
    def _adaptive(self):
        return self.cfg.adaptive_alpha == 1

    @property
    def _total_updates(self):
        return self.cfg.max_updates_train or self.cfg.max_update

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

    def _check_schedule(self):
        if self.cfg.adaptive_alpha not in (0, 1):
            raise UsageError(f"--adaptive-alpha must be 0 or 1, not {self.cfg.adaptive_alpha}")
        if not self._adaptive:
            return
        p, q = self.cfg.temperature_p, self.cfg.temperature_q
        if not 0 < p < q < math.inf:
            raise UsageError(
                f"--temperature-p must be above 0 and below --temperature-q, a finite number, not p = {p}, q = {q}"
            )
        if self.cfg.max_updates_train < 0:
            raise UsageError(f"--max-updates-train must be at least 0, not {self.cfg.max_updates_train}")
        if not self._total_updates:
            raise UsageError(
                "--adaptive-alpha 1 needs the total number of updates: set --max-update or --max-updates-train"
            )


def _no_sync(model):
    """Gradients are summed up on this worker alone, as fairseq's trainer has it for --update-freq."""
    if hasattr(model, "no_sync") and not isinstance(model, FullyShardedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()
