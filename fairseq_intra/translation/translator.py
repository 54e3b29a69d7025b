"""Lines of raw text to lines of raw text: blank ones stay, and those that are too long are translated in parts."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from .search import Hypothesis, Limits, Search
from .text import Subwords, decode, split_long


class Engine(Protocol):
    """What translates subwords."""

    limits: Limits

    def translate(self, sources: list[list[str]], search: Search):
        """Yields the number of each source with its hypotheses, in any order."""


class Translation(NamedTuple):
    """One translation of a line."""

    text: str
    score: float


class Translator:
    """A model with its text processing.

    Args:
        engine: translates subwords.
        subwords: of the model.
    """

    def __init__(self, engine: Engine, subwords: Subwords):
        self._engine, self._subwords = engine, subwords
        self._limit = engine.limits.source - 1
        self.in_parts: list[int] = []  #: numbers of the lines that were translated in parts

    def translate(
        self, lines: list[str], search: Search, first: int = 1, done: Callable[[], object] = lambda: None
    ) -> list[list[Translation]]:
        """The `nbest` translations of each line; a blank line has a single blank one.

        Args:
            lines: raw text.
            search: settings of the search.
            first: number of the first line, for `in_parts`.
            done: called whenever a line, or a part of one, is translated.
        """
        parts, owners = [], []
        for number, subwords in enumerate(self._subwords.encode(lines)):
            parts_of_line = list(split_long(subwords, self._limit)) if subwords else []
            if len(parts_of_line) > 1:
                self.in_parts.append(first + number)
            parts += parts_of_line
            owners += [number] * len(parts_of_line)
        found: list = [None] * len(parts)
        for number, hypotheses in self._engine.translate(parts, search):
            found[number] = hypotheses
            done()
        of_lines: list = [[] for _ in lines]
        for owner, hypotheses in zip(owners, found, strict=True):
            of_lines[owner].append(hypotheses)
        return [_joined(parts_of_line) for parts_of_line in of_lines]


def _joined(parts: list[list[Hypothesis]]) -> list[Translation]:
    """The translations of a line from those of its parts; the score is their mean."""
    if not parts:
        return [Translation("", 0.0)]
    return [
        Translation(" ".join(decode(part.subwords) for part in each), sum(part.score for part in each) / len(each))
        for each in zip(*parts, strict=False)
    ]
