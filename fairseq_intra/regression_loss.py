"""The loss of intra-distillation where the model's output is a number rather than a distribution."""

from typing import NamedTuple

import torch

from .divergence import squared_distance


class RegressionLoss(NamedTuple):
    """Sums over the outputs given; scalars, float32 (float64 for float64 outputs)."""

    loss: torch.Tensor  #: what is minimised
    squared_error: torch.Tensor  #: mean over the K passes
    divergence: torch.Tensor  #: before it is multiplied by alpha


def regression_loss(outputs: torch.Tensor, target: torch.Tensor, *, alpha: float) -> RegressionLoss:
    """Mean over K passes of the squared errors, plus alpha times the squared distance to the mean output.

    Args:
        outputs: [K, N], any floating dtype; computed in float32 at least.
        target: [N].
        alpha: weight of the divergence.

    Raises:
        ValueError: on outputs and target that do not fit.
    """
    if outputs.dim() != 2 or target.shape != outputs.shape[1:]:
        raise ValueError(
            f"outputs [K, N] and target [N] expected, not {list(outputs.shape)} and {list(target.shape)}"
        )
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    squared_error = (outputs - target.to(outputs.dtype)).square().mean(0).sum()
    divergence = squared_distance(outputs).sum()
    return RegressionLoss(squared_error + alpha * divergence, squared_error, divergence)
