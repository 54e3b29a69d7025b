"""The loss of a regression against arithmetic done by other means."""

import math

import pytest
import torch

from fairseq_intra.loss.definitions import regression_loss, squared_distance


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand():
    # Outputs 1 and 3 where 2 is right: errors of 1, and a distance of 1 to their mean. Then 0 and 0 where 1 is right.
    result = regression_loss(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([2.0, 1.0]), alpha=10.0)
    assert [part.item() for part in result] == [1 + 1 + 10 * 1, 2, 1]


@pytest.mark.parametrize("passes", [1, 2, 5])
def test_definition_in_plain_python(passes):
    outputs, target = random(passes, 4), random(4, seed=1)
    errors = math.fsum((y - t) ** 2 for row in outputs.tolist() for y, t in zip(row, target.tolist(), strict=True))
    means = [math.fsum(column) / passes for column in zip(*outputs.tolist(), strict=True)]
    spread = math.fsum((y - m) ** 2 for row in outputs.tolist() for y, m in zip(row, means, strict=True))
    expected = [(errors + 0.7 * spread) / passes, errors / passes, spread / passes]
    found = [part.item() for part in regression_loss(outputs, target, alpha=0.7)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("passes", [1, 3])
def test_gradcheck(passes):
    target = random(5, seed=1)
    assert torch.autograd.gradcheck(
        lambda y: regression_loss(y, target, alpha=1.5).loss, random(passes, 5).requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(dtype):
    outputs, target = random(3, 50).to(dtype), random(50, seed=1)
    result = regression_loss(outputs, target, alpha=1.0)
    assert {part.dtype for part in result} == {torch.float32}
    expected = regression_loss(outputs.double(), target.float().double(), alpha=1.0)
    torch.testing.assert_close(result.loss.double(), expected.loss, rtol=1e-5, atol=0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected, not .3, 4. and .5."):
        regression_loss(random(3, 4), random(5), alpha=1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_divergence_alone_is_computed_in_float32(dtype):
    outputs = random(3, 6).to(dtype)
    found = squared_distance(outputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, outputs.double().var(0, correction=0).float())
