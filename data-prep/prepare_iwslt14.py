"""The steps of prepare-iwslt14.sh that Python does; the script calls prepare-parallel.sh for the rest."""

import argparse
import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import archives
import command
import download
import iwslt14_text
from command import say
from manifest import first_difference, load, save
from parallel_text import SPLITS, BadInput, write_splits

# fairseq's copy of the German pair, and WIT3's file on Google Drive as the authors' script has it (github
# fe1ixxu/Intra-Distillation, Machine_Translation/scripts/preprocess_iwslt14.sh).
GERMAN_URL = "https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz"
DRIVE_ID = "1GnBarJIbNgEIIDvUyKDtLmv35Qcxg6Ed"
DRIVE_URL = "https://drive.google.com/2014-01.tgz"

# The authors' recipe.
EVERY_NTH_TO_VALID = 23
LIMITS = {"min_tokens": 1, "max_tokens": 175, "max_ratio": 1.5}


def begin(arguments: argparse.Namespace) -> None:
    """Compares the text that --out may hold with the archive, if one was named; prints "finished" or "new"."""
    text = arguments.out / "text"
    if text.exists():
        record = load(text / "SOURCES.json")
        now = asked(arguments.lang, arguments.sha256 or record["inputs"]["archive"])
        if difference := first_difference(record, now):
            raise BadInput(f"{text} was made with {difference}; give another --out")
    print("finished" if text.exists() else "new")


def asked(language: str, sha256: str) -> dict:
    """What decides the text."""
    return {"settings": {"language": language}, "inputs": {"archive": sha256}}


def fetch(arguments: argparse.Namespace) -> None:
    """Prints where the archive lies in the cache, having fetched it from the first of its homes that has it."""
    if arguments.url:
        homes = [arguments.url]
    else:
        homes = [GERMAN_URL] * (arguments.langs == ["de"]) + [DRIVE_URL]
    places = {home: download.place(arguments.cache, home) for home in homes}
    for path in places.values():
        if path.exists():
            print(path)
            return
    failures = []
    for home, path in places.items():
        try:
            say(f"fetching {download.shown(home)}")
            from_drive(path) if home == DRIVE_URL else download.fetch(home, path)
            print(path)
            return
        except BadInput as error:
            failures.append(str(error))
    raise BadInput("; ".join(failures) + ("" if arguments.url else "; or give --archive FILE"))


def from_drive(path: Path) -> None:
    """Fetches WIT3's archive with gdown, which knows the way past Google Drive's warnings."""
    if importlib.util.find_spec("gdown") is None:
        raise BadInput(f"for 2014-01.tgz on Google Drive, gdown is needed: {sys.executable} -m pip install gdown")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = download.partial(path)
    done = subprocess.run(
        [sys.executable, "-m", "gdown", "--continue", "-O", str(aside), DRIVE_ID], stdout=sys.stderr, check=False
    )
    if done.returncode or not aside.exists():
        raise BadInput(f"gdown could not fetch {DRIVE_ID} from Google Drive")
    aside.replace(path)


def check(arguments: argparse.Namespace) -> None:
    """Prints the checksum of an archive that is whole, unaltered, and has the languages."""
    digest, names = archives.verify(arguments.archive, arguments.record)
    there = iwslt14_text.languages_of(names)
    if missing := [language for language in arguments.langs if language not in there]:
        has = ", ".join(f"{language}-en" for language in sorted(there)) or "no pair of IWSLT'14"
        raise BadInput(f"{arguments.archive} has no {missing[0]}-en; it has {has}")
    print(digest)


def extract(arguments: argparse.Namespace) -> None:
    """Writes the text of a pair, made as the authors made theirs, with SOURCES.json to tell where it is from."""
    import cleaning

    files = iwslt14_text.read_pair(arguments.archive, arguments.lang)
    languages = arguments.lang, "en"
    dropped = {split: Counter() for split in ("train", "test")}
    read = iwslt14_text.train_pairs(files, arguments.lang)
    say(f"{arguments.lang}-en: tokenising {len(read)} pairs")
    pairs = cleaning.without_blanks(read, dropped["train"])
    limits = cleaning.Limits(**LIMITS)
    pairs = cleaning.clean(pairs, languages, limits, arguments.workers, dropped["train"], respell=True)
    splits = split(pairs)
    tests = iwslt14_text.test_pairs(files, arguments.lang, dropped["test"])
    splits["test"] = list(cleaning.without_blanks(tests, dropped["test"]))
    for name in SPLITS:
        if not splits[name]:
            raise BadInput(f"{arguments.archive} has too little text for a {name} of {arguments.lang}-en")
    write_splits(arguments.to, splits, languages)
    counts = {name: len(splits[name]) for name in SPLITS}
    left_out = {name: dict(sorted(reasons.items())) for name, reasons in dropped.items()}
    made = {"archive": arguments.archive.name, "splits": counts, "left_out": left_out}
    save(arguments.to / "SOURCES.json", asked(arguments.lang, arguments.sha256) | made)
    say(f"{arguments.lang}-en: " + ", ".join(f"{name} {count} pairs" for name, count in counts.items()))
    for name, reasons in left_out.items():
        for reason, number in reasons.items():
            say(f"{arguments.lang}-en: {number} left out of {name} ({reason})")


def split(pairs: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Every 23rd pair is for validation, the others for training."""
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "valid": []}
    for number, pair in enumerate(pairs, 1):
        splits["valid" if number % EVERY_NTH_TO_VALID == 0 else "train"].append(pair)
    return splits


def parse() -> argparse.Namespace:
    """The arguments that the script passes on, already checked for form there."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(required=True)
    for step in (begin, fetch, check, extract):
        one = steps.add_parser(step.__name__, description=step.__doc__)
        one.set_defaults(step=step)
        if step in (begin, extract):
            one.add_argument("--lang", required=True)
            one.add_argument("--sha256", required=step is extract)
        else:
            one.add_argument("--langs", type=str.split, required=True)
        if step is begin:
            one.add_argument("--out", type=Path, required=True)
        if step is fetch:
            one.add_argument("--cache", type=Path, required=True)
            one.add_argument("--url")
        if step in (check, extract):
            one.add_argument("--archive", type=Path, required=True)
        if step is check:
            one.add_argument("--record", type=Path, required=True)
        if step is extract:
            one.add_argument("--to", type=Path, required=True)
            one.add_argument("--workers", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    command.run(parse)
