"""The training text of WMT'17 en-de: streamed out of its archives, cleaned by rules that know no language."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..errors import UsageError
from ..files import read_lines
from .archives import members, naming
from .parallel_text import Pair
from .visible_text import visible

LANGUAGES = ("en", "de")
LONGEST_WORD = 100
FEWEST_LETTERS = 0.5

LINE = re.compile(r"(?P<url>https?://\S+) (?P<bytes>\d+) (?P<sha256>[0-9a-f]{64}) (?P<corpus>\S+)")
NO_LETTER = re.compile(r"[\W\d_]+")
LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1}}}")


@dataclass(frozen=True)
class Archive:
    """One line of the list of archives."""

    url: str
    bytes: int
    sha256: str
    corpus: str

    @property
    def name(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name


def listed(path: Path) -> list[Archive]:
    """Reads a list of archives.

    Raises:
        UsageError: if a line is invalid, no archive is listed, or two have the same file name.
    """
    archives: list[Archive] = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if not found:
            raise UsageError(f"{path} line {number} is not ADDRESS BYTES SHA256 CORPUS")
        archive = Archive(found["url"], int(found["bytes"]), found["sha256"], found["corpus"])
        if any(archive.name == other.name and archive.sha256 != other.sha256 for other in archives):
            raise UsageError(f"{path} line {number}: another archive is also named {archive.name}")
        archives.append(archive)
    if not archives:
        raise UsageError(f"{path} lists no archive")
    return archives


def distinct_pairs(archives: list[tuple[Path, str]], dropped: Counter) -> Iterator[Pair]:
    """Yields the clean pairs of all corpora, (archive, corpus) by (archive, corpus), and counts the others.

    Of what was seen it keeps eight bytes a pair: at 4.5 million, two different pairs have the same with a
    probability of 1 in 2 million.

    Raises:
        UsageError: as `raw_pairs`.
    """
    seen: set[int] = set()
    for path, corpus in archives:
        for sides in raw_pairs(path, corpus):
            pair = tuple(map(cleaned, sides))
            reason = unusable(*pair)
            if not reason:
                digest = hashlib.blake2b(f"{pair[0]}\n{pair[1]}".encode(), digest_size=8).digest()
                mark = int.from_bytes(digest, "big")
                reason = "repeated" if mark in seen else None
                seen.add(mark)
            if reason:
                dropped[reason] += 1
            else:
                yield pair


def raw_pairs(path: Path, corpus: str) -> Iterator[tuple[bytes, bytes]]:
    """Yields the lines of a corpus as they came, side by side; the archive is read twice at once, never unpacked.

    Raises:
        UsageError: if a side is missing, the two have different numbers of lines, or the archive is damaged.
    """
    sides = [lines_of(path, f"{corpus}.{language}") for language in LANGUAGES]
    for number, pair in enumerate(zip_longest(*sides), 1):
        if None in pair:
            short = LANGUAGES[pair.index(None)]
            raise UsageError(f"{corpus}.{short} in {path} ends after {number - 1} lines, the other side has more")
        yield pair


def lines_of(path: Path, name: str) -> Iterator[bytes]:
    """Yields the lines of one file of an archive.

    Raises:
        UsageError: if the archive is damaged, or has no such file.
    """
    with naming(path), path.open("rb") as stream:
        for member, content in members(stream, path):
            if PurePosixPath(member) == PurePosixPath(name):
                yield from content
                return
    raise UsageError(f"{path} has no {name}")


def cleaned(line: bytes) -> str | None:
    """A line's text as its reader sees it; None if it is not UTF-8."""
    try:
        return visible(line.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def unusable(source: str | None, target: str | None) -> str | None:
    """Names the rule by which a pair is left out, or returns None for a pair that is kept."""
    if source is None or target is None:
        return "not UTF-8"
    if not source or not target:
        return "blank on a side"
    if source == target:
        return "the same on both sides"
    for text in (source, target):
        if LONG_WORD.search(text):
            return f"a word of over {LONGEST_WORD} characters"
        if len(NO_LETTER.sub("", text)) < FEWEST_LETTERS * len(text.replace(" ", "")):
            return "less than half of it letters"
    return None
