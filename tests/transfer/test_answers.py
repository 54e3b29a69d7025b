"""Answers: the best span of a window and of a question, exact match and F1."""

import math

import pytest
import torch

from fairseq_intra.fine_tuning.question_answering import SPAN, QuestionAnsweringTask
from fairseq_intra.json_files import write_json
from fairseq_intra.transfer.answers import best_spans, exact_match, f1
from fairseq_intra.transfer.question_text import OFFSETS, TEXT
from fairseq_intra.transfer.scores import SCORES

#: Seven positions of a window: `<s>`, three of the question, three of the context.
ANSWERABLE = torch.tensor([[True, False, False, False, True, True, True]])


def outputs(start, end):
    return torch.tensor([start, end]).t().unsqueeze(0)


@pytest.mark.parametrize(
    "start, end, longest, expected",
    [
        ([0, 0, 0, 0, 1, 2, 0], [0, 0, 0, 0, 0, 0, 3], 30, (5, 6)),
        # The best end is before the best start.
        ([0, 0, 0, 0, 0, 0, 3], [0, 0, 0, 0, 4, 0, 0], 30, (4, 4)),
        # The best span is too long.
        ([0, 0, 0, 0, 5, 1, 0], [0, 0, 0, 0, 0, 1, 5], 2, (4, 5)),
        ([0, 0, 0, 0, 5, 1, 0], [0, 0, 0, 0, 0, 1, 5], 1, (4, 4)),
        # The question, and `<s>`, hold no answer.
        ([9, 9, 9, 9, 0, 1, 0], [9, 9, 9, 9, 0, 1, 0], 30, (5, 5)),
    ],
)
def test_the_best_span(start, end, longest, expected):
    ((_, *span),) = best_spans(outputs([*map(float, start)], [*map(float, end)]), ANSWERABLE, longest)
    assert tuple(span) == expected


def test_the_score_is_the_log_probability_and_that_there_is_none_has_its_share():
    """By hand: each of the four positions that count has 1/4; then `<s>` has 3/6 of the start."""
    ((score, *_),) = best_spans(torch.zeros(1, 7, 2), ANSWERABLE, 30)
    assert score == pytest.approx(2 * math.log(1 / 4))
    ((score, *_),) = best_spans(outputs([math.log(3), *[0.0] * 6], [0.0] * 7), ANSWERABLE, 30)
    assert score == pytest.approx(math.log(1 / 6) + math.log(1 / 4))


def test_windows_of_a_mini_batch_do_not_touch():
    answerable = torch.tensor([[True, False, True, True, False], [True, False, False, True, True]])
    found = best_spans(torch.zeros(2, 5, 2).index_fill(1, torch.tensor([2, 4]), 1.0), answerable, 30)
    assert [tuple(span) for _, *span in found] == [(2, 2), (4, 4)]


#: (answer, golds, exact match, F1) as SQuAD's evaluate-v1.1.py has them (the copy in XTREME, evaluate_squad.py).
GOLDEN = [
    ("1976", ["1976"], True, 1),
    ("the Normans", ["the Norse", "Normans"], True, 1),
    ("in the 10th and 11th centuries", ["10th and 11th centuries"], False, 8 / 9),
    ("Denver Broncos!", ["denver  broncos."], True, 1),
    ("dog dog cat", ["dog cat cat"], False, 2 / 3),
    ("theory an", ["theory"], True, 1),
    ("U.S.", ["us"], True, 1),
    ("", ["x"], False, 0),
    ("x", [""], False, 0),
    # Nothing is left of either: no word in common, unlike in SQuAD 2.0's evaluation (and torchmetrics), which has 1.
    ("A an the", ["the"], True, 0),
    # Case endings and particles are a part of the word; punctuation other than ASCII's stays.
    ("군사령관", ["고대 카르타고의 군사령관"], False, 0.5),
    ("군사령관은", ["군사령관"], False, 0),
    ("عام 1976،", ["عام 1976"], False, 0.5),
    ("తెలుగు భాష", ["భాష"], False, 2 / 3),
    # Without spaces an answer is one word.
    ("在北京", ["北京"], False, 0),
    ("กรุงเทพ", ["กรุงเทพมหานคร"], False, 0),
    # Characters are compared as they are: composed and decomposed differ.
    ("cafe\u0301", ["café"], False, 0),
]


@pytest.mark.parametrize("answer, golds, exact, score", GOLDEN)
def test_scores_are_those_of_squads_own_evaluation(answer, golds, exact, score):
    assert exact_match(answer, golds) is exact
    assert f1(answer, golds) == pytest.approx(score, rel=1e-12)


class Windows:
    """A stub of a `Predictor`: (score, first, last position) of the best span of every window of a split."""

    split = "test.de"

    def __init__(self, data, spans, rows):
        self.data, self.spans, self.rows, self.task = data, spans, rows, self

    HEAD = "any"

    def predict(self, _head, _read):
        return self.spans

    def load_rows(self, kind, _split):
        return [torch.tensor(row) for row in self.rows[kind]]


def test_an_answer_is_the_text_of_the_best_window(tmp_path):
    """Two questions with two windows each, of one character a subword; contexts begin at positions 4 and 5."""
    questions = [("q1", "?", "abcdef", [(1, "bc")]), ("q2", "?", " x y ", [(3, "y"), (1, "x y")])]
    (tmp_path / TEXT).mkdir()
    write_json(tmp_path / TEXT / "test.de.json", questions)
    whole = [[0, 1, 1, 2, 2, 3, 3, 4], [2, 3, 3, 4, 4, 5, 5, 6], [0, 1, 1, 2, 2, 3], [2, 3, 3, 4, 4, 5]]
    rows = {OFFSETS: [[n // 2, *row] for n, row in enumerate(whole)], SPAN: [[first, 0, 0] for first in (4, 4, 5, 5)]}
    spans = [(-3.0, 5, 6), (-2.0, 5, 7), (-1.0, 5, 6), (-4.0, 6, 6)]
    metric, score = SCORES[QuestionAnsweringTask]
    found = score(Windows(tmp_path, spans, rows))
    assert found.predictions == {"q1": "def", "q2": "x"}
    # Of the second one half of the words of "x y".
    assert metric == "answer_f1" and found.score == pytest.approx((0 + 2 / 3) / 2)
    assert found.details == {"exact_match": 0}
    assert score(Windows(tmp_path, [(-1.0, 5, 6), *spans[1:]], rows)).details == {"exact_match": 50}
