"""Text cut into a pre-trained encoder's subwords, and whether the encoder's dictionary has them."""

from collections import Counter
from pathlib import Path

from . import unknown_subwords
from .encoder_subwords import segmenter_of


class EncoderText:
    """The segmenter of an encoder's folder; it counts the subwords of what it cuts.

    Raises:
        UsageError: if the folder holds no subwords, or its dict.txt cannot be read.
    """

    def __init__(self, folder: Path):
        self._segmenter = segmenter_of(folder)
        self._dictionary = folder / "dict.txt"
        self._known = unknown_subwords.symbols_of(self._dictionary)
        self._counts: Counter = Counter()

    def encode_words(self, words: list[str]) -> list[list[str]]:
        """As `encoder_subwords.SentencePiece.encode_words`."""
        found = self._segmenter.encode_words(words)
        for subwords in found:
            self._counts.update(subwords)
        return found

    def encode(self, text: str) -> list[str]:
        """The subwords of a text."""
        subwords = self._segmenter.encode(text)
        self._counts.update(subwords)
        return subwords

    def encode_with_offsets(self, text: str) -> tuple[list[str], list[tuple[int, int]]]:
        """As `encoder_subwords.SentencePiece.encode_with_offsets`."""
        subwords, offsets = self._segmenter.encode_with_offsets(text)
        self._counts.update(subwords)
        return subwords, offsets

    def check(self, name: str) -> None:
        """Reports what the dictionary lacks of the text that was cut since the last check.

        Raises:
            UsageError: as `unknown_subwords.check`.
        """
        counts, self._counts = self._counts, Counter()
        advice = "they are the subwords of another encoder, or the text is in a language that this one does not know"
        unknown_subwords.check(name, counts, self._known, self._dictionary, advice)
