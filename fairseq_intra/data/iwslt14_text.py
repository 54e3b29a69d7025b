"""The text of an IWSLT'14 pair, as the campaign's files have it: talks to train on, and test sets in XML."""

import html
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import UsageError
from ..languages import IWSLT14
from .archives import members, naming
from .parallel_text import LINE_BREAKS, Pair, decoded

#: The test split, set by set; not every pair has talks of TEDX.
SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
OPTIONAL = "TEDX.dev2012"

# The campaign's README: what a talk is about stands in lines of one element each.
METADATA = re.compile(r"</?(?:url|talkid|keywords|speaker|reviewer|translator|doc)\b")
KEPT_TAGS = re.compile(r"</?(?:title|description)>")
SEGMENT = re.compile(
    r'<doc\b[^>]*?\bdocid="(?P<talk>[^"]*)"|<seg\s+id="(?P<number>[^"]*)"\s*>(?P<text>.*?)</seg>', re.DOTALL
)
OPENING = re.compile(r"<seg\b")
ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")

Key = tuple[str, str]


def languages_of(names: list[str]) -> set[str]:
    """The languages that an archive pairs with English: XX-en.tgz anywhere, or a folder XX-en of files."""
    paths = [PurePosixPath(name) for name in names]
    inside = {path.name for path in paths} | {path.parent.name + ".tgz" for path in paths}
    return {language for language in IWSLT14 if f"{language}-en.tgz" in inside}


def read_pair(archive: Path, language: str) -> dict[str, bytes]:
    """The files of a pair that are used, by name, out of the campaign's archive or of the pair's own.

    Raises:
        UsageError: if the archive is damaged or unsafe.
    """
    pair, found = f"{language}-en", {}
    with naming(archive), archive.open("rb") as stream:
        for name, content in members(stream, archive):
            path = PurePosixPath(name)
            if path.name == f"{pair}.tgz":
                with naming(f"{archive}, in it {name},"):
                    for inner, text in members(content, f"{archive}, in it {name},"):
                        keep(found, PurePosixPath(inner), text, pair)
                break
            keep(found, path, content, pair)
    return found


def keep(found: dict[str, bytes], path: PurePosixPath, content, pair: str) -> None:
    """Reads a file of the pair if it is one of those used."""
    train, tests = f"train.tags.{pair}.", [f"IWSLT14.{name}.{pair}." for name in SETS]
    if path.parent.name == pair and path.name.startswith((train, *tests)):
        found[path.name] = content.read()


def train_pairs(files: dict[str, bytes], language: str) -> list[Pair]:
    """The training text as it came, blank lines included: what is spoken, titles and descriptions.

    Raises:
        UsageError: if a file is missing or is not UTF-8, or the two have different numbers of lines.
    """
    name = f"train.tags.{language}-en"
    source, target = (list(spoken(needed(files, f"{name}.{side}"), f"{name}.{side}")) for side in (language, "en"))
    if len(source) != len(target):
        raise UsageError(
            f"{name}.{language} has {len(source)} lines of text but {name}.en has {len(target)}; they must pair up"
        )
    return list(zip(source, target, strict=True))


def spoken(content: bytes, name: str) -> Iterator[str]:
    """Yields the lines of a talk file that are text.

    Raises:
        UsageError: if it is not UTF-8.
    """
    for line in decoded(io.BytesIO(content), name):
        if not METADATA.match(line):
            yield KEPT_TAGS.sub("", line).strip()


def test_pairs(files: dict[str, bytes], language: str, dropped: Counter) -> Iterator[Pair]:
    """Yields the segments of all test sets, one set behind the other; counts those that have no counterpart.

    Raises:
        UsageError: if a file is missing or invalid, or the two of a set have no segment in common.
    """
    for name in SETS:
        names = [f"IWSLT14.{name}.{language}-en.{side}.xml" for side in (language, "en")]
        if name == OPTIONAL and not any(side in files for side in names):
            continue
        source, target = (segments(needed(files, side), side) for side in names)
        if not source.keys() & target.keys():
            raise UsageError(f"{names[0]} and {names[1]} have no segment in common")
        if alone := source.keys() ^ target.keys():
            dropped[f"segment of {names[0]} or its English without a counterpart"] += len(alone)
        yield from ((text, target[key]) for key, text in source.items() if key in target)


def segments(content: bytes, name: str) -> dict[Key, str]:
    """The segments of a test set's side by (talk, number), lowercased, with ' for ’.

    Raises:
        UsageError: if a segment appears twice or has no end, or the file is not UTF-8.
    """
    text = "\n".join(decoded(io.BytesIO(content), name))
    found: dict[Key, str] = {}
    talk, closed = "", 0
    for match in SEGMENT.finditer(text):
        if match["number"] is None:
            talk = match["talk"]
            continue
        key = talk, match["number"]
        if key in found:
            raise UsageError(f"{name} has segment {match['number']} of talk {talk} twice")
        closed += 1
        found[key] = plain(match["text"])
    if closed != len(OPENING.findall(text)):
        raise UsageError(
            f"{name} has segments without an end: {len(OPENING.findall(text))} begin, {closed} are whole"
        )
    return found


def plain(text: str) -> str:
    """A segment's text as it is scored: entities resolved, one line, lowercased."""
    text = ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return text.translate(LINE_BREAKS).replace("\n", " ").strip().replace("’", "'").lower()


def needed(files: dict[str, bytes], name: str) -> bytes:
    """The content of a file without which a pair is not complete.

    Raises:
        UsageError: if it is missing.
    """
    if name not in files:
        raise UsageError(f"the archive has no {name}")
    return files[name]
