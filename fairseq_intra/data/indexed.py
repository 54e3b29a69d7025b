"""The head of an index of fairseq-preprocess, PREFIX.idx (fairseq/data/indexed_dataset.py, MMapIndexedDataset)."""

import struct
from pathlib import Path

#: fairseq's mark, its version, the code of the tokens' type, how many sentences there are; then the length of each.
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
