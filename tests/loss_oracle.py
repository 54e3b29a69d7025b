"""What the fast losses are compared with: the reference, in float64."""

import contextlib
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from fairseq_intra.loss import chunked, closed_form
from fairseq_intra.loss.definitions import label_smoothed_cross_entropy, reference_loss
from fairseq_intra.loss.functional import intra_distillation_loss, intra_distillation_loss_on_features

#: Of values, and of gradients relative to the largest: what rounding logits or gradient to the dtype may cost.
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (2e-5, 2e-5),
    torch.float16: (2e-5, 2e-3),
    torch.bfloat16: (2e-5, 2e-2),
}

#: Shapes [K, N, V], options and upstream gradients that a comparison with the oracle draws.
SHAPES = st.tuples(st.integers(1, 5), st.integers(0, 7), st.sampled_from([2, 3, 5, 33, 200]))
OPTIONS = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0, 1, 5.0]),
        "label_smoothing": st.sampled_from([0, 0.1]),
        "divergence": st.sampled_from(["x", "js"]),
        "upstream": st.sampled_from([1.0, 0.37]),
    }
)
SEEDS = st.integers(0, 2**16)
#: Chunk sizes (elements): of a position each, of a few, of all.
CHUNKS = st.sampled_from([1, 30, 1 << 20])


def chunk_size(numel):
    """A context in which chunks of logits and of projected logits have at most that many elements."""
    stack = contextlib.ExitStack()
    for sizes in (closed_form.CHUNK_SIZE, chunked.PROJECTION_CHUNK_SIZE):
        stack.enter_context(mock.patch.dict(sizes, {"cpu": numel}))
    return stack


def make(passes, positions, vocab, dtype=torch.float64, scale=2.0, seed=0, device="cpu"):
    """Logits that want a gradient, and targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(passes, positions, vocab, generator=generator, dtype=torch.float64)
    target = torch.randint(vocab, (positions,), generator=generator)
    return logits.clamp(-6e4, 6e4).to(device, dtype).requires_grad_(), target.to(device)


def make_features(passes, positions, vocab, width, dtype=torch.float64, bias=True, seed=0, device="cpu"):
    """Features, weight, bias (or None) that want a gradient, and targets."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(passes, positions, width), (vocab, width), (vocab,)][: 3 if bias else 2]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype) for shape in shapes]
    target = torch.randint(vocab, (positions,), generator=generator)
    return *(x.requires_grad_() for x in tensors), *([] if bias else [None]), target.to(device)


def oracle(logits, target, *, alpha, label_smoothing, divergence="x"):
    """(loss, nll, divergence), from the definitions."""
    return reference_loss(logits, target, alpha=alpha, label_smoothing=label_smoothing, divergence=divergence)


def distillation_oracle(logits, target, teacher_logits, *, weight, temperature, label_smoothing):
    """(loss, nll, distillation), as one would write them down."""
    smoothed, nll = (column.sum() for column in label_smoothed_cross_entropy(logits, target, label_smoothing))
    soft = (teacher_logits[0] / temperature).log_softmax(-1)
    distance = F.kl_div((logits[0] / temperature).log_softmax(-1), soft, reduction="sum", log_target=True)
    distance = temperature**2 * distance
    return (1 - weight) * smoothed + weight * distance, nll, distance


def compare(logits, target, upstream=1.0, implementation="auto", rounding=0.0, **options):
    """Values and gradient of the fast loss, of any dtype, against those of the oracle in float64.

    `rounding` is what a gradient may be off by, before it is multiplied by `upstream`.
    """
    exact = logits.detach().double().requires_grad_()
    expected = oracle(exact, target, **options)
    (upstream * expected[0]).backward()
    found = intra_distillation_loss(logits, target, implementation=implementation, **options)
    (upstream * found.loss).backward()
    _assert_values(found, expected, logits.dtype)
    _assert_gradient(logits, exact, upstream, rounding=rounding)


def compare_features(features, weight, bias, target, upstream=1.0, implementation="auto", **options):
    """As `compare`, of the loss on features against the oracle on their logits, rounded to their dtype."""
    exact = [None if x is None else x.detach().double().requires_grad_() for x in (features, weight, bias)]
    logits = torch.nn.functional.linear(*exact)
    logits = logits + (logits.detach().to(features.dtype).double() - logits.detach())
    expected = oracle(logits, target, **options)
    (upstream * expected[0]).backward()
    found = intra_distillation_loss_on_features(
        features, weight, bias, target, implementation=implementation, **options
    )
    (upstream * found.loss).backward()
    # Each dtype rounds a product of matrices in its own order, by a few of its units.
    _assert_values(found, expected, features.dtype, slack=1 if features.dtype.itemsize > 2 else 1e3)
    for ours, theirs in zip((features, weight, bias), exact, strict=True):
        if ours is not None:
            _assert_gradient(ours, theirs, upstream, slack=10)


def _assert_values(found, expected, dtype, slack=1):
    tolerance = slack * TOLERANCE[dtype][0]
    for name, ours, theirs in zip(found._fields, found, expected, strict=True):
        assert ours.shape == () and ours.dtype == torch.promote_types(dtype, torch.float32), name
        assert ours.item() == pytest.approx(theirs.item(), rel=tolerance, abs=tolerance), name


def _assert_gradient(ours, theirs, upstream, slack=1, rounding=0.0):
    tolerance = slack * TOLERANCE[ours.dtype][1]
    assert ours.grad.dtype == ours.dtype
    # p - 1 has no more digits than 1 has, however small it is.
    size = max([upstream, *theirs.grad.abs().flatten().tolist()])
    atol = tolerance * size + rounding * upstream
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=tolerance, atol=atol)
