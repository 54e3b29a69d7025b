"""`--amp` as it is on a GPU, by a gradient scaler that is not switched off."""

import pytest
import tiny
import torch


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="this torch has a gradient scaler for GPUs alone")
@pytest.mark.parametrize("clip_norm", ["0", "0.1"])
def test_an_update_does_not_depend_on_the_loss_scale(tmp_path, clip_norm):
    tiny.save_dictionaries(tmp_path)
    flags = ["--optimizer", "sgd", "--lr", "1", "--clip-norm", clip_norm]
    after = []
    for scale in (1.0, 128.0):
        cfg = tiny.configuration(tmp_path, *flags)
        cfg.common.amp = True
        with tiny.seeded(1):
            trainer = tiny.trainer(cfg)
        trainer.optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
        trainer.train_step([tiny.sample(trainer.task)])
        after.append([now.detach() - was for now, was in zip(trainer.model.parameters(), before, strict=True)])
    assert any(change.abs().max() > 1e-3 for change in after[0])
    torch.testing.assert_close(after[1], after[0], rtol=1e-3, atol=1e-5)
