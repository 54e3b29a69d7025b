"""Raw text to a model's subwords, and back."""

from collections.abc import Iterator
from pathlib import Path

from ..data.parallel_text import is_blank

#: SentencePiece's mark of a word's beginning.
WORD = "\u2581"
SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "؟", "।")


class Subwords:
    """A SentencePiece model, and whether text is lowercased before it.

    Args:
        model: the file.
        lowercase: as the dataset was made.
    """

    def __init__(self, model: Path, lowercase: bool):
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self._lowercase = lowercase

    def encode(self, lines: list[str]) -> list[list[str]]:
        """The subwords of every line; none of one that is blank."""
        prepared = [line.lower() if self._lowercase else line for line in lines]
        encoded = self._processor.encode(prepared, out_type=str)
        return [[] if is_blank(line) else subwords for line, subwords in zip(lines, encoded, strict=True)]


def decode(subwords: list[str]) -> str:
    """The text of subwords, as fairseq-generate's --post-process sentencepiece makes it."""
    return "".join(subwords).replace(WORD, " ").strip()


def split_long(subwords: list[str], limit: int) -> Iterator[list[str]]:
    """Cuts what is too long for a model into parts of at most `limit` subwords.

    A part ends where its last sentence does, else before its last word begins, else at the limit.
    """
    while len(subwords) > limit:
        words = [end for end in range(1, limit + 1) if subwords[end].startswith(WORD)]
        sentences = [end for end in words if subwords[end - 1].endswith(SENTENCE_ENDS)]
        end = (sentences or words or [limit])[-1]
        yield subwords[:end]
        subwords = subwords[end:]
    yield subwords
