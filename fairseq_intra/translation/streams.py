"""Text that comes line by line: from a file or a pipe in chunks of what is there, in constant memory."""

import os
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ..data.parallel_text import decoded

#: Bytes that are read at once, what a pipe holds: several hundred sentences, enough to batch them by length.
BLOCK = 1 << 16


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
    for lines in _whole_lines(descriptor):
        waiting.extend(lines)
        yield Chunk(first, [next(texts) for _ in lines])
        first += len(lines)


def _whole_lines(descriptor):
    begun: list[bytes] = []
    while block := os.read(descriptor, BLOCK):
        whole, newline, rest = block.rpartition(b"\n")
        if newline:
            yield (b"".join(begun) + whole).split(b"\n")
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield [b"".join(begun)]


def count_lines(descriptor: int) -> int | None:
    """The number of lines of a file, which stays at its beginning; None for a pipe or terminal."""
    try:
        os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return None
    begin, count, last = os.lseek(descriptor, 0, os.SEEK_CUR), 0, b"\n"
    while block := os.read(descriptor, 1 << 20):
        count, last = count + block.count(b"\n"), block[-1:]
    os.lseek(descriptor, begin, os.SEEK_SET)
    return count + (last != b"\n")
