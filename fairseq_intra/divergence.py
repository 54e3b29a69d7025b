"""How far K outputs lie apart, distributions or numbers: the definitions, in plain torch.

These functions are the oracle that every faster form is tested against. They favour being close to the paper
and safe for any finite logits over being fast: expect several temporaries of the size of the logits.

Notation (Xu, Koehn and Murray, EMNLP 2022, arXiv 2205.11416, section 3): p_k is the softmax of the logits of
pass k, m = (1/K) sum_k p_k their mean.
"""

import math

import torch


def x_divergence(logits: torch.Tensor) -> torch.Tensor:
    """X-divergence, (1/K) sum_k sum_v (p_k - m) (log p_k - log m), of each position.

    Args:
        logits: [K, N, V], any floating dtype; computed in float32 at least.

    Returns:
        [N], nats, float32 (float64 where the logits are). Zero where the K distributions agree.
    """
    log_probs, log_mean = _log_probs_and_mean(logits)
    return ((log_probs.exp() - log_mean.exp()) * (log_probs - log_mean)).sum(-1).mean(0)


def js_divergence(logits: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence, (1/K) sum_k KL(p_k || m), of each position.

    Arguments and result are those of :func:`x_divergence`. At most log K nats.
    """
    log_probs, log_mean = _log_probs_and_mean(logits)
    return (log_probs.exp() * (log_probs - log_mean)).sum(-1).mean(0)


def squared_distance(outputs: torch.Tensor) -> torch.Tensor:
    """Mean squared distance to the mean output, (1/K) sum_k (y_k - y)^2, of each output of a regression.

    Args:
        outputs: [K, N], any floating dtype; computed in float32 at least.

    Returns:
        [N], float32 (float64 where the outputs are). Zero where the K passes agree.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return (outputs - outputs.mean(0)).square().mean(0)


def _log_probs_and_mean(logits):
    dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probs = logits.log_softmax(-1, dtype=dtype)
    # In logs all the way: a mean taken over probabilities that underflowed would have no logarithm.
    log_mean = log_probs.logsumexp(0) - math.log(logits.size(0))
    return log_probs, log_mean


DIVERGENCES = {"x": x_divergence, "js": js_divergence}
