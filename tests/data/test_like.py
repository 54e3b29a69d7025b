"""`fairseq-intra prepare parallel --like`: a dataset with another's SentencePiece model and dictionary."""

import json

import corpus
import pytest
from preparing import prepare, rejected

LANGUAGES = ("de", "en")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A lowercased dataset; not to be changed."""
    folder = tmp_path_factory.mktemp("base")
    for split, count in {"train": 300, "valid": 10, "test": 10}.items():
        corpus.write_pairs(folder / "text", split, corpus.sentences(count, seed=count), LANGUAGES)
    flags = ["--src", "de", "--tgt", "en", "--vocab-size", 120, "--lowercase", "--workers", 1]
    prepare("parallel", "--input", folder / "text", *flags, "--out", folder / "data")
    return folder / "data"


@pytest.fixture
def other(tmp_path):
    """Flags for other text of the same languages."""
    for split in ("train", "valid", "test"):
        corpus.write_pairs(tmp_path / "text", split, corpus.sentences(20, seed=len(split) + 90), LANGUAGES)
    return ["parallel", "--input", tmp_path / "text", "--src", "de", "--tgt", "en", "--out", tmp_path / "out"]


def test_it_has_the_other_ones_model_dictionary_and_lowercasing(base, other, tmp_path):
    prepare(*other, "--like", base, "--workers", 1)
    out = tmp_path / "out"
    for name in ("spm/joint.model", "spm/joint.vocab", "bin/dict.de.txt", "bin/dict.en.txt"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert corpus.lines(out / "raw" / "test.de") == [
        line.lower() for line in corpus.lines(tmp_path / "text" / "test.de")
    ]
    settings = json.loads((out / "manifest.json").read_text())["settings"]
    assert settings["lowercase"] and settings["vocab_size"] == 120
    assert "is finished already" in prepare(*other, "--like", base)
    assert "lowercase true where false is now asked" in rejected(*other)


def test_text_that_does_not_fit_is_rejected(base, other, tmp_path):
    corpus.write_pairs(tmp_path / "text", "train", [("αβγ δεζ ηθι", "κλμ νξο πρσ")] * 20, LANGUAGES)
    error = rejected(*other, "--like", base, "--workers", 1)
    assert "of the subwords of train.de are not in" in error and "too different a text for --like" in error
    assert not (tmp_path / "out" / "bin").exists()


def test_flags_that_it_decides_are_rejected(base, other, tmp_path):
    for size in (130, 12000):  # the second is what it would be by default
        assert "--vocab-size has no effect with --like" in rejected(*other, "--like", base, "--vocab-size", size)
    assert "is not a finished dataset: no manifest.json" in rejected(*other, "--like", tmp_path)
    error = rejected(*other[:3], "--src", "de", "--tgt", "nl", *other[7:], "--like", base)
    assert "is of de and en, not of de and nl" in error
    assert not (tmp_path / "out").exists()
