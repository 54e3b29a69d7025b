"""What the evaluations of one table must share: never mixed, or alike unless their differences are shown."""

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
TRAINING_SETTINGS = ("batch_tokens", "batch_sentences", "patience", *LIMITS)


class Difference(NamedTuple):
    """A setting in which evaluations differ."""

    name: str
    value: Callable[[Evaluation], str]
    message: str


def require_same(evaluations: list[tuple[Evaluation, Path]]) -> None:
    """Scores of different signatures, engines or casing are never set side by side.

    Raises:
        UsageError: if there are some.
    """
    first, first_path = evaluations[0]
    for evaluation, path in evaluations[1:]:
        if evaluation.bleu["signature"] != first.bleu["signature"]:
            raise UsageError(
                f"scores cannot be compared: {first_path} has signature {first.bleu['signature']}, "
                f"{path} has {evaluation.bleu['signature']}"
            )
        for name in ("engine", "lowercase"):
            ours, theirs = getattr(first, name), getattr(evaluation, name)
            if None not in (ours, theirs) and ours != theirs:
                raise UsageError(f"scores cannot be compared: {name} is {ours} of {first_path}, {theirs} of {path}")


def differences(evaluations: list[tuple[Evaluation, Path]], equal_time: bool) -> list[Difference]:
    """The settings of training and decoding in which they differ; what a record does not hold is not compared.

    Args:
        evaluations: each with its file.
        equal_time: limits of updates and of time may differ.
    """
    settings: dict[str, Callable] = {
        name: _training_setting(name) for name in TRAINING_SETTINGS if not (equal_time and name in LIMITS)
    }
    names = {name for evaluation, _ in evaluations for name in evaluation.decoding}
    settings |= {name: _decoding_setting(name) for name in sorted(names)}
    # Tuned penalties may differ, the rule by which they were chosen may not; with given ones they share no row.
    settings["lenpen"] = lambda evaluation: None if evaluation.tuning else _decoding_setting("lenpen")(evaluation)
    settings["grid of length penalties"] = lambda evaluation: rule(evaluation.tuning) if evaluation.tuning else None
    found = []
    for name, read in settings.items():
        known = [(read(evaluation), path) for evaluation, path in evaluations if read(evaluation) is not None]
        other = next(((value, path) for value, path in known if value != known[0][0]), None)
        if other:
            (ours, path), (theirs, other_path) = known[0], other
            title = name.replace("_", " ")
            found.append(
                Difference(
                    title,
                    lambda evaluation, read=read: str(read(evaluation)),
                    f"runs differ in {title}: {ours} of {path}, {theirs} of {other_path}; make them alike, or give "
                    "--show-differences" + " or --equal-time" * (name in LIMITS),
                )
            )
    return found


def unchecked(evaluation: Evaluation) -> list[str]:
    """What a table cannot check, as the record does not hold it."""
    return [name for field, name in LATER.items() if getattr(evaluation, field) in (None, "unchecked")]


def _training_setting(name):
    def read(evaluation):
        return None if evaluation.training is None else json.dumps(evaluation.training[name])

    return read


def _decoding_setting(name):
    def read(evaluation):
        decoding = evaluation.decoding
        return json.dumps(decoding[name] or "none", sort_keys=True) if name in decoding else None

    return read
