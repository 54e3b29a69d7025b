"""The intra-distillation loss of rows of logits and its gradient in closed form, in plain torch.

For each of N positions, z_k the logits of pass k of K, t the target and eps the label smoothing::

    loss = (1/K) sum_k CE_k  +  alpha * D(p_1 ... p_K)

CE_k is fairseq's label-smoothed cross-entropy (fairseq/criterions/label_smoothed_cross_entropy.py), in which
every wrong word gets e = eps / (V - 1)::

    CE_k = lse_k - (1 - eps - e) z_k[t] - e sum_v z_k[v]                  dCE_k/dz_k = p_k - (1 - eps - e) 1_t - e

For D = X the definition collapses, because sum_k (p_k - m) = 0, to a form without a logarithm or a division.
With d_k = z_k - mean_j z_j and E_k = sum_v p_k d_k::

    X = (1/K) sum_k E_k                                                   dX/dz_k = (1/K) [p_k (d_k - E_k) + p_k - m]

For D = JS, with d_k = log p_k - log m and E_k = sum_v p_k d_k = KL(p_k || m)::

    JS = (1/K) sum_k E_k                                                  dJS/dz_k = (1/K) p_k (d_k - E_k)

So a gradient can be made again from the logits and, of every row, lse_k (as maximum and rest) and E_k.
`closed_form_triton` has the same functions as kernels for a GPU.
"""

import math
from typing import NamedTuple

import torch

#: Numbers that a temporary may hold: small enough for a CPU's caches, large enough for a GPU to be busy.
CHUNK_NUMEL = {"cpu": 1 << 20, "cuda": 1 << 24}


class Options(NamedTuple):
    """What the loss depends on beside logits and target."""

    alpha: float
    label_smoothing: float
    divergence: str

    def target_weights(self, vocab):
        """What the target counts, and what every word counts beside it (fairseq's eps_i)."""
        if vocab == 1:
            return 1.0, 0.0  # no other word takes a share
        on_others = self.label_smoothing / (vocab - 1)
        return 1.0 - self.label_smoothing - on_others, on_others


class Statistics(NamedTuple):
    """Of every row of logits, [K, N, 1] each, float32 (float64 for float64 logits)."""

    maximum: torch.Tensor  #: relative to which the rest is computed: V times the lse would cancel against the sum
    log_norm: torch.Tensor  #: lse - maximum
    expectation: torch.Tensor  #: E
    smoothed: torch.Tensor  #: label-smoothed cross-entropy, nats
    nll: torch.Tensor  #: cross-entropy without label smoothing, nats

    @classmethod
    def empty(cls, logits_like, num_passes, num_positions):
        dtype = torch.promote_types(logits_like.dtype, torch.float32)
        return cls(*logits_like.new_empty(len(cls._fields), num_passes, num_positions, 1, dtype=dtype).unbind())

    def of(self, chunk):
        """Those of some positions; a view."""
        return Statistics(*(column[:, chunk] for column in self))


def forward(logits, target, options, statistics):
    """Fills in the statistics of logits [K, n, V]; returns what `gradient` is made from."""
    on_target, on_others = options.target_weights(logits.size(-1))
    z = logits.to(statistics.maximum.dtype)
    shifted = z - statistics.maximum.copy_(z.amax(-1, keepdim=True))
    probs = shifted.softmax(-1)
    # The likeliest word has 1 / sum_v exp(shifted), which softmax has summed up already.
    statistics.log_norm.copy_(probs.amax(-1, keepdim=True).log_().neg_())
    z_target = shifted.gather(-1, target.expand(len(shifted), -1).unsqueeze(-1))
    torch.sub(statistics.log_norm, z_target, out=statistics.nll)
    z_sum = shifted.sum(-1, keepdim=True)
    statistics.smoothed.copy_(statistics.log_norm - on_target * z_target - on_others * z_sum)
    deviation = _DEVIATIONS[options.divergence](z, shifted, statistics.log_norm)
    statistics.expectation.copy_(torch.linalg.vecdot(probs, deviation).unsqueeze(-1))
    return probs, deviation


def again(logits, statistics, options):
    """What `forward` returned, from its logits and statistics."""
    z = logits.to(statistics.maximum.dtype)
    shifted = z - statistics.maximum
    probs = (shifted - statistics.log_norm).exp_()
    return probs, _DEVIATIONS[options.divergence](z, shifted, statistics.log_norm)


def gradient(rows, target, options, statistics, scale, out):
    """Writes `scale` times the gradient of the sum of the losses to `out` [K, n, V]; uses up `rows`.

    Rounded to the dtype of `out` only after scaling. None scales by 1.
    """
    probs, deviation = rows
    num_passes, _, vocab = probs.shape
    on_target, on_others = (weight / num_passes for weight in options.target_weights(vocab))
    on_deviation = options.alpha / num_passes
    on_mean = on_deviation if options.divergence == "x" else 0.0
    # What is the same in all passes, with its sign: the smoothed target, and the mean of the probabilities.
    common = _plus(-on_others, probs.sum(0), -on_mean / num_passes)
    index = target.unsqueeze(-1)
    common.scatter_add_(-1, index, common.new_full(index.shape, -on_target))
    # The difference first: of logits of 1e4, 1 would be lost beside alpha times either.
    weight = _plus(1 / num_passes + on_mean, deviation.sub_(statistics.expectation), on_deviation)
    if scale is not None:
        common.mul_(scale)
        weight.mul_(scale)
    torch.addcmul(common, weight, probs, out=out)


def _plus(number, rows, times):
    # In one step over the rows, which takes as long as either alone.
    return torch.add(rows.new_full((), number), rows, alpha=times, out=rows)


def _x_deviation(z, shifted, _log_norm):
    # From the first pass rather than from zero: where all passes agree this is exactly nothing, while a mean
    # of equal numbers of size 1e4 need not be equal to them.
    deviation = shifted
    first, others = deviation[0], deviation[1:]
    mean = torch.sub(z[1:], z[0], out=others).sum(0).div_(len(z))
    others.sub_(mean)
    torch.neg(mean, out=first)
    return deviation


def _js_deviation(_z, shifted, log_norm):
    log_probs = shifted.sub_(log_norm)
    return log_probs - (log_probs.logsumexp(0) - math.log(len(log_probs)))


_DEVIATIONS = {"x": _x_deviation, "js": _js_deviation}
