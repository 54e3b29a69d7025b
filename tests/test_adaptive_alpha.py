import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_intra.adaptive_alpha import adaptive_alpha


def test_published_setting():
    """The paper's alpha = 5, p = 5, q = 10 over 50,000 updates; gamma = log_{1/2}(1/5) = log2(5) = 2.3219."""
    values = {x: adaptive_alpha(x, 50_000, 5, p=5, q=10) for x in (0, 2_500, 5_000, 7_500, 10_000, 50_000)}
    # 5 (x / 10,000)^log2(5): a quarter of the way is 5/25, half is 5/5, three quarters is 5 * 0.75^2.3219.
    expected = {0: 0, 2_500: 0.2, 5_000: 1, 7_500: 2.563724, 10_000: 5, 50_000: 5}
    assert values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("alpha", [1.5, 2.0, 5.0, 100.0])
@pytest.mark.parametrize("p,q", [(5, 10), (20 / 3, 10), (1, 2), (2.5, 40)])
class TestAdaptiveAlpha:
    def test_one_after_the_share_1_q_and_full_after_the_share_1_p(self, alpha, p, q):
        total = 1_000_000
        assert adaptive_alpha(total / q, total, alpha, p, q) == pytest.approx(1)
        assert adaptive_alpha(math.ceil(total / p), total, alpha, p, q) == alpha
        assert adaptive_alpha(total, total, alpha, p, q) == alpha
        assert adaptive_alpha(total / p * 0.9999, total, alpha, p, q) == pytest.approx(alpha, rel=1e-2)

    def test_starts_from_nothing_and_never_falls(self, alpha, p, q):
        values = [adaptive_alpha(x, 1000, alpha, p, q) for x in range(1201)]
        assert values[0] == 0
        assert values == sorted(values)
        assert max(values) == alpha
        assert len(set(values)) == pytest.approx(1000 / p + 1, abs=1)

    def test_the_formula(self, alpha, p, q):
        total = 997
        gamma = math.log(1 / alpha, p / q)
        for x in range(1, math.floor(total / p)):
            expected = alpha * p**gamma * x**gamma / total**gamma
            assert adaptive_alpha(x, total, alpha, p, q) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_constant_up_to_one(alpha):
    assert {adaptive_alpha(x, 100, alpha, p=5, q=10) for x in range(120)} == {alpha}


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.floats(0, 1e6), st.floats(0.1, 50), st.floats(1.01, 10))
def test_between_nothing_and_alpha(num_updates, max_updates, alpha, p, ratio):
    assert 0 <= adaptive_alpha(num_updates, max_updates, alpha, p, p * ratio) <= alpha


@pytest.mark.parametrize(
    "override,message",
    [
        ({"p": 10}, "0 < p < q, not p = 10, q = 10"),
        ({"p": 11}, "0 < p < q"),
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
def test_refuses(override, message):
    arguments = {"num_updates": 1, "max_updates": 100, "alpha": 5, "p": 5, "q": 10} | override
    with pytest.raises(ValueError, match=message):
        adaptive_alpha(**arguments)
