"""What has to hold on a GPU. benchmarks/gpu.sh runs this there; elsewhere it is skipped."""

import subprocess
import sys
from pathlib import Path

import gpu_worker
import pytest
import tiny
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

PRECISIONS = {
    "fp16": {"fp16": True},
    "memory-efficient fp16": {"fp16": True, "memory_efficient_fp16": True},
    "bf16": {"bf16": True},
    "amp": {"amp": True},
}
MODES = ("batched", "sequential", "recompute")
UPDATES = 100
#: Of so many updates the mean loss is compared where there is dropout: on a GPU its masks depend on the dtype.
SPAN = 20


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.save_dictionaries(folder)
    flags = "--optimizer adam --lr 0.003 --dropout 0.1 --fp16-init-scale 4 --adaptive-alpha 1 --max-update 100"
    cfg = tiny.configuration(folder, *flags.split())
    cfg.common.cpu = False
    return cfg


def trainer(cfg, common=(), **criterion):
    cfg = cfg.copy()
    for name in common:
        cfg.common[name] = common[name]
    for name, value in criterion.items():
        cfg.criterion[name] = value
    return tiny.trainer(cfg)


def losses(trainer, count):
    sample = tiny.sample(trainer.task)
    return torch.tensor([float(trainer.train_step([sample])["loss"]) for _ in range(count)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("common", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("dropout", [0, 0.1])
def test_loss_falls_as_in_float32_over_100_updates(cfg, dropout, common, mode):
    cfg = cfg.copy()
    cfg.model.dropout = dropout
    expected, found = (losses(trainer(cfg, precision, passes=mode), UPDATES) for precision in ({}, common))
    assert expected[-1] < 0.7 * expected[0]
    if dropout:
        found, expected = (values.view(-1, SPAN).mean(1) for values in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("common", [{}, *PRECISIONS.values()], ids=["float32", *PRECISIONS])
@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(cfg, tmp_path, mode, common):
    """Not so with --fp16 and --bf16: fairseq's checkpoints hold the weights in half precision alone."""
    uninterrupted, stopped, resumed = (trainer(cfg, common, passes=mode) for _ in range(3))
    expected = losses(uninterrupted, 6)
    losses(stopped, 3)
    stopped.consolidate_optimizer()
    stopped.save_checkpoint(str(tmp_path / "checkpoint.pt"), {"train_iterator": {"epoch": 1}})
    resumed.load_checkpoint(str(tmp_path / "checkpoint.pt"))
    assert resumed.get_num_updates() == 3
    assert torch.equal(losses(resumed, 3), expected[3:])
    for found, parameter in zip(resumed.model.parameters(), uninterrupted.model.parameters(), strict=True):
        assert torch.equal(found, parameter)


def test_recompute_draws_on_cuda_what_sequential_does(cfg):
    found, expected = (trainer(cfg, passes=mode) for mode in ("recompute", "sequential"))
    torch.testing.assert_close(losses(found, 5), losses(expected, 5), rtol=1e-5, atol=1e-5)
    for name, gradient in tiny.gradients(found.get_model()).items():
        torch.testing.assert_close(gradient, tiny.gradients(expected.get_model())[name], rtol=1e-4, atol=1e-5)


def test_two_workers_agree_and_equal_one(cfg, tmp_path):
    tiny.save_dictionaries(tmp_path)
    command = [sys.executable, Path(gpu_worker.__file__)]
    workers = [subprocess.Popen([*command, str(rank), tmp_path]) for rank in range(2)]
    assert [worker.wait(300) for worker in workers] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    one = tiny.configuration(tmp_path, *"--optimizer sgd --lr 0.1 --dropout 0".split())
    one.common.cpu = False
    alone = tiny.trainer(one)
    for _ in range(3):
        alone.train_step([tiny.sample(alone.task, gpu_worker.SENTENCES)])
    for name, parameter in alone.get_model().named_parameters():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], parameter.cpu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_training_goes_on_after_too_large_a_mini_batch(cfg, mode):
    """fairseq leaves out the mini-batch whose forward or backward does not fit into memory."""
    tight, free = trainer(cfg, passes=mode), trainer(cfg, passes=mode)
    small = tiny.sample(tight.task)
    large = tiny.sample(tight.task, [([5] * 30, [6] * 30)] * (1 << 12))
    used = torch.cuda.memory_reserved() + (16 << 20)
    torch.cuda.set_per_process_memory_fraction(used / torch.cuda.get_device_properties(0).total_memory)
    try:
        assert tight.train_step([large]) is None
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    found, expected = (torch.tensor(float(one.train_step([small])["loss"])) for one in (tight, free))
    assert torch.equal(found, expected)
