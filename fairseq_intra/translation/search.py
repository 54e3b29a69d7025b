"""What both engines share: the settings of a beam search, its limits, its results, and how sources are batched."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

#: max_len_a and max_len_b of `translate`: a hypothesis has at most max_len_a x source length + max_len_b subwords.
#: fairseq's own limit, which `evaluate` keeps, is 0 and 200, at which long sentences end in silence; shorter ones
#: come out the same.
TRANSLATE_MAX_LEN: tuple[float, int] = (1.0, 200)


class Search(NamedTuple):
    """A beam search."""

    beam: int = 5
    lenpen: float = 1.0
    nbest: int = 1
    batch_tokens: int = 8000  #: source subwords of a batch, padding included


class Limits(NamedTuple):
    """What a model can take and make, in subwords with the end of sentence."""

    source: int
    target: int
    max_len_a: float = TRANSLATE_MAX_LEN[0]
    max_len_b: int = TRANSLATE_MAX_LEN[1]

    def longest(self, size: int) -> int:
        """Subwords of the longest hypothesis, without its end, of a batch whose longest source has `size`."""
        return min(int(self.max_len_a * size + self.max_len_b), self.target - 1)


class Hypothesis(NamedTuple):
    """One translation of a source."""

    subwords: list[str]
    score: float  #: log-probability (natural), the end of sentence included, over length to the power of lenpen


def batches(sources: Sequence[list[str]], batch_tokens: int) -> Iterator[list[int]]:
    """Yields the numbers of the sources in batches of similar length.

    A batch has at most `batch_tokens` subwords, ends of sentence and padding included, or a single longer source.
    """
    batch: list[int] = []
    for number in sorted(range(len(sources)), key=lambda number: len(sources[number])):
        # The one at hand is the longest so far: all others are padded to its length.
        if batch and (len(batch) + 1) * (len(sources[number]) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
