"""Cuts words into the sub-words of a pre-trained encoder."""

from pathlib import Path

import sentencepiece
from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

from ..errors import UsageError

UNKNOWN = "<unk>"


class SentencePiece:
    """The pieces of a SentencePiece model, as XLM-R has them."""

    def __init__(self, model: Path):
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except (OSError, RuntimeError):
            raise UsageError(f"{model} is not a SentencePiece model") from None

    def cut(self, words: list[str]) -> list[list[str]]:
        """For every word its sub-words, at least one; all of them in a row are those of the words with spaces."""
        # A word of characters that the model's normalisation takes away has no pieces, but a tag.
        return [pieces or [UNKNOWN] for pieces in self._processor.encode(words, out_type=str)]

    def cut_text(self, text: str) -> list[str]:
        """The sub-words of a text."""
        return self._processor.encode(text, out_type=str)


class Gpt2:
    """The byte pairs of GPT-2, as RoBERTa has them: numbers as words."""

    def __init__(self, encoder: Path, merges: Path):
        try:
            self._encoder = get_encoder(str(encoder), str(merges))
        except (OSError, ValueError) as error:
            raise UsageError(f"{encoder} and {merges} are not GPT-2's encoder.json and vocab.bpe: {error}") from None

    def cut(self, words: list[str]) -> list[list[str]]:
        """As `SentencePiece.cut`; the space before a word belongs to it, and the first word has none."""
        return [self.cut_text(f"{' ' * (number > 0)}{word}") for number, word in enumerate(words)]

    def cut_text(self, text: str) -> list[str]:
        """The sub-words of a text."""
        return list(map(str, self._encoder.encode(text)))


def of_encoder(folder: Path) -> SentencePiece | Gpt2:
    """What cuts words for the pre-trained encoder whose files a folder holds, as fairseq's archives of them do.

    Raises:
        UsageError: if it holds neither sentencepiece.bpe.model, nor encoder.json and vocab.bpe.
    """
    model, encoder, merges = (folder / name for name in ("sentencepiece.bpe.model", "encoder.json", "vocab.bpe"))
    if model.is_file():
        return SentencePiece(model)
    if encoder.is_file() and merges.is_file():
        return Gpt2(encoder, merges)
    raise UsageError(f"{folder} holds no sentencepiece.bpe.model (XLM-R), nor encoder.json and vocab.bpe (RoBERTa)")
