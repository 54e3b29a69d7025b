"""A dataset with another one's SentencePiece model and dictionary, so that a model can be adapted to it."""

import shutil
from collections import Counter
from pathlib import Path

from .. import files
from ..errors import UsageError
from . import manifest, unknown_subwords
from .parallel_text import read

MODEL = ("spm/joint.model", "spm/joint.vocab")


def settings_of(data: Path, languages: tuple[str, str]) -> dict:
    """What another dataset decides: lowercasing, and how its model was trained.

    Raises:
        UsageError: if it is not finished, was changed, or is of other languages.
    """
    made = manifest.read_manifest(data)
    if {made["source"], made["target"]} != set(languages):
        raise UsageError(
            f"--like {data} is of {made['source']} and {made['target']}, not of {' and '.join(languages)}"
        )
    if subwords := made["settings"].get("subwords"):
        raise UsageError(f"--like {data} has subwords of {subwords}; --like takes a SentencePiece model only")
    manifest.verify_files(data, made["files"], [*MODEL, f"bin/dict.{languages[0]}.txt"])
    names = ("lowercase", "vocab_size", "spm_lines", "character_coverage")
    return {name: made["settings"].get(name) for name in names}


def inputs_of(data: Path, language: str) -> dict[str, str]:
    """SHA-256 of what is taken over, by name."""
    return {f"like {name}": files.sha256(data / name) for name in (MODEL[0], f"bin/dict.{language}.txt")}


def copy_model(data: Path, to: Path) -> None:
    """Copies the SentencePiece model and its vocabulary into a folder."""
    for name in MODEL:
        shutil.copyfile(data / name, to / Path(name).name)


def check_fit(encoded: Path, dictionary: Path) -> None:
    """Counts the subwords that the dictionary lacks.

    Raises:
        UsageError: if they are more than a text of the same languages has.
    """
    known = unknown_subwords.symbols_of(dictionary)
    for path in sorted(encoded.iterdir()):
        counts = Counter(subword for line in read(path) for subword in line.split())
        advice = "it is too different a text for --like; leave it out"
        unknown_subwords.check(path.name, counts, known, dictionary, advice)
