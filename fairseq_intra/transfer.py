"""How well a fine-tuned encoder does in one language, and the table over languages."""

import hashlib
import statistics
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from fairseq import utils

from . import checkpoint
from .entities import count_entities
from .errors import UsageError
from .files import read_record, write_record
from .table import METHODS, line, mean_and_spread
from .tagging import TokenClassificationTask
from .tagging_criterion import by_sentence, head_input
from .transfer_data import read_summary

FORMAT = 1
UNIT = {"f1": "entity-level F1, seqeval, in percent", "accuracy": "accuracy, in percent"}


@dataclass(frozen=True)
class TransferEvaluation:
    """One checkpoint scored on one language's test split. Written as JSON."""

    format: int
    metric: str  #: "f1" (entities) or "accuracy" (texts)
    score: float  #: in percent
    details: dict  #: of f1 precision, recall and counts; of accuracy the share of the most frequent label
    source: str  #: the language trained on
    language: str
    method: str
    seed: int
    num_updates: int
    checkpoint: str
    sentences: int
    labels_sha256: str
    versions: dict


def evaluate_all(path: Path, data: Path, max_tokens: int, cpu: bool):
    """Scores a checkpoint on every test split of a folder that `transfer_data.prepare` made; yields what it found.

    Beside the checkpoint NAME.pt stands a NAME.LANG.json for each, written once it is scored.

    Raises:
        UsageError: if the checkpoint or the data cannot be read, or the checkpoint is no classifier.
    """
    summary = read_summary(data)
    built = checkpoint.build(path, data)
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    model = built.model.to(device)
    for language in summary["languages"]:
        result = _evaluate(built, model, path, summary["source"], language, max_tokens, device)
        write_record(path.with_suffix(f".{language}.json"), result)
        yield result


def _evaluate(built, model, path, source, language, max_tokens, device):
    split = f"test.{language}"
    tagger = isinstance(built.task, TokenClassificationTask)
    if not tagger and not hasattr(built.task.cfg, "classification_head_name"):
        raise UsageError(f"{path} was trained for the task {built.cfg.task._name}, which has no labels to score")
    built.task.load_dataset(split)
    rows = _labels(built.task, model, split, max_tokens, device, tagger)
    gold, predicted = zip(*rows, strict=True)
    if tagger:
        whole = built.task.tags(split)
        # Where a sentence was cut, its last words have no prediction: none of their entities is found.
        missing = sum(len(tags) - len(found) for tags, found in zip(whole, predicted, strict=True))
        padded = [found + ["O"] * (len(tags) - len(found)) for tags, found in zip(whole, predicted, strict=True)]
        counts, gold = count_entities(whole, padded), whole
        metric, score = "f1", counts.f1
        details = counts._asdict() | {"precision": counts.precision, "recall": counts.recall, "words_cut": missing}
    else:
        metric, score = "accuracy", statistics.mean(a == b for a, b in zip(gold, predicted, strict=True))
        details = {"majority": 100 * Counter(gold).most_common(1)[0][1] / len(gold)}
    return TransferEvaluation(
        FORMAT,
        metric,
        100 * score,
        details,
        source,
        language,
        *built.training,
        path.name,
        len(gold),
        hashlib.sha256(repr(gold).encode()).hexdigest(),
        {name: version(name) for name in ("torch", "seqeval")},
    )


@torch.no_grad()
def _labels(task, model, split, max_tokens, device, tagger):
    """[(gold, predicted)] in the order of the split: of a text a label, of a tagged sentence a list of them."""
    iterator = task.get_batch_iterator(
        task.dataset(split), max_tokens=max_tokens, max_positions=None, num_workers=0
    ).next_epoch_itr(shuffle=False)
    found = {}
    for sample in iterator:
        sample = utils.move_to_cuda(sample) if device.type == "cuda" else sample
        if tagger:
            keep = sample["target"].ne(task.IGNORE)
            best = model(**head_input(sample))[0].argmax(-1)
            columns = [
                [[task.labels[number] for number in row] for row in by_sentence(keep, labels[keep])]
                for labels in (sample["target"], best)
            ]
        else:
            head = {"features_only": True, "classification_head_name": task.cfg.classification_head_name}
            best = model(**sample["net_input"], **head)[0].argmax(-1)
            columns = [labels.flatten().tolist() for labels in (sample["target"], best)]
        found |= zip(sample["id"].tolist(), zip(*columns, strict=True), strict=True)
    return [found[number] for number in sorted(found)]


def transfer_table(paths: list[Path]) -> str:
    """A Markdown table of the languages: means over seeds, standard deviations, and the averages.

    Args:
        paths: JSON files of `evaluate_all`, of both methods, every seed and every language.

    Raises:
        UsageError: on runs that cannot be compared, that are twice there, or that lack a counterpart.
    """
    runs = {}
    for path in paths:
        run = read_record(TransferEvaluation, path, FORMAT, "an evaluation of fairseq-intra evaluate-transfer")
        place = (run.language, run.method, run.seed)
        if place in runs:
            raise UsageError(f"{path}: there is another {run.method} run of {run.language} with seed {run.seed}")
        runs[place] = run
    first = next(iter(runs.values()))
    if len({(run.metric, run.source) for run in runs.values()}) > 1:
        raise UsageError("the runs are not all of one metric and one language trained on")
    seeds = sorted({seed for *_, seed in runs})
    languages = sorted({language for language, *_ in runs}, key=lambda name: (name != first.source, name))
    for language in languages:
        _check(language, [runs.get((language, method, seed)) for method in METHODS for seed in seeds])
    columns = ["language", "plain", "intra-distillation", "difference"]
    baseline = first.metric == "accuracy"
    lines = [line(columns + ["most frequent label"] * baseline), "|---|" + "---:|" * (3 + baseline)]
    groups = [
        ([language], language + f" ({'trained on' if language == first.source else 'zero-shot'})")
        for language in languages
    ]
    others = [language for language in languages if language != first.source]
    groups += [(others, "average, zero-shot")] * (len(others) > 1) + [(languages, "average, all")] * (
        len(languages) > 1
    )
    for group, name in groups:
        plain, intra = (
            [statistics.mean(runs[one, method, seed].score for one in group) for seed in seeds] for method in METHODS
        )
        gains = [b - a for a, b in zip(plain, intra, strict=True)]
        cells = [name, mean_and_spread(plain), mean_and_spread(intra), mean_and_spread(gains, "+")]
        if baseline:
            cells.append(f"{statistics.mean(runs[one, 'plain', seeds[0]].details['majority'] for one in group):.2f}")
        lines.append(line(cells))
    spread = (
        f"; means and standard deviations over {len(seeds)} seeds, a difference is between runs of one seed"
        if len(seeds) > 1
        else ""
    )
    return "\n".join([*lines, "", f"{UNIT[first.metric].capitalize().replace('f1', 'F1')}{spread}."])


def _check(language, runs):
    if None in runs:
        raise UsageError(f"{language} lacks a run: every seed needs one of plain and one of intra")
    if len({run.labels_sha256 for run in runs}) > 1:
        raise UsageError(f"the runs of {language} were scored on different texts")
