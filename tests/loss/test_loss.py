"""The fast loss and its gradient in closed form against the definitions and autograd, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_oracle import CHUNKS, OPTIONS, SEEDS, SHAPES, TOLERANCE, chunk_size, compare, make, oracle
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_intra.loss import closed_form, functional
from fairseq_intra.loss.chunked import chunks
from fairseq_intra.loss.definitions import DIVERGENCES
from fairseq_intra.loss.functional import choose_implementation, intra_distillation_loss

BOTH = pytest.mark.parametrize("divergence", sorted(DIVERGENCES))


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_where_no_gradient_is_wanted_none_is_computed_and_the_logits_stay(guard):
    """Also of logits that require one: autograd tells a Function nothing of no_grad."""
    logits, target = torch.randn(3, 5, 7, requires_grad=True), torch.tensor([1, 0, 6, 3, 3])
    before = logits.detach().clone()
    expected = intra_distillation_loss(logits, target, alpha=2.0, label_smoothing=0.1).loss
    with guard():
        found = intra_distillation_loss(logits, target, alpha=2.0, label_smoothing=0.1, overwrite_logits=True).loss
    assert torch.equal(found, expected) and torch.equal(logits, before) and not found.requires_grad


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    shape=SHAPES,
    dtype=st.sampled_from(list(TOLERANCE)),
    scale=st.sampled_from([0.0, 0.1, 2.0]),
    seed=SEEDS,
    chunk=CHUNKS,
    options=OPTIONS,
)
def test_equals_oracle(shape, dtype, scale, seed, chunk, options):
    with chunk_size(chunk):
        compare(*make(*shape, dtype, scale, seed), **options)


def test_a_device_that_is_neither_a_cpu_nor_cuda_has_chunks():
    """Such as a Mac's."""
    assert chunks({"cpu": 1, "cuda": 20}, torch.empty(2, 3, 4, device="meta"), 5) == [slice(0, 2), slice(2, 4)]


def test_equals_oracle_at_the_vocabulary_of_a_real_model():
    for dtype in TOLERANCE:
        compare(*make(3, 7, 1000, dtype), upstream=0.37, alpha=5.0, label_smoothing=0.1, divergence="x")


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.uint8])
def test_targets_are_of_any_integer_type(dtype):
    logits, target = make(3, 4, 7, torch.float32)
    found, expected = (intra_distillation_loss(logits, of, alpha=2.0).loss for of in (target.to(dtype), target))
    assert torch.equal(found, expected)


@BOTH
def test_one_word_leaves_nothing_to_learn(divergence):
    """Label smoothing has no other word to give a share to, where fairseq's divides by zero."""
    logits, target = make(3, 4, 1, torch.float32)
    found = intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1, divergence=divergence)
    found.loss.backward()
    assert [value.item() for value in found] == pytest.approx([0, 0, 0], abs=2e-5)
    assert logits.grad.abs().max() <= 2e-5


@BOTH
@pytest.mark.parametrize("alpha,label_smoothing", [(0.0, 0.0), (2.0, 0.1)])
def test_gradcheck(alpha, label_smoothing, divergence):
    logits, target = make(3, 2, 4)
    options = {"alpha": alpha, "label_smoothing": label_smoothing, "divergence": divergence}
    assert torch.autograd.gradcheck(lambda z: intra_distillation_loss(z, target, **options).loss, logits)


@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_golden_value(implementation):
    """By hand: probabilities (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2), target the first word, eps = 0.1.

    Cross-entropies log 2 and log 4, mean 3/2 log 2; the other words' log-probabilities sum to -4 log 2 and
    -3 log 2, so with e = 0.05 the smoothed loss is 0.9 * 3/2 log 2 + 0.05 * 7/2 log 2; X = 1/8 log 2.
    """
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], dtype=torch.float64).log().unsqueeze(1) + 3
    options = {"alpha": 5.0, "label_smoothing": 0.1, "implementation": implementation}
    found = intra_distillation_loss(logits, torch.tensor([0]), **options)
    expected = [(1.35 + 0.175 + 0.625) * math.log(2), 1.5 * math.log(2), math.log(2) / 8]
    assert [value.item() for value in found] == pytest.approx(expected, rel=1e-14)


def test_any_number_of_positions_a_chunk_gives_the_same():
    (whole, target), options = make(2, 7, 5), {"alpha": 5.0, "label_smoothing": 0.1}
    expected = intra_distillation_loss(whole, target, **options)
    expected.loss.backward()
    for positions in range(1, 9):
        logits, _ = make(2, 7, 5)
        with chunk_size(2 * 5 * positions):
            found = intra_distillation_loss(logits, target, **options)
            found.loss.backward()
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(logits.grad, whole.grad)


@pytest.mark.parametrize(
    "numel,lengths",
    [
        (1, [1] * 7),
        (2 * 5, [1] * 7),
        (2 * 5 * 3, [3, 3, 1]),
        (2 * 5 * 7, [7]),
        (2 * 5 * 7 - 1, [6, 1]),
        (1 << 40, [7]),
    ],
)
def test_chunks_are_as_large_as_may_be(numel, lengths):
    slices = chunks({"cpu": numel}, torch.empty(2, 7, 5), 5)
    assert [len(range(7)[part]) for part in slices] == lengths
    assert [number for part in slices for number in range(7)[part]] == list(range(7))


def test_triton_gets_all_positions_in_one_launch():
    """Its kernels have no temporary to keep small: a launch per position would cost more than the work."""
    triton = pytest.importorskip("fairseq_intra.loss.triton")
    logits = torch.empty(1).expand(3, 100_000, 60_000)
    for sizes in ({"cpu": triton.CHUNK_SIZE["cpu"]}, {"cpu": triton.CHUNK_SIZE["cuda"]}):
        assert chunks(sizes, logits, 60_000) == [slice(0, 100_000)]


class _Sizes(TorchDispatchMode):
    """Notes how many numbers each operation returns, views of the logits left out."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if torch.is_tensor(result) and not function.is_view:
            self.seen.append(result.numel())
        return result


@pytest.mark.parametrize("chunks", [100, 1])
@BOTH
def test_only_the_gradient_has_the_size_of_the_logits(monkeypatch, divergence, chunks):
    logits, target = make(2, 100, 50, torch.float32)
    monkeypatch.setitem(closed_form.CHUNK_SIZE, "cpu", logits.numel() // chunks)
    options = {"alpha": 5.0, "label_smoothing": 0.1, "divergence": divergence}
    with _Sizes() as sizes:
        torch.autograd.grad(intra_distillation_loss(logits, target, **options).loss, logits)
    assert (sizes.seen.count(logits.numel()) == 1) == (chunks > 1)


@BOTH
@pytest.mark.parametrize("dtype,extreme", [(torch.float64, 6e4), (torch.float32, 1e4), (torch.float16, 6e4)])
def test_extreme_logits_equal_oracle(divergence, dtype, extreme):
    rows = torch.tensor([[extreme, -extreme, 0], [-extreme, extreme, 0], [0, 0, 0]], dtype=dtype)
    logits = torch.stack([rows, rows.roll(1, 0), rows[[0, 0, 0]], rows[[2, 2, 2]]], 1).requires_grad_()
    target = torch.tensor([0, 1, 2, 0])
    compare(logits, target, upstream=0.01, alpha=5.0, label_smoothing=0.1, divergence=divergence)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
@BOTH
def test_no_divergence_between_equal_rows_of_extreme_logits(divergence, extreme):
    logits = torch.full((3, 2, 4), extreme).requires_grad_()
    target = torch.tensor([0, 3])
    found = intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1, divergence=divergence)
    # X is made of differences; the logarithm of the mean in JS is rounded.
    assert abs(found.divergence.item()) <= (0 if divergence == "x" else 1e-6)
    assert found.nll.item() == pytest.approx(2 * math.log(4), rel=1e-5)
    compare(logits, target, alpha=5.0, label_smoothing=0.1, divergence=divergence)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_x_of_equal_passes_is_nothing_whatever_their_size(dtype):
    """The mean of equal numbers need not be equal to them: three times 3333.3 is rounded."""
    one, target = make(1, 50, 6, dtype, scale=3e3)
    for passes in (2, 3, 5, 7):
        logits = one.detach().repeat(passes, 1, 1)
        assert intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1).divergence == 0


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    divergence=st.sampled_from(sorted(DIVERGENCES)),
    shape=st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(1, 40)),
    dtype=st.sampled_from(sorted(TOLERANCE, key=str)),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 30.0, 1e3, 1.2e4]),
    alpha=st.sampled_from([0.0, 1.0, 5.0]),
    label_smoothing=st.sampled_from([0.0, 0.1]),
    seed=SEEDS,
)
def test_finite_logits_give_numbers(divergence, shape, dtype, scale, alpha, label_smoothing, seed):
    logits, target = make(*shape, dtype, scale, seed)
    options = {"alpha": alpha, "label_smoothing": label_smoothing, "divergence": divergence}
    found = intra_distillation_loss(logits, target, **options)
    (0.01 * found.loss).backward()
    assert all(value.isfinite() for value in found) and logits.grad.isfinite().all()
    assert found.loss >= -1e-5 and found.nll >= -1e-5


@BOTH
def test_loss_scale_saves_small_gradients_of_fp16(divergence):
    """fairseq multiplies the loss by the scale before backward: a gradient stored before that has underflowed."""
    loss_scale = 128
    logits = torch.zeros(2, 1, 1000, dtype=torch.float16)
    logits[:, 0, 0] = torch.tensor([19.0, 19.5])
    logits.requires_grad_()
    options = {"alpha": 5.0, "label_smoothing": 0.0, "divergence": divergence}
    (loss_scale * intra_distillation_loss(logits, torch.tensor([0]), **options).loss).backward()
    exact = logits.detach().double().requires_grad_()
    oracle(exact, torch.tensor([0]), **options)[0].backward()
    expected, found = exact.grad[:, :, 1:], logits.grad[:, :, 1:]
    assert (expected != 0).all() and not expected.half().any()
    # Small numbers in fp16 are multiples of 2^-24.
    torch.testing.assert_close(found.double(), loss_scale * expected, rtol=1e-3, atol=2**-25)
    assert (found != 0).all()


def test_by_default_x_without_label_smoothing():
    logits, target = make(3, 4, 5)
    found = intra_distillation_loss(logits, target, alpha=5.0)
    torch.testing.assert_close(tuple(found), oracle(logits, target, alpha=5.0, label_smoothing=0.0))


def test_only_the_loss_has_a_gradient():
    logits, target = make(3, 4, 5)
    found = intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1)
    assert [value.requires_grad for value in found] == [True, False, False]


def test_loss_zeroed_in_place_gives_zero_gradients():
    """What fairseq's train_step does with a dummy batch (ignore_grad)."""
    logits, target = make(3, 4, 5)
    loss = intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1).loss
    loss *= 0
    loss.backward()
    assert logits.grad.shape == logits.shape and not logits.grad.any()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradient_may_be_written_over_the_logits(divergence, dtype):
    logits, target = make(3, 7, 11, dtype)
    options = {"alpha": 5.0, "label_smoothing": 0.1, "divergence": divergence}
    (expected,) = torch.autograd.grad(intra_distillation_loss(logits, target, **options).loss, logits)
    copy = logits.clone()
    loss = intra_distillation_loss(copy, target, overwrite_logits=True, **options).loss
    (found,) = torch.autograd.grad(loss, copy, retain_graph=True)
    assert torch.equal(found, expected) and found.data_ptr() == copy.data_ptr()
    if dtype == torch.float16:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    else:
        assert torch.equal(torch.autograd.grad(loss, copy)[0], expected)


@BOTH
def test_a_second_backward_is_refused_where_the_first_has_scaled_the_gradient_over_the_logits(divergence):
    logits, target = make(3, 7, 11)
    copy = logits.clone()
    options = {"alpha": 5.0, "label_smoothing": 0.1, "divergence": divergence}
    loss = 2 * intra_distillation_loss(copy, target, overwrite_logits=True, **options).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@BOTH
def test_a_second_backward_gives_the_same(divergence):
    logits, target = make(3, 7, 11)
    loss = 2 * intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1, divergence=divergence).loss
    first, second = (torch.autograd.grad(loss, logits, retain_graph=True)[0].clone() for _ in range(2))
    assert torch.equal(first, second)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reference_is_the_oracle_in_float32(divergence, dtype):
    logits, target = make(3, 7, 11, dtype)
    compare(logits, target, implementation="reference", alpha=5.0, label_smoothing=0.1, divergence=divergence)


@pytest.mark.parametrize(
    "implementation,divergence,dtype,because",
    [
        ("triton", "x", torch.float32, "triton runs on a GPU, not on cpu"),
        ("triton", "js", torch.float32, "triton has no kernel for JS"),
        ("triton", "x", torch.float64, "triton computes in float32"),
        ("fused", "x", torch.float32, "must be one of auto, torch, compiled, triton, reference, not 'fused'"),
    ],
)
def test_refuses_what_cannot_compute_it_here(implementation, divergence, dtype, because):
    logits, target = make(2, 3, 4, dtype)
    options = {"alpha": 1.0, "label_smoothing": 0.1, "divergence": divergence}
    with pytest.raises(ValueError, match=because):
        intra_distillation_loss(logits, target, implementation=implementation, **options)


@pytest.mark.parametrize(
    "device,interpret,installed,chosen",
    [
        ("cuda", None, True, "triton"),
        ("cuda", None, False, "torch"),
        ("cpu", None, True, "torch"),
        ("cpu", "0", True, "torch"),
        ("cpu", "1", True, "triton"),
    ],
)
def test_auto_is_triton_where_it_can_run(monkeypatch, device, interpret, installed, chosen):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if interpret:
        monkeypatch.setenv("TRITON_INTERPRET", interpret)
    monkeypatch.setattr("importlib.util.find_spec", {"triton": "a module" if installed else None}.get)
    monkeypatch.setattr(functional, "_why_no_launch", lambda: None)
    assert choose_implementation("auto", torch.device(device), torch.float32, "x") == chosen
    if chosen == "torch" and device == "cuda":
        with pytest.raises(ValueError, match="triton is not installed"):
            choose_implementation("triton", torch.device(device), torch.float32, "x")


def test_auto_does_without_triton_where_no_kernel_can_be_launched(monkeypatch):
    """There is no GPU here, or no C compiler."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    runtime = pytest.importorskip("triton.runtime")

    class Driver:
        @property
        def active(self):
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(runtime, "driver", Driver())
    functional._why_no_launch.cache_clear()
    try:
        assert choose_implementation("auto", torch.device("cuda"), torch.float32, "x") == "torch"
        with pytest.raises(ValueError, match="triton cannot launch a kernel here: Failed to find C compiler.$"):
            choose_implementation("triton", torch.device("cuda"), torch.float32, "x")
    finally:
        functional._why_no_launch.cache_clear()


@BOTH
@pytest.mark.parametrize("implementation", ["torch", "reference"])
def test_autocast_changes_nothing(divergence, implementation):
    results = []
    for enabled in (False, True):
        logits, target = make(3, 7, 11, torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = intra_distillation_loss(
                logits, target, alpha=5.0, divergence=divergence, implementation=implementation
            ).loss
        loss.backward()
        results.append((loss.detach(), logits.grad))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


def test_logits_are_left_as_they_were():
    logits, target = make(3, 4, 5)
    before = logits.detach().clone()
    intra_distillation_loss(logits, target, alpha=5.0, label_smoothing=0.1).loss.backward()
    assert torch.equal(logits.detach(), before)


def test_gradient_through_what_made_the_logits():
    features, target = make(3, 4, 6)
    weight = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    options = {"alpha": 5.0, "label_smoothing": 0.1, "divergence": "x"}
    target %= 5
    expected = torch.autograd.grad(oracle(features @ weight.T, target, **options)[0], [features, weight])
    found = torch.autograd.grad(
        intra_distillation_loss(features @ weight.T, target, **options).loss, [features, weight]
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("as_they_come", ["transposed", "expanded"])
def test_logits_need_not_be_contiguous(as_they_come):
    logits, target = make(4, 4, 5)
    options = {"alpha": 5.0, "label_smoothing": 0.1, "divergence": "x"}
    view = logits.transpose(0, 1) if as_they_come == "transposed" else logits[:1].expand(3, -1, -1)
    expected = torch.autograd.grad(oracle(view, target, **options)[0], logits)
    found = torch.autograd.grad(intra_distillation_loss(view, target, **options).loss, logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("logits,target", [((3, 4), (4,)), ((3, 4, 5), (3,)), ((3, 4, 5), (4, 1)), ((3, 4, 5), ())])
def test_refuses_shapes_that_do_not_fit(logits, target):
    with pytest.raises(ValueError) as refusal:
        intra_distillation_loss(
            torch.zeros(logits), torch.zeros(target, dtype=torch.long), alpha=1.0, label_smoothing=0.1
        )
    assert f"not {list(logits)} and {list(target)}" in str(refusal.value)


def test_refuses_an_unknown_divergence():
    with pytest.raises(ValueError, match="must be one of x, js, not 'X'"):
        intra_distillation_loss(*make(2, 3, 4), alpha=1.0, label_smoothing=0.1, divergence="X")
