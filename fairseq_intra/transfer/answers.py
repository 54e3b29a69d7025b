"""Answers as text: the best span of a question's windows, and how well it agrees with what people answered."""

import re
import string
from collections import Counter

import torch

from ..fine_tuning.question_answering_criterion import LEFT_OUT, position_logits


def best_spans(outputs: torch.Tensor, answerable: torch.Tensor, longest: int) -> list[tuple[float, int, int]]:
    """(score, first, last position) of the best span of every window.

    A span lies in the context, ends where it begins or later, and has at most `longest` subwords. Its score is the
    sum of both log-probabilities, in which `<s>`, "not in this window", has its share: so the windows of a question
    can be compared, which the logits of two softmaxes cannot.

    Args:
        outputs: [B, T, 2], of the head.
        answerable: [B, T], True at the context and at `<s>`.
        longest: in subwords.
    """
    # Without `<s>` once it has had its share of the probability.
    start, end = position_logits(outputs, answerable).log_softmax(-1)[..., 1:]
    allowed = answerable[:, 1:]
    length = allowed.size(1)
    band = torch.ones(length, length, dtype=torch.bool, device=outputs.device).triu().tril(longest - 1)
    spans = start.unsqueeze(2) + end.unsqueeze(1)
    spans.masked_fill_(~(band & allowed.unsqueeze(2) & allowed.unsqueeze(1)), 4 * LEFT_OUT)
    score, place = spans.flatten(1).max(1)
    first, last = place // length + 1, place % length + 1
    return list(zip(score.tolist(), first.tolist(), last.tolist(), strict=True))


def normalised(text: str) -> str:
    """A text as SQuAD compares it: in lower case, without ASCII punctuation, English articles, and double spaces."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(answer: str, golds: list[str]) -> bool:
    """Whether an answer is one of those, once normalised."""
    return any(normalised(answer) == normalised(gold) for gold in golds)


def f1(answer: str, golds: list[str]) -> float:
    """Harmonic mean of precision and recall of an answer's words, between 0 and 1; the best over the golds.

    A word is what stands between spaces, in every language, as in SQuAD's evaluation (evaluate-v1.1.py). Where a
    language writes none, an answer is one word, and F1 is the exact match.
    """
    return max(_f1(Counter(normalised(answer).split()), Counter(normalised(gold).split())) for gold in golds)


def _f1(answer, gold):
    both = (answer & gold).total()
    return 2 * both / (answer.total() + gold.total()) if both else 0.0
