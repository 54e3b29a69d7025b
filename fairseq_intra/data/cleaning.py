"""Which pairs are left out: blank ones, and, as Moses' clean-corpus has it, those of unlikely lengths."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sacremoses import MosesDetokenizer, MosesTokenizer

from ..processes import worker_pool
from .parallel_text import Pair, batches, is_blank

BATCH = 50_000
#: Languages written without spaces between words, by the codes in use.
UNSPACED = (
    "zh",
    "zho",
    "cmn",
    "yue",
    "lzh",
    "ja",
    "jpn",
    "th",
    "tha",
    "lo",
    "lao",
    "km",
    "khm",
    "my",
    "mya",
    "bo",
    "bod",
)


@dataclass(frozen=True)
class Limits:
    """Moses' clean-corpus: how many tokens a side may have, and how many times the other side's."""

    min_tokens: int
    max_tokens: int
    max_ratio: float

    def broken_by(self, source: int, target: int) -> str | None:
        """Names the limit that a pair of these lengths breaks."""
        if min(source, target) < self.min_tokens:
            return f"under {self.min_tokens} tokens"
        if max(source, target) > self.max_tokens:
            return f"over {self.max_tokens} tokens"
        if max(source, target) > self.max_ratio * min(source, target):
            return f"over {self.max_ratio:g} times as long as the other side"
        return None


def unspaced(languages: Iterable[str]) -> str:
    """What to do about languages in which tokens cannot be counted, if one of them is such; else nothing."""
    for language in languages:
        if re.split("[-_]", language)[0].lower() in UNSPACED:
            return (
                f"{language} is written without spaces, so that Moses' rule cannot count its words (a sentence or "
                "each character is one token): leave --clean out, or segment the text first (jieba, MeCab)"
            )
    return ""


def without_blanks(pairs: Iterable[Pair], dropped: Counter) -> Iterator[Pair]:
    """Yields the pairs that have something on both sides and counts the others."""
    for pair in pairs:
        if any(map(is_blank, pair)):
            dropped["blank on a side"] += 1
        else:
            yield pair


def clean(
    pairs: Iterable[Pair],
    languages: tuple[str, str],
    limits: Limits,
    workers: int,
    dropped: Counter,
    respell: bool = False,
) -> Iterator[Pair]:
    """Yields the pairs within the limits, in their order, and counts the others by the limit they break.

    With `respell` the pairs come as Moses' lowercaser and detokeniser make them from their tokens.
    """
    with worker_pool(workers, make_tools, languages, limits, respell) as pool:
        for batch in batches(pairs, BATCH):
            for reason, pair in pool.map(cleaned, batch, chunksize=500):
                if reason:
                    dropped[reason] += 1
                else:
                    yield pair


class Tools:
    """What a worker process keeps from one pair to the next."""

    def __init__(self, languages: tuple[str, str], limits: Limits, respell: bool):
        self.tokenizers = [MosesTokenizer(lang=language) for language in languages]
        self.detokenizers = [MosesDetokenizer(lang=language) for language in languages] if respell else []
        self.limits = limits


tools: Tools


def make_tools(*settings: Any) -> None:
    """Prepares a worker process."""
    global tools
    tools = Tools(*settings)


def cleaned(pair: Pair) -> tuple[str | None, Pair]:
    """Returns the limit that a pair breaks, if any, and the pair, respelled where that is wanted."""
    # Moses writes &apos; for ' and so on in its tokens, and turns it back when it puts them together: both left out.
    tokens = [tool.tokenize(text, escape=False) for tool, text in zip(tools.tokenizers, pair, strict=True)]
    reason = tools.limits.broken_by(*map(len, tokens))
    if reason or not tools.detokenizers:
        return reason, pair
    source, target = (
        tool.detokenize([token.lower() for token in side], unescape=False)
        for tool, side in zip(tools.detokenizers, tokens, strict=True)
    )
    return None, (source, target)
