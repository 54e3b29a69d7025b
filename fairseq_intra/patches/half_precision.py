"""A resumed training in half precision continues with the float32 parameters and the loss scaler that it had.

fairseq keeps neither: from the checkpoint's half-precision parameters it makes others, and counts anew until the loss
scale grows (fairseq/optim/fp16_optimizer.py, amp_optimizer.py).
"""

import functools
import logging

import torch
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin as HalfPrecisionOptimizer
from fairseq.optim.fp16_optimizer import _MemoryEfficientFP16OptimizerMixin as MemoryEfficientOptimizer

logger = logging.getLogger(__name__)

#: What the loss scaler counts, by its attributes (fairseq/optim/dynamic_loss_scaler.py).
COUNTS = ("_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def apply():
    """Puts the patch into fairseq's optimizers."""
    _keep(HalfPrecisionOptimizer, "fp32_params", _float32_parameters, _take_float32_parameters)
    for optimizer in (HalfPrecisionOptimizer, MemoryEfficientOptimizer):
        _keep(optimizer, "loss_scaler", _counts, _take_counts)
    _keep(AMPOptimizer, "grad_scaler", lambda self: self.scaler.state_dict(), _take_scaler)


def _keep(optimizer, name, saved, take):
    """Adds an entry to the state of an optimizer's class: `saved(self)`, which `take(self, value)` restores."""
    save, load = optimizer.state_dict, optimizer.load_state_dict

    @functools.wraps(save)
    def state_dict(self):
        return save(self) | {name: saved(self)}

    @functools.wraps(load)
    def load_state_dict(self, state, optimizer_overrides=None):
        load(self, state, optimizer_overrides)
        # Of another precision, or written without this patch, a checkpoint has none.
        if state.get(name):
            take(self, state[name])

    optimizer.state_dict, optimizer.load_state_dict = state_dict, load_state_dict


def _float32_parameters(self):
    return _tensors(self.fp32_params)


@torch.no_grad()
def _take_float32_parameters(self, saved):
    """Takes the numbers that round to those of the model, of which fairseq has made ours; others were changed."""
    ours, half = _tensors(self.fp32_params), self.fp16_params[0].dtype
    if [tensor.shape for tensor in ours] != [tensor.shape for tensor in saved]:
        return
    kept = 0
    for tensor, value in zip(ours, saved, strict=True):
        value = value.to(tensor)
        same = value.to(half) == tensor.to(half)
        kept += int(same.sum())
        tensor.copy_(torch.where(same, value, tensor))
    # Not of a few: fairseq 0.12.2 has copies of its encoder's parameters, which nothing uses or sets.
    if 2 * kept < sum(map(torch.numel, ours)):
        logger.warning(
            "the checkpoint's parameters are not those that its optimizer's state belongs to (an average, or changed "
            "otherwise); the training continues from the checkpoint's"
        )


def _counts(self):
    return {name: getattr(self.scaler, name) for name in COUNTS if hasattr(self.scaler, name)}


def _take_counts(self, saved):
    # bfloat16 has no scaler.
    if self.scaler is not None:
        vars(self.scaler).update(saved)


def _take_scaler(self, saved):
    self.scaler.load_state_dict(saved)


def _tensors(params):
    """The float32 parameters as a list: fairseq has one flat tensor for each device, or one for each parameter."""
    params = params.values() if isinstance(params, dict) else [params] if torch.is_tensor(params) else params
    return [param.data for param in params]
