"""IWSLT'14, any of its languages to English, from the campaign's archive to datasets.

As the method's authors made theirs (github fe1ixxu/Intra-Distillation, preprocess_iwslt14.sh), with sacremoses in
place of Moses' Perl scripts.
"""

import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .. import files, json_files
from ..console import say
from ..errors import UsageError
from . import archives, cleaning, dataset, download, folders, iwslt14_text, manifest
from .parallel_text import SPLITS, Pair, write_splits

STEPS = ("archive", "text", *dataset.STEPS)
# fairseq's copy of the German pair, and WIT3's file on Google Drive as the authors' script has it.
GERMAN_URL = "https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz"
DRIVE_ID = "1GnBarJIbNgEIIDvUyKDtLmv35Qcxg6Ed"
DRIVE_URL = "https://drive.google.com/2014-01.tgz"

# The authors' recipe.
EVERY_NTH_TO_VALID = 23
LIMITS = cleaning.Limits(min_tokens=1, max_tokens=175, max_ratio=1.5)


class Source:
    """The archive: given, or fetched into a cache; looked at only where some text is missing."""

    def __init__(self, archive: Path | None, url: str | None, cache: Path, out: Path):
        self.given, self.url, self.cache, self.out = archive, url, cache, out
        self.path: Path = archive  # type: ignore[assignment]  # until `take` has fetched one
        self.sha256 = ""

    @property
    def record(self) -> Path:
        """The file that holds the SHA-256 that the archive had at first sight."""
        return (self.out if self.given else self.path.parent) / f"{self.path.name}.sha256"

    def take(self, languages: list[str]) -> None:
        """Sets `path` and `sha256` to an archive that is whole, unaltered and has the languages.

        Raises:
            UsageError: if it cannot be fetched, is damaged or altered, or lacks a language.
        """
        if not self.given:
            files.make_folder("--cache", self.cache)
            with files.locked(self.cache, wait_for="downloads into"):
                self.path = _fetch(self.url, languages, self.cache)
        say(f"checking {self.path}")
        self.sha256 = check(self.path, self.record, languages)

    def remember(self) -> None:
        """Writes down the SHA-256 of an archive that text was made of."""
        if not self.record.exists():
            files.write_text(self.record, f"{self.sha256}  {self.path.name}\n")


def prepare(languages: list[str], source: Source, settings, out: Path, workers: int, steps: Iterable[str]) -> None:
    """Makes OUT/XX-en, a dataset, for each of the languages XX, or what is missing of them.

    Args:
        languages: of languages.IWSLT14.
        source: the archive.
        settings: called with a language, returns the dataset's settings.
        out: folder of the datasets.
        workers: processes; the result does not depend on them.
        steps: those of STEPS to take.

    Raises:
        UsageError: naming what is wrong with the archive or a folder.
    """
    with folders.made_unlocked(out):
        if source.given or source.url:
            source.take(languages)
        pending = [language for language in languages if _begin(out / f"{language}-en", language, source.sha256)]
        if pending and not source.sha256:
            source.take(pending)
        for language in languages:
            folder = out / f"{language}-en"
            if language not in pending:
                say(f"{language}-en: text done before")
            elif "text" in steps:
                with folders.made(folder), files.replacing(folder / "text") as partial:
                    partial.mkdir()
                    extract(source.path, source.sha256, language, partial, workers)
                source.remember()
            if set(steps) & set(dataset.STEPS):
                dataset.prepare(folder / "text", settings(language), folder, workers, steps)
    if STEPS[-1] in steps:
        say(f"finished: {', '.join(f'{language}-en' for language in languages)} in {out}")


def _begin(folder, language, sha256):
    """Whether text is to be made; compares what a folder may hold with the archive, if one was named."""
    text = folder / "text"
    if not sha256 and text.exists():
        sha256 = manifest.read_sources(text / "SOURCES.json")["inputs"].get("archive")
    return not manifest.is_made(text, _asked(language, sha256))


def _asked(language, sha256):
    """What decides the text."""
    return {"settings": {"language": language}, "inputs": {"archive": sha256}}


def _fetch(url, languages, cache):
    """Where the archive lies in the cache, fetched from the first of its homes that has it."""
    homes = [url] if url else [GERMAN_URL] * (languages == ["de"]) + [DRIVE_URL]
    places = {home: download.place(cache, home) for home in homes}
    for path in places.values():
        if path.exists():
            return path
    failures = []
    for home, path in places.items():
        try:
            say(f"fetching {download.shown(home)}")
            _from_drive(path) if home == DRIVE_URL else download.fetch(home, path)
            return path
        except UsageError as error:
            failures.append(str(error).partition(": error: ")[2])
    raise UsageError("; ".join(failures) + ("" if url else "; or give --archive FILE"))


def _from_drive(path):
    """Fetches WIT3's archive with gdown, which knows the way past Google Drive's warnings."""
    if importlib.util.find_spec("gdown") is None:
        raise UsageError(f"for 2014-01.tgz on Google Drive, gdown is needed: {sys.executable} -m pip install gdown")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = download.partial(path).absolute()
    # In the cache's folder, so that no module of the current folder is run in gdown's place.
    command = [sys.executable, "-m", "gdown", "--continue", "-O", str(aside), DRIVE_ID]
    done = subprocess.run(command, stdout=sys.stderr, check=False, cwd=path.parent)
    if done.returncode or not aside.exists():
        raise UsageError(f"gdown could not fetch {DRIVE_ID} from Google Drive")
    aside.replace(path)


def check(archive: Path, record: Path, languages: Iterable[str]) -> str:
    """The SHA-256 of an archive that is whole, the one that is on record if one is, and has the languages.

    Raises:
        UsageError: if it is not.
    """
    digest = files.sha256(archive)
    recorded = record.read_text(encoding="utf-8").split(" ")[0] if record.exists() else digest
    if recorded != digest:
        raise UsageError(
            f"{archive} is not the archive that it was: SHA-256 {digest[:12]}... where {record} has "
            f"{recorded[:12]}...; get that one again, or delete {record} if the change is meant"
        )
    there = iwslt14_text.languages_of(archives.inspect(archive))
    if missing := [language for language in languages if language not in there]:
        has = ", ".join(f"{language}-en" for language in sorted(there)) or "no pair of IWSLT'14"
        raise UsageError(f"{archive} has no {missing[0]}-en; it has {has}")
    return digest


def extract(archive: Path, sha256: str, language: str, to: Path, workers: int) -> None:
    """Writes the text of a pair, made as the authors made theirs, with SOURCES.json to tell where it is from.

    Raises:
        UsageError: if the archive lacks some of it, or it is of another form.
    """
    found = iwslt14_text.read_pair(archive, language)
    languages = language, "en"
    dropped = {split: Counter() for split in ("train", "test")}
    read = iwslt14_text.train_pairs(found, language)
    say(f"{language}-en: tokenising {len(read)} pairs")
    pairs = cleaning.without_blanks(read, dropped["train"])
    pairs = cleaning.clean(pairs, languages, LIMITS, workers, dropped["train"], respell=True)
    splits = _split(pairs)
    tests = iwslt14_text.test_pairs(found, language, dropped["test"])
    splits["test"] = list(cleaning.without_blanks(tests, dropped["test"]))
    for name in SPLITS:
        if not splits[name]:
            raise UsageError(f"{archive} has too little text for a {name} of {language}-en")
    write_splits(to, splits, languages)
    counts = {name: len(splits[name]) for name in SPLITS}
    left_out = {name: dict(sorted(reasons.items())) for name, reasons in dropped.items()}
    made = {"archive": archive.name, "splits": counts, "left_out": left_out}
    json_files.write_json(to / "SOURCES.json", _asked(language, sha256) | made)
    say(f"{language}-en: " + ", ".join(f"{name} {count} pairs" for name, count in counts.items()))
    for name, reasons in left_out.items():
        for reason, number in reasons.items():
            say(f"{language}-en: {number} left out of {name} ({reason})")


def _split(pairs):
    """Every 23rd pair is for validation, the others for training."""
    splits: dict[str, list[Pair]] = {"train": [], "valid": []}
    for number, pair in enumerate(pairs, 1):
        splits["valid" if number % EVERY_NTH_TO_VALID == 0 else "train"].append(pair)
    return splits
