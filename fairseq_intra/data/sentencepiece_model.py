"""One SentencePiece model for both languages: trained on train, applied to every split."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from math import ceil
from pathlib import Path

import sentencepiece

from ..console import say
from ..errors import UsageError
from ..limits import DEFAULT_MAX_POSITIONS
from ..processes import in_process
from .parallel_text import batches, read

BATCH = 50_000
# The sums of its training depend on how many threads share the work, so the number is the same everywhere.
TRAINING_THREADS = 8
#: Bytes; SentencePiece leaves out longer lines of the text that it is trained on, without a word.
DEFAULT_LIMIT = 4192
LARGEST_LIMIT = 1 << 16


def train(texts: list[Path], vocab_size: int, character_coverage: float, most_lines: int | None = None) -> bytes:
    """Returns a model of the texts, or of at most `most_lines` lines that are spread evenly over them.

    Raises:
        UsageError: if the vocabulary size does not fit the text.
    """
    longest, left_out = _lengths(texts, most_lines)
    if left_out:
        say(f"{left_out} lines of over {LARGEST_LIMIT} bytes are left out of the SentencePiece model's training")
    # A limit that is given stands in the model, whose bytes are to be those of old for text without such lines.
    limit = {"max_sentence_length": min(longest, LARGEST_LIMIT)} if longest > DEFAULT_LIMIT else {}
    try:
        return in_process(_train, texts, vocab_size, character_coverage, most_lines, limit)
    except (RuntimeError, ValueError) as error:
        raise UsageError(explain(str(error), vocab_size, most_lines)) from None


def _lengths(texts, most_lines):
    """Bytes of the longest line that it is trained on, and how many lines are longer than any limit."""
    longest = left_out = 0
    for line in sample(texts, most_lines):
        size = len(line.encode())
        longest, left_out = max(longest, size), left_out + (size > LARGEST_LIMIT)
    return longest, left_out


def _train(texts, vocab_size, character_coverage, most_lines, limit):
    model = io.BytesIO()
    # Given names of files, SentencePiece writes them into the model, which then differs by folder.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sample(texts, most_lines),
        model_writer=model,
        vocab_size=vocab_size,
        character_coverage=character_coverage,
        input_sentence_size=0,
        shuffle_input_sentence=False,
        num_threads=TRAINING_THREADS,
        minloglevel=2,
        **limit,
    )
    return model.getvalue()


def sample(texts: list[Path], most_lines: int | None) -> Iterator[str]:
    """Yields every line of the texts, or every n-th of each, so that there are at most `most_lines`."""
    step = 1
    if most_lines:
        # Of each text comes a line more than its share where the step does not divide its length.
        step = ceil(sum(1 for text in texts for _ in read(text)) / max(1, most_lines - len(texts)))
    return chain.from_iterable(islice(read(text), 0, None, step) for text in texts)


def save(model: bytes, prefix: Path) -> None:
    """Writes PREFIX.model, and PREFIX.vocab with a line "subword, tab, log probability" for each type."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    prefix.with_suffix(".model").write_bytes(model)
    with prefix.with_suffix(".vocab").open("w", encoding="utf-8", newline="\n") as stream:
        for number in range(processor.get_piece_size()):
            stream.write(f"{processor.id_to_piece(number)}\t{processor.get_score(number):g}\n")


def explain(message: str, vocab_size: int, most_lines: int | None = None) -> str:
    """Puts SentencePiece's complaint in terms of our flags."""
    if too_high := re.search(r"value <= (\d+)", message):
        text = f"--spm-lines {most_lines} of train are" if most_lines else "train is"
        return f"{text} too little text for --vocab-size {vocab_size}; the largest possible is {too_high[1]}"
    if too_low := re.search(r"required_chars\D+\d+ vs (\d+)", message):
        return f"--vocab-size {vocab_size} is less than the {too_low[1]} that the characters of the text need"
    return f"SentencePiece cannot train on this text: {' '.join(message.split())}"


def encode(model: Path, source: Path, destination: Path, workers: int) -> None:
    """Writes the subwords of every line, with a space between them; reports lines too long for most models.

    What the model does not know becomes its unknown symbol, and not a type of the dictionary; it is reported, too.
    """
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    known = set(map(processor.id_to_piece, range(processor.get_piece_size())))
    unknown = processor.id_to_piece(processor.unk_id())
    too_long, number, subwords, left_out = [], 0, 0, Counter()
    with destination.open("w", encoding="utf-8", newline="\n") as stream:
        for batch in batches(read(source), BATCH):
            encoded = processor.encode(batch, out_type=str, num_threads=workers)
            for line in encoded:
                subwords += len(line)
                if not known.issuperset(line):
                    left_out.update(piece for piece in line if piece not in known)
                    line = [piece if piece in known else unknown for piece in line]
                stream.write(" ".join(line) + "\n")
            # The end of the sentence takes a position, too.
            places = [place for place, line in enumerate(encoded, 1) if len(line) >= DEFAULT_MAX_POSITIONS]
            too_long += [number + place for place in places]
            number += len(batch)
    if left_out:
        most = " ".join(piece for piece, _ in left_out.most_common(5))
        say(f"{source}: {left_out.total()} of {subwords} subwords are unknown to the SentencePiece model, as {most}")
    if too_long:
        say(
            f"{source}: {len(too_long)} lines, the first is line {too_long[0]}, have more subwords than a model with "
            f"fairseq's default --max-source-positions {DEFAULT_MAX_POSITIONS} can take"
        )
