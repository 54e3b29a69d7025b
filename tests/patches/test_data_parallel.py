"""fairseq_intra/patches/data_parallel.py, and that two workers do what one process does."""

import sys
from types import SimpleNamespace

import commands
import data_parallel_worker as worker
import pytest
import tiny
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.distributed import LegacyDistributedDataParallel
from fairseq.distributed import utils as distributed_utils
from fairseq.modules import LayerDropModuleList
from fairseq.trainer import Trainer

from fairseq_intra.errors import UsageError
from fairseq_intra.patches import data_parallel

LAUNCHED = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400", "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each worker of two, and one process alone, wrote: {(rank, world size): {case: ...}}."""
    folder = tmp_path_factory.mktemp("workers")
    tiny.save_dictionaries(folder)
    commands.fairseq(worker.__file__, folder)
    return {place: torch.load(folder / f"{place[0]}-{place[1]}.pt") for place in worker.PLACES}


@pytest.mark.parametrize("case", worker.CASES, ids=str)
def test_two_workers_have_the_gradients_of_one_process(found, case):
    alone = found[0, 1][case]["gradients"]
    assert any(gradient.abs().max() > 1e-3 for gradient in alone.values())
    for rank in (0, 1):
        gradients = found[rank, 2][case]["gradients"]
        assert gradients.keys() == alone.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, alone[name], atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_workers_use_other_dropout_masks_for_the_same_mini_batch(found):
    (first,), (second,) = (found[rank, 2]["same work"]["losses"] for rank in (0, 1))
    assert first != second


@pytest.mark.parametrize(("sharded", "expected"), [(False, [[1], [{}]]), (True, [[1, {}], [{}, {}]])])
def test_mini_batches_that_are_not_there_are_left_out_unless_parameters_are_sharded(monkeypatch, sharded, expected):
    taken = []
    monkeypatch.setattr(Trainer, "train_step", lambda self, samples, raise_oom: taken.append(samples))
    data_parallel._count_the_tokens_of_an_uneven_update()
    for samples in ([1, {}], [{}, {}]):
        Trainer.train_step(SimpleNamespace(is_fsdp=sharded), samples)
    assert taken == expected


def test_gradients_that_are_not_synchronised_stop_the_training(found):
    """As they are not where the model's parts are called, rather than the model."""
    for rank in (0, 1):
        reasons = " ".join(found[rank, 2]["through its parts"])
        assert "gradients are inconsistent between workers" in reasons


def launched(monkeypatch, environment, *flags):
    """fairseq's settings of distributed training at the moment where it begins to train."""
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    began = []
    monkeypatch.setattr(distributed_utils, "distributed_init", lambda cfg: cfg.distributed_training.distributed_rank)
    distributed_utils.call_main(tiny.configuration("data", *flags), began.append)
    (cfg,) = began
    return cfg.distributed_training


@pytest.mark.parametrize("without", [(), ("LOCAL_RANK",)], ids=["torchrun", "another launcher"])
def test_a_process_of_a_launcher_is_one_of_its_workers(monkeypatch, without):
    cfg = launched(monkeypatch, {name: value for name, value in LAUNCHED.items() if name not in without})
    assert (cfg.distributed_world_size, cfg.distributed_rank, cfg.device_id) == (4, 3, 0)
    assert (cfg.distributed_init_method, cfg.distributed_backend) == ("env://", "gloo")


@pytest.mark.parametrize("environment", [{}, LAUNCHED | {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}], ids=len)
def test_one_process_trains_alone(monkeypatch, environment):
    cfg = launched(monkeypatch, environment)
    assert (cfg.distributed_world_size, cfg.distributed_init_method) == (1, None)


def test_flags_win_over_the_launcher(monkeypatch):
    given = "--distributed-init-method tcp://127.0.0.1:29401 --distributed-no-spawn --distributed-world-size 2"
    cfg = launched(monkeypatch, LAUNCHED, *given.split(), "--distributed-rank", "1")
    assert (cfg.distributed_world_size, cfg.distributed_rank) == (2, 1)
    assert cfg.distributed_init_method == "tcp://127.0.0.1:29401"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--distributed-init-method", "tcp://127.0.0.1:29401"], "each with --distributed-no-spawn"),
        (["--ddp-backend", "fully_sharded"], "--ddp-backend fully_sharded needs fairscale"),
    ],
)
def test_a_launch_that_would_train_nothing_is_rejected(monkeypatch, flags, message):
    monkeypatch.setitem(sys.modules, "fairscale", None)
    with pytest.raises(UsageError, match=message):
        launched(monkeypatch, {}, *flags)


def test_workers_that_fairseq_hydra_train_did_not_join_are_rejected(monkeypatch):
    """It reads --user-dir when each of them has become a training of its own."""
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        UsageError, match="WORLD_SIZE is 4, and every worker would train alone: .* start fairseq-train$"
    ):
        Trainer(tiny.configuration("data"), None, None, None)


@pytest.mark.slow
def test_torchrun_trains_one_model_on_all_workers(dataset, tmp_path):
    """Two processes take the updates that one takes with twice as many mini-batches in each."""
    flags = [*commands.PUBLISHED, *commands.TINY, "--max-update", 3, "--dropout", 0, "--attention-dropout", 0]
    together = commands.train_on_two_workers(dataset / "bin", *flags, "--save-dir", tmp_path / "two")
    alone = commands.train(dataset, tmp_path / "one", *flags, "--update-freq", 2)
    two, one = commands.updates(together), commands.updates(alone)
    assert len(two) == len(one) == 3
    for ours, expected in zip(two, one, strict=True):
        for name in ("loss", "nll_loss", "alpha", "num_updates", "wpb"):
            assert ours[name] == pytest.approx(expected[name], rel=1e-3), name


def test_predictions_are_gathered_from_all_workers(monkeypatch):
    """Of a stub of two workers; fairseq would add up the lists that --report-mcc and the like are made of."""
    summed = SentencePredictionCriterion.logging_outputs_can_be_summed
    assert not summed(SimpleNamespace(training=False, keep_pred_and_targ=True))
    assert summed(SimpleNamespace(training=True, keep_pred_and_targ=True)) and summed(SimpleNamespace(training=False))

    def gather(found, data, group):
        assert group == "all"
        found[:] = [data, [{"pred": [1]}]]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(distributed_utils, "get_global_group", lambda: "all")
    monkeypatch.setattr(distributed_utils, "get_world_size", lambda group: 2)
    assert distributed_utils.all_gather_list([{"pred": [0]}]) == [[{"pred": [0]}], [{"pred": [1]}]]


def test_no_two_updates_of_all_workers_draw_the_same_masks(tmp_path):
    """At a learning rate of 0 it is the masks alone that change the loss."""
    tiny.save_dictionaries(tmp_path)
    trainer = tiny.trainer(tiny.configuration(tmp_path, *"--optimizer sgd --lr 0 --dropout 0.5".split()))
    losses = [float(trainer.train_step([tiny.sample(trainer.task)])["loss"]) for _ in range(3)]
    assert len(set(losses)) == 3
    seeds = [data_parallel.worker_seed(update, rank) for update in range(1000) for rank in range(8)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("layerdrop", [0.0, 0.2])
def test_workers_that_share_parameters_layer_by_layer_drop_the_same_layers(layerdrop):
    drawn = []
    for rank in range(2):
        model = torch.nn.ModuleList([LayerDropModuleList(layerdrop, [torch.nn.Linear(1, 1)])])
        cfg = SimpleNamespace(common=SimpleNamespace(seed=1))
        trainer = SimpleNamespace(
            cfg=cfg, is_fsdp=True, model=model, data_parallel_rank=rank, get_num_updates=lambda: 3
        )
        with tiny.seeded(0):
            Trainer._set_seed(trainer)
            drawn.append(torch.rand(1).item())
    assert (drawn[0] == drawn[1]) == (layerdrop > 0)


def test_gradients_are_exchanged_again_after_an_error():
    model = LegacyDistributedDataParallel(torch.nn.Linear(1, 1), process_group=SimpleNamespace(size=lambda: 1))
    with pytest.raises(RuntimeError, match="out of memory"), model.no_sync():
        assert model.accumulate_grads
        raise RuntimeError("out of memory")
    assert not model.accumulate_grads
