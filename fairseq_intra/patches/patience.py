"""fairseq counts validations without improvement (--patience) in memory, as attributes of a function.

So a training that is resumed would begin to count anew, and one that follows another in the same process, as in a
sweep of fairseq-hydra-train, would not. Here the count is saved and restored, and belongs to one training.
"""

import functools
import logging

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from . import training_loop

logger = logging.getLogger(__name__)

#: The attributes of `should_stop_early`: the best validation, and those since then.
COUNT = ("best", "num_runs")


def apply():
    """Puts the patches into fairseq's modules."""
    _begin_with_every_training()
    _remember()


def count_anew() -> None:
    """The next validations have the whole patience; the best one stays what it was."""
    if hasattr(_early_stop(), "num_runs"):
        _early_stop().num_runs = 0


def _early_stop():
    """fairseq's function `should_stop_early`, whose attributes are the count."""
    return training_loop.module().should_stop_early


def _begin_with_every_training():
    """Every training makes one trainer, before it loads a checkpoint."""
    init = Trainer.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        init(self, *args, **kwargs)
        for name in COUNT:
            vars(_early_stop()).pop(name, None)
        # The best of the checkpoints, by which checkpoint_best.pt is written.
        vars(checkpoint_utils.save_checkpoint).pop("best", None)

    Trainer.__init__ = __init__


def _remember():
    """The count is restored with the number of updates and the meters.

    So it is not for --finetune-from-model, of which fairseq makes resets.
    """
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        early_stop = vars(_early_stop())
        extra_state["patience"] = {name: early_stop[name] for name in COUNT if name in early_stop}
        return save(self, filename, extra_state)

    @functools.wraps(load)
    def load_checkpoint(
        self, filename, reset_optimizer=False, reset_lr_scheduler=False, optimizer_overrides=None, reset_meters=False
    ):
        extra_state = load(self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters)
        if extra_state and not (reset_optimizer or reset_meters) and training_loop.has_restored_updates(self):
            counted = extra_state.get("patience", {})
            vars(_early_stop()).update(counted)
            if 0 < self.cfg.checkpoint.patience <= counted.get("num_runs", 0):
                logger.info("nothing left to train: %d validations without improvement", counted["num_runs"])
                training_loop.train_no_more(self)
        return extra_state

    Trainer.save_checkpoint = save_checkpoint
    Trainer.load_checkpoint = load_checkpoint
