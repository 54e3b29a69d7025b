"""What the evaluations of one table must share: never mixed, or alike unless their differences are shown."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..files import read_lines
from ..methods import COMPUTATION, SETTINGS
from .arguments import OF_THE_METHOD
from .arguments import differences as flag_differences
from .evaluation import Evaluation
from .length_penalty import rule

#: Fields that records of earlier formats lack.
LATER = {
    "corpus": "corpus",
    "trained_on": "data of training",
    "hypotheses_sha256": "hypotheses",
    "lowercase": "lowercasing",
    "kind": "kind of checkpoint",
    "training": "rules of training",
    "hyperparameters": "hyperparameters",
    "dictionary": "dictionary",
}
LIMITS = ("max_update", "max_epoch", "stop_time_hours")
CHOSEN_BY_HAND = "updates of checkpoints chosen by hand"
TRAINING_SETTINGS = ("batch_tokens", "batch_sentences", "patience", *LIMITS)
#: Flags of fine-tuned runs that may differ: how the loss is computed, what is logged and kept, and the machine.
MAY_DIFFER = re.compile(
    rf"--(seed|task|criterion|{'|'.join(COMPUTATION).replace('_', '-')}|cpu|num-workers|ddp-backend|log-.*|"
    r"tensorboard-.*|wandb-.*|save-interval.*|keep-.*|no-.*checkpoints|stop-time-hours|.*-valid)"
)


class Difference(NamedTuple):
    """A setting in which evaluations differ."""

    name: str
    value: Callable[[Evaluation], str | None]  #: None where it is no setting of an evaluation's method
    message: str
    is_limit: bool  #: of updates or of time


def require_same(evaluations: list[tuple[Evaluation, Path]]) -> None:
    """Scores of different signatures, engines or casing are never set side by side.

    Raises:
        UsageError: if there are some.
    """
    settings: dict[str, Callable] = {
        "signature": lambda evaluation: evaluation.bleu["signature"],
        "engine": lambda evaluation: evaluation.engine,
        "lowercase": lambda evaluation: evaluation.lowercase,
    }
    if found := _differing(settings, evaluations):
        raise UsageError(f"scores cannot be compared: {found[0].message}")


def require_same_search(evaluations: list[tuple[Evaluation, Path]]) -> None:
    """Scores of different models on one text, translated alike; more than `require_same`.

    Raises:
        UsageError: if a split, a reference or a setting of decoding differs.
    """
    require_same(evaluations)
    settings: dict[str, Callable] = {
        "split": lambda evaluation: evaluation.split,
        "references": lambda evaluation: evaluation.reference_sha256,
    }
    if found := _differing(settings | _decoding_settings(evaluations), evaluations):
        raise UsageError(f"scores cannot be compared: {found[0].message}")


def first_other(values: list[tuple]) -> tuple | None:
    """Of (value, path) the first whose value is not that of the first one."""
    return next((pair for pair in values if pair[0] != values[0][0]), None)


def require_alike(run: Path, method: str, first: dict[str | None, Path]) -> None:
    """Fine-tuned runs are compared if they had the same data, checkpoint to begin with and flags.

    Those of the method alone must be the same for runs of one method.

    Args:
        run: the folder, which may lack its arguments.txt; then nothing is compared.
        method: its method.
        first: of the runs before it, the first, and by its name the first of each method; it is added to them.

    Raises:
        UsageError: naming the first in which they differ.
    """
    for key in (None, method):
        other = first.setdefault(key, run)
        if other != run:
            _need_same_flags(other, run, same_method=key is not None)


def _need_same_flags(run, other, same_method):
    paths = [each / "arguments.txt" for each in (run, other)]
    if not all(path.is_file() for path in paths):
        return
    words = [read_lines(path) for path in paths]
    for name, values in flag_differences(*words).items():
        if MAY_DIFFER.fullmatch(name) or (OF_THE_METHOD.fullmatch(name) and not same_method):
            continue
        one, two = ("not given" if value is None else value or "given" for value in values)
        raise UsageError(f"{run} and {other} cannot be compared: {name} is {one} and {two}")


def differences(evaluations: list[tuple[Evaluation, Path]], equal_time: bool) -> list[Difference]:
    """The settings of training and decoding in which they differ; what a record does not hold is not compared.

    Args:
        evaluations: each with its file.
        equal_time: limits of updates and of time may differ, and so may the updates of checkpoints chosen by hand.
    """
    settings: dict[str, Callable] = {
        name: _training_setting(name) for name in TRAINING_SETTINGS if not (equal_time and name in LIMITS)
    }
    names = {name: None for evaluation, _ in evaluations for name in evaluation.hyperparameters or {}}
    settings |= {name: _hyperparameter(name) for name in names if name not in SETTINGS}
    if not equal_time:
        settings[CHOSEN_BY_HAND] = _chosen_update
    found = _differing(settings | _decoding_settings(evaluations), evaluations)
    for method in dict.fromkeys(evaluation.method for evaluation, _ in evaluations):
        of_it = [pair for pair in evaluations if pair[0].method == method]
        found += _differing({f"{name} of {method}": _hyperparameter(name, method) for name in SETTINGS}, of_it)
    return found


def _chosen_update(evaluation):
    return str(evaluation.num_updates) if evaluation.kind in ("numbered", "other") else None


def _hyperparameter(name, method=None):
    """How to read one, of all methods alike, or of one alone."""

    def read(evaluation):
        values = evaluation.hyperparameters or {}
        return values.get(name) if method in (None, evaluation.method) else None

    return read


def _decoding_settings(evaluations):
    """How to read every setting of decoding that one of them has."""
    names = {name for evaluation, _ in evaluations for name in evaluation.decoding}
    settings: dict[str, Callable] = {name: _decoding_setting(name) for name in sorted(names)}
    # Tuned penalties may differ, the rule by which they were chosen may not; with given ones they share no row.
    settings["lenpen"] = lambda evaluation: None if evaluation.tuning else _decoding_setting("lenpen")(evaluation)
    settings["grid of length penalties"] = lambda evaluation: rule(evaluation.tuning) if evaluation.tuning else None
    return settings


def _differing(settings, evaluations):
    """The settings in which evaluations differ that hold them."""
    found = []
    for name, read in settings.items():
        values = [(read(evaluation), path) for evaluation, path in evaluations]
        known = [(value, path) for value, path in values if value is not None]
        if other := first_other(known):
            (ours, path), (theirs, other_path) = known[0], other
            title = name.replace("_", " ")
            found.append(
                Difference(
                    title,
                    read,
                    f"runs differ in {title}: {ours} of {path}, {theirs} of {other_path}",
                    name in (*LIMITS, CHOSEN_BY_HAND),
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
        if name not in decoding:
            return None
        # Flags that were not given; an earlier format has them as they were typed.
        value = "none" if decoding[name] in (None, {}, "") else decoding[name]
        return json.dumps(value, sort_keys=True)

    return read
