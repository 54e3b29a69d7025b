"""Drives the closed form over positions in chunks, and makes one autograd function of it.

The loss takes logits, or features that a linear layer projects to logits. Of the latter only a chunk exists at a
time; of either, no temporary has the size of all logits.
"""

import functools
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from . import closed_form, compiled
from .closed_form import Settings, Statistics

#: Chunk size (elements) of the projected logits: large enough for efficient matrix products.
PROJECTION_CHUNK_SIZE: dict[str, float] = {"cpu": 1 << 22, "cuda": 1 << 26}


def chunks(sizes: dict[str, float], inputs: torch.Tensor, vocab: int) -> list[slice]:
    """Slices of the N positions of [K, N, ...], whose logits have no more elements than the device's chunk size."""
    num_passes, num_positions, _ = inputs.shape
    size = sizes[inputs.device.type if inputs.device.type in sizes else "cuda"]
    step = int(min(max(1, size // (num_passes * vocab)), max(1, num_positions)))
    return [slice(start, start + step) for start in range(0, num_positions, step)]


def project(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The logits [K, n, V] of features [K, n, C]."""
    # As one matrix: of a slice that is not contiguous, linear would make K small products.
    return F.linear(features.flatten(0, 1), weight, bias).view(*features.shape[:2], len(weight))


def detached_without_grad(tensor: torch.Tensor) -> torch.Tensor:
    """What a Function is given: it is told of what requires a gradient, not of no_grad, and would compute one."""
    return tensor if torch.is_grad_enabled() else tensor.detach()


class ClosedFormLoss(torch.autograd.Function):
    """(loss, nll, divergence) of logits [K, N, V], or of features [K, N, C] with a weight [V, C] and bias [V].

    Where nothing can underflow, the gradient is computed in forward, from terms that are there already. In float16 it
    waits for backward, which brings the scale of fp16 training; so it does for logits on a GPU, where scaling a
    finished gradient takes as long as recomputing it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        target: torch.Tensor,
        settings: Settings,
        backend: ModuleType,
        overwrite_logits: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.settings, ctx.backend, ctx.overwrite_logits = settings, backend, overwrite_logits
        source = _source(inputs, weight, bias, overwrite_logits)
        statistics = Statistics.empty(inputs, *inputs.shape[:2])
        ctx.gradient_in_forward = any(ctx.needs_input_grad) and source.allows_gradient_in_forward(backend)
        for part in source.chunks():
            logits = source.logits(part)
            out = source.gradient_buffer(logits) if ctx.gradient_in_forward else None
            _forward(backend, logits, target[part], settings, statistics.of(part), out)
            if out is not None:
                source.add_gradient(part, out)
        if ctx.gradient_in_forward:
            ctx.save_for_backward(*source.gradients())
        else:
            ctx.save_for_backward(inputs, weight, bias, target, *statistics)
        return _sums(ctx, statistics)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_loss: torch.Tensor, _grad_nll: None, _grad_divergence: None
    ) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradient_in_forward:
            gradients = [None if saved is None else _scaled(ctx, saved, grad_loss) for saved in ctx.saved_tensors]
        else:
            gradients = _recomputed(ctx, grad_loss)
        return *gradients, None, None, None, None


def _scaled(ctx: Any, gradient: torch.Tensor, grad_loss: torch.Tensor) -> torch.Tensor:
    if gradient.device.type == "cpu" and grad_loss == 1:
        return gradient
    grad_loss = grad_loss.to(gradient.dtype)
    # In place, so that autograd notices a second backward.
    return gradient.mul_(grad_loss) if ctx.overwrite_logits else gradient * grad_loss


def _recomputed(ctx: Any, grad_loss: torch.Tensor) -> list[torch.Tensor | None]:
    inputs, weight, bias, target, *saved = ctx.saved_tensors
    statistics, backend = Statistics(*saved), ctx.backend
    source = _source(inputs, weight, bias, ctx.overwrite_logits)
    for part in source.chunks():
        logits = source.logits(part)
        # In place, so that autograd notices a second backward.
        out = source.gradient_buffer(logits)
        for chunk in chunks(backend.CHUNK_SIZE, logits, logits.size(-1)):
            of_chunk = statistics.of(part).of(chunk)
            terms = backend.recompute(logits[:, chunk], ctx.settings, of_chunk)
            backend.gradient(terms, target[part][chunk], ctx.settings, of_chunk, grad_loss, out[:, chunk])
        source.add_gradient(part, out)
    return source.gradients()


def _forward(
    backend: ModuleType,
    logits: torch.Tensor,
    target: torch.Tensor,
    settings: Settings,
    statistics: Statistics,
    out: torch.Tensor | None,
) -> None:
    """Fills in the statistics; writes the gradient of the summed losses to `out`, which may be the logits."""
    for chunk in chunks(backend.CHUNK_SIZE, logits, logits.size(-1)):
        of_chunk = logits[:, chunk], target[chunk], settings, statistics.of(chunk)
        if out is None:
            backend.forward(*of_chunk)
        else:
            backend.forward_and_gradient(*of_chunk, out[:, chunk])


def _sums(ctx: Any, statistics: Statistics) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    num_passes = len(statistics.nll)
    nll, divergence = statistics.nll.sum() / num_passes, statistics.mean_deviation.sum() / num_passes
    ctx.mark_non_differentiable(nll, divergence)
    return statistics.smoothed.sum() / num_passes + ctx.settings.alpha * divergence, nll, divergence


class _Logits:
    """Logits as the loss gets them."""

    def __init__(self, logits: torch.Tensor, overwrite: bool):
        self._logits, self._overwrite = logits, overwrite
        self._gradient: torch.Tensor | None = None

    def allows_gradient_in_forward(self, backend: ModuleType) -> bool:
        # Not Triton's kernels, even where its interpreter runs them on a CPU.
        on_cpu = backend in (closed_form, compiled) and self._logits.device.type == "cpu"
        return on_cpu and self._logits.dtype != torch.float16

    def chunks(self) -> list[slice]:
        return [slice(None)]

    def logits(self, _part: slice) -> torch.Tensor:
        return self._logits

    def gradient_buffer(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self._overwrite else torch.empty_like(logits)

    def add_gradient(self, _part: slice, gradient: torch.Tensor) -> None:
        self._gradient = gradient

    def gradients(self) -> list[torch.Tensor | None]:
        return [self._gradient, None, None]


class _Projection:
    """Logits projected from features chunk by chunk; gradients of weight and bias are summed up in float32."""

    def __init__(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None):
        self._features, self._weight, self._bias = features, weight, bias

    @functools.cached_property
    def _gradients(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Of features, weight and bias; made when the first is added, as a forward without gradients needs none."""
        dtype = torch.promote_types(self._weight.dtype, torch.float32)
        bias = None if self._bias is None else torch.zeros_like(self._bias, dtype=dtype)
        return torch.empty_like(self._features), torch.zeros_like(self._weight, dtype=dtype), bias

    def allows_gradient_in_forward(self, _backend: ModuleType) -> bool:
        return self._features.dtype != torch.float16

    def chunks(self) -> list[slice]:
        return chunks(PROJECTION_CHUNK_SIZE, self._features, len(self._weight))

    def logits(self, part: slice) -> torch.Tensor:
        return project(self._features[:, part], self._weight, self._bias)

    def gradient_buffer(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def add_gradient(self, part: slice, gradient: torch.Tensor) -> None:
        features, grad_logits = self._features[:, part], gradient.flatten(0, 1)
        grad_features, grad_weight, grad_bias = self._gradients
        grad_features[:, part] = (grad_logits @ self._weight).view_as(features)
        if grad_weight.dtype == grad_logits.dtype:
            grad_weight.addmm_(grad_logits.T, features.flatten(0, 1))
        else:
            grad_weight += grad_logits.T @ features.flatten(0, 1)
        if grad_bias is not None:
            grad_bias += grad_logits.sum(0, dtype=grad_bias.dtype)

    def gradients(self) -> list[torch.Tensor | None]:
        features, weight, bias = self._gradients
        return [
            features,
            weight.to(self._weight.dtype),
            bias if bias is None or self._bias is None else bias.to(self._bias.dtype),
        ]


def _source(
    inputs: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, overwrite_logits: bool
) -> _Logits | _Projection:
    return _Logits(inputs, overwrite_logits) if weight is None else _Projection(inputs, weight, bias)
