"""`fairseq-intra train --continue-from`: a run starts from a checkpoint of a training with another criterion.

On resuming, fairseq compares the class names of criterion and optimizer with those in the checkpoint
(fairseq/trainer.py, load_checkpoint). The criterions of translation have no parameters, so another one changes
nothing that an optimizer holds: its state is kept where the optimizer is the same.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

from .. import checkpoint as checkpoints
from ..console import say
from ..errors import UsageError
from ..methods import setting
from .arguments import PRECISIONS, as_number, flag_value, method_by_flags
from .presets import SIZES

#: What belongs to the earlier training alone.
DROPPED = ("best", "patience", "task_state")


@dataclass
class Continuation:
    """A checkpoint that a run starts from."""

    checkpoint: Path
    state: dict
    keeps_optimizer: bool

    @property
    def num_updates(self) -> int:
        """The updates that count as done."""
        return checkpoints.training(self.state).num_updates if self.keeps_optimizer else 0

    def flags(self, words: list[str]) -> list[str]:
        """Flags of fairseq-train: the schedule of intra-distillation counts from here, or from a later start."""
        is_first = checkpoints.training(self.state).method != "intra"
        updates, patience = (
            as_number(flag_value(words, f"--plain-{limit}")) or 0 for limit in ("updates", "patience")
        )
        # R-Drop has no schedule; of a patience nobody knows when it is over.
        has_schedule = method_by_flags(words) in ("intra", "late") and not patience
        begins_here = is_first and has_schedule and updates < self.num_updates
        return self._scheduler_flags(words) + (["--plain-updates", str(self.num_updates)] if begins_here else [])

    def _scheduler_flags(self, words):
        """A scheduler cannot read the state of another one; the learning rate follows the number of updates."""
        before, now = setting(self.state["cfg"].lr_scheduler, "_name"), flag_value(words, "--lr-scheduler") or "fixed"
        if not self.keeps_optimizer or now == before:
            return []
        say(f"the learning rate follows --lr-scheduler {now} from here on, where {self.checkpoint} had {before}")
        return ["--reset-lr-scheduler"]

    def write(self, path: Path, criterion: str) -> None:
        """Writes what fairseq-train continues from, by a criterion of this name."""
        extra, history = dict(self.state["extra_state"]), [dict(each) for each in self.state["optimizer_history"]]
        for name in DROPPED:
            extra.pop(name, None)
        position = extra["train_iterator"]
        begun = position.get("iterations_in_epoch", 0) > 0
        extra["train_iterator"] = position | {"epoch": position["epoch"] + begun, "iterations_in_epoch": 0}
        history[-1]["criterion_name"] = _criterion_class(criterion)
        state = self.state | {"extra_state": extra, "optimizer_history": history}
        if self.keeps_optimizer:
            say(f"continuing {self.checkpoint} after {self.num_updates} updates, with its optimizer's state")
        else:
            say(f"continuing {self.checkpoint} without its optimizer's state, which is missing or of another kind")
        checkpoints.save(state, path, self.keeps_optimizer)


def read_continuation(checkpoint: Path, words: list[str]) -> Continuation:
    """Reads the checkpoint.

    Args:
        checkpoint: of any translation model that fairseq trained.
        words: the flags of fairseq-train that the run is made with.

    Raises:
        UsageError: if it is none, or has had all the updates that are asked for.
    """
    state = checkpoints.load(checkpoint)
    history = state.get("optimizer_history") or [{}]
    same = history[-1].get("optimizer_name") == _optimizer_class(words)
    found = Continuation(checkpoint, state, same and state.get("last_optimizer_state") is not None)
    if not state.get("extra_state") or "criterion_name" not in history[-1]:
        raise UsageError(f"--continue-from {checkpoint} has no state of a training; give --finetune-from-model")
    _check_sizes(checkpoint, state["cfg"].model, words)
    asked = flag_value(words, "--max-update") or ""
    if asked.isdigit() and 0 < int(asked) <= found.num_updates:
        raise UsageError(
            f"--continue-from {checkpoint} has had {found.num_updates} updates, and {asked} are asked for, those "
            "included; give more by --updates"
        )
    return found


def _check_sizes(checkpoint, model, words):
    """Raises UsageError where the model has other sizes than these flags say."""
    sizes = {name: setting(model, name.replace("-", "_")) for name in SIZES}
    known = {name: str(size) for name, size in sizes.items() if size is not None}
    if other := [name for name, size in known.items() if flag_value(words, f"--{name}") not in (None, size)]:
        needed = " ".join(f"--{name} {known[name]}" for name in other)
        raise UsageError(f"--continue-from {checkpoint} is a model of other sizes than this run's; give {needed}")


def _criterion_class(name):
    importlib.import_module("fairseq_intra.plugin")
    from fairseq.criterions import CRITERION_REGISTRY

    return CRITERION_REGISTRY[name].__name__


def _optimizer_class(words):
    from fairseq.optim import OPTIMIZER_REGISTRY

    # A wrapped optimizer's state is another one. Of a preset and what is passed on, a flag may stand without a value.
    wrapper = next((name for flag, name in PRECISIONS.items() if flag_value(words, flag) is not None), None)
    kind = OPTIMIZER_REGISTRY.get(flag_value(words, "--optimizer") or "")
    return wrapper or getattr(kind, "__name__", None)
