"""Joint byte pair encoding by subword-nmt, whose subwords have @@ at the end where their word goes on."""

import contextlib
import io
from itertools import chain
from pathlib import Path

from .parallel_text import read


def learn(texts: list[Path], merges: int) -> str:
    """The merges, as `subword-nmt learn-bpe` writes them; fewer where no pair is left that occurs twice."""
    from subword_nmt.learn_bpe import learn_bpe

    codes = io.StringIO()
    # Its bar of progress is drawn into logs as well.
    with contextlib.redirect_stderr(io.StringIO()):
        learn_bpe(chain.from_iterable(map(read, texts)), codes, merges)
    return codes.getvalue()


def encode(codes: str, source: Path, destination: Path) -> None:
    """Writes the subwords of every line, as `subword-nmt apply-bpe` does."""
    from subword_nmt.apply_bpe import BPE

    model = BPE(io.StringIO(codes))
    with destination.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(model.process_line(line) + "\n" for line in read(source))
