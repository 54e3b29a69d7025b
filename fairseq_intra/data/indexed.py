"""Datasets of fairseq-preprocess, PREFIX.bin and PREFIX.idx (fairseq/data/indexed_dataset.py, MMapIndexedDataset)."""

import struct
from collections.abc import Iterable
from pathlib import Path

#: What an index begins with: fairseq's mark, its version, the code of the tokens' type, how many sentences there are.
#: Then comes the length of each.
HEAD = struct.Struct("<9sQBQ")
MARK = b"MMIDIDX\x00\x00"


def read_lengths(path: Path):
    """The tokens of every sentence with its end, int32 [sentences]; empty if the file is no such index."""
    import numpy as np

    with path.open("rb") as file:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or head[: len(MARK)] != MARK:
            return np.zeros(0, np.int32)
        return np.fromfile(file, np.int32, HEAD.unpack(head)[3])


def write_rows(prefix: Path, rows: Iterable, vocab_size: int | None) -> None:
    """Writes rows of numbers as PREFIX.bin and PREFIX.idx.

    Args:
        prefix: of the files' names; their folder exists.
        rows: a tensor of numbers each.
        vocab_size: the numbers are below it, and take no more bytes than it needs. None: the rows are no vocabulary
            indices, and are stored as 32-bit integers.
    """
    from fairseq.data import indexed_dataset  # takes seconds

    builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size)
    for row in rows:
        builder.add_item(row)
    builder.finalize(f"{prefix}.idx")
