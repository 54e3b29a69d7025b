"""Real parallel text out of Python wheels, the translations of their messages, to a dataset."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import files, json_files
from ..console import say
from ..errors import UsageError, need_package
from . import dataset, folders, l10n_split, manifest
from .l10n_wheels import Wheel, licence, pinned
from .parallel_text import Pair, write_splits

STEPS = ("wheels", "text", *dataset.STEPS)
WHEELS = Path(__file__).with_name("l10n-wheels.txt")
#: Types of the joint model that the text of a language is enough for.
VOCAB_SIZES = {"ar": 4000, "de": 12000, "es": 12000, "fa": 2000, "he": 4000, "it": 8000, "nl": 8000, "pl": 4000}
# Home Assistant runs on Python 3.14.2 and later only, and pip hides a wheel from a Python that cannot run it.
WHEELS_PYTHON = "3.14.9"


@dataclass(frozen=True)
class Choice:
    """Which messages become which split."""

    language: str
    train: int | None  #: pairs; None: all
    max_words: int | None  #: of a side in train; None: no limit
    valid: int | None  #: pairs; None: by the size of the corpus
    test: int | None
    seed: int


def prepare(
    choice: Choice,
    pins: Path,
    cache: Path,
    settings: dataset.Settings,
    out: Path,
    workers: int,
    steps: Iterable[str] = STEPS,
) -> None:
    """Makes the dataset, or what is missing of it.

    Args:
        choice: of the messages.
        pins: which wheels are read, as `WHEELS` lists them.
        cache: where wheels are kept, and fetched to by pip.
        settings: what is made of the text.
        out: the folder to make.
        workers: processes; the result does not depend on them.
        steps: those of STEPS to take.

    Raises:
        UsageError: naming what is wrong with a wheel, the choice or a folder.
    """
    need_package("polib", "l10n")
    wheels = pinned(pins, choice.language)
    if manifest.is_made(out / "text", _asked(choice, wheels)):
        say("text: done before")
    else:
        _fetch_missing(wheels, cache)
        if "text" not in steps:
            return
        with folders.made(out), files.replacing(out / "text") as partial:
            partial.mkdir()
            extract(choice, wheels, cache, partial)
    if set(steps) & set(dataset.STEPS):
        dataset.prepare(out / "text", settings, out, workers, steps)


def _asked(choice, wheels):
    """What decides the text: the settings, and the wheels by their checksums."""
    names = ("train", "max_words", "valid", "test", "seed")
    return {
        "settings": {"language": choice.language} | {name: getattr(choice, name) for name in names},
        "inputs": {f"{wheel.name} {wheel.version}": wheel.sha256 for wheel in wheels},
    }


def _missing(wheels, cache):
    """The wheels that the cache lacks, or has damaged."""
    missing = []
    for wheel in wheels:
        path, whole = wheel.in_cache(cache)
        if path and not whole:
            say(f"{path} is damaged (its checksum is not the pinned one) and is fetched again")
        if not whole:
            missing.append(wheel)
    return missing


def _fetch_missing(wheels, cache):
    if not _missing(wheels, cache):
        return
    files.make_folder("--cache", cache)
    with files.locked(cache, wait_for="downloads into"):
        for rest in cache.glob(".partial.*"):
            files.remove(rest)
        for wheel in _missing(wheels, cache):
            _fetch(wheel, cache)


def _fetch(wheel: Wheel, cache: Path) -> None:
    """One wheel into the cache, under its name only once it is whole and has the pinned checksum."""
    say(f"downloading {wheel.name}=={wheel.version}")
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=cache) as folder:
        aside = Path(folder).absolute()
        requirement = f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
        (aside / "requirement.txt").write_text(requirement, encoding="utf-8")
        flags = (
            "--disable-pip-version-check --no-cache-dir --retries 2 --no-deps --require-hashes --only-binary=:all:"
        )
        command = [sys.executable, "-m", "pip", "download", *flags.split(), "--python-version", WHEELS_PYTHON]
        command += ["--dest", str(aside), "--requirement", str(aside / "requirement.txt")]
        with (aside / "log").open("w", encoding="utf-8") as log:
            # In a folder of its own, so that no module of the current folder is run in pip's place.
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=aside, check=False)
        if done.returncode:
            said = (aside / "log").read_text(encoding="utf-8", errors="replace").splitlines() or ["?"]
            why = next((line for line in said if line.startswith("ERROR")), said[-1])
            raise UsageError(
                f"cannot download {wheel.name}=={wheel.version} ({why}); without network, put its wheel into {cache}"
            )
        for path in aside.glob("*.whl"):
            shutil.move(path, cache / path.name)


def extract(choice: Choice, wheels: list[Wheel], cache: Path, to: Path) -> None:
    """Reads the wheels and writes the split text, with SOURCES.json to tell where it is from.

    Raises:
        UsageError: if a wheel is missing, damaged or cannot be read, or there are too few messages.
    """
    from . import l10n_messages

    pairs: dict[Pair, None] = {}
    sources = []
    for wheel in wheels:
        path, is_whole = wheel.in_cache(cache)
        if path is None or not is_whole:
            raise UsageError(f"{cache} has no whole wheel of {wheel.name}=={wheel.version} any more")
        try:
            found, left_out = l10n_messages.read_wheel(path, choice.language)
            of_wheel = licence(path)
        except zipfile.BadZipFile as error:
            raise UsageError(f"{path}: {error}") from None
        pairs |= dict.fromkeys(found)
        say(f"{wheel.name} {wheel.version}: {len(found)} pairs")
        sources.append(
            {
                "name": wheel.name,
                "version": wheel.version,
                "sha256": wheel.sha256,
                "licence": of_wheel,
                "pairs": len(found),
                "left_out": dict(sorted(left_out.items())),
            }
        )
    splits = l10n_split.split(pairs, choice.valid, choice.test, choice.seed)
    splits["train"] = l10n_split.shorten(splits["train"], choice.train, choice.max_words)
    write_splits(to, splits, (choice.language, "en"))
    say(", ".join(f"{name} {len(split)} pairs" for name, split in splits.items()))
    made = {
        "distinct_pairs": len(pairs),
        "splits": {name: len(split) for name, split in splits.items()},
        "wheels": sources,
    }
    json_files.write_json(to / "SOURCES.json", _asked(choice, wheels) | made)
