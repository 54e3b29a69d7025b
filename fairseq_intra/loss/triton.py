"""The functions of `closed_form` for the X-divergence as Triton kernels, for a GPU.

One kernel forward and one backward, a program for each position (backward: and block of the vocabulary). Both
take the logits of all K passes of that position together, compute in float32 and write no temporary to memory:
forward reads the logits once, with running sums that are rescaled whenever a larger logit turns up; backward
reads them once and writes the gradient, over the logits where asked to.

K is a constant of the compiled kernels: the row that pads K = 3 to a power of two then costs nothing. Strides and
vocabulary come in multiples of ALIGNMENT, which is a constant as well: only so does the compiler know that a row
begins where a vector of 16 bytes may. A vocabulary that is a multiple of 8 is read 16 bytes at a time; of 4 or 2,
8 or 4 bytes (float16); an odd one element by element.

Triton's interpreter (TRITON_INTERPRET=1) runs them on a CPU, for tests. What a GPU does differently:

* Sums and maxima over a block run over the lanes of a warp (32; 64 on AMD's MI300), then over warps, not in numpy's
  order: the statistics differ in their last bits with the number of warps and with the GPU, and are the same from
  run to run, as nothing is added atomically.
* `exp` is 2^(x log2 e) by an approximate instruction with an error of about 2 units in the last place. Subnormal
  results are kept (Triton compiles without flush-to-zero, which costs three instructions a number); `log` keeps
  subnormal arguments too. A product may be fused into the addition that follows.
* No fast-math: infinities and NaN follow IEEE 754, as in numpy. The kernels do not rely on more than
  exp(-inf) = 0 and max(-inf, x) = x, and never subtract an infinity from an infinity where the result is used.
* Integers wrap at 32 bits in both. Offsets into the logits and the gradient are computed in 64 bits.
* What masked lanes compute is thrown away. It may overflow, of which only numpy warns.
"""

import math
import sys
from typing import Any

import torch
import triton
import triton.language as tl

from .closed_form import Settings, Statistics, smoothing_weights

#: Block size (elements) of the logits of all K passes.
BLOCK_SIZE = 1 << 13

#: Warps of one program; twice as many where rows are read element by element, whose addresses fill the registers.
NUM_WARPS = 4

#: Elements of float16 in the widest load of a GPU, 16 bytes.
WIDEST_LOAD = 8

#: There is no temporary to keep small: all positions in one chunk, one launch.
CHUNK_SIZE = {"cuda": sys.maxsize, "cpu": sys.maxsize}


def forward(logits: torch.Tensor, target: torch.Tensor, settings: Settings, statistics: Statistics) -> torch.Tensor:
    """As `closed_form.forward`; the terms that `gradient` takes are the logits themselves."""
    num_passes, num_positions, vocab = logits.shape
    confidence, smoothing_mass = smoothing_weights(settings.label_smoothing, vocab)
    alignment = _alignment(logits)
    if num_positions:
        with torch.cuda.device_of(logits):
            _forward_kernel[(num_positions,)](
                logits,
                target.contiguous(),
                *statistics,
                *_strides(logits, alignment),
                statistics.row_max.stride(0),
                confidence,
                smoothing_mass,
                vocab // alignment,
                **constants(num_passes, vocab),
                ALIGNMENT=alignment,
                num_warps=_num_warps(alignment),
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
    # Made on the device: a number that is copied to it would make the host wait.
    scale = logits.new_ones((), dtype=torch.float32) if scale is None else scale.float()
    block_constants, alignment = constants(num_passes, vocab), _alignment(logits, out)
    if num_positions:
        with torch.cuda.device_of(logits):
            _gradient_kernel[(num_positions, triton.cdiv(vocab, block_constants["BLOCK"]))](
                logits,
                target.contiguous(),
                statistics.row_max,
                statistics.lse_minus_max,
                statistics.mean_deviation,
                scale,
                out,
                *_strides(logits, alignment),
                *_strides(out, alignment),
                statistics.row_max.stride(0),
                float(settings.alpha),
                confidence,
                smoothing_mass,
                vocab // alignment,
                **block_constants,
                ALIGNMENT=alignment,
                num_warps=_num_warps(alignment),
            )
    # As torch does for what it writes in place: autograd then notices a second backward.
    torch.autograd.graph.increment_version(out)


def forward_and_gradient(
    logits: torch.Tensor, target: torch.Tensor, settings: Settings, statistics: Statistics, out: torch.Tensor
) -> None:
    """As `closed_form.forward_and_gradient`."""
    gradient(forward(logits, target, settings, statistics), target, settings, statistics, None, out)


def constants(num_passes: int, vocab: int) -> dict[str, Any]:
    """What the kernels are compiled for, beside the alignment."""
    passes = triton.next_power_of_2(num_passes)
    block = max(16, min(triton.next_power_of_2(vocab), BLOCK_SIZE // passes))
    return {"K": num_passes, "PASSES": passes, "BLOCK": block}


def _alignment(*tensors: torch.Tensor) -> int:
    """The largest of 8, 4, 2 and 1 that divides the vocabulary and the strides of [K, N, V] over K and N."""
    return math.gcd(WIDEST_LOAD, *(size for x in tensors for size in (x.size(2), *x.stride()[:2])))


def _num_warps(alignment: int) -> int:
    return NUM_WARPS if alignment > 1 else 2 * NUM_WARPS


def _strides(x: torch.Tensor, alignment: int) -> tuple[int, int, int]:
    return x.stride(0) // alignment, x.stride(1) // alignment, x.stride(2)


@triton.jit
def _row_starts(k, position, pass_stride, position_stride, ALIGNMENT: tl.constexpr):
    """Where the rows [PASSES] of one position begin."""
    # 64 bits: K * N * V exceeds 2^31 at the sizes of WMT.
    return (k.to(tl.int64) * pass_stride + position.to(tl.int64) * position_stride) * ALIGNMENT


@triton.jit
def _elements(x, row_starts, word, word_stride):
    """Pointers [PASSES, BLOCK] to the words of these rows."""
    return x + row_starts[:, None] + (word.to(tl.int64) * word_stride)[None, :]


@triton.jit
def _deviation(z, valid, k, K: tl.constexpr):
    """How far each pass is from the mean of the passes, in the columns where `valid` is true up to row K."""
    # From the first pass rather than from zero, as in closed_form.
    first = tl.sum(tl.where((k == 0)[:, None], z, 0.0), 0)
    difference = tl.where(valid, z - first[None, :], 0.0)
    return difference - (tl.sum(difference, 0) * (1 / K))[None, :]


@triton.jit
def _accumulate(pointers, valid, k, start, row_max, norm, mean_deviation, z_sum, K: tl.constexpr):
    """The running statistics with one block more, of which only `valid` counts. [PASSES] each."""
    z = tl.load(pointers, mask=valid, other=float("-inf")).to(tl.float32)
    # Rows beyond K would subtract an infinity from an infinity.
    higher = tl.where(k < K, tl.maximum(row_max, tl.max(z, 1)), 0.0)
    correction = tl.where(start > 0, row_max - higher, 0.0)
    rescale = tl.exp(correction)
    shifted = z - higher[:, None]
    weight = tl.exp(shifted)
    norm = norm * rescale + tl.sum(weight, 1)
    mean_deviation = mean_deviation * rescale + tl.sum(weight * _deviation(z, valid, k, K), 1)
    z_sum += correction * start + tl.sum(tl.where(valid, shifted, 0.0), 1)
    return higher, norm, mean_deviation, z_sum


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
    vocab,
    K: tl.constexpr,
    PASSES: tl.constexpr,
    BLOCK: tl.constexpr,
    ALIGNMENT: tl.constexpr,
):
    position = tl.program_id(0)
    k = tl.arange(0, PASSES)
    known = k < K
    row_starts = _row_starts(k, position, pass_stride, position_stride, ALIGNMENT)
    columns = tl.arange(0, BLOCK)
    vocab = vocab * ALIGNMENT
    row_max = tl.full([PASSES], float("-inf"), tl.float32)
    norm = tl.zeros([PASSES], tl.float32)
    mean_deviation = tl.zeros([PASSES], tl.float32)
    z_sum = tl.zeros([PASSES], tl.float32)  # of z - row_max
    # The last block apart: a mask on each costs a fifth of the instructions.
    full = vocab // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        block = _elements(logits, row_starts, start + columns, word_stride)
        row_max, norm, mean_deviation, z_sum = _accumulate(
            block, known[:, None], k, start, row_max, norm, mean_deviation, z_sum, K
        )
    if full < vocab:
        block = _elements(logits, row_starts, full + columns, word_stride)
        valid = known[:, None] & (columns < vocab - full)[None, :]
        row_max, norm, mean_deviation, z_sum = _accumulate(
            block, valid, k, full, row_max, norm, mean_deviation, z_sum, K
        )
    word = tl.load(target + position).to(tl.int64)
    # Of a word that is none, such as another library's padding, the loss is NaN.
    is_word = known & (word >= 0) & (word < vocab)
    z_target = tl.load(logits + row_starts + word * word_stride, mask=is_word, other=float("nan")).to(tl.float32)
    z_target -= row_max
    lse_minus_max = tl.log(norm)
    out = k * statistics_stride + position
    tl.store(row_max_out + out, row_max, mask=known)
    tl.store(lse_minus_max_out + out, lse_minus_max, mask=known)
    tl.store(mean_deviation_out + out, mean_deviation / norm, mask=known)
    tl.store(smoothed_out + out, lse_minus_max - confidence * z_target - smoothing_mass * z_sum, mask=known)
    tl.store(nll_out + out, lse_minus_max - z_target, mask=known)


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
    vocab,
    K: tl.constexpr,
    PASSES: tl.constexpr,
    BLOCK: tl.constexpr,
    ALIGNMENT: tl.constexpr,
):
    position = tl.program_id(0)
    k = tl.arange(0, PASSES)
    known = k < K
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    valid = known[:, None] & (word < vocab * ALIGNMENT)[None, :]
    row_starts = _row_starts(k, position, pass_stride, position_stride, ALIGNMENT)
    z = tl.load(_elements(logits, row_starts, word, word_stride), mask=valid, other=0.0).to(tl.float32)
    row = k * statistics_stride + position
    shift = tl.load(row_max + row, mask=known, other=0.0)
    lse_minus_max = tl.load(lse_minus_max + row, mask=known, other=0.0)
    mean_deviation = tl.load(mean_deviation + row, mask=known, other=0.0)
    probs = tl.where(known[:, None], tl.exp((z - shift[:, None]) - lse_minus_max[:, None]), 0.0)
    mean = tl.sum(probs, 0) * (1 / K)
    deviation = _deviation(z, known[:, None], k, K)
    found = probs * (1 + alpha + alpha * (deviation - mean_deviation[:, None]))
    found -= (alpha * mean + smoothing_mass)[None, :]
    found -= tl.where((word == tl.load(target + position))[None, :], confidence, 0.0)
    found *= tl.load(scale) / K
    row_starts = _row_starts(k, position, out_pass_stride, out_position_stride, ALIGNMENT)
    tl.store(_elements(out, row_starts, word, out_word_stride), found.to(out.dtype.element_ty), mask=valid)
