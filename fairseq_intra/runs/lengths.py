"""Sentences that are too long for the mini-batches that are asked for, found before a training begins."""

from pathlib import Path

from ..data.indexed import read_lengths
from ..errors import UsageError
from ..limits import DEFAULT_MAX_POSITIONS
from .arguments import flag_value


def check_lengths(data: Path, max_tokens: int, words: list[str]) -> None:
    """Checks that a worker can take every pair of train and valid.

    Args:
        data: folder of fairseq-preprocess.
        max_tokens: tokens of a worker's forward pass.
        words: flags of fairseq-train.

    Raises:
        UsageError: on the longest pair, if it is too long; it names split, line and flag.
    """
    # fairseq leaves out longer pairs of train.
    limits = [_whole(words, f"--max-{side}-positions", DEFAULT_MAX_POSITIONS) for side in ("source", "target")]
    for split, flag in (("train", "--max-tokens"), ("valid", "--max-tokens-valid")):
        most = _whole(words, flag, max_tokens) if split == "valid" else max_tokens
        number, length = _longest(data, split, limits)
        if length > most:
            raise UsageError(
                f"{data}, {split}: line {number} has {length} tokens, and a forward pass takes {most}; raise "
                f"--batch-tokens or {flag}, or leave the pair out"
            )


def _whole(words, flag, default):
    value = flag_value(words, flag) or str(default)
    if not value.isdecimal():
        raise UsageError(f"{flag} must be a whole number, not {value}")
    return int(value)


def _longest(data, split, limits):
    """(line, tokens) of the longest pair within the limits, (0, 0) where there is none."""
    import numpy as np

    sides = [read_lengths(path) for path in _indices(data, split)]
    if len(sides) != 2 or len(sides[0]) != len(sides[1]):
        # fairseq says what is wrong with the data.
        return 0, 0
    fits = (sides[0] <= limits[0]) & (sides[1] <= limits[1])
    longest = np.where(fits, np.maximum(*sides), 0)
    if not len(longest):
        return 0, 0
    line = int(longest.argmax())
    return line + 1, int(longest[line])


def _indices(data, split):
    """The indices of source and target: SPLIT.SOURCE-TARGET.LANGUAGE.idx."""
    paths = data.glob(f"{split}.*-*.*.idx")
    return sorted(paths, key=lambda path: not path.name.startswith(f"{split}{path.suffixes[-2]}-"))
