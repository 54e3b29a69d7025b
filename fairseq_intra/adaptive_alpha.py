"""Adaptive alpha: the weight of the divergence grows with the update number (paper, section 3.3)."""

import math
from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from .errors import UsageError
from .intra_distillation import IntraDistillation


def adaptive_alpha(num_updates: int, max_updates: int, alpha: float, p: float, q: float) -> float:
    """The weight of the divergence at update number `num_updates` of `max_updates`.

    With x the update number, N the total and gamma = log_{p/q}(1/alpha)::

        alpha(x) = alpha * (p x / N)^gamma   for x < N/p        alpha(x) = alpha   from there on

    so that alpha(N/q) = 1 and alpha(N/p) = alpha. An `alpha` of at most 1 has nothing to grow to and is constant.
    The value depends on the update number alone: a resumed run continues it.

    Raises:
        ValueError: if not 0 < p < q < inf, alpha < 0 or max_updates < 1.
    """
    if not 0 < p < q < math.inf:
        raise ValueError(f"temperatures must be finite and satisfy 0 < p < q, not p = {p}, q = {q}")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha}")
    if max_updates < 1:
        raise ValueError(f"the total number of updates must be at least 1, not {max_updates}")
    if alpha <= 1 or num_updates * p >= max_updates:
        return alpha
    gamma = math.log(1 / alpha) / math.log(p / q)
    return alpha * (p * num_updates / max_updates) ** gamma


@dataclass
class AdaptiveAlphaFlags(FairseqDataclass):
    """The flags of the schedule, for a task."""

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
    max_update: int = II("optimization.max_update")


class AdaptiveAlphaTask:
    """Mixin of a fairseq task, before it, whose `cfg` has `AdaptiveAlphaFlags`: sets its criterion's alpha."""

    #: The number of plain updates before intra-distillation, None while it is not known; `late_start` defines it.
    switch_update: int | None

    def build_criterion(self, cfg, **more):
        """The criterion, its alpha ready to follow the schedule.

        Raises:
            UsageError: on a criterion that is not of the method, p >= q, or an unknown number of updates.
        """
        criterion = super().build_criterion(cfg, **more)
        if not isinstance(getattr(criterion, "intra_distillation", None), IntraDistillation):
            raise UsageError(f"--task {self.cfg._name} needs a criterion of intra-distillation, not {cfg._name}")
        self.max_alpha = criterion.intra_distillation.alpha
        self._check_schedule()
        return criterion

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        criterion.intra_distillation.alpha = self.alpha_at(update_num)
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def alpha_at(self, num_updates: int) -> float:
        """The criterion's alpha in the update that follows `num_updates` finished ones.

        With a late start the schedule counts the updates from the switch on, of those that remain then.
        """
        switch = self.switch_update
        if not self._adaptive or switch is None or num_updates < switch:
            return self.max_alpha
        total = max(1, self._total_updates - switch)
        return adaptive_alpha(
            num_updates - switch, total, self.max_alpha, self.cfg.temperature_p, self.cfg.temperature_q
        )

    @property
    def _adaptive(self):
        return self.cfg.adaptive_alpha == 1

    @property
    def _total_updates(self):
        return self.cfg.max_updates_train or self.cfg.max_update

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
