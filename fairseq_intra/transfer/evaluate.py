"""How well a fine-tuned encoder does in each language."""

import hashlib
import statistics
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from fairseq import utils
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from .. import checkpoint
from ..errors import UsageError
from ..files import write_record
from ..fine_tuning.entities import count_entities
from ..fine_tuning.token_classification import TokenClassificationTask
from ..fine_tuning.token_classification_criterion import by_sentence, head_input
from .prepare import read_summary

FORMAT = 1


@dataclass(frozen=True)
class TransferEvaluation:
    """One checkpoint scored on one language's test split. Written as JSON."""

    format: int
    metric: str  #: "f1" (entities) or "accuracy" (texts)
    score: float  #: in percent
    details: dict[str, float]  #: of f1 precision, recall and counts; of accuracy the share of the most frequent label
    source: str  #: the language trained on
    language: str
    method: str
    seed: int
    num_updates: int
    checkpoint: str
    sentences: int
    labels_sha256: str
    versions: dict[str, str]


def evaluate_all(path: Path, data: Path, max_tokens: int, cpu: bool):
    """Scores a checkpoint on every test split of a folder that `transfer_data.prepare` made; yields what it found.

    Beside the checkpoint NAME.pt stands a NAME.LANG.json for each, written once it is scored.

    Raises:
        UsageError: if the checkpoint or the data cannot be read, or the checkpoint is no classifier.
    """
    summary = read_summary(data)
    built = checkpoint.build(path, data)
    if not isinstance(built.task, TokenClassificationTask | SentencePredictionTask):
        raise UsageError(f"{path} was trained for the task {built.cfg.task._name}, which has no labels to score")
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    model = built.model.to(device)
    for language in summary["languages"]:
        result = _evaluate(built, model, path, summary["source"], language, max_tokens, device)
        write_record(path.with_suffix(f".{language}.json"), result)
        yield result


def _evaluate(built, model, path, source, language, max_tokens, device):
    split = f"test.{language}"
    built.task.load_dataset(split)
    if isinstance(built.task, TokenClassificationTask):
        gold, predicted = built.task.tags(split), _labels(built.task, model, split, max_tokens, device, _tags)
        metric, (score, details) = "f1", _score_tags(gold, predicted)
    else:
        rows = _labels(built.task, model, split, max_tokens, device, _class_and_best)
        gold, predicted = zip(*rows, strict=True)
        metric, score = "accuracy", statistics.mean(a == b for a, b in rows)
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


def _score_tags(gold, predicted):
    # Where a sentence was cut, its last words have no prediction: none of their entities is found.
    cut = [["O"] * (len(tags) - len(found)) for tags, found in zip(gold, predicted, strict=True)]
    counts = count_entities(gold, [found + more for found, more in zip(predicted, cut, strict=True)])
    more = {"precision": counts.precision, "recall": counts.recall, "words_cut": sum(map(len, cut))}
    return counts.f1, counts._asdict() | more


@torch.no_grad()
def _labels(task, model, split, max_tokens, device, say):
    """What say(task, model, sample) tells of every text of a split, batch by batch; in the split's order."""
    batches = task.get_batch_iterator(task.dataset(split), max_tokens=max_tokens, max_positions=None, num_workers=0)
    found = {}
    for sample in batches.next_epoch_itr(shuffle=False):
        sample = utils.move_to_cuda(sample) if device.type == "cuda" else sample
        found |= zip(sample["id"].tolist(), say(task, model, sample), strict=True)
    return [found[number] for number in sorted(found)]


def _tags(task, model, sample):
    keep = sample["target"].ne(task.IGNORE)
    best = model(**head_input(sample))[0].argmax(-1)
    return [[task.labels[number] for number in row] for row in by_sentence(keep, best[keep])]


def _class_and_best(task, model, sample):
    head = {"features_only": True, "classification_head_name": task.cfg.classification_head_name}
    best = model(**sample["net_input"], **head)[0].argmax(-1)
    return zip(sample["target"].flatten().tolist(), best.tolist(), strict=True)
