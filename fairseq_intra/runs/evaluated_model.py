"""What an evaluation's record says of its model: how it was trained, which checkpoints, on which dictionaries."""

import re
from itertools import chain
from pathlib import Path

from fairseq.data import Dictionary

from .. import checkpoint as checkpoints
from ..console import say
from ..files import read_lines
from ..last_checkpoint import LAST, is_own_last
from ..methods import setting
from ..patches import dictionary_checksum
from .arguments import data_line, flag_value
from .dataset import Dataset, read_dataset
from .evaluation import TrainingRules, run_of
from .hyperparameters import hyperparameters
from .run_settings import LIMITS


def about_model(paths: list[Path], dataset: Dataset, states: list[dict], trained: list[Path]) -> dict:
    """The fields of the record about the checkpoints and the dataset.

    Args:
        paths: the checkpoints.
        dataset: what they are evaluated on.
        states: the content of each.
        trained: as `Request.trained`.

    Raises:
        UsageError: if a checkpoint was trained on other dictionaries.
    """
    trainings = [checkpoints.training(state) for state in states]
    methods = [training.method for training in trainings]
    kind, runs = _kind(paths, states), _runs(trained)
    values = [hyperparameters(state["cfg"]) for state in states]
    cfg = states[0]["cfg"]
    chosen_by = {
        "best_checkpoint_metric": cfg.checkpoint.best_checkpoint_metric,
        "valid_subset": cfg.dataset.valid_subset,
    }
    return {
        "dataset": dataset.folder.absolute().name,
        "corpus": dataset.corpus,
        "trained_on": _trained_on(runs, dataset, states),
        "source": dataset.source,
        "target": dataset.target,
        "lowercase": dataset.lowercase,
        "method": _shared(methods),
        "seed": trainings[0].seed,
        "num_updates": trainings[0].num_updates,
        "checkpoint": ":".join(path.name for path in paths),
        "kind": kind,
        "dictionary": _check_dictionaries(paths, dataset, states),
        "training": _training_rules(states, runs),
        "hyperparameters": {
            name: _shared([each.get(name) for each in values]) for name in dict.fromkeys(chain(*values))
        }
        | {"restore_file": str(_is_restored(states, runs))}
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
        # Those of updates lie closer together, as a rule, and their mean is another model.
        of_epochs = all(re.fullmatch(r"checkpoint\d+\.pt", each) for each in averaged)
        return f"average of {len(averaged)}{' epochs' * of_epochs}"
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


def _runs(trained):
    """The arguments of the runs that checkpoints lie in, empty for those that lie in none."""
    runs = dict.fromkeys(map(run_of, trained))
    return [read_lines(run / "arguments.txt") if run else [] for run in runs]


def _is_restored(states, runs):
    """Whether a training began with a checkpoint of --restore-file; one that was resumed has the name of its own."""
    settings = [state["cfg"].checkpoint for state in states]
    names = [*(each.restore_file for each in settings), *(flag_value(run, "--restore-file") or LAST for run in runs)]
    return not all(any(is_own_last(name, each.save_dir) for each in settings) for name in names)


def _trained_on(runs, dataset, states):
    """The corpus of the training; None where that is not known, or its dataset is not there any more as it was."""
    folders = [dataset.folder, *(Path(str(setting(state["cfg"].task, "data"))).parent for state in states)]
    known = {data_line(folder): folder for folder in folders if (folder / "manifest.json").is_file()}
    corpora = []
    for run in runs:
        corpora.append(next((read_dataset(known[line]).corpus for line in run if line in known), None))
    return None if None in corpora else _shared(corpora)


def _training_rules(states, runs) -> TrainingRules | None:
    """How they were trained; None of an ensemble of models that were trained by different rules."""
    first, *others = [_rules_of(state) | limits for state in states for limits in map(_limits_of, runs)]
    alike = all(rules | {"seconds": None} == first | {"seconds": None} for rules in others)
    return first if alike else None


def _limits_of(run):
    """The limits of a run; its checkpoints have those of the moment, and a run may have gone on with others."""
    if not run:
        return {}
    kinds = TrainingRules.__annotations__
    return {name: kinds[name](flag_value(run, f"--{name.replace('_', '-')}") or 0) for name in LIMITS}


def _rules_of(state) -> TrainingRules:
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
