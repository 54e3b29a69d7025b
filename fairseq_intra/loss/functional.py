"""The intra-distillation loss, on logits or on the features that a projection turns into logits.

The formulas and their gradients stand in `closed_form`; which implementation runs is decided here.
"""

import functools
import importlib.util
import os
from types import ModuleType
from typing import NamedTuple

import torch

from . import closed_form, compiled
from .chunked import ClosedFormLoss, detached_without_grad
from .closed_form import Settings
from .definitions import DIVERGENCES, reference_loss

IMPLEMENTATIONS = ("auto", "torch", "compiled", "triton", "reference")


class IntraDistillationLoss(NamedTuple):
    """Sums over the N positions, in nats; scalars, float32 (float64 for float64 logits)."""

    loss: torch.Tensor  #: what is minimised; the only one with a gradient
    nll: torch.Tensor  #: cross-entropy without label smoothing, mean over the K passes
    divergence: torch.Tensor  #: before it is multiplied by alpha


def intra_distillation_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    alpha: float,
    label_smoothing: float = 0.0,
    divergence: str = "x",
    implementation: str = "auto",
    overwrite_logits: bool = False,
) -> IntraDistillationLoss:
    """Mean over K passes of the label-smoothed cross-entropies, plus alpha times their divergence.

    Args:
        logits: [K, N, V], any floating dtype; computed in float32 at least.
        target: [N], integer, each in [0, V). Positions to ignore (pads) are left out beforehand.
        alpha: weight of the divergence.
        label_smoothing: probability mass that the V - 1 wrong types share equally (fairseq's definition).
        divergence: "x" or "js".
        implementation: "torch", "compiled" (fused loops on a CPU, built at the first call), "triton" (X on a GPU),
            "reference" (the definitions by autograd, slow), or "auto": triton where it can run, else torch.
        overwrite_logits: the gradient is written over the logits, in forward or in backward. Nothing else may need
            them then; a second backward is correct or rejected by autograd.

    Raises:
        ValueError: if the shapes do not match, divergence or implementation is unknown, or the implementation
            cannot run here.
    """
    if logits.dim() != 3 or target.shape != logits.shape[1:2]:
        raise ValueError(
            f"logits [K, N, V] and target [N] expected, not {list(logits.shape)} and {list(target.shape)}"
        )
    settings, target = _checked(Settings(alpha, label_smoothing, divergence)), target.long()
    implementation = choose_implementation(implementation, logits.device, logits.dtype, divergence)
    # Autocast would take some of the sums in half precision.
    with torch.autocast(logits.device.type, enabled=False):
        if implementation == "reference":
            return IntraDistillationLoss(*reference_loss(logits, target, **settings._asdict()))
        backend = _backend(implementation)
        logits = detached_without_grad(logits)
        return IntraDistillationLoss(
            *ClosedFormLoss.apply(logits, None, None, target, settings, backend, overwrite_logits)
        )


def intra_distillation_loss_on_features(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    target: torch.Tensor,
    *,
    alpha: float,
    label_smoothing: float = 0.0,
    divergence: str = "x",
    implementation: str = "auto",
) -> IntraDistillationLoss:
    """`intra_distillation_loss` of the logits `features @ weight.T + bias`, which are projected chunk by chunk.

    Under autocast the logits are computed in autocast's dtype, as by torch's own linear layer.

    Args:
        features: [K, N, C], any floating dtype.
        weight: [V, C], dtype of the features (under autocast, any).
        bias: [V] or None.

    The other arguments, the result and the errors are those of `intra_distillation_loss`.
    """
    if features.dim() != 3 or target.shape != features.shape[1:2] or features.size(-1) != weight.size(-1):
        raise ValueError(
            f"features [K, N, C], weight [V, C] and target [N] expected, not {list(features.shape)}, "
            f"{list(weight.shape)} and {list(target.shape)}"
        )
    settings, target = _checked(Settings(alpha, label_smoothing, divergence)), target.long()
    device = features.device
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
        features, weight = features.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    implementation = choose_implementation(implementation, device, features.dtype, divergence)
    with torch.autocast(device.type, enabled=False):
        if implementation == "reference":
            logits = torch.nn.functional.linear(features, weight, bias)
            return IntraDistillationLoss(*reference_loss(logits, target, **settings._asdict()))
        backend = _backend(implementation)
        features, weight = detached_without_grad(features), detached_without_grad(weight)
        bias = None if bias is None else detached_without_grad(bias)
        return IntraDistillationLoss(*ClosedFormLoss.apply(features, weight, bias, target, settings, backend, False))


def choose_implementation(implementation: str, device: torch.device, dtype: torch.dtype, divergence: str) -> str:
    """What "auto" stands for; anything else is returned as it is.

    Raises:
        ValueError: if the implementation is unknown, or cannot run here.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, not {implementation!r}")
    if implementation == "auto":
        return "torch" if _why_not_triton(device, dtype, divergence) else "triton"
    obstacle = None
    if implementation == "triton":
        obstacle = _why_not_triton(device, dtype, divergence)
    elif implementation == "compiled":
        obstacle = _why_not_compiled(device)
    if obstacle:
        raise ValueError(f"{implementation} {obstacle}")
    return implementation


def _why_not_compiled(device: torch.device) -> str | None:
    return _why_no_build() if device.type == "cpu" else f"runs on a CPU, not on {device.type}"


@functools.cache
def _why_no_build() -> str | None:
    """torch.compile needs a C++ compiler, which would first be missed in a training that has begun."""
    try:
        torch.compile(torch.neg)(torch.zeros(2))
    except Exception as error:
        return f"cannot be built here: {_reason(error)}"
    return None


def _why_not_triton(device: torch.device, dtype: torch.dtype, divergence: str) -> str | None:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if divergence != "x":
        return "has no kernel for JS: its mean of K distributions needs the logits read twice"
    if dtype == torch.float64:
        return "computes in float32, not in float64"
    if device.type != "cuda" and not interpreted:
        return f"runs on a GPU, not on {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "is not installed"
    return None if interpreted else _why_no_launch()


@functools.cache
def _why_no_launch() -> str | None:
    """Triton builds its launcher with a C compiler, which would first be missed in a training that has begun."""
    from triton.runtime import driver

    try:
        driver.active.get_current_device()
    except Exception as error:  # whatever it is, torch's implementation does without it
        return f"cannot launch a kernel here: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _backend(implementation: str) -> ModuleType:
    """The module with `forward`, `recompute`, `gradient` and `forward_and_gradient`."""
    if implementation == "torch":
        return closed_form
    if implementation == "compiled":
        return compiled
    from . import triton

    return triton


def _checked(settings: Settings) -> Settings:
    if settings.divergence not in DIVERGENCES:
        raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, not {settings.divergence!r}")
    return settings
