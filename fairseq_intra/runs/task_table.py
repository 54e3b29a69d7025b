"""The results table of fine-tuning: plain training beside other methods, task by task, over seeds."""

import statistics
from pathlib import Path

from ..errors import UsageError
from ..json_files import has_fields, read_json
from ..methods import is_before
from .comparison import Comparison, average_cells, columns_of, joined, markdown, methods_of, score_cells, seeds_of
from .evaluation import plain_note
from .run_settings import require_alike
from .training_log import parse_log

NAMES = {"accuracy": "accuracy", "f1": "F1", "mcc": "Matthews correlation", "pearson": "Pearson correlation"}
#: What is read of a run.json.
KINDS = {"task": str, "metric": str, "method": str, "seed": int}


def task_table(runs: list[Path]) -> str:
    """A Markdown table of each task's measure on the dev set, times 100, at the best epoch of every run.

    Args:
        runs: folders of scripts/finetune.sh; for every task one of each method and seed, plain training among
            them.

    Raises:
        UsageError: on a folder that is no finished run, a run that has no counterpart, two runs for one place, or two
            of a task with other data, another model to begin with, or other settings.
    """
    tasks: dict[tuple[str, str], Comparison[float]] = {}
    first: dict[str, dict[str | None, Path]] = {}
    plain = []
    for folder in runs:
        run, score, is_plain = _read(folder)
        plain.append(run["method"] == "late" and is_plain)
        require_alike(folder, run["method"], first.setdefault(run["task"], {}))
        task = tasks.setdefault((run["task"], run["metric"]), Comparison(run["task"]))
        task.add(run["method"], run["seed"], score, folder)
    rows, averages = [], []
    methods = methods_of(tasks.values())
    for (name, metric), task in tasks.items():
        scores = [list(of_method) for of_method in zip(*task.by_seed(methods), strict=True)]
        rows.append([name, NAMES[metric], *joined(score_cells(scores))])
        averages.append([statistics.mean(of_method) for of_method in scores])
    if len(rows) > 1:
        rows.append(["average", "", *joined(average_cells(zip(*averages, strict=True)))])
    seeds = seeds_of(tasks.values())
    note = f"Dev set, the best epoch of each run; seeds {', '.join(map(str, seeds))}"
    if len(seeds) > 1:
        note += ": means and standard deviations; a difference is between runs of one seed"
    columns = ["task", "measure", *columns_of(methods)]
    notes = [f"{note}.", "fairseq logs a run's measure with one decimal.", *plain_note(plain)]
    return markdown(columns, rows, notes, names=2)


def _read(folder):
    """What run.json holds, the best score, and whether all updates until then were plain."""
    path = folder / "run.json"
    try:
        text = (folder / "train.log").read_text(encoding="utf-8", errors="replace")
        path.stat()
    except OSError:
        raise UsageError(f"{folder} is no run of scripts/finetune.sh") from None
    run = read_json(path)
    if not has_fields(run, KINDS) or run["metric"] not in NAMES:
        raise UsageError(f"{path} is not of a run of scripts/finetune.sh: it should hold {', '.join(KINDS)}")
    if not (folder / "finished").exists():
        raise UsageError(f"{folder} is not finished; repeat the command that made it")
    # A model that says the same of all texts has no correlation, which is logged as no number.
    log, metric = parse_log(text), run["metric"]
    scored = [entry for entry in log.valid if entry.get(metric, float("nan")) > float("-inf")]
    if not scored:
        raise UsageError(f"{folder}/train.log tells no {metric} of a validation")
    best = max(scored, key=lambda entry: entry[metric])
    return run, best[metric], is_before(log.switch["num_updates"] if log.switch else None, best["num_updates"])
