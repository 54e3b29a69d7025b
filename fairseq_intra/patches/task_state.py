"""fairseq saves a task's state with every checkpoint of a training; here it is loaded when the training resumes."""

import functools

from fairseq.trainer import Trainer

from . import training_loop


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
        if extra_state and not reset_optimizer:
            self.task.load_state_dict(extra_state.get("task_state", {}))
        return extra_state

    Trainer.save_checkpoint = save_checkpoint
    Trainer.load_checkpoint = load_checkpoint
    _warn_at_the_end(training_loop.module())


def _warn_at_the_end(program):
    """A training that ends while its task is still plain says so."""
    train = program.train

    @functools.wraps(train)
    def train_and_warn(cfg, trainer, task, epoch_itr):
        valid_losses, should_stop = train(cfg, trainer, task, epoch_itr)
        is_last_epoch = 0 < cfg.optimization.max_epoch < epoch_itr.next_epoch_idx
        if (should_stop or is_last_epoch) and hasattr(task, "warn_if_still_plain"):
            task.warn_if_still_plain(trainer.get_num_updates())
        return valid_losses, should_stop

    program.train = train_and_warn
