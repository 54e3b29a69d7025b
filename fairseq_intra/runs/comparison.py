"""What the results tables share: plain runs beside those of other methods, by seed, as Markdown."""

import statistics
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Generic, TypeVar

from ..errors import UsageError
from ..methods import METHODS, TITLES

#: What every other method is compared with.
PLAIN = "plain"
Item = TypeVar("Item")


class Comparison(Generic[Item]):
    """The runs of one row: for every seed one of each method.

    Args:
        name: the row, for error messages.
    """

    def __init__(self, name: str):
        self.name = name
        self._runs: dict[tuple[str, int], tuple[Item, object]] = {}

    def add(self, method: str, seed: int, run: Item, path: object) -> None:
        """Adds a run, which `path` names in error messages.

        Raises:
            UsageError: if it is of another method, or there is one of its method and seed.
        """
        if method not in METHODS:
            raise UsageError(f"{path} is a {method} run; the table sets plain beside {', '.join(METHODS[1:])}")
        if (method, seed) in self._runs:
            other = self._runs[method, seed][1]
            raise UsageError(f"{path} and {other} are both {method} runs of {self.name} with seed {seed}")
        self._runs[method, seed] = run, path

    @property
    def seeds(self) -> list[int]:
        """The seeds in ascending order."""
        return sorted({seed for _, seed in self._runs})

    @property
    def methods(self) -> set[str]:
        """Those that runs were added of."""
        return {method for method, _ in self._runs}

    def by_seed(self, methods: list[str], seeds: list[int] | None = None) -> list[tuple[Item, ...]]:
        """A run of each method, for every seed: of its own, or of those given.

        Raises:
            UsageError: if one has no counterpart.
        """
        for seed in seeds or self.seeds:
            for method in methods:
                if (method, seed) not in self._runs:
                    raise UsageError(f"{self.name} has no {method} run of seed {seed} to compare with")
        return [tuple(self._runs[method, seed][0] for method in methods) for seed in seeds or self.seeds]


def methods_of(comparisons: Iterable[Comparison]) -> list[str]:
    """The methods of a table, in the order of its columns: plain, and each that one of its rows has."""
    found = set().union(*(comparison.methods for comparison in comparisons))
    others = [method for method in METHODS if method in found - {PLAIN}]
    return [PLAIN, *(others or ["intra"])]


def seeds_of(comparisons: Iterable[Comparison]) -> list[int]:
    """The seeds of a table: each that one of its rows has."""
    return sorted({seed for comparison in comparisons for seed in comparison.seeds})


def columns_of(methods: list[str], *more: str) -> list[str]:
    """The names of the methods' columns; each but plain's has, behind it, that of the difference, and `more`."""
    return [TITLES[PLAIN], *(name for method in methods[1:] for name in (TITLES[method], "difference", *more))]


def score_cells(scores: list[list[float]]) -> list[list[str]]:
    """The cells of the methods' scores by seed, plain's first, the others' with their difference from it.

    A difference is between runs of one seed.
    """
    plain, *others = scores
    gains = [[b - a for a, b in zip(plain, other, strict=True)] for other in others]
    cells = [[mean_and_spread(other), mean_and_spread(gain, "+")] for other, gain in zip(others, gains, strict=True)]
    return [[mean_and_spread(plain)], *cells]


def mean_and_spread(scores: list[float], sign: str = "") -> str:
    """The mean, and where there are several the standard deviation, in two decimals."""
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):{sign}.2f}{spread}"


def average_cells(scores: Iterable[Sequence[float]]) -> list[list[str]]:
    """The cells of the last row: the methods' means over the rows, and the differences from plain."""
    plain, *others = (statistics.mean(of_method) for of_method in scores)
    return [[f"{plain:.2f}"], *([f"{other:.2f}", f"{other - plain:+.2f}"] for other in others)]


def markdown(columns: list[str], rows: list[list[str]], notes: list[str], names: int = 1) -> str:
    """A Markdown table with lines of text below it; the first `names` columns are aligned to the left."""
    head = [_line(columns), "|" + "---|" * names + "---:|" * (len(columns) - names)]
    return "\n".join([*head, *map(_line, rows), "", *notes])


def joined(cells: list[list[str]]) -> list[str]:
    """The cells of several methods as those of one row."""
    return list(chain.from_iterable(cells))


def _line(cells):
    # A name or flag in a cell may have the character that ends it.
    shown = (cell.replace("|", r"\|") for cell in cells)
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in shown)
