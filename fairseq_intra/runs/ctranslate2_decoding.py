"""What `fairseq-intra evaluate --engine ctranslate2` does in fairseq-generate's place."""

from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ..errors import UsageError
from ..files import read_lines
from ..translation.ctranslate2_engine import CTranslate2Engine
from ..translation.export import convert
from ..translation.search import Limits, Search
from ..translation.text import Subwords, decode
from .dataset import Dataset


class Decoded(NamedTuple):
    """The translations of a text."""

    hypotheses: list[str]
    lengths: list[int]  #: of the hypotheses in subwords, without the end of sentence
    truncated: int  #: sources that were cut


def translate(
    checkpoint: Path, dataset: Dataset, text: Path, search: Search, limits: Limits, truncate: bool, scratch: Path
) -> Decoded:
    """Translates a file of the dataset, or of a WMT set, by a model that is converted for it.

    Args:
        checkpoint: of a transformer.
        dataset: that it was trained on.
        text: the file.
        search: the settings; one translation is taken.
        limits: the model's.
        truncate: whether longer sources are cut; else they are an error.
        scratch: a folder to work in.

    Raises:
        UsageError: if CTranslate2 does not read the model, or a source is longer than it can take.
    """
    folder = scratch / "ctranslate2"
    convert(checkpoint, dataset.folder, folder, "float32")
    engine = CTranslate2Engine(folder, limits)
    sources = Subwords(dataset.folder / "spm" / "joint.model", dataset.lowercase).encode(read_lines(text))
    too_long = [number for number, source in enumerate(sources, 1) if len(source) >= limits.source]
    if too_long and not truncate:
        raise UsageError(
            f"{text}: {len(too_long)} sources are longer than the {limits.source} subwords that the model can take "
            f"(--max-source-positions), the first in line {too_long[0]}; give --truncate-source to cut them"
        )
    sources = [source[: limits.source - 1] for source in sources]
    best: list[list[str]] = [[] for _ in sources]
    with tqdm(total=len(sources), unit="sentence", disable=None) as bar:
        for number, hypotheses in engine.translate(sources, search):
            best[number] = hypotheses[0].subwords
            bar.update()
    return Decoded([decode(each) for each in best], [len(each) for each in best], len(too_long))
