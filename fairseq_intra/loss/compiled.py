"""Forward and gradient of `closed_form` for a CPU, in loops that torch.compile fuses.

closed_form goes over a chunk of logits some fifteen times. The same formulas, written for one pass after the other,
become a few loops over each row, while it is in the cache. A C++ compiler builds them at the first call, which takes
seconds.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from .closed_form import CHUNK_SIZE, Settings, Statistics, forward, gradient, recompute, smoothing_weights

__all__ = ["CHUNK_SIZE", "forward", "forward_and_gradient", "gradient", "recompute"]


def forward_and_gradient(
    logits: torch.Tensor, target: torch.Tensor, settings: Settings, statistics: Statistics, out: torch.Tensor
) -> None:
    """As `closed_form.forward_and_gradient`."""
    passes = list(logits.unbind())
    # One build for any number of positions, and for any alpha: the adaptive one changes with every update.
    for tensor in (target, *passes):
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    alpha = statistics.row_max.new_tensor(settings.alpha)
    weights = smoothing_weights(settings.label_smoothing, logits.size(-1))
    *columns, gradients = fused()(passes, target, alpha, *weights, settings.divergence)
    for column, of_passes in zip((*statistics, out), (*columns, gradients), strict=True):
        torch.stack(of_passes, out=column)


@functools.cache
def fused() -> Callable[..., Any]:
    return torch.compile(_of_passes)


def _of_passes(
    passes: list[torch.Tensor],
    target: torch.Tensor,
    alpha: torch.Tensor,
    confidence: float,
    smoothing_mass: float,
    divergence: str,
) -> tuple[list[torch.Tensor], ...]:
    """Of each of K passes [n, V] the columns of Statistics, and the gradient."""
    num_passes, index = len(passes), target.unsqueeze(-1)
    z = [logits.to(alpha.dtype) for logits in passes]
    row_max = [row.amax(-1, keepdim=True) for row in z]
    shifted = [row - largest for row, largest in zip(z, row_max, strict=True)]
    exps = [row.exp() for row in shifted]
    norms = [row.sum(-1, keepdim=True) for row in exps]
    probs = [row / norm for row, norm in zip(exps, norms, strict=True)]
    lse = [norm.log() for norm in norms]
    deviations = _DEVIATIONS[divergence](z, shifted, lse)
    means = [(p * d).sum(-1, keepdim=True) for p, d in zip(probs, deviations, strict=True)]
    z_target = [row.gather(-1, index) for row in shifted]
    nll = [own_lse - own for own_lse, own in zip(lse, z_target, strict=True)]
    smoothed = [
        own_lse - confidence * own - smoothing_mass * row.sum(-1, keepdim=True)
        for own_lse, own, row in zip(lse, z_target, shifted, strict=True)
    ]
    mean_weight = alpha if divergence == "x" else torch.zeros_like(alpha)
    is_target = (torch.arange(z[0].size(-1)) == index).to(alpha.dtype)
    common = -mean_weight * sum(probs) / num_passes - smoothing_mass - confidence * is_target
    gradients = [
        ((common + (1 + mean_weight + alpha * (d - mean)) * p) / num_passes).to(passes[0].dtype)
        for p, d, mean in zip(probs, deviations, means, strict=True)
    ]
    return row_max, lse, means, smoothed, nll, gradients


def _x_deviations(
    z: list[torch.Tensor], _shifted: list[torch.Tensor], _lse: list[torch.Tensor]
) -> list[torch.Tensor]:
    # Relative to the first pass, as in closed_form: exactly zero where all passes agree.
    differences = [row - z[0] for row in z]
    mean = sum(differences) / len(z)
    return [difference - mean for difference in differences]


def _js_deviations(
    _z: list[torch.Tensor], shifted: list[torch.Tensor], lse: list[torch.Tensor]
) -> list[torch.Tensor]:
    log_probs = [row - own_lse for row, own_lse in zip(shifted, lse, strict=True)]
    largest = functools.reduce(torch.maximum, log_probs)
    log_sum = functools.reduce(torch.add, [(row - largest).exp() for row in log_probs]).log() + largest
    return [row - log_sum + math.log(len(log_probs)) for row in log_probs]


_DEVIATIONS = {"x": _x_deviations, "js": _js_deviations}
