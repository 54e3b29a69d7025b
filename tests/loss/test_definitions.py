"""The definitions, which are the oracle of every faster form, against arithmetic done by other means."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_intra.loss.definitions import (
    DIVERGENCES,
    js_divergence,
    label_smoothed_cross_entropy,
    reference_loss,
    x_divergence,
)

BOTH = pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES.keys())
LOW = (torch.float16, torch.bfloat16, torch.float32)


def random_logits(*shape, seed=0, scale=2.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kl(p, q):
    return (p * (p / q).log()).sum(-1)


# By hand from the definitions. p_1 = (1/2, 1/4, 1/4), p_2 = (1/4, 1/4, 1/2), so m = (3/8, 1/4, 3/8), and both
# passes contribute alike:
#   X  = 1/8 log 4/3 - 1/8 log 2/3 = 1/8 log 2
#   JS = 1/2 log 4/3 + 1/4 log 2/3 = 5/4 log 2 - 3/4 log 3
GOLDEN = {"x": 0.08664339756999316, "js": 0.042474759198849354}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_value(name):
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], dtype=torch.float64).log().unsqueeze(1)
    assert DIVERGENCES[name](logits).tolist() == pytest.approx([GOLDEN[name]], rel=1e-14)


@pytest.mark.parametrize("passes", [2, 3, 5])
def test_definition_in_plain_python(passes):
    logits = random_logits(passes, 4, 6)
    x, js = [], []
    for position in range(4):
        rows = [[math.exp(z) for z in row] for row in logits[:, position].tolist()]
        probs = [[value / math.fsum(row) for value in row] for row in rows]
        mean = [math.fsum(column) / passes for column in zip(*probs, strict=True)]
        pairs = [(p, m) for row in probs for p, m in zip(row, mean, strict=True)]
        x.append(math.fsum((p - m) * (math.log(p) - math.log(m)) for p, m in pairs) / passes)
        js.append(math.fsum(p * (math.log(p) - math.log(m)) for p, m in pairs) / passes)
    assert x_divergence(logits).tolist() == pytest.approx(x, rel=1e-12)
    assert js_divergence(logits).tolist() == pytest.approx(js, rel=1e-12)


@BOTH
def test_gradcheck(divergence):
    assert torch.autograd.gradcheck(divergence, random_logits(3, 2, 4).requires_grad_())


@pytest.mark.parametrize("passes", [2, 5])
def test_x_is_the_sum_over_pairs_of_both_kls(passes):
    logits = random_logits(passes, 7, 11)
    probs = logits.softmax(-1)
    pairs = sum(kl(p, q) + kl(q, p) for p, q in itertools.combinations(probs, 2))
    torch.testing.assert_close(x_divergence(logits), pairs / passes**2)


def test_r_drop_is_twice_x_of_two_passes():
    logits = random_logits(2, 7, 11)
    p, q = logits.softmax(-1)
    torch.testing.assert_close(0.5 * (kl(p, q) + kl(q, p)), 2 * x_divergence(logits))


@BOTH
def test_zero_where_and_only_where_all_passes_agree(divergence):
    logits = random_logits(1, 5, 9).repeat(3, 1, 1)
    logits[1, 2, 4] += 0.01
    found = divergence(logits)
    assert found[2] > 1e-8
    found[2] = 0
    torch.testing.assert_close(found, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-15)


@BOTH
def test_unchanged_by_a_constant_per_row_and_by_the_order_of_passes(divergence):
    logits = random_logits(4, 6, 9)
    torch.testing.assert_close(divergence(logits + random_logits(4, 6, 1, seed=1)), divergence(logits))
    torch.testing.assert_close(divergence(logits[[2, 0, 3, 1]]), divergence(logits))


@pytest.mark.parametrize("passes", [2, 5])
def test_js_is_at_most_log_k_and_reaches_it(passes):
    apart = torch.eye(passes).unsqueeze(1) * 1e4  # each pass is certain of another word
    assert js_divergence(apart).item() == pytest.approx(math.log(passes), rel=1e-6)
    assert js_divergence(random_logits(passes, 50, 9, scale=50)).max() <= math.log(passes) + 1e-12


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computed_in_float32_whatever_the_logits(divergence, dtype):
    logits = random_logits(3, 20, 30).to(dtype)
    torch.testing.assert_close(divergence(logits), divergence(logits.double()).float(), rtol=1e-4, atol=1e-6)


@BOTH
def test_one_pass_or_one_word_has_nothing_to_differ_from(divergence):
    assert divergence(random_logits(1, 3, 4).float()).tolist() == [0, 0, 0]
    assert divergence(random_logits(3, 2, 1).float()).abs().max() < 1e-6


@BOTH
@pytest.mark.parametrize("dtype,extreme", [(torch.float16, 6e4), (torch.bfloat16, 1e4), (torch.float32, 1e30)])
def test_extreme_logits_give_numbers(divergence, dtype, extreme):
    rows = torch.tensor([[extreme, -extreme, 0], [-extreme, extreme, 0], [0, 0, 0]], dtype=dtype)
    logits = torch.stack([rows, rows.roll(1, 0), rows[[0, 0, 0]]], 1).requires_grad_()
    found = divergence(logits)
    found.sum().backward()
    assert found.isfinite().all() and (found >= 0).all()
    assert logits.grad.isfinite().all()
    if divergence is js_divergence:
        # Two certain passes and an even one: m = (4/9, 4/9, 1/9), so 2/3 log 9/4 + 1/3 (2/3 log 3/4 + 1/3 log 3).
        expected = 2 / 3 * math.log(9 / 4) + (2 * math.log(3 / 4) + math.log(3)) / 9
        assert found[0].item() == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    name=st.sampled_from(sorted(DIVERGENCES)),
    shape=st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(1, 40)),
    dtype=st.sampled_from([*LOW, torch.float64]),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 30.0, 1e3, 1.2e4]),
    seed=st.integers(0, 2**16),
)
def test_one_number_per_position_never_negative_and_never_nan(name, shape, dtype, scale, seed):
    logits = random_logits(*shape, seed=seed, scale=scale).clamp(-6e4, 6e4).to(dtype).requires_grad_()
    found = DIVERGENCES[name](logits)
    found.sum().backward()
    assert found.shape == shape[1:2] and found.dtype == torch.promote_types(dtype, torch.float32)
    assert found.isfinite().all() and logits.grad.isfinite().all()
    # log K takes up to 2e-7 of rounding in float32; X is a sum of products that cannot be negative.
    assert (found >= (0 if name == "x" else -1e-6)).all()
    if name == "js":
        assert (found <= math.log(shape[0]) + 1e-3).all()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_fairseqs(label_smoothing):
    fairseqs = pytest.importorskip("fairseq.criterions.label_smoothed_cross_entropy").label_smoothed_nll_loss
    logits, target = random_logits(3, 5, 7).requires_grad_(), torch.tensor([0, 6, 3, 3, 1])
    smoothed, nll = label_smoothed_cross_entropy(logits, target, label_smoothing)
    assert smoothed.shape == nll.shape == (3, 5)
    targets = target.expand(3, -1).unsqueeze(-1)
    expected = fairseqs(logits.log_softmax(-1), targets, label_smoothing, reduce=False)
    for ours, theirs in zip((smoothed, nll), expected, strict=True):
        torch.testing.assert_close(ours, theirs.view_as(ours), rtol=1e-14, atol=0)
    # fairseq itself sums up: the losses of K passes divided by K are the mean over the passes.
    loss, _ = fairseqs(logits.log_softmax(-1).flatten(0, 1), targets.flatten(0, 1), label_smoothing)
    reference = reference_loss(logits, target, alpha=0.0, label_smoothing=label_smoothing, divergence="x")
    torch.testing.assert_close(reference[0], loss / 3)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_vocabulary_of_one_type_has_no_loss(name):
    found = reference_loss(
        torch.ones(2, 3, 1), torch.zeros(3, dtype=torch.long), alpha=1.0, label_smoothing=0.1, divergence=name
    )
    assert [value.item() for value in found] == [0, 0, 0]
