"""The folder that `fairseq-intra export` makes: CTranslate2's model, SentencePiece model, settings, model card."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..json_files import read_record
from .search import Limits

FORMAT = 1
SETTINGS, SUBWORDS, CARD = "settings.json", "sentencepiece.model", "README.md"


@dataclass(frozen=True)
class Settings:
    """The file settings.json of such a folder."""

    format: int
    source: str  #: language
    target: str
    lowercase: bool
    max_source_positions: int  #: subwords, end of sentence included
    max_target_positions: int
    max_len_a: float  #: a hypothesis has at most max_len_a x source length + max_len_b subwords
    max_len_b: int
    quantization: str  #: float32 or int8
    checkpoint_sha256: str
    corpus: str | None = None  #: of the dataset, see `Dataset.corpus`; folders of earlier versions lack it

    @property
    def limits(self) -> Limits:
        """The model's limits."""
        return Limits(self.max_source_positions, self.max_target_positions, self.max_len_a, self.max_len_b)


def read_settings(folder: Path) -> Settings:
    """The settings of an exported model.

    Raises:
        UsageError: if the folder is not one.
    """
    if not (folder / SETTINGS).is_file():
        raise UsageError(f"{folder} is not an exported model: no {SETTINGS} (see fairseq-intra export --help)")
    settings = read_record(Settings, folder / SETTINGS, FORMAT, "the settings of an exported model")
    if min(settings.max_source_positions, settings.max_target_positions) < 2:
        raise UsageError(f"{folder / SETTINGS}: a limit of positions is below 2")
    for name in ("model.bin", SUBWORDS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder / name} is missing; export the model again")
    return settings
