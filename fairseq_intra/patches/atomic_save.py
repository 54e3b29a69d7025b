"""Checkpoints are written whole or not at all; one that cannot be written ends in a one-line error message."""

import functools

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from ..errors import UsageError
from ..write_errors import os_error_message, write_failure_reported


def apply():
    """Puts the patches into fairseq's modules."""
    # fairseq's tries three times, each after the truncated bytes of the one before: that file could not be read.
    checkpoint_utils._torch_persistent_save = torch.save
    checkpoint_utils.torch_persistent_save = _save_or_report(checkpoint_utils.torch_persistent_save)
    checkpoint_utils.verify_checkpoint_directory = _verify_or_report(checkpoint_utils.verify_checkpoint_directory)
    PathManager.copy = staticmethod(_copy_and_rename(PathManager.copy))


def _verify_or_report(verify):
    """fairseq tries --save-dir before it trains."""

    @functools.wraps(verify)
    def verify_checkpoint_directory(save_dir):
        try:
            verify(save_dir)
        except OSError as error:
            raise UsageError(f"--save-dir {save_dir} cannot be written to: {os_error_message(error)}") from None

    return verify_checkpoint_directory


def _save_or_report(save):
    @functools.wraps(save)
    def torch_persistent_save(obj, filename, *args, **kwargs):
        with write_failure_reported(filename):
            return save(obj, filename, *args, **kwargs)

    return torch_persistent_save


def _copy_and_rename(copy_file):
    """fairseq copies its newest checkpoint to checkpoint_last.pt; a run killed meanwhile would leave half of one."""

    @functools.wraps(copy_file)
    def copy(src_path, dst_path, overwrite=False):
        if not PathManager.supports_rename(dst_path):
            return copy_file(src_path, dst_path, overwrite)
        with write_failure_reported(dst_path):
            copied = copy_file(src_path, f"{dst_path}.tmp", overwrite)
            PathManager.rename(f"{dst_path}.tmp", dst_path)
        return copied

    return copy
