"""The loops that torch.compile builds, against the reference in float64. Most tests share one build."""

import pytest
import torch
from loss_oracle import chunk_size, compare, compare_features, make, make_features

from fairseq_intra.loss import compiled, functional
from fairseq_intra.loss.functional import choose_implementation, intra_distillation_loss

X = {"alpha": 5.0, "label_smoothing": 0.1, "divergence": "x", "implementation": "compiled"}
K, V = 3, 33


@pytest.fixture(autouse=True, scope="module")
def cpp_compiler():
    """Asked for when a test runs: the answer takes a build, and every worker of pytest collects this file."""
    if obstacle := functional._why_no_build():
        pytest.skip(obstacle)


@pytest.mark.parametrize(
    "divergence,dtype",
    [("x", torch.float64), ("js", torch.float64), ("x", torch.bfloat16), ("x", torch.float16)],
)
def test_equals_oracle(divergence, dtype):
    compare(*make(K, 7, V, dtype), upstream=0.37, **X | {"divergence": divergence})


def test_one_build_serves_any_number_of_positions_and_any_alpha(monkeypatch):
    """Beside that for a single position. Adaptive alpha changes from update to update."""
    builds = []
    counting = torch.compile(compiled._of_passes, backend=_counting(builds))
    monkeypatch.setattr(compiled, "fused", lambda: counting)
    torch.compiler.reset()
    for number, positions in enumerate((7, 20, 1, 2, 5)):
        with chunk_size(K * V * 3):
            compare(*make(K, positions, V, torch.float32, seed=number), **X | {"alpha": number / 3})
    assert 1 <= len(builds) <= 3


def _counting(builds):
    def backend(graph, _inputs):
        builds.append(graph)
        return graph.forward

    return backend


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("divergence", ["x", "js"])
def test_equals_oracle_on_extreme_logits(divergence, scale):
    compare(*make(K, 7, V, torch.float32, scale), **X | {"divergence": divergence})


@pytest.mark.parametrize("passes,positions", [(K, 1), (K, 0), (1, 4)])
def test_equals_oracle_at_the_edges(passes, positions):
    compare(*make(passes, positions, V, torch.float32), **X)


def test_equal_passes_have_no_divergence():
    logits = torch.full((K, 4, V), 1e4) + torch.arange(float(V))
    found = intra_distillation_loss(logits.requires_grad_(), torch.arange(4), **X)
    assert found.divergence.item() == 0


def test_the_gradient_may_overwrite_the_logits():
    logits, target = make(K, 7, V, torch.float32)
    intra_distillation_loss(logits, target, **X).loss.backward()
    with chunk_size(K * V * 2):
        buffer = logits.detach().clone().requires_grad_()
        intra_distillation_loss(buffer, target, overwrite_logits=True, **X).loss.backward()
    torch.testing.assert_close(buffer.grad, logits.grad)
    torch.testing.assert_close(buffer.detach(), logits.grad)


def test_on_features_equals_oracle():
    with chunk_size(K * V * 3):
        compare_features(*make_features(K, 7, V, 4, torch.float32), **X)


@pytest.mark.parametrize(
    "device,because",
    [("cuda", "compiled runs on a CPU, not on cuda"), ("cpu", "compiled cannot be built here: no g..$")],
)
def test_says_what_it_lacks(monkeypatch, device, because):
    def compile_nothing(_function):
        raise RuntimeError("no g++\nMore about it.")

    monkeypatch.setattr(torch, "compile", compile_nothing)
    functional._why_no_build.cache_clear()
    try:
        with pytest.raises(ValueError, match=because):
            choose_implementation("compiled", torch.device(device), torch.float32, "x")
    finally:
        functional._why_no_build.cache_clear()
