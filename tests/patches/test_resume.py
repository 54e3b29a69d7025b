"""A training that is killed, at whatever moment, and repeated equals the uninterrupted one."""

import itertools
import re
from typing import NamedTuple
from unittest.mock import MagicMock

import commands
import fairseq_cli.train as train_command
import pytest
import tiny
import torch
from fairseq import checkpoint_utils
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.file_io import PathManager
from omegaconf import OmegaConf

from fairseq_intra import checkpoint
from fairseq_intra.errors import UsageError
from fairseq_intra.patches import preemption

#: The part of a configuration that fairseq's load_checkpoint reads, as in tests/test_train.py of its repository.
READ = {
    "save_dir": "run",
    "restore_file": "checkpoint_last.pt",
    "finetune_from_model": None,
    "optimizer_overrides": "{}",
    **{f"reset_{name}": False for name in ("dataloader", "lr_scheduler", "meters", "optimizer")},
}
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
    """An uninterrupted training, and the same one killed and started again."""

    uninterrupted: object  #: folder of checkpoints, as a Path
    log: str
    killed: object
    logs: list  #: what fairseq-train said in each start
    updates: list  #: what updates each start was to make


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def runs(request, dataset, schedule, trained, tmp_path_factory):
    """With adaptive alpha and this --update-freq, 20 updates, a checkpoint every five."""
    base = tmp_path_factory.mktemp("killed")
    flags = [*schedule, "--max-update", 20, "--update-freq", request.param]
    moments = [moment.removesuffix(" again") for moment in STARTS[request.param]]
    calls = [lambda: commands.train_killed(dataset, base / "killed", moments, *flags)]
    folder, log = trained.folder, trained.log
    if request.param != 1:
        folder = base / "whole"
        calls.append(lambda: "".join(commands.train_killed(dataset, folder, ["end"], *flags)))
    logs, log = [*commands.at_once(*calls), log][:2]
    return Runs(folder, log, base / "killed", logs, [*STARTS[request.param].values()])


def test_it_resumes_from_the_last_whole_checkpoint(runs):
    made = [[line["num_updates"] for line in commands.updates(log)] for log in runs.logs]
    assert made == [[*numbers] for numbers in runs.updates]
    for log, before in zip(runs.logs[1:], runs.updates[1:], strict=True):
        loaded = before[0] - 1 if before else 20
        assert re.search(rf"Loaded checkpoint \S+last\.pt .* @ {loaded} updates", log)


def test_every_update_is_that_of_the_uninterrupted_run(runs):
    uninterrupted = {line["num_updates"]: line for line in commands.updates(runs.log)}
    assert len(uninterrupted) == 20 and len({line["alpha"] for line in uninterrupted.values()}) == 5
    for log in runs.logs:
        for line in commands.updates(log):
            assert line == uninterrupted[line["num_updates"]]


@pytest.mark.parametrize("name", ["checkpoint_last.pt", "checkpoint_best.pt"])
def test_the_model_and_all_that_a_resumed_training_needs_is_the_same(runs, name):
    found, expected = (checkpoint.load(folder / name) for folder in (runs.killed, runs.uninterrupted))
    assert found["model"].keys() == expected["model"].keys()
    for parameter, value in expected["model"].items():
        assert re.search(tiny.UNUSED, parameter) or torch.equal(found["model"][parameter], value), parameter
    states = [made["last_optimizer_state"]["state"] for made in (found, expected)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[1].items():
        assert all(torch.equal(states[0][number][kind], state[kind]) for kind in ("exp_avg", "exp_avg_sq"))
    for entry in ("best", "train_iterator", "val_loss"):
        assert found["extra_state"][entry] == expected["extra_state"][entry]


def test_repeated_after_its_end_it_says_so_and_changes_nothing(runs):
    assert "nothing left to train: the checkpoint had 20 updates, --max-update is 20" in runs.logs[-1]
    assert "| num_updates" not in runs.logs[-1]
    assert "Saved checkpoint" not in runs.logs[-1] and "Saved checkpoint" in runs.logs[-2]


def test_a_resumed_run_continues_to_count_for_patience(dataset, tmp_path):
    """Nothing improves at a learning rate of zero: a first validation, and three more until --patience 3 ends it."""
    flags = [*commands.PUBLISHED, *commands.TINY, "--lr", 0, "--max-epoch", 9, "--patience", 3, "--max-update", 999]
    first, second = (commands.train(dataset, tmp_path, *flags, *more) for more in (["--max-epoch", 3], []))
    assert [log.count("| valid |") for log in (first, second)] == [3, 1]
    assert "hasn't improved for last 3 runs" in second
    third = commands.train(dataset, tmp_path, *flags)
    # fairseq's main has returned, for another training may follow in the process: a sweep of fairseq-hydra-train.
    assert "nothing left to train: 3 validations" in third and "done training in" in third
    assert "| train |" not in third and "| valid |" not in third


def restored(monkeypatch, extra_state, exists=(), **settings):
    """What fairseq's load_checkpoint asked a stub of a trainer for, and the epoch that training begins with."""
    trainer = MagicMock()
    trainer.checkpoint_suffix = ""
    trainer.load_checkpoint.return_value = extra_state
    trainer.get_num_updates.return_value = 0 if extra_state is None else 200
    cfg = OmegaConf.create(READ | settings)
    OmegaConf.set_struct(cfg, True)
    monkeypatch.setattr(PathManager, "exists", lambda path: path in exists)
    found, _ = checkpoint_utils.load_checkpoint(cfg, trainer)
    assert found is extra_state
    path, *resets = trainer.load_checkpoint.call_args.args
    # The last of them are --optimizer-overrides.
    resets = [*resets[:2], trainer.load_checkpoint.call_args.kwargs["reset_meters"]]
    return path, resets, trainer.get_train_iterator.call_args.kwargs["epoch"]


STATE = {"train_iterator": {"epoch": 2, "iterations_in_epoch": 50, "shuffle": False}}


def test_fairseqs_own_tests_of_resuming_hold(monkeypatch):
    """The cases of tests/test_train.py, whose configurations and trainers have no more than fairseq's code reads.

    But that an error is one line.
    """
    last, other = "run/checkpoint_last.pt", "pretrained.pt"
    tuned = {"finetune_from_model": other}
    keep, reset = [False] * 3, [True] * 3
    assert restored(monkeypatch, None) == (last, keep, 1)
    assert restored(monkeypatch, STATE, [last]) == (last, keep, 2)
    assert restored(monkeypatch, STATE, [other], **tuned) == (other, reset, 1)
    assert restored(monkeypatch, STATE, [last, other], **tuned) == (last, keep, 2)
    with pytest.raises(UsageError, match="can not be set together"):
        restored(monkeypatch, STATE, [other], **tuned, reset_optimizer=True)
    with pytest.raises(UsageError, match="can not be specified together"):
        restored(monkeypatch, STATE, [other, "other.pt"], **tuned, restore_file="other.pt")


def configuration(folder, *flags):
    return tiny.configuration(folder, "--optimizer=adam", "--lr=0.1", "--save-dir=run", "--max-update=9", *flags)


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A checkpoint written after three validations without improvement, the best of them 4.5."""
    monkeypatch.setattr(train_command, "should_stop_early", lambda cfg, loss: None)
    tiny.save_dictionaries(tmp_path)
    trainer = tiny.trainer(configuration(tmp_path))
    vars(train_command.should_stop_early).update(num_runs=3, best=4.5)
    trainer.set_num_updates(7)
    trainer.task.state.late_start["best"] = 4.25
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(tmp_path / "pretrained.pt"), dict(STATE))
    vars(train_command.should_stop_early).clear()
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "expected", "best"),
    [
        (["--restore-file", "pretrained.pt"], {"num_runs": 3, "best": 4.5}, 4.25),
        (["--restore-file", "pretrained.pt", "--reset-meters"], {}, 4.25),
        (["--restore-file", "pretrained.pt", "--reset-optimizer"], {}, None),
        (["--finetune-from-model", "pretrained.pt"], {}, None),
    ],
    ids=["resumed", "meters reset", "optimizer reset", "fine-tuned"],
)
def test_patience_is_restored_where_fairseq_restores_the_training(counted, monkeypatch, flags, expected, best):
    """And so is the state of the task."""
    monkeypatch.chdir(counted)
    cfg = configuration(counted, "--patience", "4", *flags)
    trainer = tiny.trainer(cfg)
    monkeypatch.setattr(trainer, "get_train_iterator", MagicMock())
    checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    assert vars(train_command.should_stop_early) == expected
    assert trainer.task.state.late_start["best"] == best


def test_without_optimizer_state_all_is_counted_anew_and_it_says_so(counted, monkeypatch, caplog):
    """fairseq leaves the number of updates at 0 then."""
    monkeypatch.chdir(counted)
    checkpoint.save(checkpoint.load(counted / "pretrained.pt"), counted / "mean.pt")
    cfg = configuration(counted, "--patience", "3", "--restore-file", "mean.pt")
    trainer = tiny.trainer(cfg)
    monkeypatch.setattr(trainer, "get_train_iterator", MagicMock())
    checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    assert trainer.get_num_updates() == 0 and trainer.task.state.late_start["best"] is None
    assert not vars(train_command.should_stop_early)
    assert "mean.pt has no optimizer state: the training continues with its parameters, and counts" in caplog.text


def test_a_training_after_another_in_the_same_process_begins_anew(counted):
    """As in a sweep of fairseq-hydra-train."""
    vars(train_command.should_stop_early).update(num_runs=3, best=4.5)
    checkpoint_utils.save_checkpoint.best = 4.5
    preemption._State.agreed, preemption._State.saved_at = True, 7
    tiny.trainer(configuration(counted))
    assert not {"best", "num_runs"} & vars(train_command.should_stop_early).keys()
    assert not hasattr(checkpoint_utils.save_checkpoint, "best")
    assert (preemption._State.agreed, preemption._State.saved_at) == (False, None)


def test_finetuning_a_model_whose_patience_had_ended_trains(counted, monkeypatch):
    monkeypatch.chdir(counted)
    for flags, ends in ((["--restore-file"], True), (["--finetune-from-model"], False)):
        cfg = configuration(counted, "--patience", "3", *flags, "pretrained.pt")
        trainer = tiny.trainer(cfg)
        monkeypatch.setattr(trainer, "get_train_iterator", MagicMock())
        checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
        assert (cfg.optimization.max_epoch < 0) == ends


@pytest.mark.parametrize(("reset", "switch"), [(False, 5), (True, None)])
def test_a_training_that_begins_anew_has_no_switch_of_another_one(tmp_path, reset, switch):
    """As of --finetune-from-model, which resets the optimizer."""
    tiny.save_dictionaries(tmp_path)
    flags = ["--optimizer=adam", "--lr=0.1", "--plain-patience=2"]
    saved, loaded = (tiny.trainer(tiny.configuration(tmp_path, *flags)) for _ in range(2))
    saved.task.state.late_start["switch_update"] = 5
    saved.consolidate_optimizer()
    saved.save_checkpoint(str(tmp_path / "model.pt"), {"train_iterator": {"epoch": 1}})
    loaded.load_checkpoint(str(tmp_path / "model.pt"), reset_optimizer=reset)
    assert loaded.task.switch_update == switch


class Numbers(FairseqDataset):
    """Mini-batches that are a number each."""

    def __getitem__(self, number):
        return number

    def collater(self, numbers):
        return numbers


def batches(state, workers=1, at_most=None, size=40):
    """The mini-batches, of so many, that each of some workers takes, from a state on, and the state then."""
    taken = []
    for worker in range(workers):
        iterator = EpochBatchIterator(
            Numbers(), Numbers().collater, [[n] for n in range(size)], seed=1, num_shards=workers, shard_id=worker
        )
        if state:
            iterator.load_state_dict(state)
        taken += [number for (number,) in itertools.islice(iterator.next_epoch_itr(), at_most)]
    return taken, iterator.state_dict()


@pytest.mark.parametrize(("before", "now"), [(4, 1), (1, 4), (4, 2), (1, 1)])
def test_resumed_by_another_number_of_workers_an_epoch_has_every_mini_batch_once(before, now):
    taken, state = batches(None, before, 20 // before)
    assert len(set(taken)) == 20
    rest, _ = batches(state, now)
    assert sorted(taken + rest) == [*range(40)]


@pytest.mark.parametrize(("before", "now", "each"), [(1, 2, 7), (2, 4, 7), (1, 8, 39)])
def test_where_the_rest_does_not_divide_few_mini_batches_come_twice_and_none_is_missed(before, now, each):
    taken, state = batches(None, before, each)
    rest, _ = batches(state, now)
    assert set(taken + rest) == {*range(40)} and 0 < len(taken + rest) - 40 < now


@pytest.mark.parametrize(("size", "left"), [(80, 40), (10, 5), (1, 1)])
def test_with_other_mini_batches_it_goes_on_at_the_same_share_and_says_so(caplog, size, left):
    _, state = batches(None, 1, 20)
    rest, after = batches(state, size=size)
    assert len(rest) == left and after["epoch"] == 2
    assert f"cut into {size} mini-batches now, into 40 before" in caplog.text


def test_where_the_place_is_behind_the_end_the_next_epoch_begins():
    _, state = batches(None, 1, 39)
    rest, after = batches(state | {"iterations_in_epoch": 40}, size=20)
    assert len(rest) == 20 and after["epoch"] == 3
