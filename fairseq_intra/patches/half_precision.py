"""A resumed training in half precision continues with the float32 parameters and the loss scaler that it had.

fairseq keeps neither: from the checkpoint's half-precision parameters it makes others, and counts anew until the loss
scale grows (fairseq/optim/fp16_optimizer.py).
"""

import functools

import torch
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin as HalfPrecisionOptimizer

#: What the loss scaler counts, by its attributes (fairseq/optim/dynamic_loss_scaler.py).
COUNTS = ("_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def apply():
    """Puts the patch into fairseq's optimizers; repeated, it does nothing."""
    if hasattr(HalfPrecisionOptimizer.state_dict, "__wrapped__"):
        return
    save, load = HalfPrecisionOptimizer.state_dict, HalfPrecisionOptimizer.load_state_dict

    @functools.wraps(save)
    def state_dict(self):
        counts = {name: getattr(self.scaler, name) for name in COUNTS if hasattr(self.scaler, name)}
        return save(self) | {"fp32_params": _tensors(self.fp32_params), "loss_scaler": counts}

    @functools.wraps(load)
    @torch.no_grad()
    def load_state_dict(self, state, optimizer_overrides=None):
        load(self, state, optimizer_overrides)
        ours, saved = _tensors(self.fp32_params), state.get("fp32_params", [])
        # Of another precision, or written without this patch, a checkpoint has none that fit.
        if [tensor.shape for tensor in ours] == [tensor.shape for tensor in saved]:
            for tensor, value in zip(ours, saved, strict=True):
                tensor.copy_(value)
        if self.scaler is not None:
            vars(self.scaler).update(state.get("loss_scaler", {}))

    HalfPrecisionOptimizer.state_dict, HalfPrecisionOptimizer.load_state_dict = state_dict, load_state_dict


def _tensors(params):
    """The float32 parameters as a list: fairseq has one flat tensor for each device, or one for each parameter."""
    params = params.values() if isinstance(params, dict) else [params] if torch.is_tensor(params) else params
    return [param.data for param in params]
