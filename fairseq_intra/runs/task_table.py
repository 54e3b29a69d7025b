"""The results table of fine-tuning: plain training beside intra-distillation, task by task, over seeds."""

import json
import statistics
from pathlib import Path

from ..errors import UsageError
from .tables import METHODS, line, mean_and_spread
from .training_log import parse_log

NAMES = {"accuracy": "accuracy", "f1": "F1", "mcc": "Matthews correlation", "pearson": "Pearson correlation"}


def task_table(runs: list[Path]) -> str:
    """A Markdown table of each task's measure on the dev set, times 100, at the best epoch of every run.

    Args:
        runs: folders of scripts/finetune.sh; for every task one of plain training and one of intra-distillation, of
            each seed.

    Raises:
        UsageError: on a folder that is no finished run, a run that has no counterpart, or two runs for one place.
    """
    tasks = {}
    for folder in runs:
        run, score = _read(folder)
        places = tasks.setdefault((run["task"], run["metric"]), {})
        place = run["method"], run["seed"]
        if place in places:
            raise UsageError(f"{folder} is a second {place[0]} run of {run['task']} with seed {place[1]}")
        places[place] = score
    lines = [line(["task", "measure", "plain", "intra-distillation", "difference"]), "|---|---|---:|---:|---:|"]
    averages = []
    for (task, metric), places in tasks.items():
        scores = _by_method(task, places)
        differences = [intra - plain for plain, intra in zip(*scores, strict=True)]
        lines.append(line([task, NAMES[metric], *map(mean_and_spread, scores), mean_and_spread(differences, "+")]))
        averages.append([statistics.mean(of_method) for of_method in scores])
    plain, intra = (statistics.mean(column) for column in zip(*averages, strict=True))
    lines.append(line(["average", "", f"{plain:.2f}", f"{intra:.2f}", f"{intra - plain:+.2f}"]))
    seeds = sorted({seed for places in tasks.values() for _, seed in places})
    note = f"Dev set, the best epoch of each run; seeds {', '.join(map(str, seeds))}"
    if len(seeds) > 1:
        note += ": means and standard deviations; a difference is between runs of one seed"
    return "\n".join([*lines, "", f"{note}."])


def _read(folder):
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        log = parse_log((folder / "train.log").read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        raise UsageError(f"{folder} is no run of scripts/finetune.sh") from None
    if not (folder / "finished").exists():
        raise UsageError(f"{folder} is not finished; the command that made it goes on")
    # A model that says the same of all texts has no correlation, which is logged as no number.
    scores = [entry[run["metric"]] for entry in log.valid if entry.get(run["metric"], float("nan")) > float("-inf")]
    if not scores:
        raise UsageError(f"{folder}/train.log tells no {run['metric']} of a validation")
    return run, max(scores)


def _by_method(task, places):
    """The scores of either method, by seed."""
    seeds = sorted({seed for _, seed in places})
    for seed in seeds:
        for method in METHODS:
            if (method, seed) not in places:
                raise UsageError(f"{task} has no {method} run of seed {seed} to compare with")
    return [[places[method, seed] for seed in seeds] for method in METHODS]
