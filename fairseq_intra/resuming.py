"""Mends what keeps a training that was interrupted and repeated from being the undisturbed one.

Applied once by `compat.apply`, for plain training too.
"""

import functools
import inspect
import logging

from fairseq import checkpoint_utils
from fairseq.tasks import FairseqTask

logger = logging.getLogger(__name__)


def apply():
    """Puts the mends into fairseq's modules; repeated, it does nothing."""
    if hasattr(checkpoint_utils.load_checkpoint, "__wrapped__"):
        return
    _end_where_the_last_update_was_made()
    if "seed + epoch" in inspect.getsource(FairseqTask.get_batch_iterator):
        _cut_the_same_batches_in_every_epoch()


def _end_where_the_last_update_was_made():
    """fairseq looks at --max-update after an update only: a finished training, repeated, would go on by one."""
    load = checkpoint_utils.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(cfg, trainer, **passthrough_args):
        loaded = load(cfg, trainer, **passthrough_args)
        done, asked = trainer.get_num_updates(), trainer.cfg.optimization.max_update
        if 0 < asked <= done:
            logger.info("nothing left to train: the checkpoint had %d updates, --max-update is %d", done, asked)
            raise SystemExit(0)
        return loaded

    checkpoint_utils.load_checkpoint = load_checkpoint


def _cut_the_same_batches_in_every_epoch():
    """fairseq's main branch cuts a training set into mini-batches once, by a seed of the epoch in which it starts.

    A run that is resumed in its second epoch or a later one would go on with other mini-batches than it had: within
    the epoch some sentences would come twice, and others not at all.
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
