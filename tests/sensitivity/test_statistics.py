"""fairseq_intra/sensitivity/statistics.py: statistics by their definitions, parameters in their groups."""

import numpy as np
import pytest

from fairseq_intra.sensitivity import statistics as sensitivity_summary
from fairseq_intra.sensitivity.statistics import cumulative, curves, groups, part, statistics


def scores(count, zeros=0):
    values = np.random.default_rng(1).lognormal(-9, 2, count).astype(np.float32)
    values[:zeros] = 0
    return np.sort(values)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_statistics_are_what_numpy_says(monkeypatch, count):
    monkeypatch.setattr(sensitivity_summary, "_BLOCK", 64)
    values = scores(count)
    found, exact = statistics(values, 4.0), values.astype(np.float64)
    assert found["parameters"] == count
    assert found["mean"] == pytest.approx(exact.mean()) and found["std"] == pytest.approx(exact.std(), abs=1e-9)
    assert (found["mean_over_loss"], found["std_over_loss"]) == (found["mean"] / 4, found["std"] / 4)
    # Gini: half the mean distance between any two, relative to the mean.
    distance = np.abs(exact[:, None] - exact[None, :]).mean()
    assert found["gini"] == pytest.approx(distance / (2 * exact.mean()), abs=1e-9)
    for quantile, value in found["quantiles"].items():
        assert value == pytest.approx(np.quantile(exact, float(quantile)), rel=1e-6)
    if count == 1000:
        assert found["share_of_lowest_50_percent"] == pytest.approx(exact[:500].sum() / exact.sum())
        assert found["share_of_highest_20_percent"] == pytest.approx(exact[800:].sum() / exact.sum())


def test_equal_and_unequal():
    equal, one, none = np.ones(7, np.float32), np.eye(1, 1000, 999, dtype=np.float32)[0], np.zeros(5, np.float32)
    for values in (equal, none):
        found = statistics(values, 1.0)
        assert found["gini"] == pytest.approx(0, abs=1e-12)
        assert found["share_of_lowest_50_percent"] == pytest.approx(0.5)
        assert found["share_of_highest_20_percent"] == pytest.approx(0.2)
    found = statistics(one, 1.0)
    assert found["gini"] == pytest.approx(0.999)
    assert (found["share_of_lowest_50_percent"], found["share_of_highest_20_percent"]) == (0, 1)
    assert cumulative(equal, (0, 0.1, 1)) == pytest.approx([0, 0.1, 1])


@pytest.mark.parametrize(
    "values", [scores(500), scores(500, zeros=100), np.zeros(5, np.float32), np.ones(3, np.float32)]
)
def test_the_density_holds_every_score_once(values):
    found = curves(values)
    assert sum(found["shares"]) + found["zero"] == pytest.approx(1)
    assert len(found["cumulative"]) == 101 and found["cumulative"][-1] == pytest.approx(1)
    assert found["cumulative"] == sorted(found["cumulative"])
    if values.any():
        exponents = np.log10(values[values > 0])
        assert found["log10_from"] <= exponents.min() + 1e-6
        assert found["log10_from"] + 0.1 * len(found["shares"]) > exponents.max() - 1e-6


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.embed_tokens.weight", "embeddings"),
        ("decoder.embed_positions.weight", "embeddings"),
        ("decoder.output_projection.weight", "embeddings"),
        ("encoder.layernorm_embedding.weight", "norms"),
        ("decoder.layers.10.encoder_attn_layer_norm.bias", "norms"),
        ("encoder.layer_norm.weight", "norms"),
        ("decoder.layers.0.encoder_attn.k_proj.bias", "attention"),
        ("encoder.layers.3.self_attn.in_proj_weight", "attention"),
        ("encoder.layers.3.fc1.weight", "ffn"),
        ("decoder.lstm.weight_ih", "other"),
    ],
)
def test_parts(name, expected):
    assert part(name) == expected
    layer = [".".join(name.split(".")[:3])] if ".layers." in name else []
    assert list(groups([name])) == ["all", expected, *layer]
