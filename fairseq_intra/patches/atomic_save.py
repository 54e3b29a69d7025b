"""Checkpoints are written whole or not at all, and a full disk ends in a one-line error message."""

import contextlib
import errno
import functools
import os

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from ..errors import UsageError


def apply():
    """Puts the patches into fairseq's modules; repeated, it does nothing."""
    if hasattr(checkpoint_utils.torch_persistent_save, "__wrapped__"):
        return
    # fairseq's tries three times, each behind the torn bytes of the one before: that file could not be read.
    checkpoint_utils._torch_persistent_save = torch.save
    checkpoint_utils.torch_persistent_save = _save_or_name_a_full_disk(checkpoint_utils.torch_persistent_save)
    PathManager.copy = staticmethod(_copy_or_name_a_full_disk(PathManager.copy))


def _save_or_name_a_full_disk(save):
    @functools.wraps(save)
    def torch_persistent_save(obj, filename, *args, **kwargs):
        with _full_disk_named(filename):
            return save(obj, filename, *args, **kwargs)

    return torch_persistent_save


def _copy_or_name_a_full_disk(copy):
    """fairseq copies its newest checkpoint to checkpoint_last.pt; a run killed meanwhile would leave half of one."""

    @functools.wraps(copy)
    def copy_and_rename(src_path, dst_path, overwrite=False):
        if not PathManager.supports_rename(dst_path):
            return copy(src_path, dst_path, overwrite)
        with _full_disk_named(dst_path):
            copied = copy(src_path, f"{dst_path}.tmp", overwrite)
            PathManager.rename(f"{dst_path}.tmp", dst_path)
        return copied

    return copy_and_rename


@contextlib.contextmanager
def _full_disk_named(path):
    """Raises UsageError where a checkpoint finds no space, and removes what there is of it."""
    try:
        yield
    except Exception as error:
        if not _is_of_a_full_disk(error):
            raise
        with contextlib.suppress(OSError):
            os.remove(f"{path}.tmp")
        raise UsageError(f"no space left on the disk of {path}; free some and run this again") from None


def _is_of_a_full_disk(error):
    """torch says of a failed write no more than that it did not come far; what Python said is its context."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__context__
    return False
