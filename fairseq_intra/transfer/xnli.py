"""Reads XNLI's files: pairs of sentences with a label, in tables with a line of names at the top."""

import logging
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..files import read_lines

logger = logging.getLogger(__name__)

TRAIN = "XNLI-MT-1.0/multinli/multinli.train.{}.tsv"
VALID, TEST = "XNLI-1.0/xnli.dev.tsv", "XNLI-1.0/xnli.test.tsv"
#: What the training file calls otherwise than the others.
_SAME = {"contradictory": "contradiction"}


class Pair(NamedTuple):
    first: str
    second: str
    label: str


def read_pairs(
    path: Path, columns: tuple[str, str, str], language: str | None = None, leave_out: bool = False
) -> list[Pair]:
    """The pairs of a table, of one language where the table has the column "language".

    Args:
        columns: names of the first text, the second, and the label.
        leave_out: whether invalid lines are left out and counted in a warning, rather than rejected.

    Raises:
        UsageError: if the file cannot be read, lacks a column, has an invalid line, or no pair.
    """
    names, *rows = _rows(path)
    for name in (*columns, *["language"] * (language is not None)):
        if name not in names:
            raise UsageError(f"{path} has no column {name}, only {', '.join(names) or 'nothing'}")
    pairs, misfits = [], []
    for number, row in enumerate(rows, 2):
        found = dict(zip(names, row, strict=False))
        if misfit := _misfit(row, names, found, columns):
            misfits.append(f"line {number}{misfit}")
        elif language is None or found["language"] == language:
            first, second, label = (found[name].strip() for name in columns)
            pairs.append(Pair(first, second, _SAME.get(label, label)))
    if misfits and not leave_out:
        raise UsageError(f"{path} {misfits[0]}")
    if not pairs:
        raise UsageError(f"{path} holds no pair" + (f" in {language}" if language else ""))
    if misfits:
        logger.warning("%s: %d lines left out; %s", path, len(misfits), misfits[0])
    return pairs


def _rows(path):
    """The lines of a table, split, the first one its head."""
    head, *rows = [line.rstrip("\r").split("\t") for line in read_lines(path)] or [[]]
    return [[name.removeprefix("\ufeff") for name in head[:1]] + head[1:], *rows]


def _misfit(row, names, found, columns):
    """What is wrong with a line, if anything."""
    if len(row) != len(names):
        return f" has {len(row)} columns, the first line {len(names)}"
    return "" if all(found[name].strip() for name in columns) else ": a text or its label is empty"


def languages(path: Path) -> list[str]:
    """The languages of a table with the column "language", sorted.

    Raises:
        UsageError: if the table lacks it, or a line has none.
    """
    names, *rows = _rows(path)
    if "language" not in names:
        raise UsageError(f"{path} has no column language, only {', '.join(names) or 'nothing'}")
    column = names.index("language")
    for number, row in enumerate(rows, 2):
        if len(row) > column and not row[column]:
            raise UsageError(f"{path} line {number}: its language is empty")
    return sorted({row[column] for row in rows if len(row) > column})
