"""scripts/wmt17.sh: one run of WMT's size, by as many workers as there are."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import commands
import corpus
import pytest
import torch
import training_stub
from commands import TORCHRUN
from training_stub import follow, shown
from waiting import wait_for

from fairseq_intra import checkpoint

SCRIPT = "scripts/wmt17.sh"


def asked(data, out, *more):
    return ["--data", data, "--method", "plain", "--out", out, *more]


@pytest.mark.parametrize(
    ("size", "gpus", "arch", "share"),
    [
        ("base", 8, "transformer_wmt_en_de", "--max-tokens 4096 --update-freq 1 --distributed-world-size 8"),
        (
            "big",
            2,
            "transformer_vaswani_wmt_en_de_big",
            "--max-tokens 4096 --update-freq 4 --distributed-world-size 2",
        ),
    ],
)
def test_a_size_is_a_preset(data, tmp_path, size, gpus, arch, share):
    given = asked(data, tmp_path / "out", "--size", size, "--dry-run")
    words = shown(corpus.run(SCRIPT, *given, **training_stub.environment(tmp_path, gpus)).stdout)
    assert follow(words, "--arch", arch) and follow(words, *share.split())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def recipe(tmp_path):
    """The script beside a stub of evaluate.sh, which prints its arguments."""
    (tmp_path / "checkout" / "scripts").mkdir(parents=True)
    (tmp_path / "checkout" / "fairseq_intra").symlink_to(corpus.CHECKOUT / "fairseq_intra")
    for name in ("wmt17.sh", "train.sh", "lib.sh"):
        shutil.copy(corpus.CHECKOUT / "scripts" / name, tmp_path / "checkout" / "scripts")
    (tmp_path / "checkout" / "scripts" / "evaluate.sh").write_text("#!/bin/sh\necho evaluate $*\n")
    (tmp_path / "checkout" / "scripts" / "evaluate.sh").chmod(0o755)
    return tmp_path / "checkout" / SCRIPT


def test_the_first_worker_alone_keeps_the_run_and_scores_it(data, tmp_path, recipe):
    """The others train, and leave the rest to it."""
    out = tmp_path / "out"
    environment = training_stub.environment(tmp_path, gpus=8) | TORCHRUN
    assert "evaluate" not in corpus.succeed(recipe, *asked(data, out), **environment)
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "train.rank9.log"]
    done = corpus.run(recipe, *asked(data, out), **(environment | {"RANK": "0"}))
    best = out / "checkpoints" / "checkpoint_best.pt"
    sets = [
        f"evaluate --checkpoint {best} --data {data} --average 5 --wmt-set {name}" for name in ("wmt14/full", "wmt17")
    ]
    assert (out / "finished").exists() and done.stdout.splitlines()[-2:] == sets, done.stderr
    assert corpus.lines(tmp_path / "calls").count("--distributed-world-size") == 2


#: In place of training_stub's: trains until a signal comes, notes which, and says what one says that has saved.
PREEMPTED = """import os, pathlib, signal, time
def cli_main():
    calls = pathlib.Path(os.environ["CALLS"])
    def end(number, _):
        calls.write_text(f"{signal.Signals(number).name}\\n")
        print("preempted by SIGUSR1", flush=True)
        os._exit(0)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, end)
    calls.touch()
    time.sleep(60)
if __name__ == "__main__":
    cli_main()
"""


@pytest.mark.parametrize(
    ("number", "told", "status"),
    [
        (signal.SIGUSR1, "SIGUSR1", 75),
        (signal.SIGTERM, "SIGTERM", 128 + signal.SIGTERM),
        # A shell has its commands in the background ignore SIGINT.
        (signal.SIGINT, "SIGTERM", 128 + signal.SIGTERM),
        (signal.SIGHUP, "SIGTERM", 128 + signal.SIGTERM),
    ],
)
def test_a_signal_reaches_the_training_and_nothing_is_scored(data, tmp_path, recipe, number, told, status):
    stub = training_stub.environment(tmp_path)
    (tmp_path / "stub" / "fairseq_cli" / "train.py").write_text(PREEMPTED)
    process = subprocess.Popen(
        [str(word) for word in [recipe, *asked(data, tmp_path / "out")]],
        env=corpus.environment(**stub),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        preexec_fn=corpus.heed_signals,
    )
    wait_for((tmp_path / "calls").exists, process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status and "evaluate" not in said, said
    assert corpus.lines(tmp_path / "calls") == [told]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--size huge", "--size must be base or big, not 'huge'"),
        ("--preset tiny", "--preset follows from --size"),
        ("--method both", "error: --method must be plain, rdrop, intra, late or self-distillation, not 'both'"),
        ("--batch-tokens 5000", "5000 is no multiple of 1 x 4096, .* is: --batch-tokens 4096"),
        ("--average 0", "--average must be a whole number of at least 1, not '0'"),
        ("--wmt-sets", "--wmt-sets needs a value"),
    ],
)
def test_bad_arguments_are_named(data, tmp_path, arguments, named):
    given = asked(data, tmp_path / "out", *arguments.split())
    assert re.search(named, corpus.fail(SCRIPT, *given, **training_stub.environment(tmp_path)))


#: As Slurm's, for two tasks of those that it is asked for: what it tells each of itself.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do
  case $1 in
    --nodes) nodes=$2; shift ;;
    --ntasks-per-node) tasks=$2; shift ;;
    --gpus-per-node) shift ;;
  esac
  shift
done
for task in 0 9; do
  SLURM_STEP_NUM_TASKS=$((nodes * tasks)) SLURM_PROCID=$task SLURM_LOCALID=$((task % tasks)) SLURM_JOB_ID=60007 \
    SLURM_STEP_NODELIST='node[7-8]' SLURM_NTASKS_PER_NODE=$tasks SLURM_NNODES=$nodes "$@" || exit
done
"""


def test_srun_as_documented_starts_one_training_of_all_tasks(data, tmp_path):
    told = corpus.run(SCRIPT, "--help").stdout
    command = re.search(r"^  (srun .*\\\n.*)$", told, re.MULTILINE)[1].replace("\\\n", " ").split()
    fakes = {"srun": SRUN, "scontrol": "#!/bin/sh\n[ \"$3\" = 'node[7-8]' ] && echo node7 && echo node8\n"}
    for name, text in fakes.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    places = {"DATA": data, "RUN": tmp_path / "out"}
    environment = training_stub.environment(tmp_path, gpus=8) | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(places.get(word, word)) for word in command] + ["--dry-run"],
        env=corpus.environment(**environment),
        cwd=corpus.CHECKOUT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    commands_shown = [shown(text) for text in done.stdout.split("fairseq-train ")[1:]]
    for words, rank, device in zip(commands_shown, (0, 9), (0, 1), strict=True):
        assert follow(words, *"--max-tokens 2048 --update-freq 1 --distributed-world-size 16".split())
        meeting = f"--distributed-init-method tcp://node7:20007 --distributed-rank {rank} --distributed-no-spawn"
        assert follow(words, *meeting.split(), "--device-id", str(device))


@pytest.mark.slow
def test_two_workers_of_torchrun_make_the_model_of_one(dataset, tmp_path):
    """With fairseq itself, gloo and the CPU; without dropout, so that the parameters must be the same."""
    corpus.fake_wmt_set(tmp_path / "cache", dataset / "raw", 10)
    more = [*commands.TINY, "--dropout", 0, "--updates", 8, "--batch-tokens", 500, "--max-tokens", 250]
    more += ["--save-interval-updates", 4, "--wmt-sets", "wmt14/full", "--average", 2]
    environment = {"OMP_NUM_THREADS": "1", "SACREBLEU": str(tmp_path / "cache")}
    corpus.succeed(SCRIPT, *asked(dataset, tmp_path / "one", *more), **environment)
    torchrun = [Path(sys.executable).with_name("torchrun"), "--standalone", "--nproc-per-node", 2, "--no-python"]
    command = [*torchrun, corpus.CHECKOUT / SCRIPT, *asked(dataset, tmp_path / "two", *more)]
    done = subprocess.run(
        [str(word) for word in command],
        env=corpus.environment(**environment),
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    logs = [(tmp_path / name / "train.log").read_text() for name in ("one", "two")]
    counts = [[line["num_updates"] for line in commands.updates(log)] for log in logs]
    assert counts[0] == counts[1] == list(range(1, 9))
    assert "training on 1 devices" in logs[0] and "training on 2 devices" in logs[1]
    one, two = (checkpoint.load(tmp_path / name / "checkpoints" / "average2.pt")["model"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    scored = json.loads((tmp_path / "two" / "checkpoints" / "average2.wmt14_full.json").read_text())
    assert (scored["split"], scored["num_updates"], scored["sentences"]) == ("wmt14/full", 8, 10)
