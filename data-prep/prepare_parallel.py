"""The steps of prepare-parallel.sh that Python does; the script orders and publishes them."""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import command
import manifest
import parallel_text
from command import say
from parallel_text import SPLITS, BadInput


def begin(arguments: argparse.Namespace) -> None:
    """Checks the input, and the settings against what --out holds; prints what state that is in."""
    languages = arguments.src, arguments.tgt
    check_settings(arguments)
    inputs = {}
    for split in SPLITS:
        for language, text in zip(
            languages, parallel_text.inspect_split(arguments.input, split, languages), strict=True
        ):
            inputs[f"{split}.{language}"] = text
    settings = {
        "source": arguments.src,
        "target": arguments.tgt,
        "lowercase": arguments.lowercase,
        "clean": None,
    }
    if arguments.clean:
        settings["clean"] = {name: getattr(arguments, name) for name in ("max_ratio", "min_tokens", "max_tokens")}
    settings |= {name: getattr(arguments, name) for name in ("vocab_size", "spm_lines", "character_coverage")}
    print(manifest.begin(arguments.out, settings, inputs))


def check_settings(arguments: argparse.Namespace) -> None:
    """Refuses numbers with which nothing could be made."""
    if arguments.max_ratio < 1:
        raise BadInput(f"--max-ratio must be at least 1, not {arguments.max_ratio:g}")
    if arguments.min_tokens > arguments.max_tokens:
        raise BadInput(f"--min-tokens {arguments.min_tokens} is more than --max-tokens {arguments.max_tokens}")
    if not 0 < arguments.character_coverage <= 1:
        raise BadInput(f"--character-coverage must be above 0 and at most 1, not {arguments.character_coverage:g}")


def raw(arguments: argparse.Namespace) -> None:
    """Writes the text of each split as it is to be learned and scored."""
    import cleaning

    settings = manifest.load(arguments.out / "settings.json")["settings"]
    languages = settings["source"], settings["target"]
    for split in SPLITS:
        dropped: Counter = Counter()
        pairs = cleaning.without_blanks(parallel_text.read_pairs(arguments.input, split, languages), dropped)
        if settings["clean"] and split == "train":
            limits = cleaning.Limits(**settings["clean"])
            pairs = cleaning.clean(pairs, languages, limits, arguments.workers, dropped)
        kept = write_pairs(pairs, arguments.to, split, languages, settings["lowercase"])
        say(
            f"{split}: {kept} pairs"
            + "".join(f", {number} dropped ({why})" for why, number in sorted(dropped.items()))
        )
        if not kept:
            raise BadInput(f"--clean leaves no pair of {split}; are the languages right, and the limits?")


def write_pairs(
    pairs: Iterable[tuple[str, str]], folder: Path, split: str, languages: tuple[str, str], lowercase: bool
) -> int:
    """Writes both sides of a split and returns how many pairs there were."""
    kept = 0
    source, target = (folder / f"{split}.{language}" for language in languages)
    with (
        source.open("w", encoding="utf-8", newline="\n") as left,
        target.open("w", encoding="utf-8", newline="\n") as right,
    ):
        for kept, pair in enumerate(pairs, 1):
            for stream, text in zip((left, right), pair, strict=True):
                stream.write((text.lower() if lowercase else text) + "\n")
            if kept % 100_000 == 0:
                say(f"{split}: {kept} pairs so far")
    return kept


def spm(arguments: argparse.Namespace) -> None:
    """Trains the SentencePiece model on both sides of train."""
    import subwords

    settings = manifest.load(arguments.out / "settings.json")["settings"]
    texts = [arguments.out / "raw" / f"train.{settings[side]}" for side in ("source", "target")]
    model = subwords.train(texts, settings["vocab_size"], settings["character_coverage"], settings["spm_lines"])
    subwords.save(model, arguments.to / "joint")


def encoded(arguments: argparse.Namespace) -> None:
    """Cuts every split into the pieces of the model."""
    import subwords

    for text in sorted((arguments.out / "raw").iterdir()):
        subwords.encode(arguments.out / "spm" / "joint.model", text, arguments.to / text.name, arguments.workers)


def finish(arguments: argparse.Namespace) -> None:
    """Writes the manifest and says what it counts."""
    made = manifest.finish(arguments.out, arguments.to / "manifest.json")
    for split, counts in made["splits"].items():
        words = f"{counts['source_words']} {made['source']} and {counts['target_words']} {made['target']} words"
        say(f"{split}: {counts['pairs']} pairs, {words}")


def parse() -> argparse.Namespace:
    """The arguments that the script passes on, already checked for form there."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(required=True)
    for step in (begin, raw, spm, encoded, finish):
        one = steps.add_parser(step.__name__, description=step.__doc__)
        one.set_defaults(step=step)
        one.add_argument("--out", type=Path, required=True)
        if step is begin:
            one.add_argument("--src", required=True)
            one.add_argument("--tgt", required=True)
            one.add_argument("--lowercase", action="store_true")
            one.add_argument("--clean", action="store_true")
            one.add_argument("--max-ratio", type=float, required=True)
            one.add_argument("--min-tokens", type=int, required=True)
            one.add_argument("--max-tokens", type=int, required=True)
            one.add_argument("--vocab-size", type=int, required=True)
            one.add_argument("--spm-lines", type=int)
            one.add_argument("--character-coverage", type=float, required=True)
        else:
            one.add_argument("--to", type=Path, required=True, help="where to put what this step makes")
        if step in (begin, raw):
            one.add_argument("--input", type=Path, required=True)
        if step in (raw, encoded):
            one.add_argument("--workers", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    command.run(parse)
