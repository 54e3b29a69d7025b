"""scripts/iwslt14.sh and benchmarks/real_text.sh: what they ask the grid for; fairseq itself in the slow test."""

import gzip
import json
import os
import signal
import subprocess

import commands
import corpus
import pytest
import recorded
from waiting import wait_for

SCRIPT = "scripts/iwslt14.sh"


@pytest.fixture
def stub(tmp_path):
    return recorded.stub(tmp_path)


def test_it_is_the_grid_of_the_paper_s_pairs(stub):
    corpus.succeed(SCRIPT, "--data", "DATA", "--out", "OUT", "--seeds", "1 2", "--dropout", "0.2", **stub)
    given = ["--data", "DATA", "--out", "OUT", "--seeds", "1 2", "--dropout", "0.2"]
    assert recorded.grids(stub)[-1] == ["grid", "translation", *given]


def test_help_is_shown_without_python():
    done = corpus.run(SCRIPT, "-h", FAIRSEQ_INTRA_PYTHON="/nowhere")
    assert done.returncode == 0 and "--gpus-per-run N" in done.stdout


def test_five_pairs_of_two_corpora(tmp_path, stub):
    """benchmarks/real_text.sh"""
    for corpus_name, languages in {"tatoeba-de-en": ("de", "en"), "bible": ("de", "es", "nl", "pl", "en")}.items():
        (tmp_path / "text" / corpus_name).mkdir(parents=True)
        for language in languages:
            for split in ("train", "valid", "test"):
                text = "".join(f"{corpus_name} {language} {split} {number}\n" for number in range(9))
                with gzip.open(tmp_path / "text" / corpus_name / f"{split}.{language}.gz", "wt") as file:
                    file.write(text)
    out = tmp_path / "real"
    given = ["--data", tmp_path / "text", "--out", out, "--test-pairs", 4, "--updates", 12, "--jobs", 2]
    corpus.succeed("benchmarks/real_text.sh", *given, **stub)
    pairs = "tatoeba.de bible.de bible.es bible.nl bible.pl"
    where = ["--data", f"{out}/data", "--out", f"{out}/runs", "--corpus", "Tatoeba and the Bible", "--langs", pairs]
    flags = ["--preset", "tiny", "--updates", "12", "--jobs", "2"]
    assert recorded.grids(stub)[-1] == [
        "grid",
        "translation",
        *where,
        *flags,
    ]
    text = out / "text" / "4" / "bible.pl-en"
    assert len(corpus.lines(text / "train.pl")) == 9
    assert corpus.lines(text / "test.en") == [f"bible en test {number}" for number in range(4)]


@pytest.mark.slow
def test_two_languages_two_methods_two_seeds_killed_half_way(dataset, tmp_path):
    """With fairseq itself."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    os.symlink(dataset, data / "de-en")
    for number, (split, count) in enumerate({"train": 200, "valid": 9, "test": 9}.items()):
        corpus.write_pairs(tmp_path / "text", split, corpus.sentences(count, seed=90 + number), ("fa", "en"))
    prepare = ["--input", tmp_path / "text", "--src", "fa", "--tgt", "en", "--out", data / "fa-en"]
    corpus.succeed("data-prep/prepare-parallel.sh", *prepare, "--vocab-size", 120, "--workers", 1)
    asked_for = ["--data", data, "--out", out, "--preset", "tiny", "--langs", "de fa", "--seeds", "1 2"]
    asked_for += [*commands.TINY, "--updates", 4]
    process = subprocess.Popen(
        [corpus.CHECKOUT / SCRIPT, *map(str, asked_for)],
        env=corpus.environment(OMP_NUM_THREADS="1"),
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(list(out.glob("*/finished"))) >= 3, process, seconds=1200)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = corpus.run(SCRIPT, *asked_for, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    names = {
        f"{pair}.{how}.seed{seed}" for pair in ("de-en", "fa-en") for how in ("plain", "intra") for seed in (1, 2)
    }
    assert {run.name for run in out.glob("*seed*")} == names
    for name in names:
        assert (out / name / "train.log").read_text().count("done training") == 1
        assert json.loads((out / name / "checkpoints" / "checkpoint_best.test.json").read_text())["num_updates"] <= 4
    rows = done.stdout.split("\n")[2:7]
    assert [row.split("|")[1].strip() for row in rows] == ["pair", "---", "de-en", "fa-en", "average"]
    assert all(row.count("±") == 3 for row in rows[2:4]) and "33.07 to 36.10" in rows[2]
    assert (out / "table.md").read_text() == done.stdout
