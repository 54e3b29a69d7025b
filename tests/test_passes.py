import pytest
import tiny
import torch
from fairseq.distributed import ModuleProxyWrapper

from fairseq_intra.passes import draws_at_all, draws_per_forward, run_passes

LIGHTWEIGHT = {"arch": "lightconv", "encoder_conv_type": "lightweight", "decoder_conv_type": "lightweight"}
DYNAMIC = {"arch": "lightconv", "encoder_conv_type": "dynamic", "decoder_conv_type": "dynamic"}
#: What makes a model draw once for a whole forward, and what looks like it.
PER_FORWARD = {
    "encoder-layerdrop": {"encoder_layerdrop": 0.5, "encoder_layers": 4},
    "decoder-layerdrop": {"decoder_layerdrop": 0.5, "decoder_layers": 4},
    "quant-noise-pq": {"quant_noise_pq": 0.5, "quant_noise_pq_block_size": 4},
    "lightconv-weight-dropout": {**LIGHTWEIGHT, "weight_dropout": 0.5},
}
PER_ROW = {
    "transformer": {"dropout": 0.5},
    "attention-dropout": {"attention_dropout": 0.5},
    "activation-dropout": {"activation_dropout": 0.5},
    "lstm": {"arch": "lstm", "dropout": 0.5},
    "lstm-of-two-layers": {"arch": "lstm", "dropout": 0.5, "encoder_layers": 2, "decoder_layers": 2},
    "dynamicconv-weight-dropout": {**DYNAMIC, "weight_dropout": 0.5},
}
NEVER = {
    "transformer": {},
    "lstm": {"arch": "lstm"},
    "no-layerdrop": {"encoder_layerdrop": 0.0},
    "no-quant-noise": {"quant_noise_pq": 0.0},
    "no-weight-dropout": {**LIGHTWEIGHT, "weight_dropout": 0.0},
}


@pytest.fixture
def task():
    return tiny.translation_task()


def outputs(model, net_input, passes):
    """The output of every pass, [K, B, T, V]."""
    found = run_passes(model, net_input, passes)
    assert sum(copies for _, copies in found) == passes
    return torch.cat([output[0].unflatten(0, (-1, copies)).transpose(0, 1) for output, copies in found])


@pytest.mark.parametrize("settings", PER_FORWARD.values(), ids=PER_FORWARD)
def test_model_that_draws_once_a_forward_runs_once_a_pass(task, settings):
    model = tiny.Recording(tiny.model(task, **settings))
    assert draws_per_forward(model) and draws_at_all(model)
    net_input = tiny.sample(task)["net_input"]
    with tiny.seeded(3):
        found = run_passes(model, net_input, 4)
    assert [copies for _, copies in found] == [1] * 4
    assert [list(call) for call in model.calls] == [list(net_input)] * 4
    assert all(call[name] is net_input[name] for call in model.calls for name in net_input)
    assert any(not torch.equal(output[0], found[0][0][0]) for output, _ in found)


def test_scalar_quantisation_noise_is_noticed(task):
    """Its forward wants a GPU."""
    assert draws_per_forward(tiny.model(task, quant_noise_scalar=0.5))


@pytest.mark.parametrize("settings", PER_ROW.values(), ids=PER_ROW)
def test_model_that_draws_for_every_row_runs_once(task, settings):
    model = tiny.Recording(tiny.model(task, **settings))
    assert draws_at_all(model) and not draws_per_forward(model)
    with tiny.seeded(3):
        passes = outputs(model, tiny.sample(task)["net_input"], 4)
    assert len(model.calls) == 1
    first = passes[:, :, 0]
    for sentence in range(len(tiny.SENTENCES)):
        rows = {tuple(row) for row in first[:, sentence].tolist()}
        assert len(rows) > 1, "all copies of a sentence lost the same"


@pytest.mark.parametrize("settings", NEVER.values(), ids=NEVER)
def test_model_without_dropout_draws_nothing(task, settings):
    model = tiny.model(task, **settings)
    assert not draws_at_all(model)
    passes = outputs(model, tiny.sample(task)["net_input"], 2)
    torch.testing.assert_close(passes[0], passes[1])


def test_copies_of_a_sentence_stand_next_to_each_other(task):
    model = tiny.Recording(tiny.model(task))
    net_input = tiny.sample(task)["net_input"]
    run_passes(model, net_input, 3)
    (call,) = model.calls
    expected = tiny.sample(task, tiny.repeated(tiny.SENTENCES, 3))["net_input"]
    assert call.keys() == expected.keys()
    for name in expected:
        assert torch.equal(call[name], expected[name]), name


@pytest.mark.parametrize("arch", ["transformer", "lstm"])
def test_rows_of_a_pass_are_the_models_for_those_sentences(task, arch):
    model = tiny.model(task, arch)
    net_input = tiny.sample(task)["net_input"]
    expected = model(**net_input)[0]
    for logits in outputs(model, net_input, 3):
        torch.testing.assert_close(logits, expected)


def test_masks_of_all_copies_differ(task):
    model = tiny.model(task, dropout=0.5)
    with tiny.seeded(3):
        passes = outputs(model, tiny.sample(task, [tiny.SENTENCES[0]])["net_input"], 6)
    assert len({tuple(row) for row in passes.flatten(1).tolist()}) == 6


def test_arguments_that_are_no_tensors_pass_through(task):
    seen = []
    model = torch.nn.Module()
    model.forward = lambda **net_input: seen.append(net_input)
    run_passes(model, {"src_tokens": torch.ones(2, 3), "features_only": True, "constraints": None}, 2)
    assert seen[0]["features_only"] is True and seen[0]["constraints"] is None
    assert seen[0]["src_tokens"].shape == (4, 3)


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, PER_FORWARD["encoder-layerdrop"]])
def test_wrapped_model_is_called_through_its_wrapper(task, settings):
    """As fairseq wraps one for distributed training."""
    model = tiny.Recording(tiny.model(task, **settings))
    wrapped = ModuleProxyWrapper(model)
    assert draws_per_forward(wrapped) == ("dropout" not in settings)
    outputs(wrapped, tiny.sample(task)["net_input"], 3)
    assert len(model.calls) == (1 if "dropout" in settings else 3)
    with pytest.raises(AssertionError, match="called by itself"):
        model.module.decoder(tiny.sample(task)["net_input"]["prev_output_tokens"])
