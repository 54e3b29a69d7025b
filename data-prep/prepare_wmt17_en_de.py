"""The steps of prepare-wmt17-en-de.sh that Python does; the script calls prepare-parallel.sh for the rest."""

import argparse
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import command
import download
import wmt17_text
from command import say
from manifest import checksum, first_difference, load, save
from parallel_text import BadInput, read, write_splits

PAIR = "-".join(wmt17_text.LANGUAGES)
#: sacrebleu's name of each set, and the files that it becomes. prepare-parallel.sh leaves newstest2017 as it is.
SETS = {"wmt13": "valid", "wmt14/full": "test", "wmt17": "newstest2017"}
#: Bytes that OUT takes for each byte of the archives, which hold other languages too.
ROOM = 4


def begin(arguments: argparse.Namespace) -> None:
    """Compares the text that --out may hold with the list of archives; prints "finished" or "new"."""
    text = arguments.out / "text"
    if text.exists():
        if difference := first_difference(load(text / "SOURCES.json"), asked(arguments.archives)):
            raise BadInput(f"{text} was made with {difference}; give another --out")
    print("finished" if text.exists() else "new")


def asked(archives: list[wmt17_text.Archive]) -> dict:
    """What decides the text."""
    return {"settings": {}, "inputs": {archive.name: archive.sha256 for archive in archives}}


def fetch(arguments: argparse.Namespace) -> None:
    """Fetches what is not there of the archives, and makes sure that each is the one that is listed."""
    missing = [archive for archive in arguments.archives if not (arguments.archive_dir / archive.name).exists()]
    to_fetch, room = (sum(archive.bytes for archive in some) for some in (missing, arguments.archives))
    one_disk = arguments.archive_dir.stat().st_dev == arguments.out.stat().st_dev
    download.need_space(arguments.archive_dir, to_fetch + one_disk * ROOM * room)
    download.need_space(arguments.out, ROOM * room)
    for archive in arguments.archives:
        path = arguments.archive_dir / archive.name
        if archive in missing:
            say(f"fetching {archive.url} ({archive.bytes / download.MEGABYTE:.0f} MB)")
            download.fetch(archive.url, path)
        say(f"checking {path}")
        if (digest := checksum(path)) != archive.sha256:
            raise BadInput(
                f"{path} is damaged or another file: its SHA-256 is {digest[:12]}..., not {archive.sha256[:12]}...; "
                "delete it to have it fetched again"
            )


def extract(arguments: argparse.Namespace) -> None:
    """Writes the text of all splits, with SOURCES.json to tell where it is from and what was left out."""
    for name, split in SETS.items():
        pairs = official_set(name)
        say(f"{split}: {len(pairs)} pairs of {name}")
        write_splits(arguments.to, {split: pairs}, wmt17_text.LANGUAGES)
    corpora = [(arguments.archive_dir / archive.name, archive.corpus) for archive in arguments.archives]
    dropped: Counter = Counter()
    kept = 0
    with ExitStack() as stack:
        sides = [
            stack.enter_context((arguments.to / f"train.{language}").open("w", encoding="utf-8", newline="\n"))
            for language in wmt17_text.LANGUAGES
        ]
        for kept, pair in enumerate(wmt17_text.distinct_pairs(corpora, dropped), 1):
            for stream, text in zip(sides, pair, strict=True):
                stream.write(text + "\n")
            if kept % 500_000 == 0:
                say(f"train: {kept} pairs so far")
    if not kept:
        raise BadInput("the archives have no usable pair")
    left_out = dict(sorted(dropped.items()))
    say(f"train: {kept} pairs" + "".join(f", {number} dropped ({why})" for why, number in left_out.items()))
    made = {"splits": {"train": kept}, "left_out": left_out}
    save(arguments.to / "SOURCES.json", asked(arguments.archives) | made)


def official_set(name: str) -> list[tuple[str, str]]:
    """The pairs of one of sacrebleu's test sets, which it downloads where its folder does not have it."""
    from sacrebleu.utils import SACREBLEU_DIR, get_reference_files, get_source_file

    try:
        source, target = get_source_file(name, PAIR), get_reference_files(name, PAIR)[0]
    except (Exception, SystemExit) as error:  # which ones depends on how it fails
        raise BadInput(
            f"sacrebleu cannot get {name} ({error}); without network, put its folder {SACREBLEU_DIR} there"
        ) from None
    return list(zip(read(Path(source)), read(Path(target)), strict=True))


def parse() -> argparse.Namespace:
    """The arguments that the script passes on, already checked for form there."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(required=True)
    for step in (begin, fetch, extract):
        one = steps.add_parser(step.__name__, description=step.__doc__)
        one.set_defaults(step=step)
        one.add_argument("--archives", type=Path, required=True)
        if step in (begin, fetch):
            one.add_argument("--out", type=Path, required=True)
        if step in (fetch, extract):
            one.add_argument("--archive-dir", type=Path, required=True)
        if step is extract:
            one.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.archives = wmt17_text.listed(arguments.archives)
    return arguments


if __name__ == "__main__":
    command.run(parse)
