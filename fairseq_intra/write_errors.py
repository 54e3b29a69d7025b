"""What the system says when a file cannot be written, in one line."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import UsageError

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def write_failure_reported(path: Path | str) -> Iterator[None]:
    """Around torch.save to a file of Python's: what the system could not write ends in one line.

    Raises:
        UsageError: naming the path, of which PATH.tmp is removed, where fairseq writes first.
    """
    try:
        yield
    except Exception as error:
        cause = _os_error(error)
        if cause is None:
            raise
        with contextlib.suppress(OSError):
            os.remove(f"{path}.tmp")
        # Without the file's name: of a copy, Python gives the one that is read.
        raise UsageError(os_error_message(OSError(cause.errno, cause.strerror), Path(path))) from None


@contextlib.contextmanager
def full_temporary_folder_reported(folder: Path) -> Iterator[None]:
    """Around work in a folder of temporary files, whose disk is often another one than that of the results.

    Raises:
        UsageError: where that disk is full.
    """
    try:
        yield
    except OSError as error:
        is_elsewhere = error.filename is not None and folder not in Path(str(error.filename)).parents
        if error.errno not in FULL or is_elsewhere:
            raise
        raise UsageError(
            f"no space left for temporary files in {folder.parent}; free some, or give another folder by TMPDIR=DIR"
        ) from None


def _os_error(error):
    """torch says of a failed write no more than that it did not come far; what Python said is its context."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def os_error_message(error: OSError, where: Path | None = None) -> str:
    """One line about an error of the operating system; that of a full disk names no file, so `where` does."""
    name = error.filename or where or "standard output"
    if error.errno in FULL:
        return f"no space left on the disk of {name}; free some and run this again"
    if error.errno == errno.EFBIG:
        return f"{name} would be larger than its file system or the limit of this shell (ulimit -f) allows"
    return f"{name}: {error.strerror or error}"
