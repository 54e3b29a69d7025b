"""What an evaluation's record says of its model: how it was trained, which checkpoints, on which dictionaries."""

import re
from itertools import chain
from pathlib import Path

from fairseq.data import Dictionary

from .. import checkpoint as checkpoints
from ..console import say
from ..patches import dictionary_checksum
from .dataset import Dataset
from .evaluation import TrainingRules
from .hyperparameters import hyperparameters


def about_model(paths: list[Path], dataset: Dataset, states: list[dict]) -> dict:
    """The fields of the record about the checkpoints (the content of each in `states`) and the dataset.

    Raises:
        UsageError: if a checkpoint was trained on other dictionaries.
    """
    trainings = [checkpoints.training(state) for state in states]
    methods = [training.method for training in trainings]
    kind = _kind(paths, states)
    values = [hyperparameters(state["cfg"]) for state in states]
    chosen_by = {"best_checkpoint_metric": states[0]["cfg"].checkpoint.best_checkpoint_metric}
    return {
        "dataset": dataset.folder.absolute().name,
        "corpus": dataset.corpus,
        "source": dataset.source,
        "target": dataset.target,
        "lowercase": dataset.lowercase,
        "method": _shared(methods),
        "seed": trainings[0].seed,
        "num_updates": trainings[0].num_updates,
        "checkpoint": ":".join(path.name for path in paths),
        "kind": kind,
        "dictionary": _check_dictionaries(paths, dataset, states),
        "training": _training_rules(states[0]),
        "hyperparameters": {
            name: _shared([each.get(name) for each in values]) for name in dict.fromkeys(chain(*values))
        }
        | (chosen_by if kind == "best" else {}),
        "before_switch": any(training.before_switch for training in trainings) if "late" in methods else None,
        "run": "+".join(dict.fromkeys(filter(None, map(checkpoints.run_name, states)))) or None,
    }


def _shared(values):
    """Of the models of an ensemble: what they have in common, or "mixed"."""
    return values[0] if len(set(values)) == 1 else "mixed"


def _kind(paths, states):
    if len(paths) > 1:
        return f"ensemble of {len(paths)}"
    if "pruned" in states[0]:
        return "pruned"
    averaged, name = states[0].get("averaged_checkpoints"), paths[0].stem
    if averaged:
        return f"average of {len(averaged)}"
    if name in ("checkpoint_best", "checkpoint_last"):
        return name.removeprefix("checkpoint_")
    return "numbered" if re.fullmatch(r"checkpoint(\d+|_\d+_\d+)", name) else "other"


def _check_dictionaries(paths, dataset, states):
    files = [dataset.folder / name for name in dataset.dictionaries()]
    symbols = dict(zip(("source", "target"), (Dictionary.load(str(file)).symbols for file in files), strict=True))
    languages = {"source": dataset.source, "target": dataset.target}
    known = [
        dictionary_checksum.check(path, dictionary_checksum.stored_in(state), symbols, languages)
        for path, state in zip(paths, states, strict=True)
    ]
    for path, found in zip(paths, known, strict=True):
        if not found:
            say(f"{path} {dictionary_checksum.UNKNOWN}")
    return "checked" if all(known) else "unchecked"


def _training_rules(state) -> TrainingRules:
    cfg = state["cfg"]
    batches = cfg.optimization.update_freq[0] * cfg.distributed_training.distributed_world_size
    tokens, sentences = cfg.dataset.max_tokens, cfg.dataset.batch_size
    seconds = (state.get("extra_state") or {}).get("previous_training_time")
    return {
        "batch_tokens": tokens and tokens * batches,
        "batch_sentences": sentences and sentences * batches,
        "max_update": cfg.optimization.max_update,
        "max_epoch": cfg.optimization.max_epoch,
        "patience": cfg.checkpoint.patience,
        "stop_time_hours": float(cfg.optimization.stop_time_hours),
        "seconds": None if seconds is None else float(seconds),
    }


def position_limits(states) -> tuple[int, int]:
    """The smallest --max-source-positions and --max-target-positions of the models."""
    source, target = (
        min(int(getattr(state["cfg"].model, f"max_{side}_positions", None) or 1 << 30) for state in states)
        for side in ("source", "target")
    )
    return source, target
