"""A training that ends before its late start, or while alpha is growing, says so (see `late_start`)."""

import functools

from fairseq.trainer import Trainer

from . import training_loop


def apply():
    """Puts the patch into fairseq's training loop."""
    warn_at_the_end(training_loop.module())
    warn_at_the_lowest_rate(Trainer)


def warn_at_the_end(program):
    """Wraps the function `train` of fairseq's module, which trains an epoch."""
    train_epoch = program.train

    @functools.wraps(train_epoch)
    def train(cfg, trainer, task, epoch_itr):
        valid_losses, should_stop = train_epoch(cfg, trainer, task, epoch_itr)
        is_last_epoch = 0 < cfg.optimization.max_epoch < epoch_itr.next_epoch_idx
        if (should_stop or is_last_epoch) and hasattr(task, "warn_of_early_end"):
            task.warn_of_early_end(trainer.get_num_updates())
        return valid_losses, should_stop

    program.train = train


def warn_at_the_lowest_rate(trainer):
    """Wraps the trainer's `lr_step`, after which fairseq ends a training whose rate is as low as --stop-min-lr."""
    step = trainer.lr_step

    @functools.wraps(step)
    def lr_step(self, *args, **kwargs):
        rate = step(self, *args, **kwargs)
        if rate <= self.cfg.optimization.stop_min_lr and hasattr(self.task, "warn_of_early_end"):
            self.task.warn_of_early_end(self.get_num_updates())
        return rate

    trainer.lr_step = lr_step
