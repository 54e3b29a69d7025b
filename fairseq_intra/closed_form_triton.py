"""The functions of `closed_form` for the X-divergence as Triton kernels, for a GPU.

One kernel forward and one backward, a program for each position (backward: and block of the vocabulary). Both
take the logits of all K passes of that position together, compute in float32 and have no temporary in memory:
forward reads the logits once, by running sums that are rescaled whenever a larger maximum turns up; backward
reads them once and writes the gradient, over the logits where it is told to.

Triton's interpreter (TRITON_INTERPRET=1) runs them on a CPU, for tests.
"""

import math

import torch
import triton
import triton.language as tl

#: Numbers that a block of the logits of all K passes holds.
_BLOCK_NUMEL = 1 << 13

#: Nothing is made that would have to be kept small: all positions at once.
CHUNK_NUMEL = {"cuda": math.inf, "cpu": math.inf}


def forward(logits, target, options, statistics):
    """As `closed_form.forward`; what the gradient is made from are the logits themselves."""
    num_passes, num_positions, vocab = logits.shape
    on_target, on_others = options.target_weights(vocab)
    if num_positions:
        _forward_kernel[(num_positions,)](
            logits,
            target,
            *statistics,
            *logits.stride(),
            statistics.maximum.stride(0),
            on_target,
            on_others,
            num_passes,
            vocab,
            **_blocks(num_passes, vocab),
        )
    return logits


def again(logits, _statistics, _options):
    """What `forward` returned."""
    return logits


def gradient(logits, target, options, statistics, scale, out):
    """As `closed_form.gradient`; `out` may be the logits themselves."""
    num_passes, num_positions, vocab = logits.shape
    on_target, on_others = options.target_weights(vocab)
    scale = torch.as_tensor(1.0 if scale is None else scale, dtype=torch.float32, device=logits.device)
    blocks = _blocks(num_passes, vocab)
    if num_positions:
        _gradient_kernel[(num_positions, triton.cdiv(vocab, blocks["BLOCK"]))](
            logits,
            target,
            statistics.maximum,
            statistics.log_norm,
            statistics.expectation,
            scale,
            out,
            *logits.stride(),
            *out.stride(),
            statistics.maximum.stride(0),
            float(options.alpha),
            on_target,
            on_others,
            num_passes,
            vocab,
            **blocks,
        )


def _blocks(num_passes, vocab):
    passes = triton.next_power_of_2(num_passes)
    return {"PASSES": passes, "BLOCK": max(16, min(triton.next_power_of_2(vocab), _BLOCK_NUMEL // passes))}


@triton.jit
def _rows(k, position, pass_stride, position_stride):
    """Where the rows [PASSES] of one position begin."""
    # 64 bits: K * N * V exceeds 2^31 at the sizes of WMT.
    return k.to(tl.int64) * pass_stride + position.to(tl.int64) * position_stride


@triton.jit
def _load(logits, rows, word_stride, k, word, num_passes, vocab):
    """Logits [PASSES, BLOCK] in float32 with -inf where there are none, and where there are some."""
    there = (k < num_passes)[:, None] & (word < vocab)[None, :]
    z = tl.load(logits + rows[:, None] + word[None, :] * word_stride, mask=there, other=float("-inf"))
    return z.to(tl.float32), there


@triton.jit
def _deviation(z, there, k, num_passes):
    """d: how far each pass is from the mean of the passes."""
    # From the first pass rather than from zero, as in closed_form.
    first = tl.sum(tl.where((k == 0)[:, None], z, 0.0), 0)
    difference = tl.where(there, z - first[None, :], 0.0)
    return tl.where(there, difference - (tl.sum(difference, 0) / num_passes)[None, :], 0.0)


@triton.jit
def _forward_kernel(
    logits,
    target,
    maximum_out,
    log_norm_out,
    expectation_out,
    smoothed_out,
    nll_out,
    pass_stride,
    position_stride,
    word_stride,
    statistics_stride,
    on_target,
    on_others,
    num_passes,
    vocab,
    PASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    position = tl.program_id(0)
    k = tl.arange(0, PASSES)
    rows = _rows(k, position, pass_stride, position_stride)
    maximum = tl.full([PASSES], float("-inf"), tl.float32)
    norm = tl.zeros([PASSES], tl.float32)
    expectation = tl.zeros([PASSES], tl.float32)
    z_sum = tl.zeros([PASSES], tl.float32)  # of z - maximum
    for start in range(0, vocab, BLOCK):
        word = start + tl.arange(0, BLOCK)
        z, there = _load(logits, rows, word_stride, k, word, num_passes, vocab)
        # Rows beyond K would subtract an infinity from an infinity.
        higher = tl.where(k < num_passes, tl.maximum(maximum, tl.max(z, 1)), 0.0)
        correction = tl.where(start > 0, maximum - higher, 0.0)
        rescale = tl.exp(correction)
        shifted = tl.where(there, z - higher[:, None], 0.0)
        weight = tl.where(there, tl.exp(shifted), 0.0)
        norm = norm * rescale + tl.sum(weight, 1)
        expectation = expectation * rescale + tl.sum(weight * _deviation(z, there, k, num_passes), 1)
        z_sum += correction * start + tl.sum(shifted, 1)
        maximum = higher
    word = tl.load(target + position)
    z_target = tl.load(logits + rows + word * word_stride, mask=k < num_passes, other=0.0).to(tl.float32) - maximum
    log_norm = tl.log(norm)
    out = k * statistics_stride + position
    tl.store(maximum_out + out, maximum, mask=k < num_passes)
    tl.store(log_norm_out + out, log_norm, mask=k < num_passes)
    tl.store(expectation_out + out, expectation / norm, mask=k < num_passes)
    tl.store(smoothed_out + out, log_norm - on_target * z_target - on_others * z_sum, mask=k < num_passes)
    tl.store(nll_out + out, log_norm - z_target, mask=k < num_passes)


@triton.jit
def _gradient_kernel(
    logits,
    target,
    maximum,
    log_norm,
    expectation,
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
    on_target,
    on_others,
    num_passes,
    vocab,
    PASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    position = tl.program_id(0)
    k = tl.arange(0, PASSES)
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rows = _rows(k, position, pass_stride, position_stride)
    z, there = _load(logits, rows, word_stride, k, word, num_passes, vocab)
    row = k * statistics_stride + position
    known = k < num_passes
    shift = tl.load(maximum + row, mask=known, other=0.0)
    log_norm = tl.load(log_norm + row, mask=known, other=0.0)
    expectation = tl.load(expectation + row, mask=known, other=0.0)
    probs = tl.where(there, tl.exp((z - shift[:, None]) - log_norm[:, None]), 0.0)
    mean = tl.sum(probs, 0) / num_passes
    deviation = _deviation(z, there, k, num_passes)
    found = probs * (1 + alpha + alpha * (deviation - expectation[:, None])) - alpha * mean[None, :] - on_others
    found -= tl.where((word == tl.load(target + position))[None, :], on_target, 0.0)
    found *= tl.load(scale) / num_passes
    rows = _rows(k, position, out_pass_stride, out_position_stride)
    tl.store(out + rows[:, None] + word[None, :] * out_word_stride, found.to(out.dtype.element_ty), mask=there)
