"""scripts/train.sh: what it hands to fairseq-train, what it refuses, and that it continues."""

import fcntl
import os
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


def flags(data, out, method="plain", preset="tiny"):
    return ["--data", data, "--method", method, "--out", out, "--preset", preset, "--updates", 7]


@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_the_methods_differ_in_task_and_criterion_only(data, tmp_path, stand_in, preset):
    runs = {}
    for method in ("plain", "intra"):
        corpus.succeed(SCRIPT, *flags(data, tmp_path / method, method, preset), "--dropout", "0.2", **stand_in)
        runs[method] = corpus.lines(tmp_path / method / "arguments.txt")
        assert "\n".join(runs[method][2:]) in (tmp_path / "calls").read_text()
        assert (tmp_path / method / "finished").exists()
    plain, intra = map(Counter, (runs["plain"], runs["intra"]))
    assert plain - intra == Counter("translation label_smoothed_cross_entropy".split())
    assert intra - plain == Counter(
        "translation_intra_distillation intra_distillation".split() + INTRA[preset].split()
    )


def test_a_gpu_is_used_and_by_the_paper_s_setting_in_half_precision(data, tmp_path, stand_in):
    for preset, gpu in (("paper", True), ("tiny", True), ("paper", False), ("tiny", False)):
        out = tmp_path / f"{preset}{gpu}"
        corpus.succeed(SCRIPT, *flags(data, out, "intra", preset), **(stand_in | {"GPUS": str(int(gpu))}))
        given = corpus.lines(out / "arguments.txt")
        assert ("--cpu" in given, "--fp16" in given) == (not gpu, gpu and preset == "paper")


@pytest.mark.parametrize(
    ("gpus", "preset", "given", "max_tokens", "update_freq"),
    [
        (1, "paper", "", 4096, 1),
        (4, "paper", "", 1024, 1),
        (1, "wmt", "", 4096, 8),
        (8, "wmt", "", 4096, 1),
        (16, "wmt-big", "", 2048, 1),
        (2, "wmt-big", "--max-tokens 2048 --batch-tokens 409600", 2048, 100),
        (0, "tiny", "--max-tokens 250", 250, 4),
    ],
)
def test_the_batch_is_the_same_on_any_machine(data, tmp_path, stand_in, gpus, preset, given, max_tokens, update_freq):
    asked = [*flags(data, tmp_path / "out", preset=preset), *given.split(), "--dry-run"]
    said = corpus.run(SCRIPT, *asked, **(stand_in | {"GPUS": str(gpus)})).stdout
    share = f"--max-tokens {max_tokens} --update-freq {update_freq} --distributed-world-size {max(gpus, 1)} "
    assert share in said and "--distributed-init-method" not in said
    assert not (tmp_path / "out").exists()


def test_the_methods_flags_are_for_the_method_alone(data, tmp_path, stand_in):
    """So that one command line does for both."""
    given = "--alpha 2.5 --lr 0.25 --div=JS --encoder-once --dropout 0.2".split()
    done = {
        method: corpus.run(SCRIPT, *flags(data, tmp_path / "out", method=method), *given, "--dry-run", **stand_in)
        for method in ("plain", "intra")
    }
    assert f" {' '.join(given)} " in done["intra"].stdout
    assert " --lr 0.25 --dropout 0.2 " in done["plain"].stdout
    assert "alpha" not in done["plain"].stdout and "once" not in done["plain"].stdout
    assert "only intra-distillation has them: --alpha 2.5 --div=JS --encoder-once\n" in done["plain"].stderr


def test_a_run_goes_on_with_other_gpus_but_not_with_another_batch(data, tmp_path, stand_in):
    asked = flags(data, tmp_path / "out", preset="wmt")
    corpus.fail(SCRIPT, *asked, **(stand_in | {"GPUS": "8", "FAILS": "1"}))
    corpus.succeed(SCRIPT, *asked, **(stand_in | {"GPUS": "2"}))
    error = corpus.fail(SCRIPT, *asked, "--batch-tokens", 4096, **(stand_in | {"GPUS": "2"}))
    assert "The first that differs: < # batch 32768" in error


@pytest.mark.parametrize(
    ("gpus", "given", "nearest"),
    [
        (
            3,
            "",
            "4096 is no multiple of 3 x 1365, workers and --max-tokens; the nearest that is: --batch-tokens 4095",
        ),
        (2, "--max-tokens 3000", "4096 is no multiple of 2 x 3000, .* is: --batch-tokens 6000"),
        (2, "--max-tokens 1500", "4096 is no multiple of 2 x 1500, .* is: --batch-tokens 3000"),
        (8, "--batch-tokens 3", "3 is no multiple of 8 x 1, .* --batch-tokens 8"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(data, tmp_path, stand_in, gpus, given, nearest):
    asked = [*flags(data, tmp_path / "out", preset="paper"), *given.split()]
    assert re.search(f"--batch-tokens {nearest}$", corpus.fail(SCRIPT, *asked, **(stand_in | {"GPUS": str(gpus)})))


SLURM = {"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "60007"}


@pytest.mark.parametrize(
    ("environment", "meeting"),
    [(commands.TORCHRUN, "env://"), (SLURM | {"SLURM_STEP_NODELIST": "node[7-8]"}, "tcp://node7:20007")],
)
@pytest.mark.parametrize(
    ("gpus", "more"),
    [(8, "--device-id 1 "), (1, "--device-id 0 "), (0, "--distributed-backend gloo --ddp-backend l")],
)
def test_workers_that_were_started_together_train_together(
    data, tmp_path, stand_in, environment, meeting, gpus, more
):
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node7\necho node8\n")
    (tmp_path / "scontrol").chmod(0o755)
    environment = stand_in | environment | {"GPUS": str(gpus), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = corpus.run(SCRIPT, *flags(data, tmp_path / "out", preset="wmt"), "--dry-run", **environment)
    together = f"--distributed-init-method {meeting} --distributed-rank 9 --distributed-no-spawn {more}"
    assert f"--update-freq 1 --distributed-world-size 16 {together}" in done.stdout


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
    assert error.endswith(f"fairseq-train failed; the whole log is {out}/train.log")
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
        ("--preset huge", "--preset must be paper, tiny, wmt or wmt-big, not 'huge'"),
        ("--updates 0", "--updates must be a whole number of at least 1, not '0'"),
        ("--updates many", "--updates must be a whole number of at least 1, not 'many'"),
        ("--seed -1", "--seed must be a whole number, not '-1'"),
        ("--seed", "--seed needs a value"),
        ("--seed --preset tiny", "--seed needs a value"),
        ("--seed=2", "give --seed and its value as two words, not '--seed=2'"),
        ("--python /nowhere/python", "no Python at '/nowhere/python'"),
        ("--distributed-world-size 2", "--distributed-world-size is set by this script; start it with torchrun"),
        ("--distributed-init-method=tcp://host:1", "--distributed-init-method is set by this script"),
        ("--update-freq 2", "--update-freq follows from --batch-tokens, --max-tokens and the number of workers"),
        ("--batch-tokens 0", "--batch-tokens must be a whole number of at least 1, not '0'"),
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
    asked += ["--batch-tokens", 500]
    corpus.kill_during("checkpoints/checkpoint_last.pt", out, SCRIPT, *asked, OMP_NUM_THREADS="1")
    assert not (out / "finished").exists()
    killed = len((out / "train.log").read_text())
    assert "finished: " in corpus.succeed(SCRIPT, *asked, OMP_NUM_THREADS="1")
    log = (out / "train.log").read_text()
    (loaded,) = re.findall(r"Loaded checkpoint .* @ (\d+) updates", log)
    assert 10 <= int(loaded) < 60
    continued = [line["num_updates"] for line in commands.updates(log[killed:])]
    assert continued == list(range(int(loaded) + 1, 61))
