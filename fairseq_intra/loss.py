"""The intra-distillation loss, on logits or on the features that a projection makes logits of.

The formulas stand in `closed_form`. Forward keeps of every row of logits a few statistics, from which backward makes
the gradient, or forward itself where that is faster; both go over the positions in chunks, so that no temporary has
the size of the logits. On features the logits themselves are made in such chunks, so that all of them never exist at
once.
"""

import importlib.util
import os
from typing import NamedTuple

import torch
import torch.nn.functional as F

from . import closed_form
from .divergence import DIVERGENCES
from .reference import reference_loss

#: Numbers that the logits made at a time from features may hold: enough for efficient products of matrices.
PROJECTED_NUMEL = {"cpu": 1 << 22, "cuda": 1 << 26}

IMPLEMENTATIONS = ("auto", "torch", "triton", "reference")


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
    options = _options(alpha, label_smoothing, divergence)
    implementation = choose(implementation, logits.device, logits.dtype, divergence)
    if implementation == "reference":
        return IntraDistillationLoss(*reference_loss(logits, target, options))
    rows = _functions(implementation)
    return IntraDistillationLoss(*_OnLogits.apply(logits, target, options, rows, overwrite_logits))


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
    options = _options(alpha, label_smoothing, divergence)
    device = features.device
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
        features, weight = features.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    implementation = choose(implementation, device, features.dtype, divergence)
    with torch.autocast(device.type, enabled=False):
        if implementation == "reference":
            return IntraDistillationLoss(*reference_loss(F.linear(features, weight, bias), target, options))
        return IntraDistillationLoss(
            *_OnFeatures.apply(features, weight, bias, target, options, _functions(implementation))
        )


def choose(implementation: str, device: torch.device, dtype: torch.dtype, divergence: str) -> str:
    """What "auto" stands for; anything else is returned as it is.

    Raises:
        ValueError: on an unknown implementation, or one that cannot run here.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, not {implementation!r}")
    if implementation not in ("auto", "triton"):
        return implementation
    obstacle = _no_triton_because(device, dtype, divergence)
    if implementation == "triton" and obstacle:
        raise ValueError(f"triton {obstacle}")
    return "torch" if obstacle else "triton"


def _no_triton_because(device, dtype, divergence):
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if divergence != "x":
        return "has no kernel for JS: its mean of K distributions wants the logits read twice"
    if dtype == torch.float64:
        return "computes in float32, not in float64"
    if device.type != "cuda" and not interpreted:
        return f"runs on a GPU, not on {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "is not installed"
    return None


def _functions(implementation):
    if implementation == "torch":
        return closed_form
    from . import closed_form_triton

    return closed_form_triton


def _options(alpha, label_smoothing, divergence):
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, not {divergence!r}")
    return closed_form.Options(alpha, label_smoothing, divergence)


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
            _forward(rows, logits, target, options, statistics, gradient=grad)
            ctx.save_for_backward(grad)
        else:
            _forward(rows, logits, target, options, statistics)
            ctx.save_for_backward(logits, target, *statistics)
        ctx.options, ctx.rows, ctx.overwrite_logits = options, rows, overwrite_logits
        return _sums(ctx, statistics)

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
        _gradient(ctx.rows, logits, target, ctx.options, closed_form.Statistics(*statistics), grad_loss, grad)
        return grad


def _gradient(rows, logits, target, options, statistics, grad_loss, out):
    for chunk in chunks(rows.CHUNK_NUMEL, logits, logits.size(-1)):
        ready = rows.again(logits[:, chunk], statistics.of(chunk), options)
        rows.gradient(ready, target[chunk], options, statistics.of(chunk), grad_loss, out[:, chunk])


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
            _forward(rows, logits, target[chunk], options, statistics.of(chunk), gradient=logits if at_once else None)
            if at_once:
                gradients.add(chunk, logits)
        ctx.options, ctx.rows, ctx.at_once = options, rows, at_once
        if at_once:
            ctx.save_for_backward(*gradients.finished())
        else:
            ctx.save_for_backward(features, weight, bias, target, *statistics)
        return _sums(ctx, statistics)

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
            _gradient(ctx.rows, logits, target[chunk], ctx.options, statistics.of(chunk), grad_loss, logits)
            gradients.add(chunk, logits)
        return gradients.finished()


def _forward(rows, logits, target, options, statistics, *, gradient=None):
    """Fills in the statistics; writes the gradient of the summed losses to `gradient`, which may be the logits."""
    for chunk in chunks(rows.CHUNK_NUMEL, logits, logits.size(-1)):
        ready = rows.forward(logits[:, chunk], target[chunk], options, statistics.of(chunk))
        if gradient is not None:
            rows.gradient(ready, target[chunk], options, statistics.of(chunk), None, gradient[:, chunk])


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


def _sums(ctx, statistics):
    num_passes = len(statistics.nll)
    nll, divergence = statistics.nll.sum() / num_passes, statistics.expectation.sum() / num_passes
    ctx.mark_non_differentiable(nll, divergence)
    return statistics.smoothed.sum() / num_passes + ctx.options.alpha * divergence, nll, divergence


def chunks(numel, passes, vocab):
    """Slices of the N positions of [K, N, ...], whose logits hold no more numbers than are allowed on the device."""
    num_passes, num_positions, _ = passes.shape
    step = max(1, numel[passes.device.type] // (num_passes * vocab))
    return [slice(start, start + step) for start in range(0, num_positions, step)]
