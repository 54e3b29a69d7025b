"""A dataset and a checkpoint as small as can be, and a stub of fairseq-generate: nothing is trained."""

import json
import sys
from pathlib import Path

import tiny
from fairseq.data import indexed_dataset

from fairseq_intra.files import sha256

STUB = """import os, sys
from pathlib import Path
folder = Path(__file__).parent
words = "\\n".join([*sys.argv[1:], *map("=".join, os.environ.items())])
(folder / "calls").open("a").write(words + "\\0")
nbest = int(sys.argv[sys.argv.index("--nbest") + 1]) if "--nbest" in sys.argv else 1
for number, lines in enumerate((folder / "hypotheses").read_text(encoding="utf-8").split("\\n")[:-1]):
    said = f"S-{number}\\tx\\n"
    for line in lines.split("\\t")[:nbest]:
        probabilities = " ".join("-1.0000" for _ in [*line.split(), "end"])
        said += f"H-{number}\\t-1\\t{line}\\nD-{number}\\t-1\\t{line}\\nP-{number}\\t{probabilities}\\n"
    sys.stdout.buffer.write(said.encode())
if (folder / "fails").exists():
    sys.exit("fairseq_intra: error: " + (folder / "fails").read_text())
"""


def write_dataset(folder: Path, source: list[str], target: list[str], lowercase=False, language="en") -> Path:
    """A dataset from German whose test split this is; its words are numbered at will."""
    for name in ("raw", "bin"):
        (folder / name).mkdir(parents=True)
    for side, lines in (("de", source), (language, target)):
        dictionary = tiny.dictionary()
        dictionary.save(str(folder / "bin" / f"dict.{side}.txt"))
        (folder / "raw" / f"test.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        prefix = str(folder / "bin" / f"test.de-{language}.{side}")
        builder = indexed_dataset.make_builder(f"{prefix}.bin", impl="mmap", vocab_size=len(dictionary))
        for line in lines:
            words = " ".join("word1" for _ in line.split())
            builder.add_item(dictionary.encode_line(words, add_if_not_exist=False))
        builder.finalize(f"{prefix}.idx")
    write_manifest(folder, language, lowercase)
    return folder


def write_manifest(folder: Path, language="en", lowercase=False) -> None:
    """The manifest of the folder as it is."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    entries = {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size} for path in files
    }
    content = {"format": 1, "source": "de", "target": language, "settings": {"lowercase": lowercase}, "inputs": {}}
    (folder / "manifest.json").write_text(json.dumps(content | {"files": entries}))


def write_checkpoint(path: Path, *flags: str) -> Path:
    """An untrained model on the dictionaries of `write_dataset`, as fairseq's trainer saves it."""
    folder = path.parent / "dictionaries"
    folder.mkdir(parents=True, exist_ok=True)
    tiny.save_dictionaries(folder)
    trainer = tiny.trainer(tiny.configuration(folder, "--optimizer", "sgd", "--lr", "0.1", *flags))
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(path), {"train_iterator": {"epoch": 1}})
    return path


class StubGenerate:
    """fairseq-generate of which the output is known."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.command = [sys.executable, str(folder / "stub.py")]
        (folder / "stub.py").write_text(STUB, encoding="utf-8")

    def translates(self, lines: list[str]) -> None:
        """What it prints: the best of every sentence, and behind tabs others as good, for --nbest."""
        (self.folder / "hypotheses").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def fails(self, why: str) -> None:
        """It ends with an error."""
        (self.folder / "fails").write_text(why)

    @property
    def calls(self) -> list[list[str]]:
        """Of each call, its arguments and its environment, as words."""
        return [call.split("\n") for call in (self.folder / "calls").read_text().split("\0")[:-1]]

    @property
    def call(self) -> list[str]:
        """The last call's."""
        return self.calls[-1]
