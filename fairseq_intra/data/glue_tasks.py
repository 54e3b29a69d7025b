"""GLUE's files: which columns hold the texts and the label, and what is measured."""

from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError


class Task(NamedTuple):
    """One task: its files are tables with a line for each example and tabs between the columns."""

    texts: tuple[str, ...]  #: columns, one or two
    label: str = "label"  #: column
    metric: str = "accuracy"  #: as fairseq's criterion logs it: accuracy, f1, mcc or pearson
    valid: str = "dev.tsv"
    header: tuple[str, ...] = ()  #: names of the columns where the file's first line does not tell them
    learning_rate: float = 1e-5  #: for a RoBERTa, see `batch_size`
    batch_size: int = 16  #: examples an update (Liu et al. 2019, RoBERTa; their GLUE table's single-task models)


_PAIR = ("sentence1", "sentence2")
TASKS = {
    "CoLA": Task(("sentence",), metric="mcc", header=("source", "label", "mark", "sentence")),
    "SST-2": Task(("sentence",), batch_size=32),
    "MRPC": Task(("#1 String", "#2 String"), "Quality", "f1"),
    "STS-B": Task(_PAIR, "score", "pearson", learning_rate=2e-5),
    "QQP": Task(("question1", "question2"), "is_duplicate", "f1", batch_size=32),
    "MNLI": Task(_PAIR, "gold_label", valid="dev_matched.tsv", batch_size=32),
    "QNLI": Task(("question", "sentence"), batch_size=32),
    "RTE": Task(_PAIR, learning_rate=2e-5),
}
#: Its scores are from 0 to this; a model learns shares of it.
STS_B_HIGHEST = 5


def known_name(name: str) -> str:
    """GLUE's own spelling of a task's name, whatever its case and hyphens; another name as it is."""
    return next((known for known in TASKS if _letters(known) == _letters(name)), name)


def _letters(name):
    return name.replace("-", "").replace("_", "").lower()


def task_named(name: str, folder: Path) -> Task:
    """GLUE's task of this name, or one of the user's own in SST-2's layout, or in RTE's with two texts.

    Raises:
        UsageError: if a task of one's own has no train.tsv, or that is not UTF-8.
    """
    if name in TASKS:
        return TASKS[name]
    path = folder / "train.tsv"
    if not path.is_file():
        raise UsageError(f"{path} is missing")
    columns = _lines(path)[0].rstrip("\r").split("\t")
    texts = _PAIR if set(_PAIR) <= set(columns) else ("sentence",)
    return Task(texts)


def _lines(path):
    """Of a table; MRPC's begin with a mark of byte order."""
    try:
        return path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 ({error.reason} at byte {error.start})") from None


class Examples(NamedTuple):
    """What a table holds, example by example."""

    texts: list[tuple[str, ...]]
    labels: list[str]
    lines: list[int]  #: in the file, from 1
    left_out: int  #: how many lines have another form


def read(path: Path, task: Task) -> Examples:
    """The examples of a table.

    Raises:
        UsageError: if the file is missing, is not UTF-8, lacks a column, or has no example.
    """
    if not path.is_file():
        raise UsageError(f"{path} is missing")
    # Quotation marks mean nothing in these tables.
    rows = [(n, line.rstrip("\r").split("\t")) for n, line in enumerate(_lines(path), 1) if line.strip()]
    header = list(task.header) or (rows.pop(0)[1] if rows else [])
    places = []
    for name in (*task.texts, task.label):
        if name not in header:
            raise UsageError(f"{path} has no column '{name}' in its first line")
        places.append(header.index(name))
    # Some lines of the sets that are handed around lack columns; of those of MNLI, some have more than others.
    whole = [(number, row) for number, row in rows if len(row) == len(header)]
    if not whole:
        raise UsageError(f"{path} has no example of {len(header)} columns")
    *texts, labels = ([row[place].strip() for _, row in whole] for place in places)
    lines = [number for number, _ in whole]
    return Examples(list(zip(*texts, strict=True)), labels, lines, len(rows) - len(whole))


def shares(path: Path, labels: list[str]) -> list[str]:
    """STS-B's scores as shares of the highest.

    Raises:
        UsageError: if a score is none from 0 to the highest.
    """
    try:
        values = [float(label) for label in labels]
    except ValueError as error:
        raise UsageError(f"{path}: a score is no number: {error}") from None
    if strange := [value for value in values if not 0 <= value <= STS_B_HIGHEST]:
        raise UsageError(f"{path} has the score {strange[0]:g}; scores are from 0 to {STS_B_HIGHEST:g}")
    return [f"{value / STS_B_HIGHEST:g}" for value in values]
