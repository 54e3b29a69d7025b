"""How evenly the parameters contribute: statistics of sensitivity scores, by group of parameters."""

import math
import re
from collections.abc import Iterable
from typing import TypedDict

import numpy as np

ALL = "all"
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
#: What a parameter belongs to; the first that its name matches.
PARTS = {
    "norms": r"layer_?norm",
    "embeddings": r"embed|output_projection",
    "attention": r"_attn\.",
    "ffn": r"\.fc[12]\.",
}
#: Width of a bar of the density, in decades of the score.
DECADE = 0.1
_BLOCK = 1 << 20


class Statistics(TypedDict):
    """Of a group's scores; see `statistics`."""

    parameters: int
    mean: float
    std: float
    mean_over_loss: float
    std_over_loss: float
    gini: float
    share_of_lowest_50_percent: float
    share_of_highest_20_percent: float
    quantiles: dict[str, float]


class Curves(TypedDict):
    """Of all scores; see `curves`."""

    cumulative: list[float]
    log10_from: float
    shares: list[float]
    zero: float


def part(name: str) -> str:
    """What the parameter of this name belongs to: a key of PARTS, or "other"."""
    return next((known for known, pattern in PARTS.items() if re.search(pattern, name)), "other")


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """The parameters' names by group: all, every part, every layer of encoder and decoder."""
    found = {ALL: []}
    for name in names:
        layer = re.match(r"(?:encoder|decoder)\.(?:sentence_encoder\.)?layers\.\d+", name)
        for group in (ALL, part(name), *([layer[0]] if layer else [])):
            found.setdefault(group, []).append(name)
    return found


def summary(scores: dict[str, np.ndarray], loss: float) -> dict[str, Statistics]:
    """The statistics of every group. Needs the memory of the scores once more.

    Args:
        scores: by parameter name, of any shape, at least 0.
        loss: what "over_loss" divides by.
    """
    return {group: statistics(ordered(scores, names), loss) for group, names in groups(scores).items()}


def ordered(scores, names) -> np.ndarray:
    """The scores of some parameters, ascending."""
    values = np.concatenate([scores[name].ravel() for name in names])
    values.sort()
    return values


def statistics(values: np.ndarray, loss: float) -> Statistics:
    """Of ascending scores: mean and standard deviation, as they are and divided by the loss; how unequal they are.

    The Gini coefficient is 0 where all contribute alike, and nearly 1 where one does all.
    """
    count, total, squares, ranked = len(values), 0.0, 0.0, 0.0
    for start in range(0, count, _BLOCK):
        block = values[start : start + _BLOCK].astype(np.float64)
        total += block.sum()
        squares += np.dot(block, block)
        ranked += np.dot(block, np.arange(start + 1, start + 1 + len(block)))
    mean = total / count
    std = math.sqrt(max(0.0, squares / count - mean**2))
    lowest_half, lowest_four_fifths = cumulative(values, (0.5, 0.8))
    return {
        "parameters": count,
        "mean": mean,
        "std": std,
        "mean_over_loss": mean / loss,
        "std_over_loss": std / loss,
        "gini": 2 * ranked / (count * total) - (count + 1) / count if total else 0.0,
        "share_of_lowest_50_percent": lowest_half,
        "share_of_highest_20_percent": 1 - lowest_four_fifths,
        "quantiles": {str(q): float(np.interp(q * (count - 1), *_around(values, q))) for q in QUANTILES},
    }


def cumulative(values: np.ndarray, shares: Iterable[float]) -> list[float]:
    """What the lowest share of ascending scores holds of their sum, for each of some ascending shares.

    All equal where the sum is zero.
    """
    sums, start, below = [], 0, 0.0
    for share in shares:
        whole = min(int(share * len(values)), len(values) - 1)
        below += float(values[start:whole].sum(dtype=np.float64))
        sums.append(below + (share * len(values) - whole) * float(values[whole]))
        start = whole
    total = below + float(values[start:].sum(dtype=np.float64))
    return [held / total for held in sums] if total else list(shares)


def curves(values: np.ndarray) -> Curves:
    """What a picture of ascending scores needs: cumulative shares, and the density over decades.

    Returns:
        "cumulative": what the lowest 0, 1, ... 100 % hold of the sum; "log10_from": the decimal logarithm at which
        the first bar begins; "shares": of every bar, DECADE wide, its share of all scores; "zero": that of zeros.
    """
    positive = values[np.searchsorted(values, 0.0, side="right") :]
    ends = positive[[0, -1]] if len(positive) else np.ones(2)
    first, last = (math.floor(math.log10(end) / DECADE) for end in ends)
    edges = 10 ** (DECADE * np.arange(first + 1, last + 1))
    counts = np.diff([0, *np.searchsorted(positive, edges.astype(values.dtype)), len(positive)])
    return {
        "cumulative": cumulative(values, [percent / 100 for percent in range(101)]),
        "log10_from": first * DECADE,
        "shares": (counts / len(values)).tolist(),
        "zero": 1 - len(positive) / len(values),
    }


def _around(values, quantile):
    """The two neighbours, as positions and values, between which a quantile lies."""
    below = math.floor(quantile * (len(values) - 1))
    positions = [below, min(below + 1, len(values) - 1)]
    return positions, values[positions]
