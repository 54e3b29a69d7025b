"""The record of a dataset's folder: settings.json from the start, manifest.json once it is finished."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from .. import files, json_files
from ..errors import UsageError
from ..run_fairseq import fairseq_distribution
from . import overlap
from .parallel_text import SPLITS, TextFile, read, read_pairs

FORMAT = 1
STEPS = ("raw", "spm", "encoded", "bin")
#: What is recorded only where it is another than this: folders of the first versions have no word of it.
UNRECORDED = {"drop_overlap": False, "padding_factor": 1}
DISTRIBUTIONS = ("torch", "sentencepiece", "sacremoses", "numpy")


def begin(out: Path, asked: dict, steps: tuple[str, ...] = STEPS) -> str:
    """Compares what is asked with what `out` holds, clears what is of no use, and records what is asked.

    A finished folder made from other settings or inputs is never touched.

    Args:
        out: the dataset's folder.
        asked: of `asked_of`.
        steps: the folders that the command makes.

    Returns:
        "finished", "new", or a line that says what becomes of an unfinished run.

    Raises:
        UsageError: if `out` is finished but made from something else or changed since, or holds what another command
            made, or its records are damaged.
    """
    record = out / "settings.json"
    finished = (out / "manifest.json").exists()
    if not record.exists():
        if present := [name for name in (*steps, "manifest.json") if (out / name).exists()]:
            raise UsageError(f"{out} has a {present[0]} that was not made by this command; give another --out")
    else:
        difference = first_difference(read_sources(record), asked)
        if finished and difference:
            raise UsageError(f"{out} is finished, made with {difference}; give another --out")
        if finished:
            made = read_manifest(out)
            verify_files(out, made["files"], made["files"])
            return "finished"
        if not difference:
            return "resuming an unfinished run"
        for step in steps:
            clear_step(out / step)
        json_files.write_json(record, asked)
        return f"starting over: an unfinished run was made with {difference}"
    json_files.write_json(record, asked)
    return "new"


def clear_step(step: Path) -> None:
    """Removes a step, of which no half that would count as done stays where that is interrupted."""
    if step.exists():
        aside = files.partial_of(step)
        step.rename(aside)
        files.remove(aside)


def asked_of(settings: dict, inputs: dict[str, TextFile], splits: Sequence[str] = SPLITS) -> dict:
    """What decides a dataset: its settings, and its text by checksums."""
    return {
        "settings": settings,
        "inputs": {name: text.sha256 for name, text in inputs.items()},
        "pairs_read": {split: inputs[f"{split}.{settings['source']}"].lines for split in splits},
    }


def is_made(text: Path, asked: dict) -> bool:
    """Whether a folder of text was made before, from what is asked now.

    Args:
        text: the folder; its SOURCES.json says what it was made from.
        asked: "settings" and "inputs", as SOURCES.json has them.

    Raises:
        UsageError: if it was made from something else, or its record is damaged.
    """
    if not text.exists():
        return False
    if difference := first_difference(read_sources(text / "SOURCES.json"), asked):
        raise UsageError(f"{text} was made with {difference}; give another --out")
    return True


def read_sources(path: Path) -> dict:
    """A settings.json or SOURCES.json: what decided the files beside it.

    Raises:
        UsageError: if it cannot be read, or is of another shape.
    """
    record = json_files.read_json(path)
    if not isinstance(record, dict) or not all(isinstance(record.get(name), dict) for name in ("settings", "inputs")):
        raise UsageError(f"{path} is damaged; delete {path.parent} to make it again")
    return record


def first_difference(before: dict, now: dict) -> str | None:
    """The first setting or input that is not what it was, in words."""
    for name in now["settings"] | before["settings"]:
        earlier, value = (record["settings"].get(name, UNRECORDED.get(name)) for record in (before, now))
        if earlier != value:
            return f"{name.replace('_', ' ')} {json.dumps(earlier)} where {json.dumps(value)} is now asked"
    for name in now["inputs"] | before["inputs"]:
        if before["inputs"].get(name) != now["inputs"].get(name):
            return f"another {name} than is now given"
    return None


def finish(out: Path, asked: dict, steps: tuple[str, ...] = STEPS) -> dict:
    """Writes the manifest of a folder whose steps are all done, and returns it."""
    settings = asked["settings"]
    source, target = settings["source"], settings["target"]
    splits = list(asked["pairs_read"])
    manifest = {
        "format": FORMAT,
        "source": source,
        "target": target,
        "settings": {name: value for name, value in settings.items() if name not in ("source", "target")},
        "splits": {split: count(out / "raw", split, source, target, asked["pairs_read"][split]) for split in splits},
        "overlap": {split: _overlap(out / "raw", split, (source, target)) for split in splits[1:]},
        "files": entries_of(out, steps),
        "inputs": asked["inputs"],
        "versions": versions(*["subword-nmt"] * (settings.get("subwords") == "subword-nmt")),
    }
    json_files.write_json(out / "manifest.json", manifest)
    return manifest


def entries_of(out: Path, steps: Iterable[str]) -> dict[str, dict]:
    """SHA-256 and bytes of every file in these folders of `out`."""
    return {
        path.relative_to(out).as_posix(): {"sha256": files.sha256(path), "bytes": path.stat().st_size}
        for step in steps
        for path in sorted((out / step).iterdir())
    }


def count(raw: Path, split: str, source: str, target: str, pairs_read: int) -> dict[str, int]:
    """The counts of a split: pairs as they came, as they stayed, and words between spaces."""
    words = {}
    for side, language in (("source", source), ("target", target)):
        lengths = [len(line.split()) for line in read(raw / f"{split}.{language}")]
        words[f"{side}_words"] = sum(lengths)
    return {"pairs_read": pairs_read, "pairs": len(lengths), "dropped": pairs_read - len(lengths), **words}


def _overlap(raw, split, languages):
    return overlap.count(read_pairs(raw, "train", languages), list(read_pairs(raw, split, languages)))


def read_manifest(data: Path) -> dict:
    """The manifest.json of a finished dataset; all that is read of it has the right type.

    Raises:
        UsageError: if there is none, or it is of another shape.
    """
    path = data / "manifest.json"
    if not path.exists():
        raise UsageError(f"{data} is not a finished dataset: no manifest.json (see fairseq-intra prepare --help)")
    manifest = json_files.read_json(path)
    kinds = {"format": int, "source": str, "target": str, "settings": dict, "files": dict, "inputs": dict}
    if (
        not isinstance(manifest, dict)
        or not all(isinstance(manifest.get(name), kind) for name, kind in kinds.items())
        or not all(isinstance(entry, dict) and "sha256" in entry for entry in manifest["files"].values())
    ):
        raise UsageError(f"{path} is damaged, or not of fairseq-intra prepare; make the dataset again")
    for name in (manifest["source"], manifest["target"], *manifest["files"]):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UsageError(f"{path} names {name}, which is not in {data}")
    return manifest


def verify_files(data: Path, entries: Mapping[str, Mapping], names: Iterable[str]) -> None:
    """Makes sure that files of a finished dataset are what they were when it was made.

    Args:
        data: the dataset's folder.
        entries: "files" of its manifest.
        names: of the files, as the manifest has them, such as raw/test.en. Only these are read.

    Raises:
        UsageError: if one is missing, was changed, or is not in the manifest.
    """
    for name in names:
        path = data / name
        if name not in entries:
            raise UsageError(
                f"{data / 'manifest.json'} has no {name}: no such split, or not of fairseq-intra prepare"
            )
        if not path.is_file():
            raise UsageError(f"{path} is missing; delete {data} to make it again")
        if files.sha256(path) != entries[name]["sha256"]:
            raise UsageError(f"{path} was changed since the dataset was made; delete {data} to make it again")


def versions(*more: str) -> dict[str, str]:
    """The versions of all that has a say in the output, and of these packages."""
    fairseq = fairseq_distribution()
    named = {"python": platform.python_version(), "fairseq": f"{metadata.version(fairseq)} ({fairseq})"}
    return named | {name: metadata.version(name) for name in (*DISTRIBUTIONS, *more)}
