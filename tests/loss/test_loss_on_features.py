"""The loss that projects features to the vocabulary itself, against the oracle on their logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_oracle import CHUNKS, SEEDS, SHAPES, TOLERANCE, chunk_size, compare_features, make_features, oracle
from loss_oracle import OPTIONS as oracle_options
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_intra.loss import chunked, closed_form
from fairseq_intra.loss.definitions import DIVERGENCES
from fairseq_intra.loss.functional import intra_distillation_loss, intra_distillation_loss_on_features

BOTH = pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
OPTIONS = {"alpha": 5.0, "label_smoothing": 0.1}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    shape=SHAPES,
    width=st.integers(1, 9),
    dtype=st.sampled_from(list(TOLERANCE)),
    bias=st.booleans(),
    seed=SEEDS,
    chunk=CHUNKS,
    options=oracle_options,
)
def test_equals_oracle(shape, width, dtype, bias, seed, chunk, options):
    with chunk_size(chunk):
        compare_features(*make_features(*shape, width, dtype, bias, seed), **options)


def test_chunks_of_projected_logits_may_have_chunks_of_their_own(monkeypatch):
    monkeypatch.setitem(chunked.PROJECTION_CHUNK_SIZE, "cpu", 2 * 5 * 7 - 1)
    monkeypatch.setitem(closed_form.CHUNK_SIZE, "cpu", 2 * 5 * 2)
    for dtype in (torch.float64, torch.float16):
        compare_features(*make_features(2, 7, 5, 3, dtype), **OPTIONS)


@BOTH
def test_gradcheck(divergence):
    *tensors, target = make_features(3, 2, 4, 2)
    assert torch.autograd.gradcheck(
        lambda *given: intra_distillation_loss_on_features(*given, target, divergence=divergence, **OPTIONS).loss,
        tensors,
    )


class _Watched(TorchDispatchMode):
    """The most numbers that any operation returned, and how many products of matrices there were."""

    numel = products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if torch.is_tensor(result):
            self.numel = max(self.numel, result.numel())
        self.products += function._schema.name in ("aten::mm", "aten::addmm", "aten::addmm_")
        return result


@BOTH
@pytest.mark.parametrize("dtype,products", [(torch.float32, 3), (torch.float16, 4)])
def test_logits_never_exist_at_once(monkeypatch, divergence, dtype, products):
    """A product a chunk for the logits, and two for the gradients; only float16 makes the logits a second time."""
    features, weight, bias, target = make_features(3, 100, 50, 4, dtype)
    monkeypatch.setitem(chunked.PROJECTION_CHUNK_SIZE, "cpu", 3 * 10 * 50)
    with _Watched() as watched:
        intra_distillation_loss_on_features(
            features, weight, bias, target, divergence=divergence, **OPTIONS
        ).loss.backward()
    assert watched.numel == 3 * 10 * 50
    assert watched.products == 10 * products


@BOTH
def test_loss_scale_saves_small_gradients_of_fp16(divergence):
    """Of a gradient that is rounded to float16 before the scale, the weights of wrong words see nothing."""
    features = torch.tensor([[[19.0]], [[19.5]]], dtype=torch.float16)
    weight = torch.zeros(1000, 1, dtype=torch.float16)
    weight[0] = 1
    weight.requires_grad_()
    target, options = torch.tensor([0]), {"alpha": 5.0, "label_smoothing": 0.0, "divergence": divergence}
    loss_scale = 128
    (loss_scale * intra_distillation_loss_on_features(features, weight, None, target, **options).loss).backward()
    exact = weight.detach().double().requires_grad_()
    logits = features.double() @ exact.T
    logits.retain_grad()
    oracle(logits, target, **options)[0].backward()
    assert (logits.grad[:, :, 1:] != 0).all() and not logits.grad[:, :, 1:].half().any()
    # The logits' small gradients are multiples of 2^-24, and summed up with the features' 19 as weights.
    torch.testing.assert_close(weight.grad[1:].double(), loss_scale * exact.grad[1:], rtol=2e-3, atol=2**-19)
    assert (weight.grad[1:] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_as_a_linear_layer(dtype):
    *tensors, target = make_features(3, 20, 33, 8, torch.float32)

    def gradients(loss_of):
        with torch.autocast("cpu", dtype):
            loss = loss_of(*tensors)
        assert loss.dtype == torch.float32
        return torch.autograd.grad(128 * loss, tensors)

    found = gradients(lambda *given: intra_distillation_loss_on_features(*given, target, **OPTIONS).loss)
    expected = gradients(
        lambda *given: intra_distillation_loss(torch.nn.functional.linear(*given), target, **OPTIONS).loss
    )
    assert [gradient.dtype for gradient in found] == [torch.float32] * 3
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2 * theirs.abs().max().item())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_logits_have_its_dtype(dtype, bias):
    *tensors, target = make_features(3, 20, 33, 8, torch.float32, bias)
    with torch.autocast("cpu", dtype):
        found = intra_distillation_loss_on_features(*tensors, target, **OPTIONS)
    rounded = (None if x is None else x.to(dtype) for x in tensors)
    expected = intra_distillation_loss_on_features(*rounded, target, **OPTIONS)
    assert [x.item() for x in found] == [x.item() for x in expected]


def test_chunks_are_summed_up_in_float32(monkeypatch):
    """A thousand equal gradients, one by one: a sum in bfloat16 stops growing at 256 of them."""
    monkeypatch.setitem(chunked.PROJECTION_CHUNK_SIZE, "cpu", 1)
    _, weight, bias, _ = make_features(2, 1, 5, 3, torch.bfloat16)
    features = torch.tensor([[[1, 2, 1]], [[1, 1, 2]]], dtype=torch.bfloat16).repeat(1, 1000, 1).requires_grad_()
    compare_features(features, weight, bias, torch.zeros(1000, dtype=torch.long), **OPTIONS)


@pytest.mark.parametrize(
    "divergence,dtype,because",
    [("x", torch.float32, "runs on a GPU"), ("x", torch.float64, "computes in float32"), ("js", torch.float32, "JS")],
)
def test_refuses_triton_where_it_cannot_run(divergence, dtype, because):
    *tensors, target = make_features(2, 3, 5, 4, dtype)
    more = {"implementation": "triton", "divergence": divergence}
    with pytest.raises(ValueError, match=f"triton .*{because}"):
        intra_distillation_loss_on_features(*tensors, target, **OPTIONS, **more)


def test_a_weight_that_made_the_features_too_gets_both_gradients():
    """Tied embeddings."""
    weight = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    words, target = torch.tensor([[0, 5, 2], [1, 5, 2]]), torch.tensor([3, 0, 2])
    features = torch.nn.functional.embedding(words, weight).tanh()
    expected = torch.autograd.grad(oracle(features @ weight.T, target, **OPTIONS)[0], weight, retain_graph=True)
    found = torch.autograd.grad(
        intra_distillation_loss_on_features(features, weight, None, target, **OPTIONS).loss, weight
    )
    torch.testing.assert_close(found, expected)


def test_backward_twice_gives_the_same():
    *tensors, target = make_features(2, 5, 7, 3)
    found = 2 * intra_distillation_loss_on_features(*tensors, target, **OPTIONS).loss
    first = torch.autograd.grad(found, tensors, retain_graph=True)
    first = tuple(gradient.clone() for gradient in first)
    torch.testing.assert_close(torch.autograd.grad(found, tensors), first, rtol=0, atol=0)


def test_by_default_x_without_label_smoothing():
    *tensors, target = make_features(2, 5, 7, 3)
    found = intra_distillation_loss_on_features(*tensors, target, alpha=5.0)
    expected = oracle(torch.nn.functional.linear(*tensors), target, alpha=5.0, label_smoothing=0.0)
    torch.testing.assert_close(tuple(found), expected)


def test_reference_is_the_oracle():
    compare_features(*make_features(2, 5, 7, 3, torch.float32), implementation="reference", **OPTIONS)


@pytest.mark.parametrize(
    "features,weight,target", [((3, 4), (5, 4), (3,)), ((2, 3, 4), (5, 3), (3,)), ((2, 3, 4), (5, 4), (4,))]
)
def test_refuses_shapes_that_do_not_fit(features, weight, target):
    given = torch.zeros(features), torch.zeros(weight), None, torch.zeros(target, dtype=torch.long)
    with pytest.raises(ValueError) as refusal:
        intra_distillation_loss_on_features(*given, **OPTIONS)
    assert f"not {list(features)}, {list(weight)} and {list(target)}" in str(refusal.value)
