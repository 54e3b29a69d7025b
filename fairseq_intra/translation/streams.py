"""Files and pipes: what is read comes in chunks of the lines that are there, so that memory is constant."""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..data.parallel_text import decoded
from ..errors import UsageError
from ..files import need_file_or_none, replacing

#: Bytes of one read, what a pipe holds: several hundred sentences, enough to batch them by length.
BLOCK = 1 << 16


class Streams(NamedTuple):
    """Where text comes from and goes to; None is standard input or output."""

    input: Path | None
    output: Path | None


def check_streams(streams: Streams) -> None:
    """Checks before a model is loaded that the files can be opened.

    Raises:
        UsageError: if they cannot.
    """
    if not streams.input and sys.stdin is None:
        raise UsageError("standard input is closed; give --input FILE")
    if streams.input and not os.access(streams.input, os.R_OK):
        raise UsageError(f"--input {streams.input}: no such file, or it cannot be read")
    if streams.input and streams.input.is_dir():
        raise UsageError(f"--input {streams.input} is a folder")
    if streams.output:
        need_file_or_none(streams.output)
        if streams.output.exists() and _is_read(streams, streams.output):
            raise UsageError(f"--output {streams.output} is the text that is translated; give another file")


def _is_read(streams, path):
    if streams.input:
        return streams.input.samefile(path)
    # Standard input may be no file at all.
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(sys.stdin.fileno()), path.stat())
    return False


@contextlib.contextmanager
def opened(streams: Streams) -> Iterator[tuple[int, BinaryIO]]:
    """Opens both: a descriptor to read from, and a file to write to, which has its name if the block ends well."""
    with contextlib.ExitStack() as stack:
        if streams.input:
            descriptor = stack.enter_context(streams.input.open("rb", buffering=0)).fileno()
        else:
            descriptor = sys.stdin.fileno()
        if streams.output:
            partial = stack.enter_context(replacing(streams.output))
            output: BinaryIO = stack.enter_context(partial.open("wb"))
        else:
            output = sys.stdout.buffer
        yield descriptor, output


class Chunk(NamedTuple):
    """Lines that follow one another."""

    first: int  #: number of the first one, from 1
    lines: list[str]


def chunks(descriptor: int, name: str) -> Iterator[Chunk]:
    """Yields the lines of a file or pipe, as soon as there are some: a consumer is not kept waiting for the end.

    Args:
        descriptor: of the open file.
        name: what errors call it.

    Raises:
        UsageError: on what is not UTF-8, by its line.
    """
    waiting: deque[bytes] = deque()
    texts = decoded(iter(waiting.popleft, None), name)
    first = 1
    for lines in _whole_lines(descriptor, name):
        waiting.extend(lines)
        yield Chunk(first, [next(texts) for _ in lines])
        first += len(lines)


def _whole_lines(descriptor, name):
    begun: list[bytes] = []
    while block := _read(descriptor, name):
        whole, newline, rest = block.rpartition(b"\n")
        if newline:
            yield (b"".join(begun) + whole).split(b"\n")
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield [b"".join(begun)]


def _read(descriptor, name):
    try:
        return os.read(descriptor, BLOCK)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None


def count_lines(descriptor: int) -> int | None:
    """The number of lines of a file, which stays at its beginning; None for a pipe, a terminal or what is closed."""
    try:
        begin, count, last = os.lseek(descriptor, 0, os.SEEK_CUR), 0, b"\n"
        while block := os.read(descriptor, 1 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    except OSError:
        return None
    os.lseek(descriptor, begin, os.SEEK_SET)
    return count + (last != b"\n")
