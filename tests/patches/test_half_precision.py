"""Resuming in half precision, as far as a CPU can do it: without flat gradients."""

import itertools

import pytest
import tiny
import torch

FLAGS = "--optimizer adam --lr 0.01 --dropout 0.1 --fp16-init-scale 4 --fp16-scale-window 3 --max-update 30"
PRECISIONS = {
    "fp16": {"fp16": True},
    "memory-efficient fp16": {"fp16": True, "memory_efficient_fp16": True},
    "bf16": {"bf16": True},
    "amp": {"amp": True},
}


def of_both(first, second, used):
    """Pairs of parameters of two trainers that are used."""
    return list(itertools.compress(zip(first, second, strict=True), used))


def trained(trainer, updates):
    """The losses of some more updates."""
    sample, losses = tiny.sample(trainer.task), []
    for _ in range(updates):
        losses.append(float(trainer.train_step([sample])["loss"]))
    return losses


@pytest.mark.parametrize("common", PRECISIONS.values(), ids=PRECISIONS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, common):
    tiny.save_dictionaries(tmp_path)
    cfg = tiny.configuration(tmp_path, *FLAGS.split())
    for name, value in {**common, "fp16_no_flatten_grads": True}.items():
        cfg.common[name] = value
    whole, interrupted, resumed = (tiny.trainer(cfg) for _ in range(3))
    expected = trained(whole, 10)
    first = trained(interrupted, 5)
    interrupted.consolidate_optimizer()
    interrupted.save_checkpoint(str(tmp_path / "checkpoint.pt"), {"train_iterator": {"epoch": 1}})
    resumed.load_checkpoint(str(tmp_path / "checkpoint.pt"))
    assert first + trained(resumed, 5) == expected
    used = [tiny.UNUSED.search(name) is None for name, _ in whole.model.named_parameters()]
    for ours, theirs in of_both(resumed.model.parameters(), whole.model.parameters(), used):
        assert torch.equal(ours, theirs)
    if "amp" not in common and "memory_efficient_fp16" not in common:
        for ours, theirs in of_both(resumed.optimizer.fp32_params, whole.optimizer.fp32_params, used):
            assert torch.equal(ours, theirs)
    if "fp16" in common:
        assert resumed.optimizer.scaler.loss_scale == whole.optimizer.scaler.loss_scale > 4


def test_parameters_that_were_changed_in_the_checkpoint_are_those_that_it_continues_with(tmp_path, caplog):
    """As in an average that keeps an optimizer's state, which fairseq's own script writes."""
    tiny.save_dictionaries(tmp_path)
    cfg = tiny.configuration(tmp_path, *FLAGS.split())
    cfg.common["bf16"] = cfg.common["fp16_no_flatten_grads"] = True
    saved, resumed = (tiny.trainer(cfg) for _ in range(2))
    trained(saved, 2)
    saved.consolidate_optimizer()
    saved.save_checkpoint(str(tmp_path / "checkpoint.pt"), {"train_iterator": {"epoch": 1}})
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=False)
    for value in state["model"].values():
        value.fill_(0.125)
    torch.save(state, tmp_path / "checkpoint.pt")
    resumed.load_checkpoint(str(tmp_path / "checkpoint.pt"))
    assert "not those that its optimizer's state belongs to" in caplog.text
    used = [tiny.UNUSED.search(name) is None for name, _ in resumed.model.named_parameters()]
    assert sum(used) and all(
        bool((p == 0.125).all()) for p in itertools.compress(resumed.optimizer.fp32_params, used)
    )


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="this torch has a gradient scaler for GPUs alone")
def test_the_gradient_scaler_of_amp_is_kept(tmp_path):
    tiny.save_dictionaries(tmp_path)
    cfg = tiny.configuration(tmp_path, *FLAGS.split())
    cfg.common["amp"] = True
    saved, resumed = (tiny.trainer(cfg) for _ in range(2))
    for trainer, scale in ((saved, 8.0), (resumed, 4.0)):
        trainer.optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    resumed.optimizer.load_state_dict(saved.optimizer.state_dict())
    assert resumed.optimizer.scaler.state_dict()["scale"] == 8
