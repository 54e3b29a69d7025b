import pytest
import tiny
import torch
from fairseq.distributed import ModuleProxyWrapper

from fairseq_intra.errors import UsageError
from fairseq_intra.model_outputs import NoProjection, projection, reject_other_outputs


@pytest.fixture
def task():
    return tiny.translation_task()


TRANSFORMERS = {
    "untied": {},
    "tied": {"share_decoder_input_output_embed": True},
    "all": {"share_all_embeddings": True},
}


@pytest.mark.parametrize("settings", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_of_a_transformer_makes_logits_of_features(task, settings):
    model = tiny.model(task, **settings)
    net_input = tiny.sample(task)["net_input"]
    features = model(**net_input, features_only=True)[0]
    expected = model(**net_input)[0]
    layer = projection(ModuleProxyWrapper(tiny.Recording(model)))
    torch.testing.assert_close(layer(features), expected)
    assert (layer.weight is model.decoder.embed_tokens.weight) == bool(settings)


@pytest.mark.parametrize("settings", [{"arch": "lstm"}, tiny.DYNAMICCONV], ids=["lstm", "dynamicconv"])
def test_none_where_features_are_not_offered(task, settings):
    with pytest.raises(NoProjection, match="does not offer its features apart from its logits"):
        projection(tiny.model(task, **settings))


def test_none_where_the_decoder_does_it_in_its_own_way(task):
    model = tiny.model(task)
    model.decoder.__class__ = type("Other", (type(model.decoder),), {"output_layer": lambda self, x: x})
    with pytest.raises(NoProjection):
        projection(model)


def test_none_where_unused_parameters_are_looked_for(task):
    wrapped = tiny.Recording(tiny.model(task))
    wrapped.find_unused_parameters = True
    with pytest.raises(NoProjection, match="--find-unused-parameters"):
        projection(ModuleProxyWrapper(wrapped))


def test_a_model_that_makes_probabilities_in_another_way_is_rejected(task):
    """As fairseq's transformer_pointer_generator (examples/pointer_generator), which returns probabilities."""

    def get_normalized_probs(net_output, log_probs, sample=None):
        return net_output[0].clamp(1e-10, 1.0).log() if log_probs else net_output[0]

    model = tiny.model(task)
    reject_other_outputs(ModuleProxyWrapper(tiny.Recording(model)), "intra_distillation")
    model.get_normalized_probs = get_normalized_probs
    with pytest.raises(UsageError, match="intra_distillation needs logits, .* a TransformerModel makes them in an"):
        reject_other_outputs(ModuleProxyWrapper(tiny.Recording(model)), "intra_distillation")


@pytest.mark.parametrize(
    "settings", [{}, {"arch": "lstm"}, tiny.DYNAMICCONV], ids=["transformer", "lstm", "dynamicconv"]
)
def test_models_that_make_them_by_softmax_are_taken(task, settings):
    reject_other_outputs(tiny.model(task, **settings), "intra_distillation")
