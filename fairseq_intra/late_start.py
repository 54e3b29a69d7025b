"""Which updates are intra-distillation: all after the switch, or every N-th of them.

Intra-distillation is a regulariser: its gain comes where plain training has flattened, and until then K passes only
cost K times the time. A task with these flags trains with one pass and the plain loss until the switch, and between
the updates of `--distill-interval`.
"""

import logging
import math
from dataclasses import dataclass, field

from omegaconf import II

from .adaptive_alpha import AdaptiveAlphaFlags, AdaptiveAlphaTask
from .errors import UsageError
from .methods import is_before
from .patches.patience import count_anew

logger = logging.getLogger(__name__)


@dataclass
class LateStartFlags(AdaptiveAlphaFlags):
    """The flags of the switch, of the interval and of alpha's schedule, for a task."""

    plain_updates: int = field(
        default=0,
        metadata={"help": "updates of plain training, one pass, before intra-distillation begins; 0 means none"},
    )
    plain_patience: int = field(
        default=0,
        metadata={
            "help": "plain training until --best-checkpoint-metric has not improved for this many validations; "
            "0 means none"
        },
    )
    distill_interval: int = field(
        default=1,
        metadata={
            "help": "beyond the paper: updates from one of intra-distillation to the next, those between are plain; "
            "1 means none are"
        },
    )
    patience: int = II("checkpoint.patience")
    disable_validation: bool = II("dataset.disable_validation")
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")
    maximize_best_checkpoint_metric: bool = II("checkpoint.maximize_best_checkpoint_metric")


class LateStartTask(AdaptiveAlphaTask):
    """Mixin of a fairseq task, before it, whose `cfg` has `LateStartFlags`.

    What it decided is in the task's state, which checkpoints hold: a resumed run switches where the uninterrupted one
    does. All workers see the same validation results, so that they switch at the same update.
    """

    #: Flags that want two passes or more, with their neutral values.
    FOR_PASSES = {"plain_updates": 0, "plain_patience": 0, "distill_interval": 1}

    def build_criterion(self, cfg, **more):
        """As the parent's.

        Raises:
            UsageError: beside the parent's, if a flag has a value that is not allowed, or two contradict each other.
        """
        for name in ("plain_updates", "plain_patience"):
            if self.cfg[name] < 0:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 0, not {self.cfg[name]}")
        if self.cfg.distill_interval < 1:
            raise UsageError(f"--distill-interval must be at least 1, not {self.cfg.distill_interval}")
        if self.cfg.plain_updates and self.cfg.plain_patience:
            raise UsageError("--plain-updates and --plain-patience exclude each other; give one of them")
        if self.cfg.plain_patience:
            self._check_validation_can_switch()
        if 0 < self.cfg.max_update <= self.cfg.plain_updates:
            logger.warning(
                "--plain-updates %d is not below --max-update %d: all of these updates are plain training",
                self.cfg.plain_updates,
                self.cfg.max_update,
            )
        self.state.add_factory("late_start", self._initial_state)
        criterion = super().build_criterion(cfg, **more)
        if criterion.intra_distillation.num_iter == 1:
            self._check_one_pass()
        return criterion

    def _check_one_pass(self):
        for name, neutral in self.FOR_PASSES.items():
            if self.cfg[name] > neutral:
                raise UsageError(
                    f"--{name.replace('_', '-')} {self.cfg[name]} is for two passes or more: with --num-iter 1 "
                    "training is plain"
                )

    def _check_validation_can_switch(self):
        if self.cfg.disable_validation:
            raise UsageError(
                "--plain-patience needs validation: leave out --disable-validation, or use --plain-updates"
            )
        if 0 < self.cfg.patience <= self.cfg.plain_patience:
            raise UsageError(
                f"--patience {self.cfg.patience} would end the training when --plain-patience "
                f"{self.cfg.plain_patience} begins intra-distillation; make --patience greater"
            )

    def _initial_state(self):
        return {"switch_update": None, "best": None, "validations_without_improvement": 0, "validated_at": -1}

    #: train_step sees one update number several times: with --update-freq, and after an overflow in fp16.
    _has_begun = False

    @property
    def switch_update(self) -> int | None:
        """The number of plain updates before the first one of intra-distillation; None while it is not known."""
        if self.cfg.plain_patience:
            return self.state.late_start["switch_update"]
        return self.cfg.plain_updates

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        if update_num and update_num == self.switch_update and not self._has_begun:
            logger.info("intra-distillation begins after %d updates of plain training", self.switch_update)
            # Validations of plain training would take from --patience what intra-distillation is to have.
            count_anew()
            self._has_begun = True
        criterion.intra_distillation.is_plain = self._is_plain(update_num)
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def _is_plain(self, update_num):
        """Told by the number alone, so that a resumed run and all workers agree."""
        if self.switch_update is None or update_num < self.switch_update:
            return True
        return (update_num - self.switch_update) % self.cfg.distill_interval != 0

    def post_validate(self, model, stats, agg):
        """Counts validations without improvement; fairseq calls it after every validation (fairseq_cli/train.py)."""
        if hasattr(super(), "post_validate"):
            super().post_validate(model, stats, agg)
        state, update = self.state.late_start, int(stats["num_updates"])
        # Only the first of several validation sets counts, as for fairseq's best checkpoint.
        if not self.cfg.plain_patience or state["switch_update"] is not None or update <= state["validated_at"]:
            return
        state["validated_at"] = update
        # One that was not measured is an error in `patches.input_checks`.
        self._count(float(stats[self.cfg.best_checkpoint_metric]), update)

    def _count(self, value, update):
        state = self.state.late_start
        sign = -1 if self.cfg.maximize_best_checkpoint_metric else 1
        # A correlation is NaN as long as all predictions are the same.
        if state["best"] is None or math.isnan(state["best"]) or sign * value < sign * state["best"]:
            state["best"], state["validations_without_improvement"] = value, 0
            return
        state["validations_without_improvement"] += 1
        # More, where a run was repeated with less patience.
        if state["validations_without_improvement"] >= self.cfg.plain_patience:
            state["switch_update"] = update

    def warn_of_early_end(self, num_updates: int) -> None:
        """Says at the end of a training that intra-distillation never began, or its alpha was still growing."""
        waits, reached = self.cfg.plain_updates or self.cfg.plain_patience, self.alpha_at(num_updates)
        if waits and is_before(self.switch_update, num_updates):
            logger.warning(
                "the training ended after %d updates, all of them plain: intra-distillation had not begun "
                "(--plain-updates, --plain-patience)",
                num_updates,
            )
        elif reached < self.max_alpha:
            logger.warning(
                "the training ended after %d updates with alpha at %.2f of %g: adaptive alpha counts on %d updates "
                "(--max-updates-train, else --max-update)",
                num_updates,
                reached,
                self.max_alpha,
                self._total_updates,
            )
