"""A colon in the name of a folder or file does not split it in two."""

import functools
import os

from fairseq import utils
from fairseq.tasks import FairseqTask

from ..files import join_existing


def apply():
    """Puts the patch into fairseq's modules."""
    utils.split_paths = _split_unless_it_is_there(utils.split_paths)
    FairseqTask.has_sharded_data = _has_shards(FairseqTask.has_sharded_data)


def _split_unless_it_is_there(split):
    """Shards and ensembles, `a.pt:b.pt`, are split as before; each of them may have colons as well."""

    @functools.wraps(split)
    def split_paths(paths, separator=os.pathsep):
        return join_existing(split(paths, separator), separator)

    return split_paths


def _has_shards(has_shards):
    """Data that fairseq takes for shards is read again, and shuffled otherwise, in every epoch."""

    @functools.wraps(has_shards)
    def has_sharded_data(self, split):
        return has_shards(self, split) and not os.path.exists(self.cfg.data)

    return has_sharded_data
