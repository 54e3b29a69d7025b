"""A model that was trained until it translates, and what is exported of it: once a session."""

from pathlib import Path
from typing import NamedTuple

import corpus
import pytest
from preparing import prepare
from shared import made_once

from fairseq_intra import cli

LANGUAGES = ("de", "en")
#: A transformer of one layer, and what it is trained with.
SIZES = {"layers": 1, "embed-dim": 64, "ffn-embed-dim": 128}
TINY = [f"--{side}-{name}={value}" for side in ("encoder", "decoder") for name, value in SIZES.items()]
TINY += ["--dropout=0.1", "--lr=5e-3", "--warmup-updates=100", "--batch-tokens=1000", "--preset=tiny"]


class Translating(NamedTuple):
    """A model that translates; not to be changed."""

    data: Path
    checkpoint: Path
    exported: Path
    flags: list[str]  #: of train, for another run of this model

    @property
    def source(self) -> list[str]:
        """The raw lines of test."""
        return corpus.lines(self.data / "raw/test.de")

    @property
    def target(self) -> list[str]:
        """Their reference."""
        return corpus.lines(self.data / "raw/test.en")


def train(data: Path, out: Path, *flags: object) -> Path:
    """Runs `fairseq-intra train`; returns the folder of the checkpoints."""
    cli.main(["train", "--data", str(data), "--out", str(out), *map(str, flags)])
    return out / "checkpoints"


@pytest.fixture(scope="session")
def translating(tmp_path_factory):
    """English that is German without its ß, of words that become single subwords: that is learned in seconds."""
    base = made_once(tmp_path_factory, "translating", _make)
    return Translating(base / "data", base / "run/checkpoints/checkpoint_last.pt", base / "exported", TINY)


def _make(base):
    for seed, (split, count) in enumerate({"train": 3000, "valid": 40, "test": 120}.items()):
        corpus.write_pairs(base / "text", split, corpus.easy_sentences(count, seed), LANGUAGES)
    flags = ["--input", base / "text", "--src", "de", "--tgt", "en", "--vocab-size", 640, "--workers", 1]
    prepare("parallel", *flags, "--out", base / "data")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        updates = ["--updates", 300, "--validate-interval-updates", 150]
        checkpoints = train(base / "data", base / "run", "--method", "plain", *TINY, *updates)
    given = [
        "--checkpoint",
        checkpoints / "checkpoint_last.pt",
        "--data",
        base / "data",
        "--output",
        base / "exported",
    ]
    cli.main(["export", *map(str, given)])
