"""What the runs of one table must share: never mixed, or alike unless their differences are shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from .evaluation import Evaluation
from .length_penalty import rule

#: Fields that records of earlier formats lack.
LATER = {
    "corpus": "corpus",
    "hypotheses_sha256": "hypotheses",
    "lowercase": "lowercasing",
    "kind": "kind of checkpoint",
    "training": "rules of training",
    "dictionary": "dictionary",
}
LIMITS = ("max_update", "max_epoch", "stop_time_hours")
RULES = ("batch_tokens", "batch_sentences", "patience", *LIMITS)


class Difference(NamedTuple):
    """A setting in which runs differ."""

    name: str
    value: Callable[[Evaluation], str]
    message: str


def require_same(runs: list[tuple[Evaluation, Path]]) -> None:
    """Scores of different signatures, engines or casing are never set side by side.

    Raises:
        UsageError: if there are some.
    """
    first, first_path = runs[0]
    for run, path in runs[1:]:
        if run.bleu["signature"] != first.bleu["signature"]:
            raise UsageError(
                f"scores cannot be compared: {first_path} has signature {first.bleu['signature']}, "
                f"{path} has {run.bleu['signature']}"
            )
        for name in ("engine", "lowercase"):
            ours, theirs = getattr(first, name), getattr(run, name)
            if None not in (ours, theirs) and ours != theirs:
                raise UsageError(f"scores cannot be compared: {name} is {ours} of {first_path}, {theirs} of {path}")


def differences(runs: list[tuple[Evaluation, Path]], equal_time: bool) -> list[Difference]:
    """The settings of training and decoding in which runs differ; what a record does not hold is not compared.

    Args:
        runs: evaluations with their files.
        equal_time: limits of updates and of time may differ.
    """
    settings: dict[str, Callable] = {name: _rule(name) for name in RULES if not (equal_time and name in LIMITS)}
    names = {name for run, _ in runs for name in run.decoding}
    settings |= {name: _search(name) for name in sorted(names)}
    # Tuned penalties may differ, the rule by which they were chosen may not; with given ones they share no row.
    settings["lenpen"] = lambda run: None if run.tuning else _search("lenpen")(run)
    settings["grid of length penalties"] = lambda run: rule(run.tuning) if run.tuning else None
    found = []
    for name, read in settings.items():
        known = [(read(run), path) for run, path in runs if read(run) is not None]
        other = next(((value, path) for value, path in known if value != known[0][0]), None)
        if other:
            (ours, path), (theirs, other_path) = known[0], other
            title = name.replace("_", " ")
            found.append(
                Difference(
                    title,
                    lambda run, read=read: str(read(run)),
                    f"runs differ in {title}: {ours} of {path}, {theirs} of {other_path}; make them alike, or give "
                    "--show-differences" + " or --equal-time" * (name in LIMITS),
                )
            )
    return found


def unchecked(run: Evaluation) -> list[str]:
    """What a table cannot check, as the record does not hold it."""
    return [name for field, name in LATER.items() if getattr(run, field) in (None, "unchecked")]


def _rule(name):
    return lambda run: None if run.training is None else json.dumps(run.training[name])


def _search(name):
    return lambda run: json.dumps(run.decoding[name] or "none", sort_keys=True) if name in run.decoding else None
