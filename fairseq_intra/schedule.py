"""Adaptive alpha: the weight of the divergence grows with the update number (paper, section 3.3)."""

import math


def adaptive_alpha(num_updates: int, max_updates: int, alpha: float, p: float, q: float) -> float:
    """The weight of the divergence at update number `num_updates` of `max_updates`.

    With x the update number, N the total and gamma = log_{p/q}(1/alpha)::

        alpha(x) = alpha * (p x / N)^gamma   for x < N/p        alpha(x) = alpha   from there on

    so that alpha(N/q) = 1 and alpha(N/p) = alpha. An `alpha` of at most 1 has nothing to grow to and is constant.
    The value depends on the update number alone: a resumed run continues it.

    Raises:
        ValueError: if not 0 < p < q < inf, alpha < 0 or max_updates < 1.
    """
    if not 0 < p < q < math.inf:
        raise ValueError(f"temperatures must be finite and satisfy 0 < p < q, not p = {p}, q = {q}")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha}")
    if max_updates < 1:
        raise ValueError(f"the total number of updates must be at least 1, not {max_updates}")
    if alpha <= 1 or num_updates * p >= max_updates:
        return alpha
    gamma = math.log(1 / alpha) / math.log(p / q)
    return alpha * (p * num_updates / max_updates) ** gamma
