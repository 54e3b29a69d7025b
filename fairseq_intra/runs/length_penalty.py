"""The length penalty that is best on valid, from one set of n-best lists.

fairseq's search keeps and finishes hypotheses by the sum of their log-probabilities, and stops when a beam's worth of
them is finished. It divides each sum by length ** lenpen, the end included, to sort those alone
(fairseq/sequence_generator.py, `finalize_hypos`). So the list of all that was finished holds the best hypothesis of
every penalty: choosing from it is exact, up to the rounding of float32 between equals.
"""

from typing import TYPE_CHECKING, TypedDict

from .scoring import bleu_of, sentence_statistics

if TYPE_CHECKING:  # tables need no fairseq, which takes longer to import than they take to make
    from .generation import NbestEntry

DEFAULT = 1.0
GRID = (0.6, 0.7, 0.8, 0.9, DEFAULT, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)


class Tuning(TypedDict):
    """How a length penalty was chosen."""

    split: str
    grid: list[float]
    bleu: list[float]  #: on that split, of each of the grid
    chosen: float


def best_of(nbest: list[list["NbestEntry"]], lenpen: float) -> list["NbestEntry"]:
    """The hypothesis of each sentence that is best by a length penalty.

    Args:
        nbest: every sentence's list, the whole of a search with the length penalty DEFAULT, or the best of another.
        lenpen: the length penalty.
    """

    def score(hypothesis):
        return hypothesis.score * hypothesis.length ** (DEFAULT - lenpen)

    return [max(hypotheses, key=score) for hypotheses in nbest]


def choose(nbest: list[list["NbestEntry"]], reference: list[str], split: str, tokenize: str) -> Tuning:
    """The length penalty of GRID with the highest BLEU; of equal ones that nearest to fairseq's default.

    Args:
        nbest: every sentence's list, decoded with the default.
        reference: of the split.
        split: its name, for the record.
        tokenize: sacreBLEU's tokenizer.
    """
    texts = [[hypothesis.text for hypothesis in best_of(nbest, lenpen)] for lenpen in GRID]
    scores = [bleu_of(sentence_statistics(hypotheses, reference, tokenize)) for hypotheses in texts]
    _, _, chosen = max((score, -abs(lenpen - DEFAULT), lenpen) for score, lenpen in zip(scores, GRID, strict=True))
    return {"split": split, "grid": list(GRID), "bleu": [round(score, 2) for score in scores], "chosen": chosen}


def shown(tuning: Tuning) -> str:
    """The grid with its scores."""
    return ", ".join(f"{lenpen:g}: {bleu:.2f}" for lenpen, bleu in zip(tuning["grid"], tuning["bleu"], strict=True))


def rule(tuning: Tuning | None) -> str:
    """How the length penalty of a run was found, by which runs are compared."""
    return "given" if tuning is None else f"best on {tuning['split']} of {' '.join(f'{x:g}' for x in tuning['grid'])}"
