"""The losses as they are defined, in plain torch and by autograd: what every fast form is tested against.

These functions stay close to the paper and are safe for any finite logits; they are not fast: expect several
temporaries of the size of the logits.

Notation (Xu, Koehn and Murray, EMNLP 2022, arXiv 2205.11416, section 3): z_k are the logits of pass k of K, p_k their
softmax, m = (1/K) sum_k p_k the mean distribution.
"""

import math
from typing import NamedTuple

import torch


def x_divergence(logits: torch.Tensor) -> torch.Tensor:
    """X-divergence, (1/K) sum_k sum_v (p_k - m) (log p_k - log m), of each position.

    Args:
        logits: [K, N, V], any floating dtype; computed in float32 at least.

    Returns:
        [N], nats, float32 (float64 for float64 logits). Zero where the K distributions agree.
    """
    log_probs, log_mean_probs = _log_probs_and_mean(logits)
    return ((log_probs.exp() - log_mean_probs.exp()) * (log_probs - log_mean_probs)).sum(-1).mean(0)


def js_divergence(logits: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence, (1/K) sum_k KL(p_k || m), of each position.

    Arguments and result are those of :func:`x_divergence`. At most log K nats.
    """
    log_probs, log_mean_probs = _log_probs_and_mean(logits)
    return (log_probs.exp() * (log_probs - log_mean_probs)).sum(-1).mean(0)


def squared_distance(outputs: torch.Tensor) -> torch.Tensor:
    """Mean squared distance to the mean output, (1/K) sum_k (y_k - y)^2, of each output of a regression.

    Args:
        outputs: [K, N], any floating dtype; computed in float32 at least.

    Returns:
        [N], float32 (float64 for float64 outputs). Zero where the K passes agree.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return (outputs - outputs.mean(0)).square().mean(0)


DIVERGENCES = {"x": x_divergence, "js": js_divergence}


def label_smoothed_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, label_smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(smoothed, nll), each [K, N]: fairseq's label-smoothed cross-entropy, and that without label smoothing.

    The wrong types share the smoothing mass equally, label_smoothing / (V - 1) each
    (fairseq/criterions/label_smoothed_cross_entropy.py).

    Args:
        logits: [K, N, V].
        target: [N], integer.
        label_smoothing: probability mass of the V - 1 wrong types together.
    """
    log_probs = logits.log_softmax(-1)
    nll = -log_probs.gather(-1, target.expand(len(logits), -1).unsqueeze(-1)).squeeze(-1)
    # Of a single type there is none that is wrong, and every logarithm is 0.
    share = label_smoothing / max(logits.size(-1) - 1, 1)
    return (1 - label_smoothing - share) * nll - share * log_probs.sum(-1), nll


def reference_loss(
    logits: torch.Tensor, target: torch.Tensor, *, alpha: float, label_smoothing: float, divergence: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(loss, nll, divergence), summed over the N positions, in nats: what `intra_distillation_loss` computes fast.

    Arguments are those of `intra_distillation_loss`; computed in float32 at least.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    smoothed, nll = (column.mean(0).sum() for column in label_smoothed_cross_entropy(logits, target, label_smoothing))
    distance = DIVERGENCES[divergence](logits).sum()
    return smoothed + alpha * distance, nll.detach(), distance.detach()


class RegressionLoss(NamedTuple):
    """Sums over the outputs; scalars, float32 (float64 for float64 outputs)."""

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
        ValueError: if the shapes of outputs and target do not match.
    """
    if outputs.dim() != 2 or target.shape != outputs.shape[1:]:
        raise ValueError(
            f"outputs [K, N] and target [N] expected, not {list(outputs.shape)} and {list(target.shape)}"
        )
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    squared_error = (outputs - target.to(outputs.dtype)).square().mean(0).sum()
    divergence = squared_distance(outputs).sum()
    return RegressionLoss(squared_error + alpha * divergence, squared_error, divergence)


def _log_probs_and_mean(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probs = logits.log_softmax(-1, dtype=dtype)
    # In logs all the way: a mean of probabilities that underflowed would have no logarithm.
    log_mean_probs = log_probs.logsumexp(0) - math.log(logits.size(0))
    return log_probs, log_mean_probs
