"""Reads .tgz archives that came from elsewhere, member by member: nothing of them is unpacked under its own name."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..errors import UsageError

ADVICE = "give another, or delete it and get it again"


def inspect(path: Path) -> list[str]:
    """Reads an archive to its end and returns the names of its files.

    Raises:
        UsageError: if it is truncated, damaged or no .tgz archive, or has an unsafe member.
    """
    with naming(path), path.open("rb") as stream:
        return [name for name, _ in members(stream, path)]


def members(archive: BinaryIO, path: object) -> Iterator[tuple[str, BinaryIO]]:
    """Yields name and content of the archive's files in their order; a content is to be read before the next.

    gzip's own checksum at the end is read as well. `path` is for messages.

    Raises:
        UsageError: if a member is unsafe.
    """
    with gzip.GzipFile(fileobj=archive) as unzipped:
        # As a stream, tarfile reads forward only; through gzip, which, unlike tarfile's own reader, checks the sum.
        with tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                reject_unsafe(member, path)
                if member.isfile():
                    yield member.name, tar.extractfile(member)
        while unzipped.read(1 << 20):
            pass


def reject_unsafe(member: tarfile.TarInfo, path: object) -> None:
    """Stops at a member that no archive of text has.

    Raises:
        UsageError: if it lies outside the archive's own folder, or is no file and no folder.
    """
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise UsageError(f"{path} has a member outside its own folder, {member.name}; nothing is read from it")
    if not member.isfile() and not member.isdir():
        kind = "link" if member.issym() or member.islnk() else "device"
        raise UsageError(f"{path} has a {kind}, {member.name}, in place of a file; nothing is read from it")


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Turns what truncated and foreign files raise into a one-line error message that names the archive.

    Raises:
        UsageError: if the block reads a truncated, damaged or foreign file.
    """
    try:
        yield
    except (EOFError, zlib.error):
        raise UsageError(f"{path} is truncated or damaged; {ADVICE}") from None
    except (gzip.BadGzipFile, tarfile.TarError) as error:
        raise UsageError(f"{path} is not a whole .tgz archive ({error}); {ADVICE}") from None
