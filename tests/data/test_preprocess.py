"""data-prep/preprocess.py writes what fairseq-preprocess writes."""

import subprocess
import sys

import corpus
import pytest

PREPROCESS = corpus.CHECKOUT / "data-prep/preprocess.py"
TEXT = "a b ü a\n\na zz c\n b  a b\n" * 20


@pytest.mark.parametrize("workers", [1, 3])
def test_writes_what_fairseq_preprocess_writes(tmp_path, workers):
    for language in ("de", "en"):
        (tmp_path / f"train.{language}").write_text(TEXT)
        (tmp_path / f"valid.{language}").write_text("a new word\n")
    made = {}
    for name, start in {"ours": [PREPROCESS], "fairseq": ["-m", "fairseq_cli.preprocess"]}.items():
        flags = ["--source-lang", "de", "--target-lang", "en", "--joined-dictionary", "--workers", workers]
        texts = ["--trainpref", tmp_path / "train", "--validpref", tmp_path / "valid", "--destdir", tmp_path / name]
        command = [sys.executable, *start, *flags, *texts]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / name).glob("*.*-*.*.*")) + sorted((tmp_path / name).glob("dict.*"))
        made[name] = {file.name: file.read_bytes() for file in files}
    assert made["ours"] == made["fairseq"] and len(made["ours"]) == 10
