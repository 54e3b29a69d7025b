"""A folder that a command makes: locked while it works there, gone again if it fails before it has made anything."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import files
from ..console import say


@contextlib.contextmanager
def made(out: Path) -> Iterator[None]:
    """Makes the folder that --out names and holds its lock.

    Raises:
        UsageError: if it cannot be made or written to, or another process works in it.
    """
    with made_unlocked(out), files.locked(out):
        yield


@contextlib.contextmanager
def made_unlocked(out: Path) -> Iterator[None]:
    """Makes the folder that --out names; its parts have locks of their own.

    Raises:
        UsageError: if it cannot be made or written to.
    """
    new = not out.is_dir()
    files.make_folder("--out", out)
    try:
        yield
    finally:
        if new and {path.name for path in out.iterdir()} <= {files.LOCK}:
            files.remove(out)


def take_steps(out: Path, every: Iterable[str], steps: Iterable[str], take: Callable[[str, Path], None]) -> bool:
    """Makes a folder OUT/STEP for every step that has none; False where the next one is not among those to take.

    Args:
        out: the folder that --out names.
        every: all steps, in their order.
        steps: those to take.
        take: given a step and the empty folder, makes what belongs there.
    """
    for step in every:
        if (out / step).exists():
            say(f"{step}: done before")
        elif step not in steps:
            return False
        else:
            say(f"{step} ...")
            with files.replacing(out / step) as partial:
                partial.mkdir()
                take(step, partial)
    return True
