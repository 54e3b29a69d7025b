"""The functions of `closed_form` for the X-divergence as Triton kernels, for a GPU.

One kernel forward and one backward, a program for each position (backward: and block of the vocabulary). Both
take the logits of all K passes of that position together, compute in float32 and write no temporary to memory:
forward reads the logits once, with running sums that are rescaled whenever a larger logit turns up; backward
reads them once and writes the gradient, over the logits where asked to.

Triton's interpreter (TRITON_INTERPRET=1) runs them on a CPU, for tests.
"""

import sys
from typing import Any

import torch
import triton
import triton.language as tl

from .closed_form import Settings, Statistics, smoothing_weights

#: Block size (elements) of the logits of all K passes.
BLOCK_SIZE = 1 << 13

#: There is no temporary to keep small: all positions in one chunk, one launch.
CHUNK_SIZE = {"cuda": sys.maxsize, "cpu": sys.maxsize}


def forward(logits: torch.Tensor, target: torch.Tensor, settings: Settings, statistics: Statistics) -> torch.Tensor:
    """As `closed_form.forward`; the terms that `gradient` takes are the logits themselves."""
    num_passes, num_positions, vocab = logits.shape
    confidence, smoothing_mass = smoothing_weights(settings.label_smoothing, vocab)
    if num_positions:
        _forward_kernel[(num_positions,)](
            logits,
            target,
            *statistics,
            *logits.stride(),
            statistics.row_max.stride(0),
            confidence,
            smoothing_mass,
            num_passes,
            vocab,
            **_blocks(num_passes, vocab),
        )
    return logits


def recompute(logits: torch.Tensor, _settings: Settings, _statistics: Statistics) -> torch.Tensor:
    """What `forward` returned."""
    return logits


def gradient(
    logits: torch.Tensor,
    target: torch.Tensor,
    settings: Settings,
    statistics: Statistics,
    scale: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """As `closed_form.gradient`; `out` may be the logits themselves."""
    num_passes, num_positions, vocab = logits.shape
    confidence, smoothing_mass = smoothing_weights(settings.label_smoothing, vocab)
    scale = torch.as_tensor(1.0 if scale is None else scale, dtype=torch.float32, device=logits.device)
    blocks = _blocks(num_passes, vocab)
    if num_positions:
        _gradient_kernel[(num_positions, triton.cdiv(vocab, blocks["BLOCK"]))](
            logits,
            target,
            statistics.row_max,
            statistics.lse_minus_max,
            statistics.mean_deviation,
            scale,
            out,
            *logits.stride(),
            *out.stride(),
            statistics.row_max.stride(0),
            float(settings.alpha),
            confidence,
            smoothing_mass,
            num_passes,
            vocab,
            **blocks,
        )


def _blocks(num_passes: int, vocab: int) -> dict[str, Any]:
    passes = triton.next_power_of_2(num_passes)
    return {"PASSES": passes, "BLOCK": max(16, min(triton.next_power_of_2(vocab), BLOCK_SIZE // passes))}


@triton.jit
def _row_starts(k, position, pass_stride, position_stride):
    """Where the row_starts [PASSES] of one position begin."""
    # 64 bits: K * N * V exceeds 2^31 at the sizes of WMT.
    return k.to(tl.int64) * pass_stride + position.to(tl.int64) * position_stride


@triton.jit
def _load(logits, row_starts, word_stride, k, word, num_passes, vocab):
    """Logits [PASSES, BLOCK] in float32 with -inf where valid are none, and where valid are some."""
    valid = (k < num_passes)[:, None] & (word < vocab)[None, :]
    z = tl.load(logits + row_starts[:, None] + word[None, :] * word_stride, mask=valid, other=float("-inf"))
    return z.to(tl.float32), valid


@triton.jit
def _deviation(z, valid, k, num_passes):
    """d: how far each pass is from the mean of the passes."""
    # From the first pass rather than from zero, as in closed_form.
    first = tl.sum(tl.where((k == 0)[:, None], z, 0.0), 0)
    difference = tl.where(valid, z - first[None, :], 0.0)
    return tl.where(valid, difference - (tl.sum(difference, 0) / num_passes)[None, :], 0.0)


@triton.jit
def _forward_kernel(
    logits,
    target,
    row_max_out,
    lse_minus_max_out,
    mean_deviation_out,
    smoothed_out,
    nll_out,
    pass_stride,
    position_stride,
    word_stride,
    statistics_stride,
    confidence,
    smoothing_mass,
    num_passes,
    vocab,
    PASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    position = tl.program_id(0)
    k = tl.arange(0, PASSES)
    row_starts = _row_starts(k, position, pass_stride, position_stride)
    row_max = tl.full([PASSES], float("-inf"), tl.float32)
    norm = tl.zeros([PASSES], tl.float32)
    mean_deviation = tl.zeros([PASSES], tl.float32)
    z_sum = tl.zeros([PASSES], tl.float32)  # of z - row_max
    for start in range(0, vocab, BLOCK):
        word = start + tl.arange(0, BLOCK)
        z, valid = _load(logits, row_starts, word_stride, k, word, num_passes, vocab)
        # Rows beyond K would subtract an infinity from an infinity.
        higher = tl.where(k < num_passes, tl.maximum(row_max, tl.max(z, 1)), 0.0)
        correction = tl.where(start > 0, row_max - higher, 0.0)
        rescale = tl.exp(correction)
        shifted = tl.where(valid, z - higher[:, None], 0.0)
        weight = tl.where(valid, tl.exp(shifted), 0.0)
        norm = norm * rescale + tl.sum(weight, 1)
        mean_deviation = mean_deviation * rescale + tl.sum(weight * _deviation(z, valid, k, num_passes), 1)
        z_sum += correction * start + tl.sum(shifted, 1)
        row_max = higher
    word = tl.load(target + position)
    z_target = tl.load(logits + row_starts + word * word_stride, mask=k < num_passes, other=0.0).to(tl.float32)
    z_target -= row_max
    lse_minus_max = tl.log(norm)
    out = k * statistics_stride + position
    tl.store(row_max_out + out, row_max, mask=k < num_passes)
    tl.store(lse_minus_max_out + out, lse_minus_max, mask=k < num_passes)
    tl.store(mean_deviation_out + out, mean_deviation / norm, mask=k < num_passes)
    tl.store(smoothed_out + out, lse_minus_max - confidence * z_target - smoothing_mass * z_sum, mask=k < num_passes)
    tl.store(nll_out + out, lse_minus_max - z_target, mask=k < num_passes)


@triton.jit
def _gradient_kernel(
    logits,
    target,
    row_max,
    lse_minus_max,
    mean_deviation,
    scale,
    out,
    pass_stride,
    position_stride,
    word_stride,
    out_pass_stride,
    out_position_stride,
    out_word_stride,
    statistics_stride,
    alpha,
    confidence,
    smoothing_mass,
    num_passes,
    vocab,
    PASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    position = tl.program_id(0)
    k = tl.arange(0, PASSES)
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row_starts = _row_starts(k, position, pass_stride, position_stride)
    z, valid = _load(logits, row_starts, word_stride, k, word, num_passes, vocab)
    row = k * statistics_stride + position
    known = k < num_passes
    shift = tl.load(row_max + row, mask=known, other=0.0)
    lse_minus_max = tl.load(lse_minus_max + row, mask=known, other=0.0)
    mean_deviation = tl.load(mean_deviation + row, mask=known, other=0.0)
    probs = tl.where(valid, tl.exp((z - shift[:, None]) - lse_minus_max[:, None]), 0.0)
    mean = tl.sum(probs, 0) / num_passes
    deviation = _deviation(z, valid, k, num_passes)
    found = (
        probs * (1 + alpha + alpha * (deviation - mean_deviation[:, None])) - alpha * mean[None, :] - smoothing_mass
    )
    found -= tl.where((word == tl.load(target + position))[None, :], confidence, 0.0)
    found *= tl.load(scale) / num_passes
    row_starts = _row_starts(k, position, out_pass_stride, out_position_stride)
    tl.store(out + row_starts[:, None] + word[None, :] * out_word_stride, found.to(out.dtype.element_ty), mask=valid)
