"""Fixes what keeps a training that was interrupted and repeated from equalling an uninterrupted one."""

import functools
import inspect
import logging

from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer

from .training_loop import train_no_more

logger = logging.getLogger(__name__)


def apply():
    """Puts the patches into fairseq's modules."""
    _find_the_place_in_the_epoch()
    _end_where_the_last_update_was_made()
    if "seed + epoch" in inspect.getsource(FairseqTask.get_batch_iterator):
        _cut_the_same_batches_in_every_epoch()


def _find_the_place_in_the_epoch():
    """fairseq counts an epoch's mini-batches for each worker: with other workers it would repeat some, or stop.

    With the same mini-batches none is missed, and where what is left does not divide among the workers, fewer come
    twice than there are workers; with others (--max-tokens) the place is found by the share of the epoch.
    """
    save, load = EpochBatchIterator.state_dict, EpochBatchIterator.load_state_dict

    @functools.wraps(save)
    def state_dict(self):
        return save(self) | {"mini_batches": len(self.frozen_batches), "workers": self.num_shards}

    @functools.wraps(load)
    def load_state_dict(self, state):
        load(self, state | _place(self, state))

    EpochBatchIterator.state_dict, EpochBatchIterator.load_state_dict = state_dict, load_state_dict


def _place(iterator, state):
    """The entries of a state that must change for this iterator: its mini-batches taken so far, or the epoch."""
    taken, before, old_workers = (state.get(name, 0) for name in ("iterations_in_epoch", "mini_batches", "workers"))
    now, workers = len(iterator.frozen_batches), iterator.num_shards
    # A checkpoint that was written without this patch has neither number.
    if not (taken and before and old_workers) or (before, old_workers) == (now, workers):
        return {}
    if before != now:
        logger.warning(
            "the training set is cut into %d mini-batches now, into %d before: until the end of the epoch some "
            "sentences come twice and others not at all",
            now,
            before,
        )
    taken = taken * old_workers * now // (before * workers)
    if taken >= len(iterator):
        return {"epoch": state["epoch"] + 1, "iterations_in_epoch": 0}
    return {"iterations_in_epoch": taken}


def _end_where_the_last_update_was_made():
    """fairseq looks at --max-update after an update only: a finished training, repeated, would make one more."""
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        extra_state = load(self, *args, **kwargs)
        done, asked = self.get_num_updates(), self.cfg.optimization.max_update
        if 0 < asked <= done:
            logger.info("nothing left to train: the checkpoint had %d updates, --max-update is %d", done, asked)
            train_no_more(self)
        return extra_state

    Trainer.load_checkpoint = load_checkpoint


def _cut_the_same_batches_in_every_epoch():
    """fairseq's main branch cuts a training set into mini-batches once, by a seed of the epoch in which it starts.

    A run that is resumed in its second epoch or a later one would have other mini-batches than before: within the
    epoch some sentences would come twice, and others not at all.
    """
    get_iterator = FairseqTask.get_batch_iterator

    @functools.wraps(get_iterator)
    def get_batch_iterator(self, dataset, *args, seed=1, epoch=1, **kwargs):
        again = kwargs.get("disable_iterator_cache") or kwargs.get("update_epoch_batch_itr")
        again = again or getattr(self.cfg, "rebuild_batches", False) or not self.can_reuse_epoch_itr(dataset)
        if again:
            return get_iterator(self, dataset, *args, seed=seed, epoch=epoch, **kwargs)
        iterator = get_iterator(self, dataset, *args, seed=seed + 1 - epoch, epoch=epoch, **kwargs)
        # Their order, another one in every epoch, is drawn from this later on.
        iterator.seed = seed
        return iterator

    FairseqTask.get_batch_iterator = get_batch_iterator
