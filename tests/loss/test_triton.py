"""The Triton kernels against the oracle: on a GPU, or in Triton's interpreter where TRITON_INTERPRET=1.

scripts/test.sh runs this file by itself in the interpreter, which has to be switched on before Triton is imported.
On a GPU it runs with `-m gpu`.
"""

import os
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_oracle import SEEDS, TOLERANCE, compare, compare_features, make, make_features, oracle

from fairseq_intra.loss.functional import choose_implementation, intra_distillation_loss

if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    pytest.skip("needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)
closed_form_triton = pytest.importorskip("fairseq_intra.loss.triton")

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPTIONS = {"alpha": 5.0, "label_smoothing": 0.1, "implementation": "triton"}
DTYPES = [dtype for dtype in TOLERANCE if dtype != torch.float64]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(2, 40)),
    dtype=st.sampled_from(DTYPES),
    block=st.sampled_from([16, 64, 1 << 13]),
    alpha=st.sampled_from([0, 1, 5.0]),
    label_smoothing=st.sampled_from([0, 0.1]),
    upstream=st.sampled_from([1.0, 0.37]),
    seed=SEEDS,
)
def test_equals_oracle(shape, dtype, block, seed, **options):
    with mock.patch.object(closed_form_triton, "BLOCK_SIZE", block):
        compare(*make(*shape, dtype, seed=seed, device=DEVICE), **OPTIONS | options)


def test_blocks_of_the_size_that_is_used():
    """Three passes: 2,048 types a block."""
    compare(*make(3, 2, 2500, torch.float32, device=DEVICE), **OPTIONS)


def test_the_maximum_of_a_row_may_be_in_a_later_block(monkeypatch):
    monkeypatch.setattr(closed_form_triton, "BLOCK_SIZE", 64)
    for vocab in (15, 16, 17, 100):
        logits, target = make(3, 2, vocab, torch.float32, device=DEVICE)
        logits = (logits.detach() + torch.linspace(-30, 30, vocab, device=DEVICE)).requires_grad_()
        compare(logits, target, **OPTIONS)


def test_one_launch_for_all_positions(monkeypatch):
    positions = []
    for name in ("forward", "gradient"):
        function = getattr(closed_form_triton, name)

        def counted(logits, *more, function=function):
            positions.append(logits.size(1))
            return function(logits, *more)

        monkeypatch.setattr(closed_form_triton, name, counted)
    logits, target = make(3, 5, 40, torch.float32, device=DEVICE)
    intra_distillation_loss(logits, target, **OPTIONS).loss.backward()
    assert positions == [5, 5]


@pytest.mark.parametrize("dtype,extreme", [(torch.float32, 1e4), (torch.float16, 6e4)])
def test_extreme_logits_equal_oracle(dtype, extreme):
    rows = torch.tensor([[extreme, -extreme, 0], [-extreme, extreme, 0], [0, 0, 0]], dtype=dtype, device=DEVICE)
    logits = torch.stack([rows, rows.roll(1, 0), rows[[0, 0, 0]], rows[[2, 2, 2]]], 1).requires_grad_()
    # On a GPU a product is fused into the sum behind it: 1 / K in float32 times such a logit is off by this much.
    fused = OPTIONS["alpha"] / len(logits) * extreme * torch.finfo(torch.float32).eps / 2 if DEVICE == "cuda" else 0
    compare(logits, torch.tensor([0, 1, 2, 0], device=DEVICE), upstream=0.01, rounding=fused, **OPTIONS)


@pytest.mark.parametrize("passes", [2, 3, 5])
def test_x_of_equal_passes_is_nothing_whatever_their_size(passes):
    one, target = make(1, 10, 6, torch.float32, scale=3e3, device=DEVICE)
    assert intra_distillation_loss(one.detach().repeat(passes, 1, 1), target, **OPTIONS).divergence == 0


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(1, 40)),
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 30.0, 1e3, 1.2e4]),
    alpha=st.sampled_from([0, 1.0, 5.0]),
    seed=SEEDS,
)
def test_finite_logits_give_numbers(shape, dtype, scale, alpha, seed):
    logits, target = make(*shape, dtype, scale, seed, DEVICE)
    found = intra_distillation_loss(logits, target, **OPTIONS | {"alpha": alpha})
    (0.01 * found.loss).backward()
    assert all(value.isfinite() for value in found) and logits.grad.isfinite().all()


@pytest.mark.parametrize("word", [-100, 33])
def test_of_a_target_that_is_no_word_the_loss_is_no_number(word):
    """As another library's padding: reading beyond the logits would give some number."""
    logits, target = make(3, 4, 33, torch.float32)
    target[1] = word
    losses = intra_distillation_loss(logits.to(DEVICE), target.to(DEVICE), **OPTIONS)
    assert losses.loss.isnan()


def test_loss_scale_saves_small_gradients_of_fp16():
    loss_scale = 128
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


def test_targets_need_not_be_contiguous():
    logits, target = make(3, 5, 6, torch.float32, device=DEVICE)
    column = torch.stack([target, (target + 1) % 6], 1)[:, 0]
    expected = torch.autograd.grad(oracle(logits, target, alpha=5.0, label_smoothing=0.1)[0], logits)
    found = torch.autograd.grad(intra_distillation_loss(logits, column, **OPTIONS).loss, logits)
    assert not column.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_features(dtype):
    compare_features(*make_features(3, 5, 33, 8, dtype, device=DEVICE), upstream=0.37, **OPTIONS)


def test_is_what_auto_stands_for():
    device = torch.device(DEVICE)
    assert choose_implementation("auto", device, torch.float16, "x") == "triton"
    assert (
        choose_implementation("auto", device, torch.float16, "js")
        == choose_implementation("auto", device, torch.float64, "x")
        == "torch"
    )


@pytest.mark.parametrize("strides", [(1 << 31, 1 << 29, 1), (1, 2, 1 << 30)], ids=["rows", "words"])
def test_offsets_beyond_32_bits(tmp_path, strides):
    """Strides that fit into 32 bits whose multiples do not, in a file of holes."""
    shape = (2, 4, 4)
    size = 1 + sum(stride * (length - 1) for stride, length in zip(strides, shape, strict=True))
    logits = torch.from_file(str(tmp_path / "logits"), shared=True, size=size, dtype=torch.float16)
    logits = logits.to(DEVICE).as_strided(shape, strides)
    dense, target = make(*shape, torch.float16, device=DEVICE)
    logits.copy_(dense.detach())
    expected = torch.autograd.grad(intra_distillation_loss(dense, target, **OPTIONS).loss, dense)[0]
    logits.requires_grad_()
    found = intra_distillation_loss(logits, target, overwrite_logits=True, **OPTIONS).loss
    assert torch.equal(torch.autograd.grad(found, logits)[0], expected)


@pytest.mark.parametrize("upstream", [1.0, 2.0])
def test_a_second_backward_is_refused_where_the_first_has_written_over_the_logits(upstream):
    logits, target = make(3, 7, 11, torch.float32, device=DEVICE)
    loss = upstream * intra_distillation_loss(logits.clone(), target, overwrite_logits=True, **OPTIONS).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
