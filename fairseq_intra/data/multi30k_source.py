"""The text of Multi30k's repository (github multi30k/dataset, data/task1): a folder of it, its archive, or a URL."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .. import files
from ..console import say
from ..errors import UsageError
from . import archives, download, parallel_text

URL = "https://github.com/multi30k/dataset/archive/refs/heads/master.tar.gz"
#: Our splits by the repository's names; those after the first test exist for some languages only.
SPLITS = {
    "train": "train",
    "val": "valid",
    "test_2016_flickr": "test",
    "test_2017_flickr": "test1",
    "test_2017_mscoco": "test2",
}
NEEDED = ("train", "valid", "test")
#: Lower-cased, normalised and tokenised as published, and the text as it is; the first is taken where both are there.
LAYOUTS = {"tok": ".lc.norm.tok", "raw": ""}


class _File(NamedTuple):
    path: str  #: in the folder or archive
    name: str  #: what errors call it
    content: bytes  #: uncompressed

    def lines(self) -> Iterator[bytes]:
        return iter(io.BytesIO(self.content))


class Text(NamedTuple):
    """A pair of languages."""

    layout: str  #: of LAYOUTS
    splits: dict[str, tuple[list[str], list[str]]]  #: lines of source and target, by split
    sha256: dict[str, str]  #: of the uncompressed files, by SPLIT.LANGUAGE


def fetch(url: str, cache: Path) -> Path:
    """Where the archive of a URL lies in the cache, fetched if it does not.

    Raises:
        UsageError: if it cannot be fetched, or the cache cannot be written to.
    """
    files.make_folder("--cache", cache)
    with files.locked(cache, wait_for="downloads into"):
        path = download.place(cache, url)
        if not path.exists():
            say(f"fetching {download.shown(url)}")
            download.fetch(url, path)
    return path


def read(source: Path, languages: tuple[str, str]) -> Text:
    """Reads the text of a pair of languages.

    Args:
        source: folder of the repository, of its data/task1, or a .tar.gz of the repository.
        languages: source and target.

    Raises:
        UsageError: if it lacks train, val or test_2016_flickr of a language, is damaged, or has a file twice or text
            that does not pair up.
    """
    wanted = {
        f"{layout}/{name}{end}.{language}": (layout, f"{split}.{language}")
        for layout, end in LAYOUTS.items()
        for name, split in SPLITS.items()
        for language in languages
    }
    found: dict[str, dict[str, dict[str, _File]]] = {layout: {} for layout in LAYOUTS}
    for name, file in _contents(source, wanted):
        layout, split = wanted[name]
        found[layout].setdefault(split, {})[file.path] = file
    missing = {}
    for layout, contents in found.items():
        missing[layout] = [f"{split}.{side}" for split in NEEDED for side in languages]
        missing[layout] = [name for name in missing[layout] if name not in contents]
        if not missing[layout]:
            return _text(layout, contents, source, languages)
    tokenised, raw = (_theirs(missing[layout][0], layout) for layout in LAYOUTS)
    raise UsageError(
        f"{source} is not Multi30k's repository, or lacks {'-'.join(languages)}: it has no "
        f"data/task1/raw/{raw}.gz, and no {tokenised} in data/task1/tok"
    )


def _theirs(name, layout):
    """The repository's name of SPLIT.LANGUAGE."""
    split, _, language = name.partition(".")
    return f"{next(theirs for theirs, ours in SPLITS.items() if ours == split)}{LAYOUTS[layout]}.{language}"


def _text(layout, contents, source, languages):
    splits, sums = {}, {}
    for position, (theirs, split) in enumerate(SPLITS.items()):
        names = [f"{split}.{language}" for language in languages]
        if all(name in contents for name in names):
            if len(splits) < position:
                # fairseq counts test sets: this one would be called as the one before it.
                raise UsageError(
                    f"{source} has {theirs} in {' and '.join(languages)}, but not the test set before it"
                )
            sides = [contents[name][parallel_text.only(list(contents[name]), source)] for name in names]
            # What would be found in text/ is found here, by the names that the source has.
            found = [parallel_text.inspect_lines(side.lines, side.name) for side in sides]
            parallel_text.check_split(split, *found)
            first, second = (list(parallel_text.decoded(side.lines(), side.name)) for side in sides)
            splits[split] = first, second
            sums |= {name: side.sha256 for name, side in zip(names, found, strict=True)}
    return Text(layout, splits, sums)


def _contents(source, wanted) -> Iterator[tuple[str, _File]]:
    """(LAYOUT/NAME, file) of the files that are wanted, compressed or not."""
    if source.is_dir():
        base = next((source / path for path in ("data/task1", "task1") if (source / path).is_dir()), source)
        for name in wanted:
            for path in (base / name, base / f"{name}.gz"):
                if path.is_file():
                    yield name, _File(str(path.relative_to(source)), str(path), _unzipped(path.read_bytes(), path))
        return
    with archives.naming(source), source.open("rb") as stream:
        for member, content in archives.members(stream, source):
            *folders, layout, name = "", *PurePosixPath(member).parts[-4:]
            known = f"{layout}/{name}".removesuffix(".gz")
            if folders[-1:] == ["task1"] and known in wanted:
                shown = f"{source}: {member}"
                yield known, _File(member, shown, _unzipped(content.read(), shown))


def _unzipped(content, name):
    if not str(name).endswith(".gz"):
        return content
    with archives.naming(name):
        return gzip.decompress(content)
