"""The intra-distillation loss on logits.

The formulas stand in `closed_form`. Forward keeps of every row of logits a few statistics, from which backward makes
the gradient, or forward itself where that is faster.
"""

from typing import NamedTuple

import torch

from . import closed_form, implementations, in_chunks
from .reference import reference_loss


class IntraDistillationLoss(NamedTuple):
    """Sums over the positions given, in nats; scalars, float32 (float64 for float64 logits)."""

    loss: torch.Tensor  #: what is minimised; the only one with a gradient
    nll: torch.Tensor  #: cross-entropy without label smoothing, mean over the K passes
    divergence: torch.Tensor  #: before it is multiplied by alpha


def intra_distillation_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    alpha: float,
    label_smoothing: float,
    divergence: str = "x",
    implementation: str = "auto",
    overwrite_logits: bool = False,
) -> IntraDistillationLoss:
    """Mean over K passes of the label-smoothed cross-entropies, plus alpha times their divergence.

    Args:
        logits: [K, N, V], any floating dtype; computed in float32 at least.
        target: [N], integer, each in [0, V). Positions to ignore (pads) are left out beforehand.
        alpha: weight of the divergence.
        label_smoothing: share of the probability that is spread evenly over the V - 1 other words.
        divergence: "x" or "js".
        implementation: "torch", "triton" (X on a GPU), "reference" (the definitions by autograd, slow), or "auto":
            triton where it can run, else torch.
        overwrite_logits: the gradient is written over the logits, in forward or in backward. Nothing else may need
            them then; a second backward is right or refused by autograd.

    Raises:
        ValueError: on logits and target that do not fit, an unknown divergence or implementation, or one that
            cannot run here.
    """
    if logits.dim() != 3 or target.shape != logits.shape[1:2]:
        raise ValueError(
            f"logits [K, N, V] and target [N] expected, not {list(logits.shape)} and {list(target.shape)}"
        )
    options = implementations.options(alpha, label_smoothing, divergence)
    implementation = implementations.choose(implementation, logits.device, logits.dtype, divergence)
    if implementation == "reference":
        return IntraDistillationLoss(*reference_loss(logits, target, options))
    rows = implementations.rows_of(implementation)
    return IntraDistillationLoss(*_OnLogits.apply(logits, target, options, rows, overwrite_logits))


class _OnLogits(torch.autograd.Function):
    """On a CPU, where nothing can underflow, the gradient is made in forward, from what the loss was made from.

    In float16 it waits for backward, which brings the scale of fp16 training; and on a GPU, where scaling a finished
    gradient would take as long as making it again.
    """

    @staticmethod
    def forward(ctx, logits, target, options, rows, overwrite_logits):
        statistics = closed_form.Statistics.empty(logits, *logits.shape[:2])
        ctx.at_once = rows is closed_form and logits.device.type == "cpu" and logits.dtype != torch.float16
        if ctx.at_once and ctx.needs_input_grad[0]:
            grad = logits if overwrite_logits else torch.empty_like(logits)
            in_chunks.fill_in(rows, logits, target, options, statistics, gradient=grad)
            ctx.save_for_backward(grad)
        else:
            in_chunks.fill_in(rows, logits, target, options, statistics)
            ctx.save_for_backward(logits, target, *statistics)
        ctx.options, ctx.rows, ctx.overwrite_logits = options, rows, overwrite_logits
        return in_chunks.sums(ctx, statistics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, _grad_nll, _grad_divergence):
        if ctx.at_once:
            grad = _OnLogits._scaled(ctx, grad_loss)
        else:
            grad = _OnLogits._made_again(ctx, grad_loss)
        return grad, None, None, None, None

    @staticmethod
    def _scaled(ctx, grad_loss):
        (grad,) = ctx.saved_tensors
        if grad_loss == 1:
            return grad
        # In place, so that autograd notices should the gradient be wanted a second time.
        return grad.mul_(grad_loss) if ctx.overwrite_logits else grad * grad_loss

    @staticmethod
    def _made_again(ctx, grad_loss):
        logits, target, *statistics = ctx.saved_tensors
        # In place, so that autograd notices should the logits be wanted a second time.
        grad = logits if ctx.overwrite_logits else torch.empty_like(logits)
        in_chunks.make_gradient(
            ctx.rows, logits, target, ctx.options, closed_form.Statistics(*statistics), grad_loss, grad
        )
        return grad
