"""Reads XNLI's files: pairs of sentences with a label, in tables with a line of names at the top."""

from pathlib import Path
from typing import NamedTuple

from .errors import UsageError
from .evaluation import read_lines

TRAIN = "XNLI-MT-1.0/multinli/multinli.train.{}.tsv"
VALID, TEST = "XNLI-1.0/xnli.dev.tsv", "XNLI-1.0/xnli.test.tsv"
#: What the training file calls otherwise than the others.
_SAME = {"contradictory": "contradiction"}


class Pair(NamedTuple):
    first: str
    second: str
    label: str


def read_pairs(path: Path, columns: tuple[str, str, str], language: str | None = None) -> list[Pair]:
    """The pairs of a table, of one language where the table has the column "language".

    Args:
        columns: names of the first text, the second, and the label.

    Raises:
        UsageError: if the file cannot be read, lacks a column, has a line that does not fit, or no pair.
    """
    names, *rows = [line.rstrip("\r").split("\t") for line in read_lines(path)] or [[]]
    names[:1] = [name.removeprefix("\ufeff") for name in names[:1]]
    for name in (*columns, *["language"] * (language is not None)):
        if name not in names:
            raise UsageError(f"{path} has no column {name}, only {', '.join(names) or 'nothing'}")
    pairs = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise UsageError(f"{path} line {number} has {len(row)} columns, the first line {len(names)}")
        found = dict(zip(names, row, strict=True))
        if language is None or found["language"] == language:
            first, second, label = (found[name].strip() for name in columns)
            if not first or not second or not label:
                raise UsageError(f"{path} line {number}: a text or its label is empty")
            pairs.append(Pair(first, second, _SAME.get(label, label)))
    if not pairs:
        raise UsageError(f"{path} holds no pair" + (f" in {language}" if language else ""))
    return pairs


def languages(path: Path) -> list[str]:
    """The languages of a table with the column "language", sorted."""
    names, *rows = [line.split("\t") for line in read_lines(path)] or [[]]
    if "language" not in names:
        raise UsageError(f"{path} has no column language, only {', '.join(names) or 'nothing'}")
    column = names.index("language")
    return sorted({row[column] for row in rows if len(row) > column})
