"""fairseq saves a task's state with every checkpoint of a training; here it is loaded when the training resumes.

In a checkpoint it is the entry "task_state", beside "extra_state" (fairseq/trainer.py, Trainer.state_dict). But
Trainer.load_checkpoint reads the file and returns the extra state alone, so a second copy of the
state goes into that.
"""

import functools
import logging

from fairseq.trainer import Trainer

from . import training_loop

logger = logging.getLogger(__name__)


def apply():
    """Puts the patches into fairseq's modules."""
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        extra_state["task_state"] = self.task.state_dict()
        return save(self, filename, extra_state)

    # Of --finetune-from-model fairseq makes resets: the task's state is that of another training.
    @functools.wraps(load)
    def load_checkpoint(self, filename, reset_optimizer=False, *args, **kwargs):
        extra_state = load(self, filename, reset_optimizer, *args, **kwargs)
        if not extra_state or reset_optimizer:
            return extra_state
        if training_loop.has_restored_updates(self):
            self.task.load_state_dict(extra_state.get("task_state", {}))
        else:
            logger.warning(
                "checkpoint %s has no optimizer state: the training continues with its parameters, and counts its "
                "updates from 0, those of plain training and of alpha's schedule too",
                filename,
            )
        return extra_state

    Trainer.save_checkpoint = save_checkpoint
    Trainer.load_checkpoint = load_checkpoint
