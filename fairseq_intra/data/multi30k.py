"""Multi30k, English and another language, from its repository to datasets as published figures have them.

Text lower-cased, normalised and tokenised as distributed, 10,000 merges of joint byte pair encoding by subword-nmt,
one dictionary (arXiv 2105.14462); the three test sets are test, test1 and test2.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sacremoses import MosesPunctNormalizer, MosesTokenizer

from .. import files, json_files
from ..console import say
from ..errors import UsageError, need_package
from . import bpe, cleaning, folders, manifest, multi30k_source, parallel_text
from .multi30k_source import SPLITS, Text

STEPS = ("archive", "text", "raw", "bpe", "encoded", "bin")
#: What a dataset's manifest lists.
LISTED = STEPS[2:]
ENGLISH = "en"
MERGES = 10_000
#: Types of the joint dictionary, by the SHA-256 of English and foreign train as distributed (data/task1/tok).
TYPES = {
    (
        "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
        "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
    ): 9708
}


class _Dataset(NamedTuple):
    """What the steps make it of."""

    pair: tuple[str, str]
    text: Path
    splits: list[str]
    out: Path
    merges: int
    workers: int


def prepare(
    languages: list[str],
    *,
    source: Path | None,
    url: str | None,
    cache: Path,
    reverse: bool,
    out: Path,
    workers: int,
    steps: Iterable[str] = STEPS,
    merges: int = MERGES,
) -> None:
    """Makes OUT/en-XX, a dataset, for each of the languages XX, or what is missing of them.

    Args:
        languages: beside English.
        source: folder or archive of the repository; None: fetched.
        url: of the archive, where it is fetched; None: GitHub's.
        cache: where what is fetched is kept.
        reverse: makes OUT/XX-en, to English.
        out: folder of the datasets.
        workers: processes of fairseq-preprocess; the result does not depend on them.
        steps: those of STEPS to take.
        merges: of the joint byte pair encoding; fewer for a part of the text.

    Raises:
        UsageError: naming what is wrong with the source or a folder.
    """
    need_package("subword-nmt", "multi30k")
    with folders.made_unlocked(out):
        pairs = [(language, ENGLISH) if reverse else (ENGLISH, language) for language in languages]
        given = source or url
        if given or not all((out / "-".join(pair) / "text").exists() for pair in pairs):
            source = source or multi30k_source.fetch(url or multi30k_source.URL, cache)
        for pair in pairs:
            _prepare(pair, source, out / "-".join(pair), workers, steps, merges)
    if STEPS[-1] in steps:
        say(f"finished: {', '.join('-'.join(pair) for pair in pairs)} in {out}")


def _prepare(pair, source, folder, workers, steps, merges):
    with folders.made(folder):
        text = folder / "text"
        if source:
            found = multi30k_source.read(source, pair)
            asked = {"settings": {"layout": found.layout}, "inputs": found.sha256}
            if not manifest.is_made(text, asked) and "text" in steps:
                with files.replacing(text) as partial:
                    partial.mkdir()
                    _write_text(found, pair, partial)
                    json_files.write_json(partial / "SOURCES.json", asked)
        if text.exists():
            _make(text, pair, folder, workers, steps, merges)


def _write_text(found: Text, languages, to):
    """The text as distributed, or made alike from raw text: lower-cased, normalised, tokenised by sacremoses."""
    for split, sides in found.splits.items():
        if found.layout == "raw":
            say(f"{split}: tokenising {len(sides[0])} pairs")
        for side, language in zip(sides, languages, strict=True):
            lines = [_tokenised(line, language) for line in side] if found.layout == "raw" else side
            files.write_text(to / f"{split}.{language}", "".join(f"{line}\n" for line in lines))


@cache
def _moses(language):
    return MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)


def _tokenised(line, language):
    normaliser, tokenizer = _moses(language)
    return tokenizer.tokenize(normaliser.normalize(line.lower()), return_str=True)


def _make(text, pair, out, workers, steps, merges):
    splits = [split for split in SPLITS.values() if (text / f"{split}.{pair[0]}").exists()]
    dataset = _Dataset(pair, text, splits, out, merges, workers)
    settings = {"source": pair[0], "target": pair[1], "lowercase": True, "tokenized": True}
    settings |= {"subwords": "subword-nmt", "merges": merges}
    asked = manifest.asked_of(settings, parallel_text.inspect_splits(text, splits, pair), splits)
    state = manifest.begin(out, asked, LISTED)
    if state == "finished":
        say(f"{out} is finished already, from the same text with the same settings")
        return
    if state != "new":
        say(state)
    if not folders.take_steps(out, LISTED, steps, lambda step, partial: _TAKE[step](dataset, partial)):
        return
    _check_types(dataset)
    made = manifest.finish(out, asked, LISTED)
    for split, counts in made["splits"].items():
        say(f"{split}: {counts['pairs']} pairs")
    say(f"finished: {out}")


def _raw(dataset, to):
    for split in dataset.splits:
        dropped: Counter = Counter()
        pairs = list(cleaning.without_blanks(parallel_text.read_pairs(dataset.text, split, dataset.pair), dropped))
        parallel_text.write_splits(to, {split: pairs}, dataset.pair)
        for reason, number in dropped.items():
            say(f"{split}: {number} dropped ({reason})")


def _bpe(dataset, to):
    texts = [dataset.out / "raw" / f"train.{language}" for language in dataset.pair]
    files.write_text(to / "codes", bpe.learn(texts, dataset.merges))


def _encoded(dataset, to):
    codes = (dataset.out / "bpe" / "codes").read_text(encoding="utf-8")
    for path in sorted((dataset.out / "raw").iterdir()):
        bpe.encode(codes, path, to / path.name)


def _bin(dataset, to):
    from .binarise import preprocess  # imports fairseq, which takes seconds

    prefixes = [str((dataset.out / "encoded" / split).absolute()) for split in dataset.splits]
    source, target = dataset.pair
    flags = ["--source-lang", source, "--target-lang", target, "--workers", str(dataset.workers)]
    flags += ["--trainpref", prefixes[0], "--validpref", prefixes[1], "--testpref", ",".join(prefixes[2:])]
    preprocess([*flags, "--joined-dictionary", "--padding-factor", "1"], dataset.out / "preprocess.log", to)


_TAKE = {"raw": _raw, "bpe": _bpe, "encoded": _encoded, "bin": _bin}


def _check_types(dataset):
    """The published text gives a dictionary of known size, or something here differs from what was published."""
    foreign = next(language for language in dataset.pair if language != ENGLISH)
    sources = manifest.read_sources(dataset.text / "SOURCES.json")
    train = tuple(sources["inputs"].get(f"train.{language}") for language in (ENGLISH, foreign))
    types = len(files.read_lines(dataset.out / "bin" / f"dict.{foreign}.txt"))
    if dataset.merges == MERGES and types != TYPES.get(train, types):
        # Repeated with another subword-nmt, it shall not find them done.
        for step in ("bpe", "encoded", "bin"):
            manifest.clear_step(dataset.out / step)
        raise UsageError(
            f"{dataset.out} has a dictionary of {types} types where this text has {TYPES[train]}; "
            "is it another subword-nmt?"
        )
    say(f"{types} types")
