"""Splits translated messages: none of valid or test is in train, in any spelling of the same letters.

Two pairs belong together when their English or their translations have the same letters and digits, whatever
their case, spacing and punctuation. A group, closed under that relation, lies in one split as a whole.
"""

import hashlib
import unicodedata
from collections.abc import Iterable

from ..errors import UsageError
from .parallel_text import Pair

# A larger group grew by chance meetings and is much alike inside: it stays in train.
LARGEST_HELD_OUT = 4
MOST_HELD_OUT = 1000


def normal_form(text: str) -> str:
    """Only the letters and digits, casefolded: what two spellings of one message have in common."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in folded if character.isalnum())


def groups(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """The connected components of the pairs, each in the order in which its pairs came."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    pairs = list(pairs)
    for translation, english in pairs:
        parent[root(("translation", normal_form(translation)))] = root(("english", normal_form(english)))
    members: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        members.setdefault(root(("english", normal_form(pair[1]))), []).append(pair)
    return list(members.values())


def split(pairs: Iterable[Pair], valid: int | None, test: int | None, seed: int) -> dict[str, list[Pair]]:
    """Returns train, valid and test; where no size is given for one of these, it is chosen by `default_size`.

    Valid and test hold one pair for each English message. The order within each split is random and, as it
    comes from hashes of the messages, depends on nothing but their text and the seed.

    Raises:
        UsageError: if there are too few messages for these sizes.
    """
    waiting = sorted(groups(pairs), key=lambda group: rank(seed, *group[0]))
    sizes = {"test": test or default_size(len(waiting)), "valid": valid or default_size(len(waiting))}
    splits: dict[str, list[Pair]] = {"train": [], "valid": [], "test": []}
    for group in waiting:
        name = next((name for name, size in sizes.items() if len(splits[name]) < size), "train")
        if name == "train" or len(group) > LARGEST_HELD_OUT:
            splits["train"] += group
        else:
            splits[name] += one_for_each_message(group)
    for name, size in sizes.items():
        del splits[name][size:]
        if len(splits[name]) < size or not splits["train"]:
            raise UsageError(f"{len(waiting)} different messages are too few for {sizes} and a train")
    splits["train"].sort(key=lambda pair: rank(seed, *pair))
    return splits


def shorten(train: list[Pair], pairs: int | None, max_words: int | None) -> list[Pair]:
    """The first `pairs` of train among those of at most `max_words` words a side; None is no limit.

    Raises:
        UsageError: if no pair is so short.
    """
    if max_words is not None:
        train = [pair for pair in train if all(len(text.split()) <= max_words for text in pair)]
    if not train:
        raise UsageError(f"no pair of train has at most --max-words {max_words} words")
    return train[:pairs]


def default_size(messages: int) -> int:
    """As many pairs as a stable score needs, but most of a small corpus is for training."""
    return max(1, min(MOST_HELD_OUT, messages // 10))


def one_for_each_message(group: list[Pair]) -> list[Pair]:
    """The first translation of every English message of a group."""
    first: dict[str, Pair] = {}
    for pair in group:
        first.setdefault(normal_form(pair[1]), pair)
    return list(first.values())


def rank(seed: int, translation: str, english: str) -> bytes:
    """A pseudo-random sort key of a pair, the same under every version of Python."""
    return hashlib.sha256(f"{seed}\n{translation}\n{english}".encode()).digest()
