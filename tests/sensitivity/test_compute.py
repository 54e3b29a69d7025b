"""fairseq_intra/sensitivity/compute.py: exact to first order, and what it does and does not depend on."""

import pytest
import tiny
import tiny_head
import torch
from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion

from fairseq_intra.errors import UsageError
from fairseq_intra.sensitivity.compute import sensitivity

#: Pairs whose targets, with the end of sentence, have four tokens each.
EQUAL = [([5, 9, 7], [9, 5, 6]), ([7, 4], [8, 9, 11]), ([10], [6, 4, 4]), ([6, 6, 8, 11], [7, 10, 5])]


@pytest.fixture(scope="module")
def task():
    return tiny.translation_task()


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """fairseq takes every softmax in float32, whatever it is of."""
    monkeypatch.setattr(utils, "softmax", lambda x, dim, onnx_trace=False: x.softmax(dim))
    monkeypatch.setattr(utils, "log_softmax", lambda x, dim, onnx_trace=False: x.log_softmax(dim))


def made(task):
    """A model that would use dropout in training."""
    return tiny.model(task, dropout=0.3, share_all_embeddings=True).double()


def found(task, *batches, gradient_of="batch", model=None):
    """The sensitivity on batches of sentences."""
    model = made(task) if model is None else model
    criterion = LabelSmoothedCrossEntropyCriterion(task, False, 0.1)
    return sensitivity(model, [tiny.sample(task, batch) for batch in batches], criterion, gradient_of)


def mean_loss(task, model, *batches):
    """Mean over batches of the mean loss a token."""
    criterion = LabelSmoothedCrossEntropyCriterion(task, False, 0.1)
    with torch.no_grad():
        results = [criterion(model.eval(), tiny.sample(task, batch)) for batch in batches]
    return sum(loss.item() / log["ntokens"] for loss, _, log in results) / len(batches)


def assert_same(found, expected):
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-9, atol=1e-13)
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)


def test_of_a_model_trained_to_the_mean_over_sentences_tokens_count_too(task):
    samples = [tiny.sample(task, tiny.SENTENCES)]
    by_token, by_sentence = (
        sensitivity(made(task), samples, LabelSmoothedCrossEntropyCriterion(task, sentence_avg, 0.1), "batch")
        for sentence_avg in (False, True)
    )
    assert_same(by_sentence, by_token)


def test_the_score_is_the_change_of_the_loss_to_first_order(task):
    """Against central differences, of some numbers of every parameter."""
    model = made(task)
    result = found(task, tiny.SENTENCES, model=model)
    assert result.loss == pytest.approx(mean_loss(task, model, tiny.SENTENCES))
    step, checked = 1e-5, 0
    for name, parameter in model.named_parameters():
        values, scores = parameter.data.view(-1), result.scores[name].view(-1)
        for i in {len(values) // 2, int(scores.argmax())}:
            value, losses = values[i].item(), []
            for factor in (1 + step, 1 - step):
                values[i] = value * factor
                losses.append(mean_loss(task, model, tiny.SENTENCES))
            values[i] = value
            assert scores[i].item() == pytest.approx(abs(losses[0] - losses[1]) / (2 * step), rel=1e-5, abs=1e-9), (
                name
            )
            checked += scores[i].item() > 1e-6
    assert checked > 30


def test_removing_a_parameter_changes_the_loss_by_its_score(task):
    """Which the score estimates: the nearer, the smaller the parameter."""
    model = made(task)
    weight = model.decoder.layers[0].fc1.weight.data
    weight[0, 0] = 1e-4
    score = found(task, tiny.SENTENCES, model=model).scores["decoder.layers.0.fc1.weight"][0, 0].item()
    before = mean_loss(task, model, tiny.SENTENCES)
    weight[0, 0] = 0
    assert abs(mean_loss(task, model, tiny.SENTENCES) - before) == pytest.approx(score, rel=1e-3)
    assert score > 1e-8


def test_the_mean_over_batches_is_that_of_each(task):
    apart = [found(task, [sentence]) for sentence in tiny.SENTENCES]
    together = found(task, *([sentence] for sentence in tiny.SENTENCES))
    for name, score in together.scores.items():
        torch.testing.assert_close(score, sum(one.scores[name] for one in apart) / 3)
    assert (together.batches, together.sentences, together.tokens) == (3, 3, 4 + 6 + 2)


def test_order_padding_and_repetition_do_not_matter(task):
    first, second, third = tiny.SENTENCES
    expected = found(task, [first, second], [third])
    assert_same(found(task, [third], [second, first]), expected)
    assert_same(found(task, [first, second], [third], [third], [second, first]), expected)
    assert_same(found(task, [first, second, second, first], [third, third, third]), expected)


def test_of_the_split_how_batches_are_cut_does_not_matter(task):
    whole = found(task, tiny.SENTENCES)
    first, second, third = tiny.SENTENCES
    for cut in ([tiny.SENTENCES], [[first], [second], [third]], [[third, first], [second]]):
        assert_same(found(task, *cut, gradient_of="split"), whole)


def test_of_batches_smaller_ones_give_more_except_where_their_signs_agree(task):
    """Batches of equally many tokens; a batch's mean gradient is then the mean of its halves'."""
    whole, halves = found(task, EQUAL), found(task, EQUAL[:2], EQUAL[2:])
    quarters = found(task, *([sentence] for sentence in EQUAL))
    grown = 0
    for name, score in whole.scores.items():
        assert (halves.scores[name] >= score - 1e-15).all() and (
            quarters.scores[name] >= halves.scores[name] - 1e-15
        ).all()
        grown += (halves.scores[name] > 1.01 * score).sum().item()
    assert grown > 100
    # Where both halves' gradients have one sign, nothing cancels.
    agree = [
        torch.isclose(halves.scores[name], score, rtol=1e-9).sum().item() for name, score in whole.scores.items()
    ]
    assert sum(agree) > 100
    assert quarters.loss == pytest.approx(whole.loss)


def test_tied_embeddings_count_once_under_the_encoder_s_name(task):
    model = made(task)
    result = found(task, tiny.SENTENCES, model=model)
    embeddings = [name for name in result.scores if "embed_tokens" in name or "output_projection" in name]
    assert embeddings == ["encoder.embed_tokens.weight"]
    assert sum(score.numel() for score in result.scores.values()) == sum(p.numel() for p in model.parameters())
    # All its uses count: taken apart, encoder, decoder and projection have three gradients, which add up.
    apart = tiny.model(task, share_all_embeddings=False, share_decoder_input_output_embed=False).double()
    apart.load_state_dict(model.state_dict())
    criterion = LabelSmoothedCrossEntropyCriterion(task, False, 0.1)
    loss, _, log = criterion(apart.eval(), tiny.sample(task))
    (loss / log["ntokens"]).backward()
    total = apart.encoder.embed_tokens.weight.grad + apart.decoder.embed_tokens.weight.grad
    total = total + apart.decoder.output_projection.weight.grad
    expected = (total * model.encoder.embed_tokens.weight).abs().detach()
    torch.testing.assert_close(result.scores["encoder.embed_tokens.weight"], expected)


def test_frozen_and_unused_parameters_are_scored_as_well(task):
    model = made(task)
    expected = found(task, tiny.SENTENCES)
    model.encoder.requires_grad_(False)
    model.unused = torch.nn.Parameter(torch.ones(3))
    for gradient_of in ("batch", "split"):
        result = found(task, tiny.SENTENCES, model=model, gradient_of=gradient_of)
        assert not result.scores.pop("unused").any()
        assert_same(result, expected)


def test_gradients_do_not_pile_up(task):
    """Two copies of the model: parameters and scores."""
    model, most = made(task), []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _: most.append(sum(one.grad is not None for one in model.parameters()))
        )
    found(task, tiny.SENTENCES, tiny.SENTENCES, model=model)
    assert max(most) == 1 and all(parameter.grad is None for parameter in model.parameters())


def test_nothing_and_nonsense_are_refused(task):
    with pytest.raises(UsageError, match="no mini-batch"):
        found(task)
    model = made(task)
    model.decoder.layers[0].fc1.weight.data[0, 0] = float("nan")
    with pytest.raises(UsageError, match="the loss of mini-batch 1 is nan"):
        found(task, tiny.SENTENCES, model=model)


def test_of_classification_the_loss_is_the_mean_over_examples():
    task = tiny_head.task()
    model, sample = tiny.roberta(task), tiny_head.sample(task)
    criterion = SentencePredictionCriterion(SentencePredictionConfig(), task)
    loss, size, logged = criterion(model.eval(), sample)
    assert size < logged["ntokens"]
    for gradient_of in ("batch", "split"):
        measured = sensitivity(model, [sample, sample], criterion, gradient_of)
        assert measured.loss == pytest.approx(loss.item() / size, rel=1e-5)
