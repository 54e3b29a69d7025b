"""Which implementation of the loss runs, plain torch, the kernels in Triton or the slow reference, and on what."""

import importlib.util
import os

import torch

from . import closed_form
from .divergence import DIVERGENCES

IMPLEMENTATIONS = ("auto", "torch", "triton", "reference")


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


def rows_of(implementation: str):
    """The module whose functions work on rows of logits."""
    if implementation == "torch":
        return closed_form
    from . import closed_form_triton

    return closed_form_triton


def options(alpha: float, label_smoothing: float, divergence: str) -> closed_form.Options:
    """What all implementations take.

    Raises:
        ValueError: on an unknown divergence.
    """
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, not {divergence!r}")
    return closed_form.Options(alpha, label_smoothing, divergence)
