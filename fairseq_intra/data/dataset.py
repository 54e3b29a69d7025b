"""Sentence-aligned text to a dataset: raw text, a joint SentencePiece model, its subwords, and binarised data."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..console import say
from ..errors import UsageError
from . import cleaning, folders, like, manifest, overlap, parallel_text
from .parallel_text import SPLITS

STEPS = manifest.STEPS


@dataclass(frozen=True)
class Settings:
    """What decides a dataset beside its text."""

    source: str
    target: str
    lowercase: bool
    clean: cleaning.Limits | None  #: which pairs of train are kept; None: all
    vocab_size: int  #: types of the joint SentencePiece model
    spm_lines: int | None  #: lines of train that it is trained on; None: all
    character_coverage: float
    drop_overlap: bool = False  #: train loses the pairs that have a side in valid or test
    padding_factor: int = 8  #: the dictionary's size is made a multiple of it, by types that never occur
    like: Path | None = None  #: the dataset whose SentencePiece model and dictionary are taken

    def recorded(self) -> dict:
        """As settings.json has them."""
        clean = self.clean and {name: getattr(self.clean, name) for name in ("max_ratio", "min_tokens", "max_tokens")}
        names = ("source", "target", "lowercase", "clean", "vocab_size", "spm_lines", "character_coverage")
        unrecorded = manifest.UNRECORDED.items()
        more = {name: value for name, usual in unrecorded if (value := getattr(self, name)) != usual}
        return {name: getattr(self, name) for name in names} | {"clean": clean} | more

    @property
    def languages(self) -> tuple[str, str]:
        return self.source, self.target


def prepare(text: Path, settings: Settings, out: Path, workers: int, steps: Iterable[str] = STEPS) -> None:
    """Makes a dataset, or what is missing of it.

    Args:
        text: folder of {train,valid,test}.{source,target}, plain or gzipped.
        settings: what is made of it.
        out: the folder to make; `manifest.json` is written last.
        workers: processes; the result does not depend on them.
        steps: those of STEPS to take; one that is done is skipped.

    Raises:
        UsageError: naming what is wrong with the text, the settings or the folder.
    """
    with folders.made(out):
        say(f"checking {text}")
        asked = manifest.asked_of(settings.recorded(), parallel_text.inspect_splits(text, SPLITS, settings.languages))
        if settings.like:
            asked["inputs"] |= like.inputs_of(settings.like, settings.source)
        state = manifest.begin(out, asked)
        if state == "finished":
            say(f"{out} is finished already, from the same text with the same settings")
            return
        if state != "new":
            say(state)
        if folders.take_steps(
            out, STEPS, steps, lambda step, partial: _TAKE[step](text, settings, out, partial, workers)
        ):
            _finish(out, asked)


def _raw(text, settings, _out, to, workers):
    """Writes the text of each split as it is to be learned and scored."""
    for split in SPLITS:
        dropped: Counter = Counter()
        pairs = cleaning.without_blanks(parallel_text.read_pairs(text, split, settings.languages), dropped)
        if settings.clean and split == "train":
            pairs = cleaning.clean(pairs, settings.languages, settings.clean, workers, dropped)
        if settings.lowercase:
            pairs = _lowercased(pairs)
        if settings.drop_overlap and split == "train":
            pairs = overlap.without(pairs, _held_out(text, settings), dropped)
        kept = parallel_text.write_pairs(pairs, to, split, settings.languages)
        reasons = "".join(f", {number} dropped ({why})" for why, number in sorted(dropped.items()))
        say(f"{split}: {kept} pairs{reasons}")
        why = settings.clean and cleaning.unspaced(settings.languages)
        if not kept:
            flags = " and ".join(["--clean"] * bool(settings.clean) + ["--drop-overlap"] * settings.drop_overlap)
            raise UsageError(
                f"{flags} leaves no pair of {split}; {why or 'are the languages right, and the limits?'}"
            )
        if why and sum(dropped.values()) > kept:
            say(f"{split}: --clean left out more pairs than it kept; {why}")


def _lowercased(pairs):
    return ((source.lower(), target.lower()) for source, target in pairs)


def _held_out(text, settings):
    pairs = [pair for split in SPLITS[1:] for pair in parallel_text.read_pairs(text, split, settings.languages)]
    return list(_lowercased(pairs)) if settings.lowercase else pairs


def _spm(_text, settings, out, to, _workers):
    """Trains the SentencePiece model on both sides of train, or takes that of another dataset."""
    from . import sentencepiece_model

    if settings.like:
        like.copy_model(settings.like, to)
        return

    texts = [out / "raw" / f"train.{language}" for language in settings.languages]
    model = sentencepiece_model.train(texts, settings.vocab_size, settings.character_coverage, settings.spm_lines)
    sentencepiece_model.save(model, to / "joint")


def _encoded(_text, _settings, out, to, workers):
    """Cuts every split into the subwords of the model."""
    from . import sentencepiece_model

    for text in sorted((out / "raw").iterdir()):
        sentencepiece_model.encode(out / "spm" / "joint.model", text, to / text.name, workers)


def _bin(_text, settings, out, to, workers):
    """Binarises every split, with one dictionary for both sides."""
    from .binarise import preprocess  # imports fairseq, which takes seconds

    flags = ["--source-lang", settings.source, "--target-lang", settings.target, "--joined-dictionary"]
    flags += ["--padding-factor", str(settings.padding_factor), "--workers", str(workers)]
    if settings.like:
        dictionary = settings.like / "bin" / f"dict.{settings.source}.txt"
        like.check_fit(out / "encoded", dictionary)
        flags += ["--srcdict", str(dictionary.absolute())]
    for split in SPLITS:
        flags += [f"--{split}pref", str((out / "encoded" / split).absolute())]
    preprocess(flags, out / "preprocess.log", to)


_TAKE = {"raw": _raw, "spm": _spm, "encoded": _encoded, "bin": _bin}


def _finish(out, asked):
    made = manifest.finish(out, asked)
    for split, counts in made["splits"].items():
        words = f"{counts['source_words']} {made['source']} and {counts['target_words']} {made['target']} words"
        say(f"{split}: {counts['pairs']} pairs, {words}")
    for split, found in made["overlap"].items():
        if any(found.values()):
            counts = f"{found['source']} by their source, {found['target']} by their target, {found['both']} by both"
            say(f"{split}: of its pairs train has {counts} (--drop-overlap removes them from train)")
    say(f"finished: {out}")
