"""A prepared dataset as an evaluation needs it: its manifest, and that its files are those of the manifest."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from ..data.manifest import verify_files
from ..errors import UsageError
from ..json_files import FileName, has_type, read_json


class File(TypedDict):
    """What a manifest says of a file."""

    sha256: str
    bytes: int


class Dataset(NamedTuple):
    """A folder that data-prep/ finished."""

    folder: Path
    source: str  #: language
    target: str
    lowercase: bool
    files: dict[str, File]  #: by path in the folder
    tokenized: bool = False  #: raw/ is in tokens, as published scores of it count them
    subwords: str = "sentencepiece"  #: how fairseq's --post-process joins them

    @property
    def pair(self) -> str:
        """SOURCE-TARGET."""
        return f"{self.source}-{self.target}"

    @property
    def corpus(self) -> str:
        """SHA-256 over the checksums of all files: two datasets with it are the same."""
        lines = [f"{self.files[name]['sha256']} {name}\n" for name in sorted(self.files)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def check(self, *names: str) -> None:
        """Compares files with the manifest, by SHA-256.

        Raises:
            UsageError: if one is missing, or was changed.
        """
        verify_files(self.folder, self.files, names)

    def check_split(self, split: str) -> None:
        """Compares all that a split is decoded from and scored on with the manifest."""
        sides = (self.source, self.target)
        binarised = [f"bin/{split}.{self.pair}.{side}.{end}" for side in sides for end in ("idx", "bin")]
        self.check(*(f"raw/{split}.{side}" for side in sides), *self.dictionaries(), *binarised)

    def dictionaries(self) -> list[str]:
        """Paths in the folder, the source's first."""
        return [f"bin/dict.{side}.txt" for side in (self.source, self.target)]


def reject_variables(folder: Path, flag: str = "--data") -> None:
    """Raises UsageError on a name in which fairseq's configuration, by OmegaConf, would look for a variable."""
    if "${" in str(folder):
        raise UsageError(f"{flag} {folder}: fairseq takes ${{ for a variable; give the folder another name")


def need_dataset(folder: Path) -> Path:
    """The manifest of the dataset that --data names.

    Raises:
        UsageError: if the folder has none, or fairseq cannot read data there.
    """
    reject_variables(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        hint = "see data-prep/"
        if (folder / "settings.json").is_file():
            hint = "it is not finished, repeat fairseq-intra prepare"
        elif (folder.parent / "manifest.json").is_file():
            hint = f"did you mean {folder.parent}?"
        elif any(folder.glob("dict.*.txt")):
            hint = (
                "data of fairseq-preprocess is for fairseq-train --user-dir; this command needs fairseq-intra prepare"
            )
        raise UsageError(f"--data {folder} is not a prepared dataset: no manifest.json ({hint})")
    return path


def read_dataset(folder: Path) -> Dataset:
    """Reads the manifest.json of a dataset.

    Raises:
        UsageError: if there is none, or it is not one.
    """
    path = need_dataset(folder)
    manifest = read_json(path)
    expected: dict[str, Any] = {"source": FileName, "target": FileName, "settings": dict, "files": dict[str, File]}
    names = {} if not isinstance(manifest, dict) else manifest
    for name, kind in expected.items():
        if not has_type(names.get(name), kind):
            raise UsageError(f"{path} is not a dataset's manifest: its '{name}' is missing or of another kind")
    settings = manifest["settings"]
    lowercase, tokenized = (bool(settings.get(name, False)) for name in ("lowercase", "tokenized"))
    subwords = "subword_nmt" if settings.get("subwords") == "subword-nmt" else "sentencepiece"
    return Dataset(folder, manifest["source"], manifest["target"], lowercase, manifest["files"], tokenized, subwords)
