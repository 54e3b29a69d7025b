"""The folder that fairseq-generate reads: the dataset's own, or one of source text alone."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fairseq.data import Dictionary, data_utils

from ..data.indexed import write_rows
from ..errors import UsageError
from ..limits import DEFAULT_MAX_POSITIONS
from .dataset import Dataset

SUBSET = "test"


class DecodingInput(NamedTuple):
    """What is decoded."""

    folder: Path
    subset: str
    sizes: np.ndarray  #: subwords of each source, its end included
    flags: list[str]  #: of fairseq-generate, that this folder needs
    truncated: int  #: sources that are cut


def split_input(
    dataset: Dataset, split: str, limits: tuple[int, int], truncate: bool, scratch: Path
) -> DecodingInput:
    """A split as it was binarised; where its reference is too long for the model, its source alone.

    Args:
        dataset: the dataset.
        split: valid or test.
        limits: the model's --max-source-positions and --max-target-positions.
        truncate: whether longer sources are cut; else they are an error.
        scratch: an empty folder to work in.

    Raises:
        UsageError: if a source is longer than the model can take.
    """
    folder = dataset.folder / "bin"
    prefix = f"{split}.{dataset.pair}"
    sizes, target_sizes = (_sizes(folder / f"{prefix}.{side}") for side in (dataset.source, dataset.target))
    flags, truncated = _limit(sizes, limits[0], truncate, f"{dataset.folder / 'raw' / split}.{dataset.source}")
    if truncated or target_sizes.max(initial=0) > min(limits[1], DEFAULT_MAX_POSITIONS):
        for name in (*(f"{prefix}.{dataset.source}.{end}" for end in ("idx", "bin")), *_dictionaries(dataset)):
            (scratch / name).symlink_to((folder / name).absolute())
        folder = scratch
    return DecodingInput(folder, split, sizes, flags, truncated)


def text_input(dataset: Dataset, text: Path, lines: list[str], limit: int, truncate: bool, scratch: Path):
    """A DecodingInput of lines of raw text (the file `text`), which the dataset's SentencePiece model cuts.

    Raises:
        UsageError: if a line is longer than the model can take.
    """
    import sentencepiece

    subwords = sentencepiece.SentencePieceProcessor(model_file=str(dataset.folder / "spm" / "joint.model"))
    dictionary = Dictionary.load(str(dataset.folder / "bin" / f"dict.{dataset.source}.txt"))
    encoded = [
        dictionary.encode_line(" ".join(subwords.encode(line, out_type=str)), add_if_not_exist=False)
        for line in lines
    ]
    write_rows(scratch / f"{SUBSET}.{dataset.pair}.{dataset.source}", encoded, len(dictionary))
    for name in _dictionaries(dataset):
        shutil.copyfile(dataset.folder / "bin" / name, scratch / name)
    sizes = np.array([len(sentence) for sentence in encoded])
    flags, truncated = _limit(sizes, limit, truncate, str(text))
    return DecodingInput(scratch, SUBSET, sizes, flags, truncated)


def _sizes(prefix):
    # The array ends with the dataset, which unmaps its file.
    dataset = data_utils.load_indexed_dataset(str(prefix))
    return np.array(dataset.sizes)


def _dictionaries(dataset):
    return [f"dict.{side}.txt" for side in (dataset.source, dataset.target)]


def _limit(sizes, limit, truncate, name):
    """(flags, number of sources that are cut)."""
    too_long = np.flatnonzero(sizes > limit)
    if len(too_long) and not truncate:
        raise UsageError(
            f"{name}: {len(too_long)} sources are longer than the {limit} subwords that the model can take "
            f"(--max-source-positions), the first in line {too_long[0] + 1}; give --truncate-source to cut them"
        )
    flags = ["--truncate-source"] if len(too_long) else []
    if sizes.max(initial=0) > min(limit, DEFAULT_MAX_POSITIONS):
        flags += ["--max-source-positions", str(limit)]
    return flags, len(too_long)
