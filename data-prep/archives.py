"""Reads .tgz archives that came from elsewhere, member by member: nothing of them is unpacked under its own name."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from manifest import checksum
from parallel_text import BadInput


def verify(path: Path, record: Path) -> tuple[str, list[str]]:
    """Returns the SHA-256 of an archive and the names of its files, having read all of it.

    The checksum of a whole archive is put down in `record` at first sight; from then on the archive must have it.
    """
    digest = checksum(path)
    if record.exists():
        recorded = record.read_text(encoding="utf-8").split(" ")[0]
        if recorded != digest:
            raise BadInput(
                f"{path} is not the archive that it was: SHA-256 {digest[:12]}... where {record} has "
                f"{recorded[:12]}...; get that one again, or delete {record} if the change is meant"
            )
    names = inspect(path)
    if not record.exists():
        aside = record.with_name(f"{record.name}.partial")
        aside.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        aside.replace(record)
    return digest, names


def inspect(path: Path) -> list[str]:
    """Reads an archive to its end and returns the names of its files."""
    with naming(path), path.open("rb") as stream:
        return [name for name, _ in members(stream, path)]


def members(archive: BinaryIO, path: object) -> Iterator[tuple[str, BinaryIO]]:
    """Yields name and content of the archive's files in their order; a content is to be read before the next.

    gzip's own checksum at the end is read as well. `path` is for messages.
    """
    with gzip.GzipFile(fileobj=archive) as unzipped:
        # As a stream, tarfile reads forward only; through gzip, which, unlike tarfile's own reader, checks the sum.
        with tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                refuse_unsafe(member, path)
                if member.isfile():
                    yield member.name, tar.extractfile(member)
        while unzipped.read(1 << 20):
            pass


def refuse_unsafe(member: tarfile.TarInfo, path: object) -> None:
    """Stops at a member that no archive of text has."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise BadInput(f"{path} has a member outside its own folder, {member.name}; nothing is read from it")
    if not member.isfile() and not member.isdir():
        kind = "link" if member.issym() or member.islnk() else "device"
        raise BadInput(f"{path} has a {kind}, {member.name}, in place of a file; nothing is read from it")


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Turns what torn and foreign files raise into one line that names the archive."""
    try:
        yield
    except (EOFError, zlib.error):
        raise BadInput(f"{path} is truncated or damaged; get it again") from None
    except (gzip.BadGzipFile, tarfile.TarError) as error:
        raise BadInput(f"{path} is not a whole .tgz archive ({error}); get it again") from None
