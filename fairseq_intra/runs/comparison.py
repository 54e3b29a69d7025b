"""What the results tables share: plain runs beside those of intra-distillation, by seed, as Markdown."""

import statistics
from typing import Generic, TypeVar

from ..errors import UsageError

METHODS = ("plain", "intra")
Run = TypeVar("Run")


class Comparison(Generic[Run]):
    """The runs of one row: for every seed one of each method.

    Args:
        name: the row, for error messages.
    """

    def __init__(self, name: str):
        self.name = name
        self._runs: dict[tuple[str, int], tuple[Run, object]] = {}

    def add(self, method: str, seed: int, run: Run, path: object) -> None:
        """Adds a run, which `path` names in error messages.

        Raises:
            UsageError: if it is of another method, or there is one of its method and seed.
        """
        if method not in METHODS:
            raise UsageError(f"{path} is a {method} run; the table sets plain beside intra")
        if (method, seed) in self._runs:
            other = self._runs[method, seed][1]
            raise UsageError(f"{path} and {other} are both {method} runs of {self.name} with seed {seed}")
        self._runs[method, seed] = run, path

    @property
    def seeds(self) -> list[int]:
        """The seeds in ascending order."""
        return sorted({seed for _, seed in self._runs})

    def runs(self) -> list[tuple[Run, object]]:
        """Every run with its path."""
        return list(self._runs.values())

    def pairs(self, seeds: list[int] | None = None) -> list[tuple[Run, Run]]:
        """(plain, intra) of every seed: of its own, or of those given.

        Raises:
            UsageError: if one has no counterpart.
        """
        for seed in seeds or self.seeds:
            for method in METHODS:
                if (method, seed) not in self._runs:
                    raise UsageError(f"{self.name} has no {method} run of seed {seed} to compare with")
        return [tuple(self._runs[method, seed][0] for method in METHODS) for seed in seeds or self.seeds]


def score_cells(plain: list[float], intra: list[float]) -> list[str]:
    """The cells of both methods' scores by seed, and of their difference, which is between runs of one seed."""
    gains = [b - a for a, b in zip(plain, intra, strict=True)]
    return [mean_and_spread(plain), mean_and_spread(intra), mean_and_spread(gains, "+")]


def mean_and_spread(scores: list[float], sign: str = "") -> str:
    """The mean, and where there are several the standard deviation, in two decimals."""
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):{sign}.2f}{spread}"


def average_cells(plain: list[float], intra: list[float]) -> list[str]:
    """The cells of the last row: means of both methods over the rows, and their difference."""
    means = [statistics.mean(scores) for scores in (plain, intra)]
    return [f"{means[0]:.2f}", f"{means[1]:.2f}", f"{means[1] - means[0]:+.2f}"]


def markdown(columns: list[str], rows: list[list[str]], notes: list[str], names: int = 1) -> str:
    """A Markdown table with lines of text below it; the first `names` columns are aligned to the left."""
    head = [_line(columns), "|" + "---|" * names + "---:|" * (len(columns) - names)]
    return "\n".join([*head, *map(_line, rows), "", *notes])


def _line(cells):
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
