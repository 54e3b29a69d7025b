"""Fixes what keeps a training that was interrupted and repeated from equalling an uninterrupted one."""

import functools
import inspect
import logging

from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer

from . import training_loop

logger = logging.getLogger(__name__)


def apply():
    """Puts the patches into fairseq's modules; repeated, it does nothing."""
    if hasattr(Trainer.save_checkpoint, "__wrapped__"):
        return
    _remember_patience()
    _find_the_place_in_the_epoch()
    _end_where_the_last_update_was_made()
    if "seed + epoch" in inspect.getsource(FairseqTask.get_batch_iterator):
        _cut_the_same_batches_in_every_epoch()


def _remember_patience():
    """fairseq counts validations without improvement (--patience) in memory: a resumed training would begin anew.

    The count is restored with the optimizer and the meters: not for --finetune-from-model, of which fairseq makes
    resets.
    """
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        extra_state["patience"] = dict(vars(_early_stop()))
        return save(self, filename, extra_state)

    @functools.wraps(load)
    def load_checkpoint(
        self, filename, reset_optimizer=False, reset_lr_scheduler=False, optimizer_overrides=None, reset_meters=False
    ):
        extra_state = load(self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters)
        if extra_state and not (reset_optimizer or reset_meters):
            counted = extra_state.get("patience", {})
            vars(_early_stop()).update(counted)
            if 0 < self.cfg.checkpoint.patience <= counted.get("num_runs", 0):
                logger.info("nothing left to train: %d validations without improvement", counted["num_runs"])
                raise SystemExit(0)
        return extra_state

    Trainer.save_checkpoint = save_checkpoint
    Trainer.load_checkpoint = load_checkpoint


def _find_the_place_in_the_epoch():
    """fairseq counts an epoch's mini-batches for each worker: with other workers it would repeat some, or stop.

    The place is kept in what all workers take at once. With the same --max-tokens it is found exactly.
    """
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        extra_state["taken_at_once"] = _taken_at_once(self)
        return save(self, filename, extra_state)

    @functools.wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        extra_state = load(self, *args, **kwargs)
        before, now = (extra_state or {}).get("taken_at_once"), _taken_at_once(self)
        if before and before != now:
            _move(extra_state["train_iterator"], before, now)
        return extra_state

    Trainer.save_checkpoint = save_checkpoint
    Trainer.load_checkpoint = load_checkpoint


def _taken_at_once(trainer):
    """(workers, the limit of a mini-batch in tokens or sentences)."""
    limits = trainer.cfg.dataset
    return [trainer.data_parallel_world_size, limits.max_tokens or limits.batch_size or 1]


def _move(iterator, before, now):
    """Sets the mini-batches of each worker that were taken in the epoch, in a checkpoint of other workers."""
    taken = iterator.get("iterations_in_epoch", 0)
    iterator["iterations_in_epoch"] = taken * before[0] * before[1] // (now[0] * now[1])
    if taken and before[1] != now[1]:
        logger.warning(
            "mini-batches of %d now, of %d before: until the end of the epoch some sentences come twice and others "
            "not at all",
            now[1],
            before[1],
        )


def _early_stop():
    """fairseq's function `should_stop_early`, whose attributes are the count."""
    return training_loop.module().should_stop_early


def _end_where_the_last_update_was_made():
    """fairseq looks at --max-update after an update only: a finished training, repeated, would make one more."""
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        extra_state = load(self, *args, **kwargs)
        done, asked = self.get_num_updates(), self.cfg.optimization.max_update
        if 0 < asked <= done:
            logger.info("nothing left to train: the checkpoint had %d updates, --max-update is %d", done, asked)
            raise SystemExit(0)
        return extra_state

    Trainer.load_checkpoint = load_checkpoint


def _cut_the_same_batches_in_every_epoch():
    """fairseq's main branch cuts a training set into mini-batches once, by a seed of the epoch in which it starts.

    A run that is resumed in its second epoch or a later one would have other mini-batches than before: within the
    epoch some sentences would come twice, and others not at all.
    """
    get_batch_iterator = FairseqTask.get_batch_iterator

    @functools.wraps(get_batch_iterator)
    def of_the_first_epoch(self, dataset, *args, seed=1, epoch=1, **kwargs):
        again = kwargs.get("disable_iterator_cache") or kwargs.get("update_epoch_batch_itr")
        again = again or getattr(self.cfg, "rebuild_batches", False) or not self.can_reuse_epoch_itr(dataset)
        if again:
            return get_batch_iterator(self, dataset, *args, seed=seed, epoch=epoch, **kwargs)
        iterator = get_batch_iterator(self, dataset, *args, seed=seed + 1 - epoch, epoch=epoch, **kwargs)
        # Their order, another one in every epoch, is drawn from this later on.
        iterator.seed = seed
        return iterator

    FairseqTask.get_batch_iterator = of_the_first_epoch
