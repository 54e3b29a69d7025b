"""scripts/train.sh and finetune.sh: with fairseq itself where a training is killed, else with a stub of it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import commands
import corpus
import pytest
import training_stub
from waiting import wait_for

from fairseq_intra import checkpoint

SCRIPT = "scripts/train.sh"


def asked(data, out, *more):
    return ["--data", data, "--method", "intra", "--out", out, "--preset", "tiny", *more]


def tiny(dataset, out):
    return [
        *asked(dataset, out, "--updates", 60),
        "--save-interval-updates",
        10,
        *commands.TINY,
        "--batch-tokens",
        500,
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--python /nowhere/python", "no Python at '/nowhere/python'"),
        ("--python=false", "'false' has no fairseq; run scripts/install.sh first"),
        ("--python", "--python needs a value"),
        ("--updates few", "--updates: invalid int value: 'few'"),
    ],
)
def test_bad_arguments_are_named_and_leave_no_folder(data, tmp_path, arguments, named):
    assert named in corpus.fail(SCRIPT, *asked(data, tmp_path / "out"), *arguments.split())
    assert not (tmp_path / "out").exists()


def test_a_clone_of_fairseq_in_the_current_folder_is_no_installed_one(data, tmp_path):
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").touch()
    python = tmp_path / "python"
    python.write_text(f'#!/usr/bin/env bash\nexec {shlex.quote(sys.executable)} -S "$@"\n')  # of no installed package
    python.chmod(0o755)
    command = [corpus.CHECKOUT / SCRIPT, *map(str, asked(data, tmp_path / "out", "--python", python))]
    done = subprocess.run(command, cwd=tmp_path, env=corpus.environment(), capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "has no fairseq; run scripts/install.sh first" in done.stderr


def test_out_must_be_a_folder(data, tmp_path):
    (tmp_path / "file").touch()
    stub = training_stub.environment(tmp_path)
    assert "file cannot be made a folder" in corpus.fail(SCRIPT, *asked(data, tmp_path / "file"), **stub)


def test_the_scripts_are_the_commands_from_wherever_they_are_called(data, tmp_path):
    """By a linked folder, with CDPATH set, where a module of the current folder has a library's name."""
    (tmp_path / "scripts").symlink_to(corpus.CHECKOUT / "scripts")
    (tmp_path / "yaml.py").write_text("raise SystemExit('imported')\n")
    environment = corpus.environment(CDPATH=str(corpus.CHECKOUT), **training_stub.environment(tmp_path))
    command = ["scripts/train.sh", *map(str, asked("data", "out"))]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("finished: out/checkpoints/checkpoint_best.pt\n")
    words = corpus.lines(tmp_path / "calls")
    assert training_stub.follow(words, "data/bin", "--user-dir", str(commands.PLUGIN))


def test_fine_tuning_is_roberta_s_recipe(tmp_path):
    (tmp_path / "task").mkdir()
    made = {"task": "CoLA", "metric": "mcc", "regression": False, "num_classes": 2, "batch_size": 16}
    made |= {"splits": {"train": {"examples": 1001}}, "learning_rate": 1e-5}
    (tmp_path / "task" / "manifest.json").write_text(json.dumps(made))
    (tmp_path / "model.pt").touch()
    given = ["--data", tmp_path / "task", "--checkpoint", tmp_path / "model.pt", "--method", "intra"]
    given += ["--out", tmp_path / "out", "--lr=2e-5", "--alpha", 1.5]
    stub = training_stub.environment(tmp_path, gpus=1)
    corpus.succeed("scripts/finetune.sh", *given, **stub)
    flags = """--arch roberta_base --max-positions 512 --shorten-method truncate --init-token 0 --separator-token 2
    --num-classes 2 --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.1 --optimizer adam --adam-betas (0.9,0.98)
    --adam-eps 1e-6 --clip-norm 0 --lr-scheduler polynomial_decay --lr 1e-05 --total-num-update 630
    --warmup-updates 37 --max-update 630 --max-epoch 10 --batch-size 16 --required-batch-size-multiple 1
    --no-epoch-checkpoints --log-interval 20 --seed 1 --best-checkpoint-metric mcc --maximize-best-checkpoint-metric
    --task sentence_prediction_intra_distillation --criterion intra_distillation_sentence_prediction --num-iter 3
    --alpha 1 --report-mcc --fp16 --lr=2e-5 --alpha 1.5""".split()
    assert corpus.lines(tmp_path / "out" / "arguments.txt")[2:] == flags
    begin = ["--distributed-world-size", "1", "--finetune-from-model", str(tmp_path / "model.pt")]
    assert training_stub.follow(corpus.lines(tmp_path / "calls"), *begin, *flags)
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == {
        "task": "CoLA",
        "metric": "mcc",
        "method": "intra",
        "seed": 1,
    }
    words = [*map(str, given), "--dry-run"]
    batch = training_stub.shown(corpus.run("scripts/finetune.sh", *words, "--batch", 8, **stub).stdout)
    assert training_stub.follow(batch, *"--batch-size 8".split()) and training_stub.follow(
        batch, "--max-update", "1260"
    )
    assert "--batch-size is set by this command: --batch is" in corpus.fail(
        "scripts/finetune.sh", *words, "--batch-size", 8, **stub
    )
    said = corpus.run("scripts/finetune.sh", *words, "--num-iter", 1, **stub).stderr
    assert "with these flags --method intra is plain, and tables call it so" in said
    # The last checkpoint is of use to a run that resumes alone.
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["checkpoint_best.pt"]
    assert "is finished" in corpus.succeed("scripts/finetune.sh", *given, **stub)
    (tmp_path / "model.pt").write_text("another")
    assert "differs: the checksum of --checkpoint is" in corpus.fail("scripts/finetune.sh", *given, **stub)


@pytest.mark.slow
def test_a_killed_run_continues_and_finishes(dataset, tmp_path):
    """With fairseq itself: killed after its first checkpoint, and repeated."""
    out = tmp_path / "out"
    arguments = tiny(dataset, out)
    corpus.kill_during("checkpoints/checkpoint_last.pt", out, SCRIPT, *arguments, OMP_NUM_THREADS="1")
    assert not (out / "finished").exists()
    killed = len((out / "train.log").read_text())
    assert "finished: " in corpus.succeed(SCRIPT, *arguments, OMP_NUM_THREADS="1")
    log = (out / "train.log").read_text()
    (loaded,) = re.findall(r"Loaded checkpoint .* @ (\d+) updates", log)
    assert 10 <= int(loaded) < 60
    continued = [line["num_updates"] for line in commands.updates(log[killed:])]
    assert continued == list(range(int(loaded) + 1, 61))


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    """A run with 60 updates."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    corpus.succeed(SCRIPT, *tiny(dataset, out), OMP_NUM_THREADS="1")
    return out


def start(out, arguments, **more):
    command = [corpus.CHECKOUT / SCRIPT, *map(str, arguments)]
    environment = corpus.environment(OMP_NUM_THREADS="1")
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8", **more)
    log = out / "train.log"
    wait_for(lambda: log.exists() and b"num_updates=12," in log.read_bytes(), process, seconds=300)
    return process


def test_preempted_by_sigusr1_it_resumes_bit_for_bit(dataset, tmp_path, uninterrupted):
    """The folder's name has a colon, at which fairseq would split a path."""
    data = tmp_path / "a:b"
    shutil.copytree(dataset, data)
    out = tmp_path / "out:1"
    process = start(out, tiny(data, out), stdout=subprocess.DEVNULL)
    process.send_signal(signal.SIGUSR1)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75 and "stopped by SIGUSR1 after writing a checkpoint" in said, said
    assert not (out / "finished").exists()
    corpus.succeed(SCRIPT, *tiny(data, out), OMP_NUM_THREADS="1")
    logs = [(folder / "train.log").read_text() for folder in (uninterrupted, out)]
    (loaded,) = re.findall(r"Loaded checkpoint .* @ (\d+) updates", logs[1])
    # Not where a checkpoint was due anyway.
    assert 12 <= int(loaded) < 60
    assert commands.updates(logs[1]) == commands.updates(logs[0])
    states = [checkpoint.load(folder / "checkpoints" / "checkpoint_last.pt") for folder in (uninterrupted, out)]
    assert all((states[0]["model"][name] == states[1]["model"][name]).all() for name in states[0]["model"])
    assert states[0]["extra_state"]["best"] == states[1]["extra_state"]["best"]


def test_a_closed_pipe_does_not_end_a_training_and_a_signal_does_in_one_line(dataset, tmp_path):
    out = tmp_path / "out"
    read, write = os.pipe()
    os.close(read)
    process = start(out, tiny(dataset, out), stdout=write)
    os.close(write)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1].endswith(f"stopped by SIGTERM; the same command resumes {out}")
    assert "Traceback" not in said and not (out / "finished").exists()
