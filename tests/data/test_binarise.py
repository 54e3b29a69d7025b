"""fairseq_intra/data/binarise.py writes what fairseq-preprocess writes."""

import commands
import pytest

from fairseq_intra.data.binarise import preprocess
from fairseq_intra.errors import UsageError

TEXT = "a b ü a\n\na zz c\n b  a b\n" * 20


def test_writes_what_fairseq_preprocess_writes(tmp_path):
    for language in ("de", "en"):
        (tmp_path / f"train.{language}").write_text(TEXT)
        (tmp_path / f"valid.{language}").write_text("a new word\n")
    flags = ["--source-lang", "de", "--target-lang", "en", "--joined-dictionary", "--workers", "3"]
    flags += ["--trainpref", str(tmp_path / "train"), "--validpref", str(tmp_path / "valid")]
    commands.fairseq("preprocess", *flags, "--destdir", tmp_path / "fairseq")
    preprocess(flags, tmp_path / "log", tmp_path / "three")
    preprocess([*flags, "--workers", "1"], tmp_path / "log", tmp_path / "one")
    made = {}
    for name in ("fairseq", "three", "one"):
        files = sorted((tmp_path / name).glob("*.*-*.*.*")) + sorted((tmp_path / name).glob("dict.*"))
        made[name] = {file.name: file.read_bytes() for file in files}
    assert made["fairseq"] == made["three"] == made["one"] and len(made["one"]) == 10


def test_a_failure_ends_in_the_last_line_of_its_log(tmp_path):
    with pytest.raises(UsageError, match="fairseq-preprocess failed; the whole log is .*log, and it ends: "):
        preprocess(["--frobnicate"], tmp_path / "log", tmp_path / "out")
    assert "--frobnicate" in (tmp_path / "log").read_text()
