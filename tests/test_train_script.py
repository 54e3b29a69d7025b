"""scripts/train.sh: what it hands to fairseq-train, what it refuses, and that it continues."""

import fcntl
import re
from collections import Counter

import commands
import corpus
import pytest

SCRIPT = "scripts/train.sh"
INTRA = {
    "paper": "--num-iter 3 --alpha 5 --adaptive-alpha 1 --temperature-p 5 --temperature-q 10 --div X",
    "tiny": "--num-iter 3 --alpha 1 --adaptive-alpha 0 --div X",
}
#: Stands in for Python: it has a GPU or not, and for fairseq-train it notes its arguments and makes a checkpoint.
STAND_IN = """#!/usr/bin/env bash
case $* in
  *cuda.is_available*) exit "$NO_GPU" ;;
  *fairseq_cli.train*) printf '%s\\n' "$@" >>"$CALLS" ;;
  *) exit 0 ;;
esac
[[ $FAILS == 0 ]] || exit 1
while [[ $1 != --save-dir ]]; do shift; done
mkdir -p "$2" && touch "$2/checkpoint_last.pt"
"""


@pytest.fixture
def stand_in(tmp_path):
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    names = {"FAIRSEQ_INTRA_PYTHON": tmp_path / "python", "CALLS": tmp_path / "calls", "NO_GPU": 1, "FAILS": 0}
    return {name: str(value) for name, value in names.items()}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("{}")
    return tmp_path / "data"


def flags(data, out, method="plain", preset="tiny"):
    return ["--data", data, "--method", method, "--out", out, "--preset", preset, "--updates", 7]


@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_the_methods_differ_in_task_and_criterion_only(data, tmp_path, stand_in, preset):
    runs = {}
    for method in ("plain", "intra"):
        corpus.succeed(SCRIPT, *flags(data, tmp_path / method, method, preset), "--dropout", "0.2", **stand_in)
        runs[method] = corpus.lines(tmp_path / method / "arguments.txt")
        assert "\n".join(runs[method][1:]) in (tmp_path / "calls").read_text()
        assert (tmp_path / method / "finished").exists()
    plain, intra = map(Counter, (runs["plain"], runs["intra"]))
    assert plain - intra == Counter("translation label_smoothed_cross_entropy".split())
    assert intra - plain == Counter(
        "translation_intra_distillation intra_distillation".split() + INTRA[preset].split()
    )


def test_a_gpu_is_used_and_by_the_paper_s_setting_in_half_precision(data, tmp_path, stand_in):
    for preset, gpu in (("paper", True), ("tiny", True), ("paper", False), ("tiny", False)):
        out = tmp_path / f"{preset}{gpu}"
        corpus.succeed(SCRIPT, *flags(data, out, "intra", preset), **(stand_in | {"NO_GPU": str(int(not gpu))}))
        given = corpus.lines(out / "arguments.txt")
        assert ("--cpu" in given, "--fp16" in given) == (not gpu, gpu and preset == "paper")


def test_a_finished_run_is_left_alone_and_never_mixed_with_another(data, tmp_path, stand_in):
    out = tmp_path / "out"
    corpus.succeed(SCRIPT, *flags(data, out), **stand_in)
    before = corpus.checksums(tmp_path)
    assert "is finished" in corpus.succeed(SCRIPT, *flags(data, out), **stand_in)
    for other, named in (("--seed 2", "< 1 "), ("--dropout 0.1", "> --dropout"), ("--updates 9", "< 7 ")):
        error = corpus.fail(SCRIPT, *flags(data, out), *other.split(), **stand_in)
        assert "is a run with other arguments or data; give another --out" in error and named in error
    assert corpus.checksums(tmp_path) == before
    (data / "manifest.json").write_text('{"other": "text"}')
    assert "The first that differs: < # data " in corpus.fail(SCRIPT, *flags(data, out), **stand_in)


def test_two_at_once_are_refused(data, tmp_path, stand_in):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = corpus.fail(SCRIPT, *flags(data, tmp_path / "out"), **stand_in)
    assert "another run is working in" in error
    assert not (tmp_path / "calls").exists()


def test_a_failed_training_is_not_finished_and_can_be_repeated(data, tmp_path, stand_in):
    out = tmp_path / "out"
    error = corpus.fail(SCRIPT, *flags(data, out), **(stand_in | {"FAILS": "1"}))
    assert f"fairseq-train failed; the whole log is {out}/train.log" in error
    assert not (out / "finished").exists()
    assert "finished: " in corpus.succeed(SCRIPT, *flags(data, out), **stand_in)


@pytest.mark.parametrize("missing", ["--data", "--method", "--out"])
def test_what_is_required_is_asked_for(data, tmp_path, missing):
    given = {"--data": data, "--method": "plain", "--out": tmp_path / "out"}
    del given[missing]
    assert f"{missing} is missing" in corpus.fail(SCRIPT, *[word for pair in given.items() for word in pair])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--data /nowhere", "--data /nowhere is not a prepared dataset: no manifest.json"),
        ("--method both", "--method must be plain, intra or self-distillation, not 'both'"),
        ("--preset huge", "--preset must be paper or tiny, not 'huge'"),
        ("--updates 0", "--updates must be a whole number of at least 1, not '0'"),
        ("--updates many", "--updates must be a whole number of at least 1, not 'many'"),
        ("--seed -1", "--seed must be a whole number, not '-1'"),
        ("--seed", "--seed needs a value"),
        ("--seed --preset tiny", "--seed needs a value"),
        ("--seed=2", "give --seed and its value as two words, not '--seed=2'"),
        ("--python /nowhere/python", "no Python at '/nowhere/python'"),
        ("--python false", "'false' has no fairseq; run scripts/install.sh first"),
    ],
)
def test_bad_arguments_are_named_and_leave_no_folder(data, tmp_path, arguments, named):
    assert named in corpus.fail(SCRIPT, *flags(data, tmp_path / "out"), *arguments.split())
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder(data, tmp_path, stand_in):
    (tmp_path / "file").touch()
    assert "file' cannot be made a folder" in corpus.fail(SCRIPT, *flags(data, tmp_path / "file"), **stand_in)


def test_a_killed_run_continues_and_finishes(dataset, tmp_path):
    """With fairseq itself: killed after its first checkpoint, and repeated."""
    out = tmp_path / "out"
    asked = [*flags(dataset, out, "intra"), "--updates", 60, "--save-interval-updates", 10, *commands.TINY]
    corpus.kill_during("checkpoints/checkpoint_last.pt", out, SCRIPT, *asked, OMP_NUM_THREADS="1")
    assert not (out / "finished").exists()
    killed = len((out / "train.log").read_text())
    assert "finished: " in corpus.succeed(SCRIPT, *asked, OMP_NUM_THREADS="1")
    log = (out / "train.log").read_text()
    (loaded,) = re.findall(r"Loaded checkpoint .* @ (\d+) updates", log)
    assert 10 <= int(loaded) < 60
    continued = [line["num_updates"] for line in commands.updates(log[killed:])]
    assert continued == list(range(int(loaded) + 1, 61))
