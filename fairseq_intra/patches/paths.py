"""A colon in the name of a folder or file does not split it in two."""

import functools
import os

from fairseq import utils


def apply():
    """Puts the patch into fairseq's modules; repeated, it does nothing."""
    if not hasattr(utils.split_paths, "__wrapped__"):
        utils.split_paths = _split_unless_it_is_there(utils.split_paths)


def _split_unless_it_is_there(split):
    """Shards and ensembles, `a.pt:b.pt`, are split as before."""

    @functools.wraps(split)
    def split_paths(paths, separator=os.pathsep):
        return [paths] if os.path.exists(paths) else split(paths, separator)

    return split_paths
