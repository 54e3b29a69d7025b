"""Entities in sequences of tags, and how many of them were found: seqeval says what an entity is."""

from typing import NamedTuple

from ..errors import need_package


class EntityCounts(NamedTuple):
    """Sums over sentences, from which the micro-averaged scores follow."""

    correct: int  #: of the right type, with the right first and last word
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Between 0 and 1, as seqeval's `f1_score`; 0 where there are no entities at all."""
        both = self.predicted + self.gold
        return 2 * self.correct / both if both else 0.0


def count_entities(gold: list[list[str]], predicted: list[list[str]]) -> EntityCounts:
    """Compares the tags of sentences, word by word; both lists have the same lengths.

    Raises:
        UsageError: if seqeval is not installed.
    """
    need_package("seqeval", "transfer")
    # Here, because it imports scikit-learn, which takes longer than all else that translation needs.
    from seqeval.metrics.sequence_labeling import get_entities

    # seqeval puts a word without a tag between sentences, so that no entity goes on from one to the next.
    found, there = set(get_entities(predicted)), set(get_entities(gold))
    return EntityCounts(len(found & there), len(found), len(there))
