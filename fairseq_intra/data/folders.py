"""A folder that a command makes: locked while it works there, gone again if it fails before it has made anything."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .. import files


@contextlib.contextmanager
def made(out: Path) -> Iterator[None]:
    """Makes the folder that --out names and holds its lock."""
    with made_unlocked(out), files.locked(out):
        yield


@contextlib.contextmanager
def made_unlocked(out: Path) -> Iterator[None]:
    """Makes the folder that --out names; its parts have locks of their own."""
    new = not out.is_dir()
    files.make_folder("--out", out)
    try:
        yield
    finally:
        if new and {path.name for path in out.iterdir()} <= {files.LOCK}:
            files.remove(out)
