"""One of GLUE's tasks, or one's own in the same layout, to a folder for fairseq's sentence_prediction."""

import contextlib
from pathlib import Path

from .. import files, json_files
from ..console import say
from ..errors import UsageError
from . import glue_tasks, manifest

#: What a RoBERTa's archive holds beside the model, and what an XLM-R's does.
GPT2 = ("encoder.json", "vocab.bpe")
SENTENCEPIECE = "sentencepiece.bpe.model"
#: The symbols of every dictionary of fairseq: as a label they have no number of a class.
RESERVED = ("<s>", "<pad>", "</s>", "<unk>")


def prepare(name: str, folder: Path, vocabulary: Path, out: Path, workers: int) -> None:
    """Makes OUT: input0/, with pairs of texts input1/, label/ and manifest.json.

    Args:
        name: of one of GLUE's tasks; any other is a task of classes.
        folder: train.tsv and dev.tsv as GLUE has them.
        vocabulary: folder of the encoder's dict.txt and subwords.
        out: the folder to make; it appears once it is whole.
        workers: processes of fairseq-preprocess.

    Raises:
        UsageError: naming what is missing or wrong.
    """
    out = out.absolute()  # . has no name
    for flag, given in (("--input", folder), ("--vocabulary", vocabulary)):
        if not given.is_dir():
            raise UsageError(f"{flag} {given} is not a folder")
    name = glue_tasks.known_name(name)
    task = glue_tasks.task_named(name, folder)
    tables = {"train": folder / "train.tsv", "valid": folder / task.valid}
    symbols = _vocabulary(vocabulary)
    used = [*tables.values(), *symbols]
    for path in used:
        if not path.is_file():
            raise UsageError(f"{path} is missing")
    inputs = {path.name: files.sha256(path) for path in used}
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is there and is not a folder")
    files.make_folder("--out", out.parent)
    with _locked(out):
        if (out / "manifest.json").exists():
            made = _read_manifest(out / "manifest.json")
            if made["inputs"] != inputs:
                raise UsageError(f"{out} is finished, made from other files; give another --out")
            if made.get("task") != name:
                raise UsageError(f"{out} is finished, made for --task {made.get('task')}; give another --out")
            entries = made.get("files", {})
            manifest.verify_files(out, entries, entries)
            say(f"{out} is finished already")
            return
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"--out {out} is a folder with other files; give another one")
        if name not in glue_tasks.TASKS:
            say(f"{name} is none of GLUE's tasks: taken for one of classes, with texts in {' and '.join(task.texts)}")
        with files.replacing(out) as partial:
            partial.mkdir()
            log = out.with_name(f"{out.name}.preprocess.log")
            made = {"task": name, **_make(name, task, tables, symbols, partial, workers, log)}
            made["files"] = manifest.entries_of(partial, sorted(path.name for path in partial.iterdir()))
            json_files.write_json(
                partial / "manifest.json", made | {"inputs": inputs, "versions": manifest.versions()}
            )


@contextlib.contextmanager
def _locked(out):
    """Beside the folder, which appears once it is whole; other tasks may be prepared there at the same time."""
    lock = out.with_name(f".{out.name}{files.LOCK}")
    with files.locked(out.parent, f"prepares {out.name} in", lock.name):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _read_manifest(record):
    made = json_files.read_json(record)
    if not isinstance(made, dict) or not isinstance(made.get("inputs"), dict):
        raise UsageError(f"{record} is damaged; delete {record.parent} to make it again")
    return made


def _vocabulary(folder):
    """The files that tell the subwords, the dictionary last."""
    model = [folder / SENTENCEPIECE] if (folder / SENTENCEPIECE).exists() else [folder / name for name in GPT2]
    return [*model, folder / "dict.txt"]


def _make(name, task, tables, symbols, to, workers, log):
    """Fills the folder; returns what the manifest says of it. The log stays where fairseq-preprocess fails."""
    counts, found, texts = {}, {}, len(task.texts)
    for split, path in tables.items():
        found[split] = glue_tasks.read(path, task)
        examples, dropped = len(found[split].texts), found[split].left_out
        counts[split] = {"examples": examples, "left_out": dropped}
        say(f"{name} {split}: {examples} examples, {dropped} lines of another form left out")
    labels = {split: of_split.labels for split, of_split in found.items()}
    if task.metric == "pearson":
        labels = {split: glue_tasks.shares(tables[split], values) for split, values in labels.items()}
    else:
        _check(found, tables)
    _encode(found, tables, symbols[-1].parent, to)
    kind = _labels(to, labels, task, log)
    for place in range(texts):
        _binarise(to, f"input{place}", workers, ["--srcdict", str(symbols[-1].absolute())], log)
    for split in tables:
        for rest in to.glob(f"{split}.*"):
            rest.unlink()
    settings = {name: getattr(task, name) for name in ("metric", "learning_rate", "batch_size")}
    return {**settings, **kind, "splits": counts}


def _check(found, tables):
    classes = set(found["train"].labels)
    for split, path in tables.items():
        for label, line in zip(found[split].labels, found[split].lines, strict=True):
            where = f"{path} line {line} has the label '{label}'"
            if len(label.split()) != 1:
                raise UsageError(f"{where}; a label is one word")
            if label in RESERVED:
                raise UsageError(f"{where}, which is one of fairseq's own symbols; give the class another name")
            if label not in classes:
                raise UsageError(f"{where}, which is not in train")


def _encode(found, tables, vocabulary, to):
    """Writes SPLIT.input0, with pairs of texts SPLIT.input1, in the encoder's subwords."""
    from .encoder_text import EncoderText  # imports fairseq, which takes seconds

    segmenter = EncoderText(vocabulary)
    for split, of_split in found.items():
        for place, texts in enumerate(zip(*of_split.texts, strict=True)):
            _write(to / f"{split}.input{place}", (" ".join(segmenter.encode(text)) for text in texts))
        segmenter.check(str(tables[split]))


def _labels(folder, labels, task, log):
    """Writes them as fairseq wants them; returns what the manifest says of them."""
    for split, values in labels.items():
        _write(folder / f"{split}.label", values)
    if task.metric == "pearson":
        (folder / "label").mkdir()
        for split in labels:
            (folder / f"{split}.label").rename(folder / "label" / f"{split}.label")
        return {"regression": True, "num_classes": 1}
    _binarise(folder, "label", 1, [], log)
    return {"regression": False, "num_classes": len(set(labels["train"]))}


def _write(path, lines):
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _binarise(folder, name, workers, dictionary, log):
    from .binarise import preprocess  # imports fairseq, which takes seconds

    texts = [f"--{split}pref={(folder / split).absolute()}.{name}" for split in ("train", "valid")]
    preprocess(["--only-source", *texts, "--workers", str(workers), *dictionary], log, folder / name)
    log.unlink()
