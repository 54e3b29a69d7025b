"""How well a fine-tuned encoder does in each language."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import torch

from .. import checkpoint
from ..errors import UsageError
from ..json_files import write_json, write_record
from ..runs.evaluation import unfinished_runs, warn_of_unfinished_runs
from .evaluation import FORMAT, TransferEvaluation
from .prepare import read_summary
from .recipes import RECIPES
from .scores import SCORES, Predictor


def evaluate_all(path: Path, data: Path, max_tokens: int, cpu: bool):
    """Scores a checkpoint on every test split of a folder that `prepare` made; yields what it found.

    Beside the checkpoint NAME.pt stands a NAME.LANG.json for each, written once it is scored; of question answering
    also a NAME.LANG.predictions.json, the answers by id, which SQuAD's own evaluation takes.

    Raises:
        UsageError: if the checkpoint or the data cannot be read, or the checkpoint is no classifier.
    """
    summary = read_summary(data)
    built = checkpoint.build(path, data)
    how = [how for task_class, how in SCORES.items() if isinstance(built.task, task_class)]
    if not how:
        raise UsageError(f"{path} was trained for the task {built.cfg.task._name}, which has no labels to score")
    trained_for = RECIPES[summary["kind"]].task
    if not built.cfg.task._name.startswith(trained_for):
        raise UsageError(f"{path} was trained for the task {built.cfg.task._name}, and {data} is of {trained_for}")
    ((metric, score),) = how
    warn_of_unfinished_runs(unfinished_runs([path]))
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    model = built.model.to(device)
    for language in summary["languages"]:
        split = f"test.{language}"
        built.task.load_dataset(split)
        found = score(Predictor(built.task, model, data, split, max_tokens, device))
        if found.predictions is not None:
            write_json(path.with_suffix(f".{language}.predictions.json"), found.predictions)
        result = _evaluation(metric, found, summary["source"], language, built.training, path)
        write_record(path.with_suffix(f".{language}.json"), result)
        yield result


def _evaluation(metric, found, source, language, training, path):
    return TransferEvaluation(
        format=FORMAT,
        metric=metric,
        score=100 * found.score,
        details=found.details,
        source=source,
        language=language,
        method=training.method,
        seed=training.seed,
        num_updates=training.num_updates,
        checkpoint=path.name,
        sentences=len(found.gold),
        labels_sha256=hashlib.sha256(repr(found.gold).encode()).hexdigest(),
        versions={name: version(name) for name in ("torch", *["seqeval"] * (metric == "f1"))},
        before_switch=training.before_switch if training.method == "late" else None,
    )
