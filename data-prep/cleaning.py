"""Which pairs are left out: blank ones, and, as Moses' clean-corpus has it, those of unlikely lengths."""

import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import Pool

from parallel_text import batches, is_blank
from sacremoses import MosesTokenizer

Pair = tuple[str, str]
BATCH = 50_000
tokenizers: list[MosesTokenizer] = []


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


def without_blanks(pairs: Iterable[Pair], dropped: Counter) -> Iterator[Pair]:
    """Yields the pairs that have something on both sides and counts the others."""
    for pair in pairs:
        if any(map(is_blank, pair)):
            dropped["blank on a side"] += 1
        else:
            yield pair


def clean(pairs: Iterable[Pair], languages: Pair, limits: Limits, workers: int, dropped: Counter) -> Iterator[Pair]:
    """Yields the pairs within the limits, in their order, and counts the others by the limit they break."""
    with Pool(workers, make_tokenizers, (languages,)) as pool:
        for batch in batches(pairs, BATCH):
            for pair, lengths in zip(batch, pool.map(token_counts, batch, chunksize=500), strict=True):
                reason = limits.broken_by(*lengths)
                if reason:
                    dropped[reason] += 1
                else:
                    yield pair


def make_tokenizers(languages: Pair) -> None:
    """Prepares a worker process, which leaves Ctrl-C to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tokenizers.extend(MosesTokenizer(lang=language) for language in languages)


def token_counts(pair: Pair) -> tuple[int, int]:
    """How many tokens Moses' tokeniser makes of each side."""
    source, target = (
        len(tokenizer.tokenize(text, escape=False)) for tokenizer, text in zip(tokenizers, pair, strict=True)
    )
    return source, target
