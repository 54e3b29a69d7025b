"""The intra-distillation loss on logits, with its gradient in closed form.

For each of N positions, z_k the logits of pass k of K, t the target and eps the label smoothing::

    loss = (1/K) sum_k CE_k  +  alpha * D(p_1 ... p_K)

CE_k is fairseq's label-smoothed cross-entropy (fairseq/criterions/label_smoothed_cross_entropy.py), in which
every wrong word gets e = eps / (V - 1)::

    CE_k = lse_k - (1 - eps - e) z_k[t] - e sum_v z_k[v]                  dCE_k/dz_k = p_k - (1 - eps - e) 1_t - e

For D = X the definition collapses, because sum_k (p_k - m) = 0, to a form without a logarithm or a division.
With d_k = z_k - mean_j z_j and E_k = sum_v p_k d_k::

    X = (1/K) sum_k E_k                                                   dX/dz_k = (1/K) [p_k (d_k - E_k) + p_k - m]

For D = JS, with g_k = log p_k - log m and E_k = sum_v p_k g_k = KL(p_k || m)::

    JS = (1/K) sum_k E_k                                                  dJS/dz_k = (1/K) p_k (g_k - E_k)

Forward keeps the logits and, of every row, lse (as maximum and rest) and E; backward makes the probabilities
again. Both go over the positions in chunks, so that no temporary has the size of the logits, and both compute in
float32 at least: the incoming gradient, which holds the scale of fp16 training, is applied before anything is
rounded.
"""

import math
from typing import NamedTuple

import torch

# Numbers a temporary may hold: small enough for a CPU's caches and for nobody's GPU to notice.
_CHUNK_NUMEL = 1 << 19


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
) -> IntraDistillationLoss:
    """Mean over K passes of the label-smoothed cross-entropies, plus alpha times their divergence.

    Args:
        logits: [K, N, V], any floating dtype.
        target: [N], integer, each in [0, V). Positions to ignore (pads) are left out beforehand.
        alpha: weight of the divergence.
        label_smoothing: share of the probability that is spread evenly over the V - 1 other words.
        divergence: "x" or "js".

    Raises:
        ValueError: on logits and target that do not fit, or an unknown divergence.
    """
    if logits.dim() != 3 or target.shape != logits.shape[1:2]:
        raise ValueError(
            f"logits [K, N, V] and target [N] expected, not {list(logits.shape)} and {list(target.shape)}"
        )
    if divergence not in _DEVIATIONS:
        raise ValueError(f"divergence must be one of {', '.join(_DEVIATIONS)}, not {divergence!r}")
    return IntraDistillationLoss(*_IntraDistillation.apply(logits, target, alpha, label_smoothing, divergence))


class _IntraDistillation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, target, alpha, label_smoothing, divergence):
        num_passes, num_positions, vocab = logits.shape
        dtype = torch.promote_types(logits.dtype, torch.float32)
        maximum = logits.new_empty(num_passes, num_positions, 1, dtype=dtype)
        log_norm = torch.empty_like(maximum)
        expectation = torch.empty_like(maximum)
        smoothed = logits.new_zeros((), dtype=dtype)
        nll = torch.zeros_like(smoothed)
        on_target, on_others = _target_weights(label_smoothing, vocab)
        for chunk in _chunks(logits):
            z = logits[:, chunk].to(dtype)
            # Relative to the row's maximum, or the sum over V would cancel against V times the lse.
            maximum[:, chunk] = z.amax(-1, keepdim=True)
            shifted = z - maximum[:, chunk]
            log_norm[:, chunk] = shifted.logsumexp(-1, keepdim=True)
            z_target = shifted.gather(-1, target[chunk].expand(num_passes, -1).unsqueeze(-1))
            nll += (log_norm[:, chunk] - z_target).sum()
            z_sum = shifted.sum(-1, keepdim=True)
            smoothed += (log_norm[:, chunk] - on_target * z_target - on_others * z_sum).sum()
            log_probs = shifted.sub_(log_norm[:, chunk])
            deviation = _DEVIATIONS[divergence](z, log_probs)
            expectation[:, chunk] = log_probs.exp_().mul_(deviation).sum(-1, keepdim=True)
        ctx.save_for_backward(logits, target, maximum, log_norm, expectation)
        ctx.alpha, ctx.label_smoothing, ctx.divergence = alpha, label_smoothing, divergence
        spread = expectation.sum() / num_passes
        loss = smoothed / num_passes + alpha * spread
        nll = nll / num_passes
        ctx.mark_non_differentiable(nll, spread)
        return loss, nll, spread

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, _grad_nll, _grad_divergence):
        logits, target, maximum, log_norm, expectation = ctx.saved_tensors
        num_passes, _, vocab = logits.shape
        on_target, on_others = _target_weights(ctx.label_smoothing, vocab)
        grad = torch.empty_like(logits)
        for chunk in _chunks(logits):
            z = logits[:, chunk].to(log_norm.dtype)
            log_probs = (z - maximum[:, chunk]).sub_(log_norm[:, chunk])
            deviation = _DEVIATIONS[ctx.divergence](z, log_probs)
            probs = log_probs.exp_()
            weight = deviation.sub_(expectation[:, chunk]).mul_(ctx.alpha)
            if ctx.divergence == "x":
                weight += 1 + ctx.alpha
                gradient = weight.mul_(probs).sub_(probs.mean(0).mul_(ctx.alpha))
            else:
                gradient = weight.add_(1).mul_(probs)
            gradient -= on_others
            index = target[chunk].expand(num_passes, -1).unsqueeze(-1)
            gradient.scatter_add_(-1, index, gradient.new_full((), -on_target).expand(index.shape))
            grad[:, chunk] = gradient.mul_(grad_loss / num_passes)
        return grad, None, None, None, None


def _target_weights(label_smoothing, vocab):
    """What the target counts, and what every word counts beside it (fairseq's eps_i)."""
    on_others = label_smoothing / (vocab - 1) if vocab > 1 else 0.0
    return 1.0 - label_smoothing - on_others, on_others


def _chunks(logits):
    num_passes, num_positions, vocab = logits.shape
    step = max(1, _CHUNK_NUMEL // (num_passes * vocab))
    return [slice(start, start + step) for start in range(0, num_positions, step)]


def _x_deviation(z, _log_probs):
    # From the first pass rather than from zero: where all passes agree this is exactly nothing, while a mean
    # of equal numbers of size 1e4 need not be equal to them.
    difference = z - z[0]
    return difference.sub_(difference.mean(0))


def _js_deviation(_z, log_probs):
    return log_probs - (log_probs.logsumexp(0) - math.log(log_probs.size(0)))


_DEVIATIONS = {"x": _x_deviation, "js": _js_deviation}
