"""`--amp` without a GPU. What the precision does to the losses is in test_precision.py."""

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
