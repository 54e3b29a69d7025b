"""The word-level distillation loss of rows of logits and its gradient in closed form.

For each of N positions, z the student's logits, u the teacher's, t the target, T the temperature and w the weight::

    loss = (1 - w) CE(z, t)  +  w T^2 KL(q || r)            q = softmax(u / T), r = softmax(z / T), p = softmax(z)

CE is fairseq's label-smoothed cross-entropy, with the confidence and smoothing mass of `closed_form`. KL differs
from the cross-entropy to the teacher's distribution by that one's entropy, a constant: the gradient is the same, and
zero means that the student has become its teacher. T^2 keeps the size of the gradient at any temperature (Hinton,
Vinyals and Dean, 2015, section 2)::

    dloss/dz = (1 - w) (p - c 1_t - s)  +  w T (r - q)

Forward and backward go over the positions in chunks. The teacher's logits are projected chunk by chunk from its
features where it offers them, so that neither they nor its probabilities ever exist as a whole.
"""

from typing import Any, NamedTuple

import torch

from . import closed_form
from .chunked import chunks, detached_without_grad, project


class DistillationLoss(NamedTuple):
    """Sums over the positions, in nats; scalars, float32 (float64 for float64 logits)."""

    loss: torch.Tensor  #: what is minimised; the only one with a gradient
    nll: torch.Tensor  #: cross-entropy to the target, without label smoothing
    distillation: torch.Tensor  #: T^2 KL(q || r), before it is weighted


class Teacher(NamedTuple):
    """The teacher's outputs at the N positions: logits, or features and the layer that projects them."""

    outputs: torch.Tensor  #: [1, N, V], or [1, N, C]
    weight: torch.Tensor | None = None  #: [V, C]
    bias: torch.Tensor | None = None  #: [V]

    def logits(self, chunk: slice) -> torch.Tensor:
        outputs = self.outputs[:, chunk]
        return outputs if self.weight is None else project(outputs, self.weight, self.bias)


def distillation_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    teacher: Teacher,
    *,
    weight: float,
    temperature: float,
    label_smoothing: float,
    overwrite_logits: bool = False,
) -> DistillationLoss:
    """Label-smoothed cross-entropy and word-level distillation, mixed.

    Args:
        logits: [1, N, V], the student's, any floating dtype; computed in float32 at least.
        target: [N], integer, each in [0, V). Positions to ignore (pads) are left out beforehand.
        teacher: at the same positions, of any floating dtype. It gets no gradient.
        weight: w, in [0, 1].
        temperature: T, above 0.
        label_smoothing: as fairseq's.
        overwrite_logits: backward writes the gradient over the logits. Nothing else may need them then; a second
            backward is rejected by autograd.

    Raises:
        ValueError: if the shapes do not match: a teacher of one word would be broadcast to all.
    """
    outputs, types = teacher.outputs, (teacher.outputs.size(-1) if teacher.weight is None else teacher.weight.size(0))
    if logits.dim() != 3 or target.shape != logits.shape[1:2] or outputs.shape[:2] != logits.shape[:2]:
        raise ValueError(
            f"logits [1, N, V], target [N] and the teacher's outputs [1, N, ...] expected, not {list(logits.shape)}, "
            f"{list(target.shape)} and {list(outputs.shape)}"
        )
    if types != logits.size(-1):
        raise ValueError(f"the teacher has {types} types, and the student {logits.size(-1)}")
    settings = _Settings(weight, temperature, *closed_form.smoothing_weights(label_smoothing, logits.size(-1)))
    logits = detached_without_grad(logits)
    return DistillationLoss(*_Distillation.apply(logits, target, *teacher, settings, overwrite_logits))


class _Settings(NamedTuple):
    weight: float
    temperature: float
    confidence: float
    smoothing_mass: float


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        outputs: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        settings: _Settings,
        overwrite_logits: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        teacher = Teacher(outputs, weight, bias)
        sums = logits.new_zeros(3, dtype=torch.promote_types(logits.dtype, torch.float32))
        for chunk in _chunks(logits):
            log_p, log_r, log_q = _log_probs(logits[:, chunk], teacher.logits(chunk), settings.temperature)
            nll = -log_p.gather(-1, target[chunk].view(1, -1, 1)).sum()
            smoothed = settings.confidence * nll - settings.smoothing_mass * log_p.sum()
            distillation = settings.temperature**2 * (log_q.exp() * (log_q - log_r)).sum()
            sums += torch.stack([smoothed, nll, distillation])
        ctx.save_for_backward(logits, target, outputs, weight, bias)
        ctx.settings, ctx.overwrite_logits = settings, overwrite_logits
        smoothed, nll, distillation = sums.unbind()
        ctx.mark_non_differentiable(nll, distillation)
        return (1 - settings.weight) * smoothed + settings.weight * distillation, nll, distillation

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_loss: torch.Tensor, _grad_nll: None, _grad_distillation: None
    ) -> tuple[torch.Tensor | None, ...]:
        # In backward alone, which brings the scale of fp16 training: unscaled, small gradients would underflow.
        logits, target, *saved = ctx.saved_tensors
        teacher, settings = Teacher(*saved), ctx.settings
        # In place, so that autograd notices should the logits be wanted a second time.
        out = logits if ctx.overwrite_logits else torch.empty_like(logits)
        soft, hard = settings.weight * settings.temperature, 1 - settings.weight
        for chunk in _chunks(logits):
            log_p, log_r, log_q = _log_probs(logits[:, chunk], teacher.logits(chunk), settings.temperature)
            gradient = soft * (log_r.exp() - log_q.exp()) + hard * (log_p.exp() - settings.smoothing_mass)
            index = target[chunk].view(1, -1, 1)
            gradient.scatter_add_(-1, index, gradient.new_full(index.shape, -hard * settings.confidence))
            out[:, chunk] = gradient * grad_loss
        return out, *[None] * 6


def _log_probs(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logarithms of p, r and q."""
    z, u = (logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in (student, teacher))
    log_p = z.log_softmax(-1)
    log_r = log_p if temperature == 1 else (z / temperature).log_softmax(-1)
    return log_p, log_r, (u / temperature).log_softmax(-1)


def _chunks(logits: torch.Tensor) -> list[slice]:
    return chunks(closed_form.CHUNK_SIZE, logits, logits.size(-1))
