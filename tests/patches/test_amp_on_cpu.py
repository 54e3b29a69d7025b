"""`--amp` without a GPU. What the precision does to the losses is in test_precision.py."""

import subprocess
import sys

import pytest
import tiny
import torch

FLAGS = "--optimizer adam --lr 0.01 --dropout 0.1 --max-update 30"


@pytest.mark.parametrize(("amp", "in_training"), [(True, "medium"), (False, "highest")])
def test_products_are_in_bfloat16_in_training_alone(tmp_path, monkeypatch, amp, in_training):
    tiny.save_dictionaries(tmp_path)
    cfg = tiny.configuration(tmp_path, *FLAGS.split())
    cfg.common.amp = amp
    trainer = tiny.trainer(cfg)
    sample, seen = tiny.sample(trainer.task), {}
    for name in ("optimizer_step", "train_step", "valid_step"):
        monkeypatch.setattr(trainer.task, name, noting(seen, name, getattr(trainer.task, name)))
    trainer.train_step([sample])
    trainer.valid_step(sample)
    assert seen == {"train_step": in_training, "optimizer_step": in_training, "valid_step": "highest"}
    assert torch.get_float32_matmul_precision() == "highest"


def noting(seen, name, call):
    def noted(*args, **kwargs):
        seen[name] = torch.get_float32_matmul_precision()
        return call(*args, **kwargs)

    return noted


def test_it_is_restored_behind_an_error(tmp_path):
    tiny.save_dictionaries(tmp_path)
    cfg = tiny.configuration(tmp_path, *FLAGS.split())
    cfg.common.amp = True
    trainer = tiny.trainer(cfg)
    with pytest.raises(TypeError):
        trainer.train_step([object()])
    assert torch.get_float32_matmul_precision() == "highest"


MANY_SHAPES = """
import torch
from fairseq_intra.patches import amp_on_cpu
def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20
def products(rows):
    for number in rows:
        features = torch.ones(number, 32)
        logits = features @ weight.T
        logits @ weight
        logits.T @ features
amp_on_cpu.apply()
weight = torch.ones(64, 32)
with amp_on_cpu.bfloat16_products():
    products(range(2, 100))
    before = resident_mib()
    products(range(100, 400))
    print(resident_mib() - before)
"""


def test_memory_does_not_grow_with_the_shapes_of_mini_batches():
    """By 500 MiB on a CPU that has AMX, where torch's and oneDNN's caches have the sizes that are usual there."""
    done = subprocess.run([sys.executable, "-c", MANY_SHAPES], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 100
