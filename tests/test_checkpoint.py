"""fairseq_intra/checkpoint.py: what a checkpoint tells of its training, and means of several."""

import copy
import multiprocessing
from argparse import Namespace

import pytest
import small_dataset
import torch
from fairseq.dataclass.utils import omegaconf_no_object_check

from fairseq_intra import checkpoint
from fairseq_intra.checkpoint import Training
from fairseq_intra.errors import UsageError
from fairseq_intra.methods import method_of


def write(path, trained, **parameters):
    """The trained model's checkpoint with other parameters."""
    torch.save(checkpoint.load(trained.checkpoint) | {"model": parameters}, path)
    return path


def test_a_checkpoint_tells_how_it_was_trained(trained):
    state = checkpoint.load(trained.checkpoint)
    assert checkpoint.training(state) == Training("intra", 1, 20)
    state["cfg"].task._name = "translation"
    assert checkpoint.training(state).method == "plain"
    state["cfg"].criterion._name = "intra_distillation"
    assert checkpoint.training(state).method == "intra"


@pytest.mark.parametrize(
    ("flags", "method"),
    [
        ({"num_iter": 1}, "plain"),
        ({"num_iter": 1, "plain_updates": 5}, "plain"),
        ({"num_iter": 3, "plain_updates": 5}, "late"),
        ({"num_iter": 2, "plain_patience": 1}, "late"),
        ({"num_iter": 2}, "rdrop"),
        ({"num_iter": 2, "alpha": 1.0, "adaptive_alpha": 1}, "rdrop"),
        ({"num_iter": 2, "adaptive_alpha": 1}, "intra"),
        ({"num_iter": 2, "div": "JS"}, "intra"),
        ({"num_iter": 2, "encoder_once": True}, "intra"),
        ({"num_iter": 2, "distill_interval": 2}, "intra"),
        ({"num_iter": 2, "distill_part": 2}, "intra"),
        ({"num_iter": 3}, "intra"),
    ],
    ids=str,
)
def test_the_method_is_told_from_what_decides_the_loss(flags, method):
    of_task = ("adaptive_alpha", "plain_updates", "plain_patience", "distill_interval", "distill_part")
    task = {"_name": "translation_intra_distillation"} | {name: flags.get(name, 0) for name in of_task}
    own = {"alpha": 5.0, "div": "X", "encoder_once": False} | flags
    criterion = {name: value for name, value in own.items() if name not in of_task}
    assert method_of({"task": task, "criterion": criterion | {"_name": "intra_distillation"}}) == method
    # As the authors' command has it.
    plain = {"_name": "label_smoothed_cross_entropy"}
    assert method_of({"task": task | criterion, "criterion": plain}) == method


def test_of_a_task_without_a_dataclass_the_method_is_told_too():
    """Of such a task, as translation_from_pretrained_bart, fairseq keeps the flags in a Namespace."""
    task, criterion = Namespace(_name="translation_from_pretrained_bart"), Namespace(_name="composite_loss")
    assert method_of({"task": task, "criterion": criterion}) == "plain"
    assert method_of({"task": task, "criterion": {"_name": "label_smoothed_cross_entropy_with_rdrop"}}) == "rdrop"
    criterion = {"_name": "intra_distillation", "num_iter": 3}
    assert method_of({"task": task, "criterion": criterion}) == "intra"


def test_what_is_no_model_is_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="no checkpoint .*missing.pt"):
        checkpoint.load(tmp_path / "missing.pt")
    state = checkpoint.load(trained.checkpoint)
    del state["model"]
    torch.save(state, tmp_path / "empty.pt")
    with pytest.raises(UsageError, match="empty.pt holds no model"):
        checkpoint.load(tmp_path / "empty.pt")
    state = checkpoint.load(trained.checkpoint)
    del state["cfg"]
    torch.save(state, tmp_path / "bare.pt")
    with pytest.raises(UsageError, match="bare.pt holds no configuration"):
        checkpoint.load(tmp_path / "bare.pt")


@pytest.mark.parametrize(
    ("names", "last_two"),
    [
        (("checkpoint9.pt", "checkpoint10.pt", "checkpoint2.pt"), ("checkpoint9.pt", "checkpoint10.pt")),
        (
            ("checkpoint_1_5.pt", "checkpoint_2_10.pt", "checkpoint_1_1.pt"),
            ("checkpoint_1_5.pt", "checkpoint_2_10.pt"),
        ),
        (("checkpoint1.pt", "checkpoint2.pt", "checkpoint_9_900.pt"), ("checkpoint1.pt", "checkpoint2.pt")),
    ],
)
def test_the_last_checkpoints_are_found_by_number(tmp_path, names, last_two):
    for name in (*names, "checkpoint_best.pt", "checkpoint3.pt.tmp", "average5.pt"):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoint.last_checkpoints(tmp_path, 2)] == list(last_two)
    keep = "--keep-last-epochs 4" if "checkpoint2.pt" in names else "--keep-interval-updates 4"
    with pytest.raises(UsageError, match=f"holds . numbered checkpoints, not the 4 to average; train with {keep}$"):
        checkpoint.last_checkpoints(tmp_path, 4)


def test_without_numbered_checkpoints_the_hint_holds_for_every_preset(tmp_path):
    """Those of tiny and wmt have no checkpoints of epochs."""
    hint = "train with --save-interval-updates U and --keep-interval-updates 2"
    with pytest.raises(UsageError, match=f"holds 0 numbered checkpoints, not the 2 to average; {hint}$"):
        checkpoint.last_checkpoints(tmp_path, 2)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return checkpoint.load(small_dataset.write_checkpoint(tmp_path_factory.mktemp("untrained") / "model.pt"))


@pytest.mark.parametrize(("last", "newest"), [(30, "checkpoint_last.pt"), (33, "checkpoint_1_20.pt")])
def test_the_newest_at_the_end_of_an_epoch_is_averaged_too(untrained, tmp_path, capsys, last, newest):
    """fairseq writes no checkpoint_E_U.pt of an update that ends an epoch."""
    state = copy.deepcopy(untrained)
    state["cfg"].checkpoint.save_interval_updates = 10
    for name, updates in {"checkpoint_1_10": 10, "checkpoint_1_20": 20, "checkpoint_last": last}.items():
        history = [untrained["optimizer_history"][-1] | {"num_updates": updates}]
        write_state(tmp_path / f"{name}.pt", state | {"optimizer_history": history})
    assert checkpoint.last_checkpoints(tmp_path, 2)[-1].name == newest
    left_out = "checkpoint_last.pt (update 33) is left out: --save-interval-updates is 10"
    assert (left_out in capsys.readouterr().err) == (last == 33)


def test_the_mean_of_half_precision_is_computed_in_float64(untrained, tmp_path):
    """The sum of two would be infinite in float16."""
    name = next(iter(untrained["model"]))
    inputs = []
    for number in (1, 2, 3):
        value = torch.full_like(untrained["model"][name], 30_000.0 + 100 * number).half()
        state = untrained | {
            "model": {each: value if each == name else old for each, old in untrained["model"].items()}
        }
        inputs.append(write_state(tmp_path / f"checkpoint{number}.pt", state))
    checkpoint.average(inputs, tmp_path / "mean.pt")
    mean = checkpoint.load(tmp_path / "mean.pt")["model"][name]
    assert mean.dtype == torch.float16 and torch.equal(mean, torch.full_like(mean, 30_200.0))


def test_two_averages_at_once_do_not_disturb_each_other(untrained, tmp_path):
    inputs = [write_state(tmp_path / f"checkpoint{number}.pt", untrained) for number in (1, 2)]
    fork = multiprocessing.get_context("fork")
    averages = [fork.Process(target=checkpoint.average, args=(inputs, tmp_path / "mean.pt")) for _ in range(2)]
    for average in averages:
        average.start()
    for average in averages:
        average.join()
    assert [average.exitcode for average in averages] == [0, 0]
    assert checkpoint.load(tmp_path / "mean.pt")["averaged_checkpoints"] == [path.name for path in inputs]
    assert len(list(tmp_path.iterdir())) == 3


def test_of_other_trainings_there_is_no_mean(untrained, tmp_path):
    untrained = copy.deepcopy(untrained)
    with omegaconf_no_object_check():
        untrained["cfg"].checkpoint.save_dir = "runs/one/checkpoints"
    first = write_state(tmp_path / "first.pt", untrained)
    other = copy.deepcopy(untrained)
    other["cfg"].common.seed = 7
    with pytest.raises(UsageError, match=r"other.pt is of a training \(intra, seed 7\) other than .*first.pt"):
        checkpoint.average([first, write_state(tmp_path / "other.pt", other)], tmp_path / "mean.pt")
    other = copy.deepcopy(untrained)
    other["extra_state"]["dictionary_checksums"]["source"] = "another"
    with pytest.raises(UsageError, match="other.pt has other languages or dictionaries than .*first.pt"):
        checkpoint.average([first, write_state(tmp_path / "other.pt", other)], tmp_path / "mean.pt")
    other = copy.deepcopy(untrained)
    with omegaconf_no_object_check():
        other["cfg"].checkpoint.save_dir = "runs/longer/checkpoints"
    (tmp_path / "elsewhere").mkdir()
    elsewhere = write_state(tmp_path / "elsewhere" / "other.pt", other)
    with pytest.raises(UsageError, match="other.pt is of the training longer, .*first.pt of one: average"):
        checkpoint.average([first, elsewhere], tmp_path / "mean.pt")
    (tmp_path / "link.pt").symlink_to(first)
    third = write_state(tmp_path / "third.pt", copy.deepcopy(untrained))
    with pytest.raises(UsageError, match="first.pt is given more than once"):
        checkpoint.average([third, first, tmp_path / "link.pt"], tmp_path / "mean.pt")
    with pytest.raises(UsageError, match="first.pt is given more than once"):
        checkpoint.average([first, first], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


def test_a_mean_over_the_switch_of_a_late_start_is_said_to_be_one(untrained, tmp_path, capsys):
    states = {updates: copy.deepcopy(untrained) for updates in (10, 20, 30)}
    for updates, state in states.items():
        state["cfg"].task.plain_updates = 20
        state["optimizer_history"][-1]["num_updates"] = updates
    inputs = [write_state(tmp_path / f"{updates}.pt", state) for updates, state in states.items()]
    checkpoint.average(inputs[:2], tmp_path / "mean.pt")
    assert not capsys.readouterr().err
    checkpoint.average(inputs, tmp_path / "mean.pt")
    said = "2 of the 3 checkpoints averaged are from before intra-distillation began"
    assert said in capsys.readouterr().err


def write_state(path, state):
    torch.save(state, path)
    return path


def test_the_mean_of_a_run_s_checkpoints(trained, tmp_path):
    inputs = checkpoint.last_checkpoints(trained.folder, 3)
    assert [path.name for path in inputs] == ["checkpoint_1_10.pt", "checkpoint_1_15.pt", "checkpoint_2_20.pt"]
    checkpoint.average(inputs, tmp_path / "average.pt")
    first, second, last = (checkpoint.load(path) for path in inputs)
    mean = checkpoint.load(tmp_path / "average.pt")
    assert set(mean["model"]) == set(last["model"])
    assert not torch.equal(
        first["model"]["decoder.layers.0.fc1.weight"], last["model"]["decoder.layers.0.fc1.weight"]
    )
    for name, value in mean["model"].items():
        # In float64: fairseq 0.12.2 has a buffer of whatever the memory held, whose sum may be too large.
        expected = sum(state["model"][name].double() for state in (first, second, last)) / 3
        torch.testing.assert_close(value, expected.to(value.dtype), rtol=1e-6, atol=1e-7, equal_nan=True)
    assert mean["cfg"] == last["cfg"] and checkpoint.training(mean) == Training("intra", 1, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["average.pt"]


def test_numbers_keep_their_types(trained, tmp_path):
    """The mean of float16 numbers whose sum is none; of integers there is no mean."""
    big = torch.tensor([60000.0], dtype=torch.float16)
    inputs = [
        write(tmp_path / f"{step}.pt", trained, weight=big - 2000 * step, version=torch.tensor(step))
        for step in (0, 1)
    ]
    checkpoint.average(inputs, tmp_path / "mean.pt")
    model = checkpoint.load(tmp_path / "mean.pt")["model"]
    assert model["weight"].dtype == torch.float16 and model["weight"].item() == 59008  # the nearest to 59000
    assert model["version"].item() == 1 and model["version"].dtype == torch.int64


@pytest.mark.parametrize("other", [{"weight": torch.zeros(3)}, {"wait": torch.zeros(2)}, {}])
def test_checkpoints_of_different_models_have_no_mean(trained, tmp_path, other):
    inputs = [write(tmp_path / "a.pt", trained, weight=torch.zeros(2)), write(tmp_path / "b.pt", trained, **other)]
    with pytest.raises(UsageError, match="b.pt is a checkpoint of another model than .*a.pt"):
        checkpoint.average(inputs, tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()
