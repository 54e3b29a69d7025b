"""Data for cross-lingual transfer: train and valid in one language, a test split `test.LANG` in each of several."""

import json
import shutil
from pathlib import Path

import torch
from fairseq.data import Dictionary

from ..errors import UsageError
from ..files import replacing, write_text
from . import subwords as subword_units
from . import tagged_text as tagging_data
from . import xnli


def prepare(kind: str, source: Path, language: str, languages: list[str], encoder: Path, out: Path) -> dict:
    """Makes a folder of binarised data, which appears under its name once it is whole; returns its summary.

    Args:
        kind: "ner", words with tags in SOURCE/LANG/{train,dev,test}, or "xnli", pairs of sentences in XNLI's two
            archives, unpacked in SOURCE.
        source: the text.
        language: whose train and dev are taken.
        languages: whose test is taken; empty: all that are there.
        encoder: folder of the pre-trained encoder, for its dictionary and sub-words.
        out: the folder to make.

    Raises:
        UsageError: naming the file that is missing or wrong.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder")
    languages = languages or _languages(kind, source)
    units = subword_units.of_encoder(encoder)
    dictionary = tagging_data.load_dictionary(encoder / "dict.txt")
    with replacing(out) as partial:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write = _write_tagged if kind == "ner" else _write_pairs
        counts, labels = write(source, language, languages, units, dictionary, partial)
        summary = {"kind": kind, "source": language, "languages": languages, "labels": labels, "splits": counts}
        write_text(partial / "manifest.json", json.dumps(summary, indent=2) + "\n")
    return summary


def read_summary(data: Path) -> dict:
    """What `prepare` wrote of a folder.

    Raises:
        UsageError: if it is not such a folder.
    """
    path = data / "manifest.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {name: summary[name] for name in ("kind", "source", "languages", "labels", "splits")}
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{data} is not data of fairseq-intra prepare-transfer: {path} is missing or damaged"
        ) from None


def _languages(kind, source):
    found = sorted(path.parent.name for path in source.glob("*/test"))
    if kind == "xnli":
        found = xnli.languages(source / xnli.TEST)
    if not found:
        raise UsageError(f"{source} holds no LANG/test")
    return found


def _write_tagged(source, language, languages, units, dictionary, out):
    files = {"train": source / language / "train", "valid": source / language / "dev"}
    files |= {f"test.{tested}": source / tested / "test" for tested in languages}
    splits, labels = tagging_data.read_splits(files)
    return tagging_data.binarise(splits, labels, units, dictionary, out), labels.symbols[labels.nspecial :]


def _write_pairs(source, language, languages, units, dictionary, out):
    columns = ("sentence1", "sentence2", "gold_label")
    splits = {
        "train": xnli.read_pairs(source / xnli.TRAIN.format(language), ("premise", "hypo", "label"), leave_out=True),
        "valid": xnli.read_pairs(source / xnli.VALID, columns, language),
    }
    splits |= {f"test.{tested}": xnli.read_pairs(source / xnli.TEST, columns, tested) for tested in languages}
    labels = Dictionary()
    for label in sorted({pair.label for pair in splits["train"]}):
        labels.add_symbol(label)
    for split, pairs in splits.items():
        for label in {pair.label for pair in pairs}:
            if label not in labels:
                raise UsageError(f"{split} has the label {label}, which train has not")
    for kind, made in (("input0", dictionary), ("input1", dictionary), ("label", labels)):
        (out / kind).mkdir()
        made.save(str(out / kind / "dict.txt"))
        for split, pairs in splits.items():
            rows = (_row(pair, kind, units, made) for pair in pairs)
            tagging_data.write_dataset(out / kind / split, rows, len(made))
    return {split: {"pairs": len(pairs)} for split, pairs in splits.items()}, labels.symbols[labels.nspecial :]


def _row(pair, kind, units, dictionary):
    symbols = [pair.label] if kind == "label" else units.cut_text(pair.first if kind == "input0" else pair.second)
    return torch.IntTensor([*map(dictionary.index, symbols), dictionary.eos()])
