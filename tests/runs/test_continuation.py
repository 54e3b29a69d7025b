"""fairseq_intra/runs/continuation.py: what a run keeps of the training that it continues, and what it refuses."""

import pytest
import small_dataset

from fairseq_intra import checkpoint as checkpoints
from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.runs.arguments import method_by_flags
from fairseq_intra.runs.continuation import read_continuation

#: Of the run that continues `checkpoint`, whose optimizer this is.
WORDS = ["--optimizer", "sgd", "--max-update", "8"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a training that was ended in the middle of its third epoch, after seven updates. Not to be changed."""
    path = small_dataset.write_checkpoint(tmp_path_factory.mktemp("model") / "model.pt")
    state = checkpoints.load(path)
    state["extra_state"] |= {
        "train_iterator": {"epoch": 3, "iterations_in_epoch": 2, "shuffle": True},
        "best": 4.5,
        "patience": {"num_runs": 1, "best": 4.5},
        "task_state": {"late_start": {"switch_update": 5}},
    }
    state["optimizer_history"] = [dict(state["optimizer_history"][-1], num_updates=count) for count in (4, 7)]
    checkpoints.save(state, path, with_optimizer=True)
    return path


def written(found, path):
    found.write(path, "label_smoothed_cross_entropy")
    return checkpoints.load(path)


def test_it_begins_the_next_epoch_without_what_the_earlier_training_counted(checkpoint, tmp_path, capsys):
    found = read_continuation(checkpoint, WORDS)
    state, before = written(found, tmp_path / "continued.pt"), checkpoints.load(checkpoint)
    kept = before["extra_state"].keys() - {"best", "patience", "task_state"}
    assert state["extra_state"].keys() == kept and "dictionary_checksums" in kept
    assert state["extra_state"]["train_iterator"] == {"epoch": 4, "iterations_in_epoch": 0, "shuffle": True}
    criterions = [each["criterion_name"] for each in state["optimizer_history"]]
    assert criterions == ["IntraDistillationCriterion", "LabelSmoothedCrossEntropyCriterion"]
    assert checkpoints.training(state).num_updates == found.num_updates == 7
    assert state["last_optimizer_state"] == before["last_optimizer_state"] is not None
    assert f"continuing {checkpoint} after 7 updates, with its optimizer's state" in capsys.readouterr().err


def test_an_epoch_that_has_not_begun_is_not_left_out(checkpoint, tmp_path):
    found = read_continuation(checkpoint, WORDS)
    found.state["extra_state"]["train_iterator"] = {"epoch": 3, "iterations_in_epoch": 0}
    state = written(found, tmp_path / "continued.pt")
    assert state["extra_state"]["train_iterator"] == {"epoch": 3, "iterations_in_epoch": 0}


def test_of_another_optimizer_nothing_is_kept(checkpoint, tmp_path, capsys):
    found = read_continuation(checkpoint, ["--optimizer", "adam", "--max-update", "7"])
    assert written(found, tmp_path / "continued.pt")["last_optimizer_state"] is None
    assert found.num_updates == 0
    assert "without its optimizer's state, which is missing or of another kind" in capsys.readouterr().err


def test_of_another_schedule_only_the_number_of_updates_is_kept(checkpoint, capsys):
    found = read_continuation(checkpoint, WORDS)
    plain = [*WORDS, "--task", "translation", "--criterion", "label_smoothed_cross_entropy"]
    assert found.flags([*plain, "--lr-scheduler", "fixed"]) == [] == found.flags(plain)
    assert found.flags([*plain, "--lr-scheduler", "inverse_sqrt"]) == ["--reset-lr-scheduler"]
    assert f"the learning rate follows --lr-scheduler inverse_sqrt from here on, where {checkpoint} had fixed" in (
        capsys.readouterr().err
    )


def test_a_model_of_other_sizes_is_rejected_with_the_flags_that_fit(checkpoint):
    sizes = ["--encoder-embed-dim", "16", "--decoder-layers", "1", "--decoder-embed-dim=16"]
    with pytest.raises(UsageError, match="; give --encoder-embed-dim 8 --decoder-embed-dim 8$"):
        read_continuation(checkpoint, [*WORDS, *sizes])


@pytest.mark.parametrize(
    ("flags", "switch"),
    [
        ("", ["7"]),
        ("--plain-updates 3", ["7"]),
        ("--plain-updates 9", []),
        ("--plain-patience 2", []),
        ("--plain-updates x", ["7"]),  # of which fairseq-train says what is wrong
    ],
)
def test_intra_distillation_begins_here_or_later(checkpoint, monkeypatch, flags, switch):
    """Never before: its schedule would be over in part."""
    state = checkpoints.load(checkpoint)
    state["cfg"].criterion.num_iter = 1
    monkeypatch.setattr(checkpoints, "load", lambda _: state)
    words = "--task translation_intra_distillation --criterion intra_distillation --num-iter 3".split()
    found = read_continuation(checkpoint, WORDS).flags([*words, *flags.split()])
    assert found == ["--plain-updates"] * bool(switch) + switch


def test_rdrop_has_no_schedule_to_count_from_here(checkpoint):
    words = "--task translation_intra_distillation --criterion intra_distillation --num-iter 2 --div X".split()
    words += "--alpha 1 --adaptive-alpha 0".split()
    assert method_by_flags(words) == "rdrop"
    assert read_continuation(checkpoint, WORDS).flags(words) == []


@pytest.mark.parametrize(
    ("more", "asked", "message"),
    [
        ({}, "7", "has had 7 updates, and 7 are asked for, those included; give more by --updates"),
        ({}, "6", "has had 7 updates, and 6 are asked for"),
        ({"extra_state": None}, "8", "has no state of a training; give --finetune-from-model"),
        ({"optimizer_history": [{}]}, "8", "has no state of a training; give --finetune-from-model"),
    ],
)
def test_a_checkpoint_that_no_training_can_continue_is_rejected(checkpoint, monkeypatch, more, asked, message):
    state = checkpoints.load(checkpoint) | more
    monkeypatch.setattr(checkpoints, "load", lambda _: state)
    with pytest.raises(UsageError, match=f"--continue-from {checkpoint} {message}"):
        read_continuation(checkpoint, ["--optimizer", "sgd", "--max-update", asked])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dry-run"], "--dry-run cannot show --continue-from: fairseq-train is given a copy of the checkpoint"),
        (["--restore-file", "checkpoint_last.pt"], "--continue-from and --restore-file exclude each other"),
        (["--finetune-from-model", __file__], "--continue-from and --finetune-from-model exclude each other"),
        (["--continue-once", "other.pt"], "--continue-from and --continue-once exclude each other"),
    ],
)
def test_another_beginning_of_the_same_training_is_rejected(checkpoint, data, tmp_path, flags, message):
    given = ["--data", data, "--out", tmp_path / "out", "--method", "plain", "--preset", "tiny"]
    with pytest.raises(UsageError, match=message):
        cli.main(["train", *map(str, given), "--continue-from", str(checkpoint), *flags])
    assert not (tmp_path / "out").exists()
