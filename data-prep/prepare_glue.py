"""One task's files into a folder for fairseq's sentence_prediction; started by prepare-glue.sh."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import command
import glue_tasks
import manifest
from command import say
from parallel_text import BadInput

#: What a RoBERTa's archive holds beside the model, and what an XLM-R's does.
GPT2 = ("encoder.json", "vocab.bpe")
SENTENCEPIECE = "sentencepiece.bpe.model"
PREPROCESS = Path(__file__).with_name("preprocess.py")


def prepare(arguments: argparse.Namespace) -> None:
    """Makes OUT: input0/, with pairs input1/, label/ and manifest.json, which comes last."""
    task = glue_tasks.task_named(arguments.task, arguments.input)
    files = {"train": arguments.input / "train.tsv", "valid": arguments.input / task.valid}
    vocabulary = _vocabulary(arguments.vocabulary)
    used = [*files.values(), *vocabulary]
    for path in used:
        if not path.is_file():
            raise BadInput(f"{path} is missing")
    inputs = {path.name: manifest.checksum(path) for path in used}
    record = arguments.out / "manifest.json"
    if record.exists():
        if manifest.load(record)["inputs"] != inputs:
            raise BadInput(f"{arguments.out} is finished, made from other files; give another --out")
        return
    # Imports fairseq, which takes seconds.
    from fairseq_intra.transfer import subwords as subword_units

    units = subword_units.of_encoder(arguments.vocabulary)
    counts, labels, texts = {}, {}, len(task.texts)
    for split, path in files.items():
        examples, labels[split], dropped = glue_tasks.read(path, task)
        counts[split] = {"examples": len(examples), "left_out": dropped}
        say(f"{arguments.task} {split}: {len(examples)} examples, {dropped} lines of another form left out")
        for place in range(texts):
            pieces = (" ".join(units.cut_text(example[place])) for example in examples)
            _write(arguments.to / f"{split}.input{place}", pieces)
    if arguments.task == "STS-B":
        labels = {split: glue_tasks.shares(files[split], values) for split, values in labels.items()}
    kind = _labels(arguments.to, labels, task, files)
    for place in range(texts):
        _binarise(arguments.to, f"input{place}", arguments.workers, "--srcdict", vocabulary[-1])
    settings = {name: getattr(task, name) for name in ("metric", "learning_rate", "batch_size")}
    made = {"task": arguments.task, **settings, **kind, "splits": counts, "inputs": inputs}
    for split in files:
        for rest in arguments.to.glob(f"{split}.*"):
            rest.unlink()
    manifest.save(arguments.to / "manifest.json", made | {"versions": manifest.versions()})


def _vocabulary(folder):
    """The files that tell the pieces, the dictionary last."""
    model = [folder / SENTENCEPIECE] if (folder / SENTENCEPIECE).exists() else [folder / name for name in GPT2]
    return [*model, folder / "dict.txt"]


def _labels(folder, labels, task, files):
    """Writes them as fairseq wants them; returns what the manifest says of them."""
    for split, values in labels.items():
        _write(folder / f"{split}.label", values)
    if task.metric == "pearson":
        (folder / "label").mkdir()
        for split in labels:
            shutil.move(folder / f"{split}.label", folder / "label" / f"{split}.label")
        return {"regression": True, "num_classes": 1}
    classes = set(labels["train"])
    if strange := sorted(set(labels["valid"]) - classes):
        raise BadInput(f"{files['valid']} has the label '{strange[0]}', which train has not")
    if odd := [label for label in classes if len(label.split()) != 1]:
        raise BadInput(f"{files['train']} has the label '{odd[0]}'; a label is one word")
    _binarise(folder, "label", 1)
    return {"regression": False, "num_classes": len(classes)}


def _write(path, lines):
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _binarise(folder, name, workers, *dictionary):
    texts = [f"--{split}pref={folder / split}.{name}" for split in ("train", "valid")]
    where = ["--destdir", folder / name, "--workers", str(workers)]
    done = subprocess.run(
        [sys.executable, PREPROCESS, "--only-source", *texts, *where, *dictionary],
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise BadInput(f"fairseq-preprocess failed on {name}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("input", "vocabulary", "out", "to"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.set_defaults(step=prepare)
    return parser.parse_args()


if __name__ == "__main__":
    command.run(parse)
