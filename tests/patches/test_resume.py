"""A training that is killed, at whatever moment, and repeated is the undisturbed one."""

import re
import subprocess
import sys
from typing import NamedTuple

import commands
import corpus
import killed_training
import pytest
import torch

from fairseq_intra import checkpoint

#: By --update-freq: moments to be killed at (see killed_training.py), with the updates that each start makes. Epochs
#: are of 16 or 8 updates, and there is a checkpoint at their end and at every fifth update.
STARTS = {
    1: {
        "update:8": range(1, 8),
        "write:2": range(6, 16),
        "copy:2": range(11, 16),
        "update:8 again": range(11, 18),
        "end": range(17, 21),
        "end again": range(0),
    },
    2: {
        "update:8": range(1, 8),
        "write:2": range(6, 11),
        "copy:4": range(9, 16),
        "end": range(11, 21),
        "end again": range(0),
    },
}


class Runs(NamedTuple):
    """An undisturbed training, and the same one killed and started again."""

    undisturbed: object  #: folder of checkpoints, as a Path
    log: str
    killed: object
    logs: list  #: what fairseq-train said in each start
    updates: list  #: what updates each start was to make


def train(dataset, folder, moments, flags):
    """fairseq-train, killed at these moments and started again: what it said in every start."""
    command = [
        sys.executable,
        killed_training.__file__,
        *moments,
        "--",
        dataset / "bin",
        "--user-dir",
        commands.PLUGIN,
    ]
    command += ["--cpu", "--save-dir", folder, "--num-workers", 0, *flags]
    done = subprocess.run(
        [str(word) for word in command],
        env=corpus.environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return re.split(r"^started until .*\n", done.stdout, flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module", params=STARTS)
def runs(request, dataset, schedule, trained, tmp_path_factory):
    """With adaptive alpha and this --update-freq, 20 updates, a checkpoint every five."""
    base = tmp_path_factory.mktemp("killed")
    flags = [*schedule, "--max-update", 20, "--update-freq", request.param]
    moments = [moment.removesuffix(" again") for moment in STARTS[request.param]]
    calls = [lambda: train(dataset, base / "killed", moments, flags)]
    folder, log = trained.folder, trained.log
    if request.param != 1:
        folder = base / "whole"
        calls.append(lambda: "".join(train(dataset, folder, ["end"], flags)))
    logs, log = [*commands.at_once(*calls), log][:2]
    return Runs(folder, log, base / "killed", logs, [*STARTS[request.param].values()])


def test_it_goes_on_from_the_last_whole_checkpoint(runs):
    made = [[line["num_updates"] for line in commands.updates(log)] for log in runs.logs]
    assert made == [[*numbers] for numbers in runs.updates]
    for log, before in zip(runs.logs[1:], runs.updates[1:], strict=True):
        loaded = before[0] - 1 if before else 20
        assert re.search(rf"Loaded checkpoint \S+last\.pt .* @ {loaded} updates", log)


def test_every_update_is_that_of_the_undisturbed_run(runs):
    undisturbed = {line["num_updates"]: line for line in commands.updates(runs.log)}
    assert len(undisturbed) == 20 and len({line["alpha"] for line in undisturbed.values()}) == 5
    for log in runs.logs:
        for line in commands.updates(log):
            assert line == undisturbed[line["num_updates"]]


@pytest.mark.parametrize("name", ["checkpoint_last.pt", "checkpoint_best.pt"])
def test_the_model_and_all_that_training_goes_on_with_is_the_same(runs, name):
    found, expected = (checkpoint.load(folder / name) for folder in (runs.killed, runs.undisturbed))
    assert found["model"].keys() == expected["model"].keys()
    for parameter, value in expected["model"].items():
        # Of fairseq 0.12.2, read by nothing: second copies of its encoder layers' weights (fc1_weight of fc1.weight)
        # as they were at the last loading, and a tensor that is never filled.
        assert parameter.endswith(("_weight", "_bias", "._float_tensor")) or torch.equal(
            found["model"][parameter], value
        ), parameter
    states = [made["last_optimizer_state"]["state"] for made in (found, expected)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[1].items():
        assert all(torch.equal(states[0][number][kind], state[kind]) for kind in ("exp_avg", "exp_avg_sq"))
    for entry in ("best", "train_iterator", "val_loss"):
        assert found["extra_state"][entry] == expected["extra_state"][entry]


def test_repeated_after_its_end_it_says_so_and_changes_nothing(runs):
    assert "nothing left to train: the checkpoint had 20 updates, --max-update is 20" in runs.logs[-1]
    assert "Saved checkpoint" not in runs.logs[-1] and "Saved checkpoint" in runs.logs[-2]


def test_patience_goes_on_counting(dataset, tmp_path):
    """Nothing improves at a learning rate of zero: a first validation, and three more until --patience 3 ends it."""
    flags = [*commands.PUBLISHED, *commands.TINY, "--lr", 0, "--max-epoch", 9, "--patience", 3, "--max-update", 999]
    first, second = (commands.train(dataset, tmp_path, *flags, *more) for more in (["--max-epoch", 3], []))
    assert [log.count("| valid |") for log in (first, second)] == [3, 1]
    assert "hasn't improved for last 3 runs" in second
    assert "nothing left to train: 3 validations" in commands.train(dataset, tmp_path, *flags)
