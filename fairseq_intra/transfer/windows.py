"""Cuts a question's context into windows that an encoder takes, and finds answers among subwords."""

from typing import NamedTuple

from ..errors import UsageError

#: Of a window: `<s> question </s> </s> context </s>`, as RoBERTa and XLM-R separate two texts.
SPECIAL = 4


class Lengths(NamedTuple):
    """Sizes in subwords; the defaults are those of the authors (run_squad.py)."""

    max_seq_length: int = 384  #: of a window, the question and four special symbols included
    doc_stride: int = 128  #: from the beginning of a window's context to the next one's
    max_query_length: int = 64  #: of a question; the rest is left out

    def check(self) -> None:
        """Raises UsageError if a window may have no room for its context."""
        if self.max_seq_length <= self.max_query_length + SPECIAL:
            raise UsageError(
                f"--max-seq-length {self.max_seq_length} leaves no room for a context: it must be above "
                f"--max-query-length {self.max_query_length} + {SPECIAL}"
            )


def windows(question: int, context: int, lengths: Lengths) -> list[range]:
    """Which subwords of a context each of its windows holds; every one is in a window.

    A window begins `doc_stride` subwords after the one before, or right where that ends if it is shorter.

    Args:
        question: number of subwords of the question, at most `max_query_length`.
        context: number of subwords of the context.
    """
    room = lengths.max_seq_length - question - SPECIAL
    step = min(room, lengths.doc_stride)
    starts = [0]
    while starts[-1] + room < context:
        starts.append(starts[-1] + step)
    return [range(start, min(start + room, context)) for start in starts]


def align(start: int, end: int, offsets: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The first and the last subword that share a character with a span of the text; None if there is none.

    Args:
        start: first character.
        end: the character after the last.
        offsets: (first, after the last) character of every subword.
    """
    inside = [n for n, (first, after) in enumerate(offsets) if max(first, start) < min(after, end)]
    return (inside[0], inside[-1]) if inside else None
