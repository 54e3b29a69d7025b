"""Files and folders that nobody sees half of, locks, checksums, and the JSON files that commands read again."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UsageError

#: The file in a folder that holds its lock.
LOCK = ".lock"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write a file or folder under; it gets its own name, in one step, if the block ends well.

    A file or folder that has the name is replaced. If the block fails, what it has written is removed.
    """
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        remove(partial)


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


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, indented."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UsageError: if it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None


def write_record(path: Path, record: Any) -> None:
    """Writes a dataclass as JSON."""
    write_json(path, dataclasses.asdict(record))


def read_record(cls, path: Path, form: int, what: str):
    """An instance of a dataclass that `write_record` wrote; its field `format` tells versions of the file apart.

    Raises:
        UsageError: if there is no such file, or it is not `what`.
    """
    content = read_json(path)
    names = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(content, dict) or set(content) != names or content["format"] != form:
        raise UsageError(f"{path} is not {what} (format {form})")
    return cls(**content)


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


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def need_folder_of(output: Path) -> None:
    """Checks before long work that the file that --output names can be written.

    Raises:
        UsageError: if its folder is not there.
    """
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: its folder is not there")


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


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder: one command at a time works in it.

    The lock ends with this process, however that ends; processes that it starts do not inherit it.

    Raises:
        UsageError: if another process holds it.
    """
    with open(folder / LOCK, "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is working in {folder}; wait until it ends") from None
        yield


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


def os_error_message(error: OSError, where: Path | None = None) -> str:
    """One line about an error of the operating system; that of a full disk names no file, so `where` does."""
    name = error.filename or where or "standard output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk of {name}; free some and run this again"
    if error.errno == errno.EFBIG:
        return f"{name} would be larger than its file system or the limit of this shell (ulimit -f) allows"
    return f"{name}: {error.strerror or error}"
