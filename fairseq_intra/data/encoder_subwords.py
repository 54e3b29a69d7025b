"""Cuts text into the subwords of a pre-trained encoder."""

from pathlib import Path
from typing import Protocol

import sentencepiece
from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

from ..errors import UsageError

UNKNOWN = "<unk>"


class SentencePiece:
    """The subwords of a SentencePiece model, as XLM-R has them.

    Raises:
        UsageError: if the file is not a SentencePiece model.
    """

    def __init__(self, model: Path):
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except (OSError, RuntimeError):
            raise UsageError(f"{model} is not a SentencePiece model") from None

    def encode_words(self, words: list[str]) -> list[list[str]]:
        """The subwords of every word, at least one; concatenated, they are those of the words with spaces."""
        # A word of characters that the model's normalisation removes has no subwords, but a tag.
        return [subwords or [UNKNOWN] for subwords in self._processor.encode(words, out_type=str)]

    def encode(self, text: str) -> list[str]:
        """The subwords of a text."""
        return self._processor.encode(text, out_type=str)

    def encode_with_offsets(self, text: str) -> tuple[list[str], list[tuple[int, int]]]:
        """The subwords of a text and, of each, its first character in the text and the one after its last.

        The characters are those from which the model's normalisation made the subword; the space before a word
        belongs to its first subword, and one that stands for no character has an empty range.
        """
        if hasattr(self._processor, "EncodeAsOffsetMapping"):
            found = self._processor.encode(text, out_type="offset_mapping")
            return found["pieces"], found["offsets"]
        # An older sentencepiece.
        found = self._processor.encode(text, out_type="immutable_proto").pieces  # type: ignore[arg-type]
        return [subword.piece for subword in found], [(subword.begin, subword.end) for subword in found]


class Gpt2:
    """The byte pairs of GPT-2, as RoBERTa has them: numbers as strings.

    Raises:
        UsageError: if the files are not GPT-2's.
    """

    def __init__(self, encoder: Path, merges: Path):
        try:
            self._encoder = get_encoder(str(encoder), str(merges))
        except (OSError, ValueError) as error:
            raise UsageError(f"{encoder} and {merges} are not GPT-2's encoder.json and vocab.bpe: {error}") from None

    def encode_words(self, words: list[str]) -> list[list[str]]:
        """As `SentencePiece.encode_words`; the space before a word belongs to it, and the first word has none."""
        return [self.encode(f"{' ' * (number > 0)}{word}") for number, word in enumerate(words)]

    def encode(self, text: str) -> list[str]:
        """The subwords of a text."""
        return list(map(str, self._encoder.encode(text)))

    def encode_with_offsets(self, text: str) -> tuple[list[str], list[tuple[int, int]]]:
        """As `SentencePiece.encode_with_offsets`; a subword that is a part of a character has all of it."""
        numbers = self._encoder.encode(text)
        # The character that each byte of the text belongs to.
        characters = [place for place, character in enumerate(text) for _ in character.encode()]
        offsets, end = [], 0
        for number in numbers:
            # A symbol of the vocabulary has one character per byte.
            begin, end = end, end + len(self._encoder.decoder[number])
            offsets.append((characters[begin], characters[end - 1] + 1))
        return list(map(str, numbers)), offsets


class Segmenter(Protocol):
    """What cuts text into subwords, as `SentencePiece` does."""

    def encode_words(self, words: list[str]) -> list[list[str]]: ...

    def encode(self, text: str) -> list[str]: ...

    def encode_with_offsets(self, text: str) -> tuple[list[str], list[tuple[int, int]]]: ...


def segmenter_of(folder: Path) -> Segmenter:
    """The segmenter of the pre-trained encoder whose files a folder holds, as fairseq's archives of them do.

    Raises:
        UsageError: if it holds neither sentencepiece.bpe.model, nor encoder.json and vocab.bpe.
    """
    model, encoder, merges = (folder / name for name in ("sentencepiece.bpe.model", "encoder.json", "vocab.bpe"))
    if model.is_file():
        return SentencePiece(model)
    if encoder.is_file() and merges.is_file():
        return Gpt2(encoder, merges)
    raise UsageError(f"{folder} holds no sentencepiece.bpe.model (XLM-R), nor encoder.json and vocab.bpe (RoBERTa)")
