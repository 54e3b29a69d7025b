"""Reads sentence-aligned text, plain or gzipped, and writes it; errors name file and line."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from ..console import say
from ..errors import UsageError

SPLITS = ("train", "valid", "test")
#: A line in two languages, the source first.
Pair = tuple[str, str]

# Every character that some reader takes for the end of a line: within a line they become spaces.
LINE_BREAKS = str.maketrans(dict.fromkeys("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


@dataclass
class TextFile:
    """What was found in one input file."""

    path: object  #: or what errors call text from elsewhere
    lines: int = 0
    sha256: str = ""
    blank: list[int] = field(default_factory=list)


def find(folder: Path, name: str) -> Path:
    """Returns the folder's NAME or NAME.gz, whichever is there.

    Raises:
        UsageError: if neither is there, or both are.
    """
    found = [variant for variant in (name, f"{name}.gz") if (folder / variant).is_file()]
    if not found:
        raise UsageError(f"{folder} has no {name} and no {name}.gz")
    return folder / only(found, folder)


def only(found: Sequence[str], origin: object) -> str:
    """Returns the one name under which a text was found in a folder or an archive.

    Raises:
        UsageError: if there are several.
    """
    if len(found) > 1:
        raise UsageError(f"{origin} has both {found[0]} and {found[1]}; keep the one that is meant")
    return found[0]


def raw_lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a plain or gzipped file as bytes, with their line ends.

    Raises:
        UsageError: if the file cannot be read, or is not a whole gzip file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield from stream
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UsageError(f"{path} is not a whole gzip file; fetch or compress it again") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def read(path: Path) -> Iterator[str]:
    """Yields the lines of a file as text, each stripped and without a line break of any kind inside.

    Raises:
        UsageError: as `raw_lines` and `decoded`.
    """
    return decoded(raw_lines(path), path)


def decoded(lines: Iterable[bytes], name: object) -> Iterator[str]:
    """Does for lines from anywhere what `read` does for a file's; `name` is what errors call their origin.

    Raises:
        UsageError: naming the first line that is not UTF-8 or has a NUL byte.
    """
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name} line {number} is not UTF-8 (byte {error.start + 1} of the line); convert it"
            ) from None
        if "\0" in text:
            raise UsageError(f"{name} line {number} has a NUL byte: it is not text, or damaged")
        yield text.translate(LINE_BREAKS).strip()


def is_blank(text: str) -> bool:
    """Whether nothing of a line reaches a model.

    That is so where it is empty, or has only spaces, control and zero-width characters, and where SentencePiece's
    normalisation leaves nothing of it (U+FFFD, what a failed conversion puts in place of a character).
    """
    if any(character.isalnum() for character in text):
        return False
    return not any(map(str.isprintable, text.replace(" ", ""))) or not _normaliser().normalize(text).strip("▁ ")


@cache
def _normaliser():
    import sentencepiece

    return sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")


def inspect(path: Path) -> TextFile:
    """Reads a whole file: its checksum (of the uncompressed text), its length and its blank lines.

    Raises:
        UsageError: as `raw_lines` and `inspect_lines`.
    """
    return inspect_lines(lambda: raw_lines(path), path)


def inspect_lines(lines: Callable[[], Iterable[bytes]], name: object) -> TextFile:
    """Does for lines from anywhere what `inspect` does for a file's.

    Args:
        lines: called twice, gives the lines with their line ends.
        name: what errors call their origin.

    Raises:
        UsageError: if there is no line or they end in carriage returns alone, or as `decoded`.
    """
    checksum, feeds, returns = hashlib.sha256(), 0, 0
    for line in lines():
        checksum.update(line)
        feeds += line.endswith(b"\n")
        returns += line.count(b"\r") - line.endswith(b"\r\n")
    if returns > feeds:
        raise UsageError(f"{name} has carriage returns alone as line ends; convert it (tr '\\r' '\\n')")
    found = TextFile(name, sha256=checksum.hexdigest())
    for found.lines, text in enumerate(decoded(lines(), name), 1):
        if is_blank(text):
            found.blank.append(found.lines)
    if not found.lines:
        raise UsageError(f"{name} is empty")
    return found


def inspect_split(folder: Path, split: str, languages: tuple[str, str]) -> tuple[TextFile, TextFile]:
    """Inspects both sides of a split and makes sure that they can be paired line by line.

    Raises:
        UsageError: if a file is missing or invalid, or as `check_split`.
    """
    source, target = (inspect(find(folder, f"{split}.{language}")) for language in languages)
    check_split(split, source, target)
    return source, target


def check_split(split: str, source: TextFile, target: TextFile) -> None:
    """Makes sure that both sides of a split can be paired line by line.

    Raises:
        UsageError: if the two have different numbers of lines, or a line is blank that may not be.
    """
    if source.lines != target.lines:
        raise UsageError(
            f"{source.path} has {source.lines} lines but {target.path} has {target.lines}; they must pair up"
        )
    if split != "train":
        # Dropping a line here would score a system on other sentences than everybody else's.
        for side in (source, target):
            if side.blank:
                raise UsageError(
                    f"{side.path} line {side.blank[0]} is blank, or nothing is left of it once normalised; "
                    "only train may have such lines"
                )
    elif len(set(source.blank) | set(target.blank)) == source.lines:
        raise UsageError(f"every pair of {source.path} and {target.path} has a blank side")


def inspect_splits(folder: Path, splits: Iterable[str], languages: tuple[str, str]) -> dict[str, TextFile]:
    """Inspects several splits; what was found is by SPLIT.LANGUAGE.

    Raises:
        UsageError: as `inspect_split`.
    """
    return {
        f"{split}.{language}": side
        for split in splits
        for language, side in zip(languages, inspect_split(folder, split, languages), strict=True)
    }


def read_pairs(folder: Path, split: str, languages: tuple[str, str]) -> Iterator[Pair]:
    """Yields the pairs of a split that passed `inspect_split`, blank ones included.

    Raises:
        UsageError: as `find` and `read`.
    """
    source, target = (read(find(folder, f"{split}.{language}")) for language in languages)
    return zip(source, target, strict=True)


def write_pairs(
    pairs: Iterable[Pair], folder: Path, split: str, languages: tuple[str, str], report_every: int = 100_000
) -> int:
    """Writes SPLIT.LANGUAGE for both sides of a split, pair by pair, and returns how many pairs there were.

    Args:
        pairs: read only once, and never all in memory.
        folder: where the files are written.
        split: first part of their names.
        languages: of source and target.
        report_every: after so many pairs, a line of progress is printed.
    """
    count = 0
    source, target = (folder / f"{split}.{language}" for language in languages)
    with (
        source.open("w", encoding="utf-8", newline="\n") as left,
        target.open("w", encoding="utf-8", newline="\n") as right,
    ):
        for count, pair in enumerate(pairs, 1):
            for stream, text in zip((left, right), pair, strict=True):
                stream.write(text + "\n")
            if count % report_every == 0:
                say(f"{split}: {count} pairs so far")
    return count


def write_splits(folder: Path, splits: dict[str, list[Pair]], languages: tuple[str, str]) -> None:
    """Writes SPLIT.LANGUAGE for both sides of every split."""
    for name, pairs in splits.items():
        for side, language in enumerate(languages):
            with (folder / f"{name}.{language}").open("w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(pair[side] + "\n" for pair in pairs)


def batches(items: Iterable, size: int) -> Iterator[list]:
    """Cuts an iterable into lists of `size`, so that a large corpus need not fit into memory."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
