"""Scores a model on a test split: entities, classes of texts, or answers to questions."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq import utils
from fairseq.tasks import FairseqTask
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from ..fine_tuning.entities import count_entities
from ..fine_tuning.positionwise import head_input
from ..fine_tuning.question_answering import SPAN, QuestionAnsweringTask
from ..fine_tuning.token_classification import TokenClassificationTask
from ..fine_tuning.token_classification_criterion import by_sentence
from .answers import best_spans, exact_match, f1
from .question_text import OFFSETS, read_text

#: Longest answer, in subwords, as in the authors' run_squad.py.
MAX_ANSWER_LENGTH = 30


class SplitScore(NamedTuple):
    """What a test split's scores are made of."""

    gold: Sequence  #: of every sentence, text or question
    score: float  #: between 0 and 1
    details: dict
    predictions: dict | None = None  #: answers by the ids of their questions


class Predictor(NamedTuple):
    """A model, and the split of a folder of data that it runs on."""

    task: FairseqTask
    model: torch.nn.Module
    data: Path
    split: str
    max_tokens: int
    device: torch.device

    @torch.no_grad()
    def predict(self, head: str, read: Callable) -> list:
        """What read(sample, outputs) tells of every example of a mini-batch, in the split's order."""
        dataset = self.task.dataset(self.split)
        batches = self.task.get_batch_iterator(dataset, max_tokens=self.max_tokens, max_positions=None, num_workers=0)
        found = {}
        for sample in batches.next_epoch_itr(shuffle=False):
            sample = utils.move_to_cuda(sample) if self.device.type == "cuda" else sample
            outputs = self.model(**head_input(sample, head))[0]
            found |= zip(sample["id"].tolist(), read(sample, outputs), strict=True)
        return [found[number] for number in sorted(found)]


def _score_tags(predictor):
    task = predictor.task

    def read(sample, outputs):
        keep = sample["target"].ne(task.IGNORE)
        best = outputs.argmax(-1)[keep]
        return [[task.labels[number] for number in row] for row in by_sentence(keep, best)]

    gold, predicted = task.tags(predictor.split), predictor.predict(task.HEAD, read)
    # Where a sentence was truncated, its last words have no prediction: none of their entities is found.
    missing = [["O"] * (len(tags) - len(found)) for tags, found in zip(gold, predicted, strict=True)]
    counts = count_entities(gold, [found + more for found, more in zip(predicted, missing, strict=True)])
    more = {"precision": counts.precision, "recall": counts.recall, "words_cut": sum(map(len, missing))}
    return SplitScore(gold, counts.f1, counts._asdict() | more)


def _score_classes(predictor):
    def read(sample, outputs):
        return zip(sample["target"].flatten().tolist(), outputs.argmax(-1).tolist(), strict=True)

    rows = predictor.predict(predictor.task.cfg.classification_head_name, read)
    gold = tuple(true for true, _ in rows)
    details = {"majority": 100 * Counter(gold).most_common(1)[0][1] / len(gold)}
    return SplitScore(gold, statistics.mean(a == b for a, b in rows), details)


def _score_answers(predictor):
    def read(sample, outputs):
        return best_spans(outputs, sample["answerable"], MAX_ANSWER_LENGTH)

    questions, best = read_text(predictor.data, predictor.split), {}
    places, offsets = (predictor.task.load_rows(folder, predictor.split) for folder in (SPAN, OFFSETS))
    for (score, *span), (first, *_), row in zip(
        predictor.predict(predictor.task.HEAD, read), places, offsets, strict=True
    ):
        number, *characters = row.tolist()
        if number not in best or score > best[number][0]:
            begin, end = (place - int(first) for place in span)
            best[number] = score, characters[2 * begin], characters[2 * end + 1]
    texts = [question.context[slice(*best[number][1:])].strip() for number, question in enumerate(questions)]
    golds = [[answer.text for answer in question.answers] for question in questions]
    pairs = list(zip(texts, golds, strict=True))
    return SplitScore(
        [(question.id, gold) for question, gold in zip(questions, golds, strict=True)],
        statistics.mean(f1(*pair) for pair in pairs),
        {"exact_match": 100 * statistics.mean(exact_match(*pair) for pair in pairs)},
        {question.id: text for question, text in zip(questions, texts, strict=True)},
    )


#: By task: the name of the score, and the function that takes it from a `Predictor`.
SCORES = {
    TokenClassificationTask: ("f1", _score_tags),
    SentencePredictionTask: ("accuracy", _score_classes),
    QuestionAnsweringTask: ("answer_f1", _score_answers),
}
