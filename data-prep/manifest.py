"""The record of a prepared folder: settings.json from the start, manifest.json once it is finished."""

import hashlib
import json
import platform
import shutil
from importlib import metadata
from pathlib import Path

from parallel_text import SPLITS, BadInput, TextFile, read

FORMAT = 1
STEPS = ("raw", "spm", "encoded", "bin")
DISTRIBUTIONS = ("torch", "sentencepiece", "sacremoses", "numpy")


def begin(out: Path, settings: dict, inputs: dict[str, TextFile]) -> str:
    """Compares what is asked with what `out` holds, clears what is of no use, and records what is asked.

    Returns "finished", "new", or a line that says what becomes of an unfinished run.
    A finished folder made from other settings or inputs is never touched.
    """
    asked = {
        "settings": settings,
        "inputs": {name: text.sha256 for name, text in inputs.items()},
        "pairs_read": {split: inputs[f"{split}.{settings['source']}"].lines for split in SPLITS},
    }
    record = out / "settings.json"
    finished = (out / "manifest.json").exists()
    if not record.exists():
        if present := [name for name in (*STEPS, "manifest.json") if (out / name).exists()]:
            raise BadInput(f"{out} has a {present[0]} that was not made by this script; give another --out")
    else:
        difference = first_difference(load(record), asked)
        if finished and difference:
            raise BadInput(f"{out} is finished, made with {difference}; give another --out")
        if finished:
            verify(out)
            return "finished"
        if not difference:
            return "going on with an unfinished run"
        for step in STEPS:
            shutil.rmtree(out / step, ignore_errors=True)
        save(record, asked)
        return f"starting over: an unfinished run was made with {difference}"
    save(record, asked)
    return "new"


def first_difference(before: dict, now: dict) -> str | None:
    """Tells the first setting or input that is not what it was."""
    for name, value in now["settings"].items():
        earlier = before["settings"].get(name)
        if earlier != value:
            return f"{name.replace('_', ' ')} {json.dumps(earlier)} where {json.dumps(value)} is now asked"
    for name, checksum in now["inputs"].items():
        if before["inputs"].get(name) != checksum:
            return f"another {name} than is now given"
    return None


def finish(out: Path, destination: Path) -> dict:
    """Writes the manifest of a folder whose steps are all done, and returns it."""
    record = load(out / "settings.json")
    settings = record["settings"]
    source, target = settings["source"], settings["target"]
    manifest = {
        "format": FORMAT,
        "source": source,
        "target": target,
        "settings": {name: value for name, value in settings.items() if name not in ("source", "target")},
        "splits": {split: count(out / "raw", split, source, target, record["pairs_read"][split]) for split in SPLITS},
        "files": {
            path.relative_to(out).as_posix(): {"sha256": checksum(path), "bytes": path.stat().st_size}
            for step in STEPS
            for path in sorted((out / step).iterdir())
        },
        "inputs": record["inputs"],
        "versions": versions(),
    }
    save(destination, manifest)
    return manifest


def count(raw: Path, split: str, source: str, target: str, pairs_read: int) -> dict[str, int]:
    """The counts of a split: pairs as they came, as they stayed, and words between spaces."""
    words = {}
    for side, language in (("source", source), ("target", target)):
        lengths = [len(line.split()) for line in read(raw / f"{split}.{language}")]
        words[f"{side}_words"] = sum(lengths)
    return {"pairs_read": pairs_read, "pairs": len(lengths), "dropped": pairs_read - len(lengths), **words}


def verify(out: Path) -> None:
    """Makes sure that a finished folder still is what its manifest says."""
    for name, entry in load(out / "manifest.json")["files"].items():
        if not (out / name).is_file() or checksum(out / name) != entry["sha256"]:
            raise BadInput(f"{out / name} is missing or was changed since it was made; delete {out} to make it again")


def versions() -> dict[str, str]:
    """The versions of all that has a say in the output."""
    # fairseq comes under more than one name; the module tells which one is installed.
    fairseq = metadata.packages_distributions()["fairseq"][0]
    named = {"python": platform.python_version(), "fairseq": f"{metadata.version(fairseq)} ({fairseq})"}
    return named | {name: metadata.version(name) for name in DISTRIBUTIONS}


def checksum(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load(path: Path) -> dict:
    """Reads a JSON file that one of these scripts wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{path} is damaged; delete {path.parent} to make it again") from None


def save(path: Path, content: dict) -> None:
    """Writes a JSON file under its name only once it is whole."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)
