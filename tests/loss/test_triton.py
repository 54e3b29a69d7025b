"""The Triton kernels against the oracle: on a GPU, or in Triton's interpreter where TRITON_INTERPRET=1.

scripts/test.sh runs this file by itself in the interpreter, which has to be switched on before Triton is imported.
"""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_oracle import TOLERANCE, compare, compare_features, make, make_features, oracle

from fairseq_intra.loss.functional import choose_implementation, intra_distillation_loss

if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    pytest.skip("needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)
closed_form_triton = pytest.importorskip("fairseq_intra.loss.triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPTIONS = {"alpha": 5.0, "label_smoothing": 0.1, "implementation": "triton"}
DTYPES = [dtype for dtype in TOLERANCE if dtype != torch.float64]


@pytest.mark.parametrize("vocab", [2, 33, 1000, 2500])
@pytest.mark.parametrize("positions", [0, 1, 5])
@pytest.mark.parametrize("passes", [1, 2, 3, 5])
def test_equals_oracle(passes, positions, vocab):
    for dtype in DTYPES:
        compare(*make(passes, positions, vocab, dtype, device=DEVICE), upstream=0.37, **OPTIONS)


@pytest.mark.parametrize("numel", [16, 64, 256])
@pytest.mark.parametrize("vocab", [15, 16, 17, 100])
def test_blocks_change_nothing(monkeypatch, numel, vocab):
    """The maximum of a row is in a later block than its first word."""
    monkeypatch.setattr(closed_form_triton, "BLOCK_SIZE", numel)
    logits, target = make(3, 4, vocab, torch.float32, device=DEVICE)
    logits = (logits.detach() + torch.linspace(-30, 30, vocab, device=DEVICE)).requires_grad_()
    compare(logits, target, **OPTIONS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extreme", [1e4, 6e4])
def test_extreme_logits_equal_oracle(dtype, extreme):
    rows = torch.tensor([[extreme, -extreme, 0], [-extreme, extreme, 0], [0, 0, 0]], dtype=dtype, device=DEVICE)
    logits = torch.stack([rows, rows.roll(1, 0), rows[[0, 0, 0]], rows[[2, 2, 2]]], 1).requires_grad_()
    compare(logits, torch.tensor([0, 1, 2, 0], device=DEVICE), upstream=0.01, **OPTIONS)


@pytest.mark.parametrize("passes", [2, 3, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_x_of_equal_passes_is_nothing_whatever_their_size(dtype, passes):
    one, target = make(1, 20, 6, dtype, scale=3e3, device=DEVICE)
    assert intra_distillation_loss(one.detach().repeat(passes, 1, 1), target, **OPTIONS).divergence == 0


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(1, 40)),
    dtype=st.sampled_from(sorted(DTYPES, key=str)),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 30.0, 1e3, 1.2e4]),
    alpha=st.sampled_from([0, 1.0, 5.0]),
    seed=st.integers(0, 2**16),
)
def test_finite_logits_give_numbers(shape, dtype, scale, alpha, seed):
    logits, target = make(*shape, dtype, scale, seed, DEVICE)
    found = intra_distillation_loss(logits, target, **OPTIONS | {"alpha": alpha})
    (0.01 * found.loss).backward()
    assert all(value.isfinite() for value in found) and logits.grad.isfinite().all()


@pytest.mark.parametrize("loss_scale", [128, 2.0**14])
def test_loss_scale_saves_small_gradients_of_fp16(loss_scale):
    logits = torch.zeros(2, 1, 1000, dtype=torch.float16, device=DEVICE)
    logits[:, 0, 0] = torch.tensor([19.0, 19.5])
    logits.requires_grad_()
    target, options = torch.tensor([0], device=DEVICE), {"alpha": 5.0, "label_smoothing": 0.0}
    (loss_scale * intra_distillation_loss(logits, target, **OPTIONS | options).loss).backward()
    exact = logits.detach().double().requires_grad_()
    oracle(exact, target, **options)[0].backward()
    expected, found = exact.grad[:, :, 1:], logits.grad[:, :, 1:]
    assert (expected != 0).all() and not expected.half().any()
    torch.testing.assert_close(found.double(), loss_scale * expected, rtol=1e-3, atol=2**-25)


def test_gradient_may_be_written_over_the_logits():
    logits, target = make(3, 7, 11, torch.float32, device=DEVICE)
    (expected,) = torch.autograd.grad(intra_distillation_loss(logits, target, **OPTIONS).loss, logits)
    copy = logits.clone()
    loss = intra_distillation_loss(copy, target, overwrite_logits=True, **OPTIONS).loss
    (found,) = torch.autograd.grad(loss, copy)
    assert torch.equal(found, expected) and found.data_ptr() == copy.data_ptr()


@pytest.mark.parametrize("as_they_come", ["transposed", "expanded", "every second word"])
def test_logits_need_not_be_contiguous(as_they_come):
    logits, target = make(4, 4, 6, torch.float32, device=DEVICE)
    options = {"alpha": 5.0, "label_smoothing": 0.1}
    if as_they_come == "transposed":
        view = logits.transpose(0, 1)
    elif as_they_come == "expanded":
        view = logits[:1].expand(3, -1, -1)
    else:
        view, target = logits[:, :, ::2], target // 2
    expected = torch.autograd.grad(oracle(view, target, **options)[0], logits)
    found = torch.autograd.grad(intra_distillation_loss(view, target, **OPTIONS).loss, logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_on_features(dtype, bias):
    compare_features(*make_features(3, 20, 33, 8, dtype, bias, device=DEVICE), upstream=0.37, **OPTIONS)


def test_is_what_auto_stands_for():
    device = torch.device(DEVICE)
    assert choose_implementation("auto", device, torch.float16, "x") == "triton"
    assert (
        choose_implementation("auto", device, torch.float16, "js")
        == choose_implementation("auto", device, torch.float64, "x")
        == "torch"
    )
