"""Files and folders that nobody sees half of, locks and checksums."""

import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .console import say
from .errors import UsageError

#: The file in a folder that holds its lock.
LOCK = ".lock"
_held: set = set()


def _let_go():
    # A process that multiprocessing forks would hold the lock as well, beyond the end of its parent.
    for lock in _held:
        lock.close()


os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write a file or folder under; it gets its own name, in one step, if the block ends well.

    A file or folder that has the name is replaced; of a symbolic link, what it points to. If the block fails, what it
    has written is removed. Every process writes under a name of its own; what killed processes of this machine have
    left is removed.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    host = os.uname().nodename
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}.*.partial"):
        if not _is_running(left.name.split(".")[-2]):
            remove(left)
    partial = partial_of(path)
    remove(partial)
    try:
        yield partial
        if path.is_dir() and not partial.is_dir():
            raise UsageError(f"{path} is a folder; give another name for the file")
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        remove(partial)


def partial_of(path: Path) -> Path:
    """The name that this process has for what a file or folder is not yet, or no longer."""
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.partial")


def _is_running(pid):
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with line feeds as it has them."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def read_lines(path: Path) -> list[str]:
    """A text file's lines, cut at line feeds only (text may hold other characters Unicode calls line breaks).

    Raises:
        UsageError: if it cannot be read, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            return [line.rstrip("\n") for line in file]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None


def join_existing(parts: list[str], separator: str = os.pathsep) -> list[str]:
    """The paths of a list that was cut at every separator: parts that together name a file or folder are one path."""
    joined = []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if os.path.exists(separator.join(parts[:end]))), 1)
        joined.append(separator.join(parts[:end]))
        parts = parts[end:]
    return joined


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def need_file_or_none(output: Path) -> None:
    """Checks before long work that the file that --output names can be written, in place of another file or none.

    Raises:
        UsageError: as `need_folder_of`, or if the name is that of a folder or a device.
    """
    if output.name and output.exists() and not output.is_file():
        raise UsageError(f"--output {output} exists and is not a file; give another name")
    need_folder_of(output)


def need_folder_of(output: Path, flag: str = "--output") -> None:
    """Checks before long work that what the flag names, or begins the names of, can be written.

    Raises:
        UsageError: if its folder does not exist or cannot be written to, or it ends in no name.
    """
    if output.name in ("", ".."):
        raise UsageError(f"{flag} '{output}' must end in a name")
    if not output.parent.is_dir():
        raise UsageError(f"{flag} {output}: its folder does not exist")
    try:
        need_writable(output.parent)
    except OSError as error:
        raise UsageError(f"{flag} {output}: its folder cannot be written to: {error.strerror}") from None


def make_folder(flag: str, folder: Path) -> None:
    """Makes a folder that a flag names, with its parents; it can be written to.

    Raises:
        UsageError: if that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag} {folder} cannot be made a folder: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{flag} {folder} cannot be written to")


def need_writable(folder: Path) -> None:
    """Makes a file in a folder and removes it.

    Raises:
        OSError: if that is not possible; permissions alone do not tell of a read-only disk.
    """
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextlib.contextmanager
def locked(folder: Path, wait_for: str = "", lock: str = LOCK) -> Iterator[None]:
    """Holds the lock of a folder: one command at a time works in it.

    The lock ends with this process, however that ends; processes that it starts do not inherit it.

    Args:
        folder: must exist.
        wait_for: what another process does in the folder; if given, the lock is waited for, which is reported.
        lock: the name of the file in the folder that is locked.

    Raises:
        UsageError: if another process holds the lock and is not waited for.
    """
    with open(folder / lock, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait_for:
                raise UsageError(f"another process is working in {folder}; wait until it ends") from None
            say(f"waiting for another process that {wait_for} {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


def is_locked(folder: Path) -> bool:
    """Whether another process works in a folder."""
    try:
        with open(folder / LOCK, encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def check_space_beside(path: Path) -> None:
    """Raises OSError if the disk is full, so that a file there may lack its last lines."""
    probe = path.with_name(f"{path.name}.space")
    try:
        probe.write_bytes(bytes(1 << 16))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
