"""Out of memory in one update: fairseq leaves that mini-batch out, and training goes on as if it had not come."""

import pytest
import tiny
import torch

MODES = {
    "batched": {"criterion": {"passes": "batched"}},
    "sequential": {"criterion": {"passes": "sequential"}},
    "recompute": {"criterion": {"passes": "recompute"}},
    "encoder once": {"criterion": {"encoder_once": True}},
    "micro-batches": {"task": {"split_batch": 2}},
}


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.save_dictionaries(folder)
    flags = "--optimizer adam --lr 0.01 --dropout 0.3 --adaptive-alpha 1 --max-update 40 --update-freq 2"
    return tiny.configuration(folder, *flags.split())


@pytest.mark.parametrize("moment", ["forward", "backward"])
@pytest.mark.parametrize("mode", MODES)
def test_alpha_plan_and_loss_are_those_of_a_training_without_that_batch(cfg, mode, moment):
    expected, found = trained(cfg, MODES[mode], None), trained(cfg, MODES[mode], moment)
    assert found == expected
    alphas = [update["alpha"] for update in found["updates"]]
    assert alphas == sorted(set(alphas))


def trained(cfg, fields, moment):
    """Of four updates: what was logged, the plan of the passes and the parameters; before the third, no memory."""
    cfg = cfg.copy()
    for section, values in fields.items():
        for name, value in values.items():
            cfg[section][name] = value
    trainer = tiny.trainer(cfg)
    samples = [tiny.sample(trainer.task), tiny.sample(trainer.task, tiny.SENTENCES[:2])]
    updates = []
    for number in range(4):
        if number == 2 and moment:
            memory = OutOfMemory(trainer.model.decoder, moment)
            assert trainer.train_step(samples) is None and memory.errors == 1
            memory.remove()
        logged = trainer.train_step(samples)
        updates.append({name: logged[name] for name in ("loss", "nll_loss", "intra_distillation_loss", "alpha")})
    weights = [parameter.tolist() for parameter in trainer.model.parameters()]
    return {"updates": updates, "plan": trainer.criterion.intra_distillation._plan, "weights": weights}


class OutOfMemory:
    """What CUDA raises, in the second forward through a decoder or in its backward.

    The second is that of the second mini-batch, or of the second pass or micro-batch of the first.
    """

    def __init__(self, decoder, moment):
        self.moment, self.forwards, self.errors = moment, 0, 0
        self.handle = decoder.register_forward_hook(self._after_forward)

    def remove(self):
        self.handle.remove()

    def _after_forward(self, _module, _inputs, output):
        self.forwards += 1
        if self.forwards < 2:
            return
        if self.moment == "forward":
            self._raise()
        elif output[0].requires_grad:
            output[0].register_hook(self._raise)

    def _raise(self, *_):
        self.errors += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
