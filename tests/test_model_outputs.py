import pytest
import tiny
import torch
from fairseq.distributed import ModuleProxyWrapper

from fairseq_intra.model_outputs import NoProjection, projection


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
