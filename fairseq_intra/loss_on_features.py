"""The intra-distillation loss on the features that a projection makes logits of.

The logits are made chunk by chunk, so that all of them never exist at once.
"""

import torch
import torch.nn.functional as F

from . import closed_form, implementations, in_chunks
from .in_chunks import chunks
from .loss import IntraDistillationLoss
from .reference import reference_loss

#: Numbers that the logits made at a time may hold: enough for efficient products of matrices.
PROJECTED_NUMEL = {"cpu": 1 << 22, "cuda": 1 << 26}


def intra_distillation_loss_on_features(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    target: torch.Tensor,
    *,
    alpha: float,
    label_smoothing: float,
    divergence: str = "x",
    implementation: str = "auto",
) -> IntraDistillationLoss:
    """`intra_distillation_loss` of the logits `features @ weight.T + bias`, which are made chunk by chunk.

    Under autocast the logits are made in autocast's dtype, as torch's own linear layer does.

    Args:
        features: [K, N, C], any floating dtype.
        weight: [V, C], dtype of the features (under autocast, any).
        bias: [V] or None.

    The other arguments, what is returned and what is raised are those of `intra_distillation_loss`.
    """
    if features.dim() != 3 or target.shape != features.shape[1:2] or features.size(-1) != weight.size(-1):
        raise ValueError(
            f"features [K, N, C], weight [V, C] and target [N] expected, not {list(features.shape)}, "
            f"{list(weight.shape)} and {list(target.shape)}"
        )
    options = implementations.options(alpha, label_smoothing, divergence)
    device = features.device
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
        features, weight = features.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    implementation = implementations.choose(implementation, device, features.dtype, divergence)
    with torch.autocast(device.type, enabled=False):
        if implementation == "reference":
            return IntraDistillationLoss(*reference_loss(F.linear(features, weight, bias), target, options))
        return IntraDistillationLoss(
            *_OnFeatures.apply(features, weight, bias, target, options, implementations.rows_of(implementation))
        )


class _OnFeatures(torch.autograd.Function):
    """Where nothing can underflow, the gradient is made in forward, from logits that are at hand.

    In float16 it waits for backward, which brings the scale of fp16 training, and makes the logits a second time.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, target, options, rows):
        statistics = closed_form.Statistics.empty(features, *features.shape[:2])
        at_once = features.dtype != torch.float16
        gradients = _ProjectionGradients(features, weight, bias) if at_once else None
        for chunk in chunks(PROJECTED_NUMEL, features, len(weight)):
            logits = project(features[:, chunk], weight, bias)
            in_chunks.fill_in(
                rows, logits, target[chunk], options, statistics.of(chunk), gradient=logits if at_once else None
            )
            if at_once:
                gradients.add(chunk, logits)
        ctx.options, ctx.rows, ctx.at_once = options, rows, at_once
        if at_once:
            ctx.save_for_backward(*gradients.finished())
        else:
            ctx.save_for_backward(features, weight, bias, target, *statistics)
        return in_chunks.sums(ctx, statistics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, _grad_nll, _grad_divergence):
        if ctx.at_once:
            found = [grad if grad is None else grad * grad_loss.to(grad.dtype) for grad in ctx.saved_tensors]
        else:
            found = _OnFeatures._made_again(ctx, grad_loss)
        return *found, None, None, None

    @staticmethod
    def _made_again(ctx, grad_loss):
        features, weight, bias, target, *statistics = ctx.saved_tensors
        statistics = closed_form.Statistics(*statistics)
        gradients = _ProjectionGradients(features, weight, bias)
        for chunk in chunks(PROJECTED_NUMEL, features, len(weight)):
            logits = project(features[:, chunk], weight, bias)
            in_chunks.make_gradient(
                ctx.rows, logits, target[chunk], ctx.options, statistics.of(chunk), grad_loss, logits
            )
            gradients.add(chunk, logits)
        return gradients.finished()


def project(features, weight, bias):
    # As one matrix: of a slice that is not contiguous, linear would make K small products.
    return F.linear(features.flatten(0, 1), weight, bias).unflatten(0, features.shape[:2])


class _ProjectionGradients:
    """The gradients of a linear layer's input, weight and bias, summed up in float32 chunk by chunk."""

    def __init__(self, features, weight, bias):
        self._given = features, weight, bias
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self._features = torch.empty_like(features)
        self._weight = torch.zeros_like(weight, dtype=dtype)
        self._bias = None if bias is None else torch.zeros_like(bias, dtype=dtype)

    def add(self, chunk, grad_logits):
        features, weight, _ = self._given
        rows = grad_logits.flatten(0, 1)
        self._features[:, chunk] = (rows @ weight).view_as(features[:, chunk])
        if self._weight.dtype == rows.dtype:
            self._weight.addmm_(rows.T, features[:, chunk].flatten(0, 1))
        else:
            self._weight += rows.T @ features[:, chunk].flatten(0, 1)
        if self._bias is not None:
            self._bias += rows.sum(0, dtype=self._bias.dtype)

    def finished(self):
        _, weight, bias = self._given
        return self._features, self._weight.to(weight.dtype), None if bias is None else self._bias.to(bias.dtype)
