"""The intra-distillation loss of logits and its gradient in closed form, in plain torch.

For each of N positions, z_k the logits of pass k of K, t the target and eps the label smoothing::

    loss = (1/K) sum_k CE_k  +  alpha * D(p_1 ... p_K)

CE_k is fairseq's label-smoothed cross-entropy (fairseq/criterions/label_smoothed_cross_entropy.py). With confidence
c = 1 - eps - s for the target beside the smoothing mass s = eps / (V - 1) that every type gets::

    CE_k = lse_k - c z_k[t] - s sum_v z_k[v]                              dCE_k/dz_k = p_k - c 1_t - s

For D = X the definition collapses, because sum_k (p_k - m) = 0, to a form without a logarithm or a division.
With the deviation d_k = z_k - mean_j z_j and its mean under p_k, E_k = sum_v p_k d_k::

    X = (1/K) sum_k E_k                                                   dX/dz_k = (1/K) [p_k (d_k - E_k) + p_k - m]

For D = JS, with d_k = log p_k - log m and E_k = sum_v p_k d_k = KL(p_k || m)::

    JS = (1/K) sum_k E_k                                                  dJS/dz_k = (1/K) p_k (d_k - E_k)

So a gradient can be recomputed from the logits and, of every row of them, lse_k (as row max and rest) and E_k.
`triton` has the same functions as GPU kernels, `compiled` as fused loops for a CPU; `chunked` calls one of the three.
"""

import math
from typing import NamedTuple

import torch

#: Chunk size (elements): small enough for a CPU's caches, large enough to keep a GPU busy.
CHUNK_SIZE: dict[str, float] = {"cpu": 1 << 20, "cuda": 1 << 24}


class Settings(NamedTuple):
    """What the loss depends on beside logits and target."""

    alpha: float
    label_smoothing: float
    divergence: str


def smoothing_weights(label_smoothing: float, vocab: int) -> tuple[float, float]:
    """(confidence, smoothing mass of each type) of fairseq's label smoothing; it calls the latter eps_i."""
    if vocab == 1:
        return 1.0, 0.0  # there is no wrong type
    smoothing_mass = label_smoothing / (vocab - 1)
    return 1.0 - label_smoothing - smoothing_mass, smoothing_mass


class Statistics(NamedTuple):
    """Of every row of logits, [K, N, 1] each, float32 (float64 for float64 logits)."""

    row_max: torch.Tensor  #: the rest is relative to it: V times the lse would cancel against the sum of logits
    lse_minus_max: torch.Tensor
    mean_deviation: torch.Tensor  #: E
    smoothed: torch.Tensor  #: label-smoothed cross-entropy, nats
    nll: torch.Tensor  #: cross-entropy without label smoothing, nats

    @classmethod
    def empty(cls, logits_like: torch.Tensor, num_passes: int, num_positions: int) -> "Statistics":
        dtype = torch.promote_types(logits_like.dtype, torch.float32)
        return cls(*logits_like.new_empty(len(cls._fields), num_passes, num_positions, 1, dtype=dtype).unbind())

    def of(self, chunk: slice) -> "Statistics":
        """Those of some positions; views."""
        return Statistics(*(column[:, chunk] for column in self))


#: What forward has computed for the gradient: probabilities p and deviations d, [K, n, V] each.
Terms = tuple[torch.Tensor, torch.Tensor]


def forward(logits: torch.Tensor, target: torch.Tensor, settings: Settings, statistics: Statistics) -> Terms:
    """Fills in the statistics of logits [K, n, V]; returns the terms that `gradient` takes."""
    confidence, smoothing_mass = smoothing_weights(settings.label_smoothing, logits.size(-1))
    z = logits.to(statistics.row_max.dtype)
    shifted = z - statistics.row_max.copy_(z.amax(-1, keepdim=True))
    probs = shifted.softmax(-1)
    # The likeliest type has 1 / sum_v exp(shifted), which softmax has summed up already.
    statistics.lse_minus_max.copy_(probs.amax(-1, keepdim=True).log_().neg_())
    z_target = shifted.gather(-1, target.expand(len(shifted), -1).unsqueeze(-1))
    torch.sub(statistics.lse_minus_max, z_target, out=statistics.nll)
    z_sum = shifted.sum(-1, keepdim=True)
    statistics.smoothed.copy_(statistics.lse_minus_max - confidence * z_target - smoothing_mass * z_sum)
    deviation = _DEVIATIONS[settings.divergence](z, shifted, statistics.lse_minus_max)
    statistics.mean_deviation.copy_(torch.linalg.vecdot(probs, deviation).unsqueeze(-1))
    return probs, deviation


def recompute(logits: torch.Tensor, settings: Settings, statistics: Statistics) -> Terms:
    """What `forward` returned, from its logits and statistics."""
    z = logits.to(statistics.row_max.dtype)
    shifted = z - statistics.row_max
    probs = (shifted - statistics.lse_minus_max).exp_()
    return probs, _DEVIATIONS[settings.divergence](z, shifted, statistics.lse_minus_max)


def gradient(
    terms: Terms,
    target: torch.Tensor,
    settings: Settings,
    statistics: Statistics,
    scale: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Writes `scale` times the gradient of the sum of the losses to `out` [K, n, V]; overwrites the terms.

    Rounded to the dtype of `out` only after scaling. None scales by 1.
    """
    probs, deviation = terms
    num_passes, _, vocab = probs.shape
    weights = smoothing_weights(settings.label_smoothing, vocab)
    confidence, smoothing_mass = (weight / num_passes for weight in weights)
    deviation_weight = settings.alpha / num_passes
    mean_weight = deviation_weight if settings.divergence == "x" else 0.0
    # What all passes have in common, with its sign: the smoothed target, and the mean of the probabilities.
    common = _multiply_add(probs.sum(0), -mean_weight / num_passes, -smoothing_mass)
    index = target.unsqueeze(-1)
    common.scatter_add_(-1, index, common.new_full(index.shape, -confidence))
    # The difference first: beside logits of 1e4, 1 would be lost when added to alpha times either.
    deviation.sub_(statistics.mean_deviation)
    weight = _multiply_add(deviation, deviation_weight, 1 / num_passes + mean_weight)
    if scale is not None:
        common.mul_(scale)
        weight.mul_(scale)
    torch.addcmul(common, weight, probs, out=out)


def forward_and_gradient(
    logits: torch.Tensor, target: torch.Tensor, settings: Settings, statistics: Statistics, out: torch.Tensor
) -> None:
    """Fills in the statistics, and writes the gradient of the sum of the losses to `out`, which may be the logits."""
    terms = forward(logits, target, settings, statistics)
    gradient(terms, target, settings, statistics, None, out)


def _multiply_add(tensor: torch.Tensor, factor: float, addend: float) -> torch.Tensor:
    # In one step, in place, which takes as long as either alone.
    return torch.add(tensor.new_full((), addend), tensor, alpha=factor, out=tensor)


def _x_deviation(z: torch.Tensor, shifted: torch.Tensor, _lse_minus_max: torch.Tensor) -> torch.Tensor:
    # Relative to the first pass rather than to zero: where all passes agree this is exactly zero, while a mean
    # of equal numbers of size 1e4 need not be equal to them.
    deviation = shifted
    first, others = deviation[0], deviation[1:]
    mean = torch.sub(z[1:], z[0], out=others).sum(0).div_(len(z))
    others.sub_(mean)
    torch.neg(mean, out=first)
    return deviation


def _js_deviation(_z: torch.Tensor, shifted: torch.Tensor, lse_minus_max: torch.Tensor) -> torch.Tensor:
    log_probs = shifted.sub_(lse_minus_max)
    return log_probs - (log_probs.logsumexp(0) - math.log(len(log_probs)))


_DEVIATIONS = {"x": _x_deviation, "js": _js_deviation}
