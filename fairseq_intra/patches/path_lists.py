"""A path that holds a colon is one path where there is such a file or folder.

fairseq cuts `--path a.pt:b.pt` (an ensemble) and `DATA0:DATA1` (shards) at every colon (split_paths of
fairseq/utils.py).
"""

import functools
import os

from fairseq import utils

from ..files import join_existing


def apply():
    """Puts the patch into fairseq's module; repeated, it does nothing."""
    if hasattr(utils.split_paths, "__wrapped__"):
        return
    split_paths = utils.split_paths

    @functools.wraps(split_paths)
    def whole_where_there(paths, separator=os.pathsep):
        return join_existing(split_paths(paths, separator), separator)

    utils.split_paths = whole_where_there
