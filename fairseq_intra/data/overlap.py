"""Pairs of valid and test that train has as well: they are counted, and on request train loses them.

Lines are the same where their reader sees the same: no difference is left of invisible characters and spaces.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from .parallel_text import Pair
from .visible_text import visible


def count(train: Iterable[Pair], held_out: list[Pair]) -> dict[str, int]:
    """How many held-out pairs have their source in train, how many their target, and how many are a pair of train."""
    held_out = list(map(_visible, held_out))
    sides = [{pair[side] for pair in held_out} for side in (0, 1)]
    pairs = set(held_out)
    seen: tuple[set, set, set] = set(), set(), set()
    for pair in map(_visible, train):
        for side in (0, 1):
            if pair[side] in sides[side]:
                seen[side].add(pair[side])
        if pair in pairs:
            seen[2].add(pair)
    return {
        "source": sum(source in seen[0] for source, _ in held_out),
        "target": sum(target in seen[1] for _, target in held_out),
        "both": sum(pair in seen[2] for pair in held_out),
    }


def without(train: Iterable[Pair], held_out: list[Pair], dropped: Counter) -> Iterator[Pair]:
    """Yields the pairs of train that share neither source nor target with a held-out pair, and counts the others."""
    sources, targets = ({visible(pair[side]) for pair in held_out} for side in (0, 1))
    for pair in train:
        source, target = _visible(pair)
        if source in sources or target in targets:
            dropped["a side is in valid or test"] += 1
        else:
            yield pair


def _visible(pair):
    return visible(pair[0]), visible(pair[1])
