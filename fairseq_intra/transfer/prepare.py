"""Data for cross-lingual transfer: train and valid in one language, a test split `test.LANG` in each of several."""

import contextlib
from pathlib import Path

import torch
from fairseq.data import Dictionary

from ..data.encoder_text import EncoderText
from ..data.indexed import write_rows
from ..errors import UsageError
from ..files import replacing, sha256
from ..fine_tuning.positionwise import read_dictionary
from ..json_files import has_fields, read_json, write_json
from . import TASKS, question_text, squad, tagged_text, xnli
from .windows import Lengths

#: What a folder tells of itself, and the types of it.
SUMMARY = {
    "kind": str,
    "source": str,
    "languages": list[str],
    "labels": list[str],
    "splits": dict[str, dict],
}


def prepare(
    task: str,
    text: Path,
    source: str,
    languages: list[str],
    encoder: Path,
    out: Path,
    lengths: Lengths = Lengths(),  # noqa: B008, a tuple
) -> dict:
    """Makes a folder of binarised data, which appears under its name once it is whole; returns its summary.

    Args:
        task: "ner", words with tags in TEXT/LANG/{train,dev,test}; "xnli", pairs of sentences in XNLI's two
            archives, unpacked in TEXT; or "qa", questions in one of `squad.LAYOUTS`.
        text: its folder.
        source: the language whose train and dev are taken.
        languages: whose test is taken; empty: all that are there.
        encoder: folder of the pre-trained encoder, for its dictionary and subwords.
        out: the folder to make.
        lengths: of the windows of question answering.

    Raises:
        UsageError: naming the file that is missing or wrong.
    """
    if not text.is_dir():
        raise UsageError(f"{text} is not a folder")
    lengths.check()
    languages = languages or _languages(task, text, source)
    texts = _texts(task, text, source, languages)
    # Without the mask of pre-training.
    dictionary = read_dictionary(encoder / "dict.txt")
    segmenter = EncoderText(encoder)
    with replacing(out) as partial:
        partial.mkdir(parents=True)
        if task == "qa":
            splits = _read_questions(texts, source)
            counts, labels = question_text.binarise(splits, segmenter, dictionary, lengths, partial), []
        else:
            given = (segmenter, dictionary, partial)
            counts, labels = _write_tagged(texts, *given) if task == "ner" else _write_pairs(texts, source, *given)
        summary = {"kind": task, "source": source, "languages": languages, "labels": labels, "splits": counts}
        summary["inputs"] = {path.relative_to(text).as_posix(): sha256(path) for path in set(texts.values())}
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        checksums = {path.relative_to(partial).as_posix(): sha256(path) for path in files}
        write_json(partial / "manifest.json", summary | {"files": checksums})
    return summary


def read_summary(data: Path) -> dict:
    """What `prepare` wrote of a folder.

    Raises:
        UsageError: if it is not such a folder.
    """
    path = data / "manifest.json"
    summary = None
    with contextlib.suppress(UsageError):
        summary = read_json(path)
    if not has_fields(summary, SUMMARY) or summary["kind"] not in TASKS or "train" not in summary["splits"]:
        raise UsageError(f"{data} is not data of fairseq-intra prepare-transfer: {path} is missing or damaged")
    return {name: summary[name] for name in SUMMARY}


def check_inputs(data: Path, text: Path) -> None:
    """Compares the text with that which a folder was made from; earlier folders do not say it.

    Raises:
        UsageError: naming the first file that is another, or gone.
    """
    for name, known in sorted(read_json(data / "manifest.json").get("inputs", {}).items()):
        if not (text / name).is_file() or sha256(text / name) != known:
            raise UsageError(f"{data} was made when {text / name} was another; give another --out")


def _languages(task, text, source):
    if task == "xnli":
        pattern, found = xnli.TEST, xnli.languages(text / xnli.TEST)
    else:
        pattern = squad.layout(text, source).test if task == "qa" else "{code}/test"
        found = squad.languages(text, pattern)
    if not found:
        raise UsageError(f"{text} holds no {squad.place(pattern, 'LANG')} in any language")
    return found


def _texts(task, text, source, languages):
    """The file of every split; of some layouts several languages share one."""
    if task == "ner":
        train, valid, tests = f"{source}/train", f"{source}/dev", [f"{tested}/test" for tested in languages]
    elif task == "xnli":
        train, valid, tests = xnli.TRAIN.format(source), xnli.VALID, [xnli.TEST for _ in languages]
    else:
        layout = squad.layout(text, source)
        train, valid = layout.train.format(code=source), squad.place(layout.valid, source)
        tests = [squad.place(layout.test, tested) for tested in languages]
    splits = ["train", "valid", *map(_test_of, languages)]
    return {split: text / name for split, name in zip(splits, [train, valid, *tests], strict=True)}


def _test_of(language):
    return f"test.{language}"


def _read_questions(texts, source):
    # Google's file holds all languages; SQuAD's and the others one.
    one = source if texts["train"].name == squad.TYDIQA_TRAIN else None
    return {split: squad.read_questions(path, one if split == "train" else None) for split, path in texts.items()}


def _write_tagged(texts, segmenter, dictionary, out):
    splits, labels = tagged_text.read_splits(texts)
    return tagged_text.binarise(splits, labels, segmenter, dictionary, out), labels.symbols[labels.nspecial :]


def _write_pairs(texts, source, segmenter, dictionary, out):
    columns = ("sentence1", "sentence2", "gold_label")
    splits = {"train": xnli.read_pairs(texts["train"], ("premise", "hypo", "label"), leave_out=True)}
    for split, path in texts.items():
        if split != "train":
            tested = source if split == "valid" else split.removeprefix("test.")
            splits[split] = xnli.read_pairs(path, columns, tested)
    labels = Dictionary()
    for label in sorted({pair.label for pair in splits["train"]}):
        labels.add_symbol(label)
    for split, pairs in splits.items():
        for label in {pair.label for pair in pairs}:
            if label not in labels:
                raise UsageError(f"{split} has the label {label}, which is not in train")
    kinds = {"input0": dictionary, "input1": dictionary, "label": labels}
    for kind, made in kinds.items():
        (out / kind).mkdir()
        made.save(str(out / kind / "dict.txt"))
    for split, pairs in splits.items():
        for kind, made in kinds.items():
            write_rows(out / kind / split, (_row(pair, kind, segmenter, made) for pair in pairs), len(made))
        segmenter.check(split)
    return {split: {"pairs": len(pairs)} for split, pairs in splits.items()}, labels.symbols[labels.nspecial :]


def _row(pair, kind, segmenter, dictionary):
    symbols = [pair.label] if kind == "label" else segmenter.encode(pair.first if kind == "input0" else pair.second)
    return torch.IntTensor([*map(dictionary.index, symbols), dictionary.eos()])
