"""The schedule: values by hand, and what holds whatever the setting."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_intra.adaptive_alpha import adaptive_alpha

#: alpha above 1, p, q / p and N, of which every share has whole updates.
SETTINGS = st.tuples(st.floats(1.01, 100), st.floats(1, 50), st.floats(1.1, 10), st.integers(1000, 10**6))


def test_published_setting():
    """The paper's alpha = 5, p = 5, q = 10 over 50,000 updates; gamma = log_{1/2}(1/5) = log2(5) = 2.3219."""
    values = {x: adaptive_alpha(x, 50_000, 5, p=5, q=10) for x in (0, 2_500, 5_000, 7_500, 10_000, 50_000)}
    # 5 (x / 10,000)^log2(5): a quarter of the way is 5/25, half is 5/5, three quarters is 5 * 0.75^2.3219.
    expected = {0: 0, 2_500: 0.2, 5_000: 1, 7_500: 2.563724, 10_000: 5, 50_000: 5}
    assert values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "alpha,p,q,expected",
    [
        # gamma = log_{2/3}(2/3) = 1: a straight line to 1.5 at 3/20 of the updates (the paper's setting for NLU).
        (1.5, 20 / 3, 10, {50: 0.5, 100: 1, 125: 1.25, 150: 1.5, 151: 1.5}),
        # gamma = log_{1/2}(1/4) = 2: 4 (2x / N)^2.
        (4, 2, 4, {50: 0.04, 100: 0.16, 250: 1, 499: 3.984016, 500: 4}),
        # gamma = log_{1/4}(1/2) = 1/2: 2 sqrt(x / N).
        (2, 1, 4, {10: 0.2, 250: 1, 810: 1.8, 1000: 2}),
    ],
    ids=["gamma 1", "gamma 2", "gamma 1/2"],
)
def test_values_by_hand(alpha, p, q, expected):
    found = {x: adaptive_alpha(x, 1000, alpha, p, q) for x in expected}
    assert found == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, derandomize=True)
@given(SETTINGS)
def test_one_after_the_share_1_q_and_full_from_the_share_1_p_on(setting):
    alpha, p, ratio, total = setting
    assert adaptive_alpha(total / (p * ratio), total, alpha, p, p * ratio) == pytest.approx(1)
    assert adaptive_alpha(total / p * (1 - 1e-9), total, alpha, p, p * ratio) == pytest.approx(alpha, rel=1e-6)
    for x in (math.ceil(total / p) + 1, total + 1):
        assert adaptive_alpha(x, total, alpha, p, p * ratio) == alpha


@settings(deadline=None, derandomize=True)
@given(SETTINGS, st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_a_power_of_the_update_number_that_starts_from_nothing(setting, one, other):
    """In units of N/p, alpha(x y) alpha(1) = alpha(x) alpha(y): of smooth functions, a power alone obeys that."""
    alpha, p, ratio, total = setting

    def at(share):
        return adaptive_alpha(share * total / p, total, alpha, p, p * ratio)

    assert at(0) == 0 <= at(one) <= at(max(one, other)) <= alpha
    assert at(one * other) * alpha == pytest.approx(at(one) * at(other), rel=1e-6, abs=1e-12)


def test_a_single_update():
    assert [adaptive_alpha(x, 1, 5, p=5, q=10) for x in (0, 1)] == [0, 5]


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_constant_up_to_one(alpha):
    assert {adaptive_alpha(x, 100, alpha, p=5, q=10) for x in range(120)} == {alpha}


@pytest.mark.parametrize(
    "override,message",
    [
        ({"p": 10}, "0 < p < q, not p = 10, q = 10"),
        ({"p": 0}, "0 < p < q"),
        ({"p": -5, "q": -1}, "0 < p < q"),
        ({"p": math.nan}, "0 < p < q"),
        ({"q": math.inf}, "0 < p < q"),
        ({"alpha": -1}, "alpha must be a number of at least 0, not -1"),
        ({"alpha": math.nan}, "alpha must be"),
        ({"alpha": math.inf}, "alpha must be"),
        ({"max_updates": 0}, "at least 1, not 0"),
    ],
)
def test_rejects(override, message):
    arguments = {"num_updates": 1, "max_updates": 100, "alpha": 5, "p": 5, "q": 10} | override
    with pytest.raises(ValueError, match=message):
        adaptive_alpha(**arguments)
