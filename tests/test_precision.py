"""Training in less than float32 goes the way that float32 goes. On a CPU, what a CPU can do."""

import pytest
import tiny
import torch

#: Flags of fairseq's that a CPU can follow. Gradients in one flat buffer, fairseq's default, are for GPUs.
PRECISIONS = {
    "fp16": {"fp16": True, "fp16_no_flatten_grads": True},
    "memory-efficient fp16": {"fp16": True, "memory_efficient_fp16": True},
    "bf16": {"bf16": True, "fp16_no_flatten_grads": True},
    "memory-efficient bf16": {"bf16": True, "memory_efficient_bf16": True},
    "amp": {"amp": True},
}
WAYS = {"on features": {}, "on logits": {"report_accuracy": True}, "recompute": {"passes": "recompute"}}
UPDATES = 30


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.save_dictionaries(folder)
    flags = "--optimizer adam --lr 0.01 --dropout 0.1 --fp16-init-scale 4 --max-update 30"
    return tiny.configuration(folder, *flags.split())


def losses(cfg, common, criterion):
    """The loss a token, in bits, of every update."""
    cfg = cfg.copy()
    for section, fields in ((cfg.common, common), (cfg.criterion, criterion)):
        for name, value in fields.items():
            section[name] = value
    trainer = tiny.trainer(cfg)
    sample = tiny.sample(trainer.task)
    found = [float(trainer.train_step([sample])["loss"]) for _ in range(UPDATES)]
    # As float32 does: less than a third of the bits are left.
    assert found[-1] < found[0] / 3
    return torch.tensor(found)


@pytest.mark.parametrize("criterion", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("common", PRECISIONS.values(), ids=PRECISIONS)
def test_loss_falls_as_in_float32(cfg, common, criterion):
    expected = losses(cfg, {}, criterion)
    torch.testing.assert_close(losses(cfg, common, criterion), expected, rtol=0.1, atol=0.1)
