import pytest
import tiny
import torch
from fairseq.distributed import ModuleProxyWrapper
from fairseq.models.wav2vec import wav2vec2

from fairseq_intra.errors import UsageError
from fairseq_intra.intra_distillation import IntraDistillation
from fairseq_intra.passes import choose_mode, has_dropout, has_noise_per_forward, joined_passes, run_passes

#: What makes a model draw once for a whole forward, and what looks like it.
PER_FORWARD = {
    "encoder-layerdrop": {"encoder_layerdrop": 0.5, "encoder_layers": 4},
    "decoder-layerdrop": {"decoder_layerdrop": 0.5, "decoder_layers": 4},
    "quant-noise-pq": {"quant_noise_pq": 0.5, "quant_noise_pq_block_size": 4},
    "lightconv-weight-dropout": {**tiny.LIGHTCONV, "weight_dropout": 0.5},
}
PER_ROW = {
    "transformer": {"dropout": 0.5},
    "attention-dropout": {"attention_dropout": 0.5},
    "activation-dropout": {"activation_dropout": 0.5},
    "lstm": {"arch": "lstm", "dropout": 0.5},
    "lstm-of-two-layers": {"arch": "lstm", "dropout": 0.5, "encoder_layers": 2, "decoder_layers": 2},
    "dynamicconv-weight-dropout": {**tiny.DYNAMICCONV, "weight_dropout": 0.5},
}
NEVER = {
    "transformer": {},
    "lstm": {"arch": "lstm"},
    "no-layerdrop": {"encoder_layerdrop": 0.0},
    "no-quant-noise": {"quant_noise_pq": 0.0},
    "no-weight-dropout": {**tiny.LIGHTCONV, "weight_dropout": 0.0},
}


@pytest.fixture
def task():
    return tiny.translation_task()


def outputs(model, net_input, num_passes, mode="auto", encoder_once=False):
    """The output of every pass, [K, B, T, V]."""
    mode = choose_mode(model, mode, encoder_once)
    found = run_passes(model, net_input, num_passes, mode, encoder_once)
    return joined_passes(found)


@pytest.mark.parametrize("settings", PER_FORWARD.values(), ids=PER_FORWARD)
def test_model_that_draws_once_a_forward_runs_once_a_pass(task, settings):
    model = tiny.Recording(tiny.model(task, **settings))
    assert has_noise_per_forward(model) and has_dropout(model)
    net_input = tiny.sample(task)["net_input"]
    with tiny.seeded(3):
        found = run_passes(model, net_input, 4, choose_mode(model, "auto"))
    assert [len(outputs) for outputs in found] == [1] * 4
    assert [list(call) for call in model.calls] == [list(net_input)] * 4
    assert all(call[name] is net_input[name] for call in model.calls for name in net_input)
    assert any(not torch.equal(outputs, found[0]) for outputs in found)


def test_scalar_quantisation_noise_is_noticed(task):
    """Its forward wants a GPU."""
    assert has_noise_per_forward(tiny.model(task, quant_noise_scalar=0.5))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_layers_of_models_of_speech_are_dropped_per_forward(rate):
    """By numpy, whose random state torch's checkpoint does not repeat."""
    sizes = {f"encoder_{name}": size for name, size in {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 16}.items()}
    sizes |= {"encoder_attention_heads": 2, "conv_pos": 4, "conv_pos_groups": 2}
    encoder = wav2vec2.TransformerEncoder(wav2vec2.Wav2Vec2Config(**sizes, encoder_layerdrop=rate))
    assert has_noise_per_forward(encoder) == bool(rate)
    if rate:
        assert choose_mode(encoder, "auto") == "sequential"
        with pytest.raises(UsageError, match="--passes recompute cannot repeat .* by numpy, .*; use sequential"):
            choose_mode(encoder, "recompute")


@pytest.mark.parametrize("masked", ["mask_prob", "mask_channel_prob"])
def test_masks_of_models_of_speech_cannot_be_repeated(task, masked):
    """They are of each example, sampled by numpy (fairseq/models/speech_to_text/s2t_wav_transformer.py)."""
    model = tiny.model(task, dropout=0.1)
    model.encoder.mask_prob, model.encoder.mask_channel_prob = 0.0, 0.0
    assert choose_mode(model, "recompute") == "recompute"
    setattr(model.encoder, masked, 0.5)
    assert choose_mode(model, "auto") == "batched"
    with pytest.raises(UsageError, match="--passes recompute cannot repeat .* by numpy, .*; use sequential"):
        choose_mode(model, "recompute")


@pytest.mark.parametrize("settings", PER_ROW.values(), ids=PER_ROW)
def test_model_that_draws_for_every_row_runs_once(task, settings):
    model = tiny.Recording(tiny.model(task, **settings))
    assert has_dropout(model) and not has_noise_per_forward(model)
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
    assert not has_dropout(model)
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
    model.forward = lambda **net_input: seen.append(net_input) or [net_input["src_tokens"]]
    run_passes(model, {"src_tokens": torch.ones(2, 3), "features_only": True, "constraints": None}, 2)
    assert seen[0]["features_only"] is True and seen[0]["constraints"] is None
    assert seen[0]["src_tokens"].shape == (4, 3)


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, PER_FORWARD["encoder-layerdrop"]])
def test_wrapped_model_is_called_through_its_wrapper(task, settings):
    """As fairseq wraps one for distributed training."""
    model = tiny.Recording(tiny.model(task, **settings))
    wrapped = ModuleProxyWrapper(model)
    assert has_noise_per_forward(wrapped) == ("dropout" not in settings)
    outputs(wrapped, tiny.sample(task)["net_input"], 3)
    assert len(model.calls) == (1 if "dropout" in settings else 3)
    with pytest.raises(AssertionError, match="called by itself"):
        model.module.decoder(tiny.sample(task)["net_input"]["prev_output_tokens"])


def gradients(model, net_input, mode, num_passes=3, seed=3):
    """Of a function of all passes' outputs."""
    model.zero_grad()
    with tiny.seeded(seed):
        found = outputs(model, net_input, num_passes, mode)
    weight = torch.linspace(-1, 1, found.numel()).view_as(found)
    (found.tanh() * weight).sum().backward()
    return tiny.gradients(model)


RECOMPUTABLE = {name: setting for name, setting in PER_FORWARD.items() if "quant" not in name} | PER_ROW


@pytest.mark.parametrize("settings", RECOMPUTABLE.values(), ids=RECOMPUTABLE)
def test_recompute_is_sequential_bit_for_bit(task, settings):
    model = tiny.model(task, **settings)
    net_input = tiny.sample(task)["net_input"]
    expected = gradients(model, net_input, "sequential")
    found = gradients(model, net_input, "recompute")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # Else every update would wrap forward once more.
    assert not any("forward" in vars(part) for part in model.modules())
    other = gradients(model, net_input, "sequential", seed=4)
    assert not all(torch.equal(other[name], expected[name]) for name in expected)


@pytest.mark.parametrize("settings", [{}, {"share_all_embeddings": True}, {"checkpoint_activations": True}], ids=str)
def test_recompute_with_shared_weights_and_fairseqs_own_checkpoints(task, settings):
    model = tiny.model(task, dropout=0.5, **settings)
    net_input = tiny.sample(task)["net_input"]
    expected = gradients(model, net_input, "sequential")
    found = gradients(model, net_input, "recompute")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_recompute_leaves_the_random_state_where_sequential_does(task):
    model = tiny.model(task, dropout=0.5)
    after = []
    for mode in ("sequential", "recompute"):
        with tiny.seeded(3):
            outputs(model, tiny.sample(task)["net_input"], 3, mode).sum().backward()
            after.append(torch.rand(3))
    assert torch.equal(*after)


def test_recompute_keeps_no_activations_and_runs_each_pass_twice(task):
    model = tiny.Recording(tiny.model(task, dropout=0.5))
    runs, kept = [], []
    model.module.encoder.layers[0].register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    # In a recomputation the parts are called below the wrapper, as they have to be.
    for part in (model.module.encoder, model.module.decoder):
        part._forward_pre_hooks.clear()
    net_input = tiny.sample(task)["net_input"]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        found = outputs(model, net_input, 3, "recompute")
    assert len(runs) == len(model.calls) == 3
    rows = found.shape[1] * found.shape[2]
    assert not [numel for numel in kept if numel > 3 * rows * found.shape[3]]
    found.sum().backward()
    assert len(runs) == 6 and len(model.calls) == 3, "the wrapper is not called a second time"


@pytest.mark.parametrize("arch", ["transformer", "lstm"])
def test_without_dropout_every_way_gives_the_same(task, arch):
    model, net_input = tiny.model(task, arch), tiny.sample(task)["net_input"]
    expected = gradients(model, net_input, "batched")
    for mode in ("sequential", "recompute"):
        torch.testing.assert_close(gradients(model, net_input, mode), expected, rtol=1e-4, atol=1e-5)


class TestEncoderOnce:
    @pytest.mark.parametrize("settings", [{}, {"arch": "lstm"}, tiny.DYNAMICCONV], ids=str)
    def test_encoder_runs_over_the_sentences_themselves(self, task, settings):
        model, net_input = tiny.model(task, **settings), tiny.sample(task)["net_input"]
        seen = []
        model.encoder.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args[0] if args else kwargs["src_tokens"]).shape), with_kwargs=True
        )
        passes = outputs(model, net_input, 3, encoder_once=True)
        assert seen == [net_input["src_tokens"].shape]
        expected = model(**net_input)[0]
        for logits in passes:
            torch.testing.assert_close(logits, expected)

    def test_all_passes_share_what_the_encoder_dropped(self, task):
        model = tiny.model(task, dropout=0.5)
        model.decoder.apply(lambda module: setattr(module, "p", 0.0) if hasattr(module, "p") else None)
        with tiny.seeded(3):
            passes = outputs(model, tiny.sample(task)["net_input"], 3, encoder_once=True)
            other = outputs(model, tiny.sample(task)["net_input"], 3, encoder_once=True)
        torch.testing.assert_close(passes[0], passes[1])
        assert not torch.allclose(passes[0], other[0])

    def test_decoder_passes_differ(self, task):
        model = tiny.model(task, dropout=0.5)
        with tiny.seeded(3):
            passes = outputs(model, tiny.sample(task)["net_input"], 3, encoder_once=True)
        assert not torch.allclose(passes[0], passes[1])

    def test_encoder_may_draw_once_a_forward(self, task):
        assert choose_mode(tiny.model(task, encoder_layerdrop=0.5), "auto", encoder_once=True) == "batched"

    def test_leaves_the_model_as_it_was(self, task):
        model, net_input = tiny.model(task), tiny.sample(task)["net_input"]
        outputs(model, net_input, 3, encoder_once=True)
        assert len(model(**net_input)[0]) == len(tiny.SENTENCES)


class DataParallel(torch.nn.parallel.DistributedDataParallel):
    """Holds a model as torch's does, without other workers."""

    def __init__(self, module):
        torch.nn.Module.__init__(self)
        self.module = module


def test_layers_that_a_worker_drops_do_not_go_with_torch_s_data_parallelism(task):
    dropped = DataParallel(tiny.model(task, **PER_FORWARD["encoder-layerdrop"]))
    with pytest.raises(UsageError, match="use --ddp-backend legacy_ddp"):
        IntraDistillation(2, 1, "X", "auto").plan(dropped)
    assert IntraDistillation(1, 1, "X", "auto").plan(dropped).mode == "sequential"
    assert IntraDistillation(2, 1, "X", "auto").plan(DataParallel(tiny.model(task, dropout=0.1))).mode == "batched"
    assert IntraDistillation(2, 1, "X", "auto").plan(dropped.module).mode == "sequential"


def test_checkpointed_activations_go_with_torch_s_data_parallelism_in_one_forward(task):
    model = tiny.model(task, checkpoint_activations=True, dropout=0.1)
    for mode, one_pass in (("sequential", "sequential"), ("recompute", "batched")):
        with pytest.raises(UsageError, match=f"--passes {mode} by torch's .* use --passes batched"):
            IntraDistillation(2, 1, "X", mode).plan(DataParallel(model))
        assert IntraDistillation(2, 1, "X", mode).plan(model).mode == mode
        assert IntraDistillation(1, 1, "X", mode).plan(DataParallel(model)).mode == one_pass
    assert IntraDistillation(2, 1, "X", "auto").plan(DataParallel(model)).mode == "batched"


def test_noise_that_overwrites_the_weights_is_for_one_pass(task):
    """A second forward would begin with the zeros of the first."""
    model = tiny.model(task, quant_noise_pq=0.2, quant_noise_pq_block_size=4)
    weight, zeros = model.decoder.layers[0].fc1.weight, []
    with tiny.seeded(3):
        for _ in range(3):
            model(**tiny.sample(task)["net_input"])
            zeros.append(int((weight == 0).sum()))
    assert 0 < zeros[0] < zeros[1] < zeros[2]
    for passes in ("auto", "recompute"):
        with pytest.raises(UsageError, match="--quant-noise-pq .* leave that flag out, or train with --num-iter 1"):
            IntraDistillation(3, 1, "X", passes).plan(model)
        # To repeat the one pass would add other noise.
        assert IntraDistillation(1, 1, "X", passes).plan(model).mode == "sequential"


@pytest.mark.parametrize(
    "settings,mode,encoder_once,message",
    [
        (
            {"decoder_layerdrop": 0.5},
            "batched",
            False,
            "--passes batched would use identical .*; use --passes seq",
        ),
        (
            {"decoder_layerdrop": 0.5},
            "auto",
            True,
            "--encoder-once would use identical .*; leave that flag out",
        ),
        ({}, "sequential", True, "--encoder-once works with --passes batched, not sequential"),
        ({}, "recompute", True, "--encoder-once works with --passes batched, not recompute"),
        (PER_FORWARD["quant-noise-pq"], "recompute", False, "--passes recompute cannot repeat a pass with quant"),
    ],
)
def test_rejects_modes_that_are_not_the_method(task, settings, mode, encoder_once, message):
    with pytest.raises(UsageError, match=message):
        choose_mode(tiny.model(task, **settings), mode, encoder_once)


@pytest.mark.parametrize("flags", [("batched",), ("auto", True)], ids=str)
def test_one_pass_runs_in_any_mode(task, flags):
    model = tiny.model(task, decoder_layerdrop=0.5)
    with pytest.raises(UsageError, match="would use identical dropout masks in all passes"):
        IntraDistillation(2, 1, "X", *flags).plan(model)
    assert not IntraDistillation(1, 1, "X", *flags).plan(model).encoder_once


def test_encoder_once_needs_an_encoder(task):
    model = tiny.model(task)
    del model.encoder
    with pytest.raises(UsageError, match="--encoder-once needs a model with an encoder"):
        choose_mode(model, "auto", encoder_once=True)


@pytest.mark.parametrize("settings", PER_FORWARD.values(), ids=PER_FORWARD)
def test_auto_is_sequential_where_a_forward_draws_once(task, settings):
    assert choose_mode(tiny.model(task, **settings), "auto") == "sequential"


def test_what_is_asked_for_is_done_where_it_can_be(task):
    model = tiny.model(task, dropout=0.5)
    assert choose_mode(model, "auto") == "batched"
    assert [choose_mode(model, mode) for mode in ("batched", "sequential", "recompute")] == [
        "batched",
        "sequential",
        "recompute",
    ]
