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
UPDATES = 20


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.save_dictionaries(folder)
    flags = f"--optimizer adam --lr 0.01 --dropout 0.1 --fp16-init-scale 4 --max-update {UPDATES}"
    return tiny.configuration(folder, *flags.split())


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def way(cfg, request):
    """Fields of the criterion, and the losses in float32."""
    return request.param, losses(cfg, {}, request.param)


def losses(cfg, common, criterion):
    """The loss a token, in bits, of every update."""
    cfg = cfg.copy()
    for section, fields in ((cfg.common, common), (cfg.criterion, criterion)):
        for name, value in fields.items():
            section[name] = value
    trainer = tiny.trainer(cfg)
    sample = tiny.sample(trainer.task)
    return torch.tensor([float(trainer.train_step([sample])["loss"]) for _ in range(UPDATES)])


@pytest.mark.parametrize("common", PRECISIONS.values(), ids=PRECISIONS)
def test_loss_falls_as_in_float32(cfg, way, common):
    criterion, expected = way
    assert expected[-1] < 0.7 * expected[0]
    torch.testing.assert_close(losses(cfg, common, criterion), expected, rtol=0.02, atol=0.02)
