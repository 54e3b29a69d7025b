"""The criterion against fairseq's own label-smoothed cross-entropy and the definitions."""

import logging
import math

import pytest
import tiny
import torch
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    label_smoothed_nll_loss,
)
from fairseq.distributed import ModuleProxyWrapper
from fairseq.logging import metrics

import fairseq_intra.criterion
from fairseq_intra.criterion import IntraDistillationCriterion
from fairseq_intra.errors import UsageError
from fairseq_intra.intra_distillation import log_mean
from fairseq_intra.loss.definitions import DIVERGENCES

PLAIN_KEYS = {"loss", "nll_loss", "ntokens", "nsentences", "sample_size"}
MODELS = pytest.mark.parametrize("arch", ["transformer", "lstm"])


@pytest.fixture
def task():
    return tiny.translation_task()


def plain(task, sentence_avg=False, **options):
    return LabelSmoothedCrossEntropyCriterion(task, sentence_avg, 0.1, **options)


def ours(task, sentence_avg=False, **options):
    return IntraDistillationCriterion(task, sentence_avg, 0.1, **options)


def assert_same(found, expected):
    """Of two steps, `found` possibly with more in its logging output."""
    (loss, sample_size, logged, grads), (other_loss, other_size, other_logged, other_grads) = found, expected
    torch.testing.assert_close(loss, other_loss)
    assert sample_size == other_size
    for name in other_logged:
        torch.testing.assert_close(torch.as_tensor(logged[name]), torch.as_tensor(other_logged[name]), msg=name)
    torch.testing.assert_close(grads, other_grads, rtol=1e-4, atol=1e-5)
    assert any(grad.any() for grad in grads.values())


def reduced(*logging_outputs):
    return tiny.logged(IntraDistillationCriterion, *logging_outputs)


@pytest.mark.parametrize("sentence_avg", [False, True])
@pytest.mark.parametrize("options", [{}, {"report_accuracy": True}, {"ignore_prefix_size": 2}])
@MODELS
def test_one_pass_is_plain_training(task, arch, options, sentence_avg):
    model = tiny.model(task, arch, dropout=0.3)
    expected = tiny.step(plain(task, sentence_avg, **options), model, tiny.sample(task))
    found = tiny.step(ours(task, sentence_avg, num_iter=1, **options), model, tiny.sample(task))
    assert_same(found, expected)
    assert abs(found[2]["intra_distillation_loss"]) < 1e-6


@pytest.mark.parametrize("passes", [2, 3])
@MODELS
def test_passes_without_dropout_are_plain_training(task, arch, passes):
    """Whatever alpha is: passes that agree have no divergence."""
    model = tiny.model(task, arch)
    for alpha in (0.0, 5.0):
        found = tiny.step(ours(task, num_iter=passes, alpha=alpha), model, tiny.sample(task))
        assert_same(found, tiny.step(plain(task), model, tiny.sample(task)))


@MODELS
def test_alpha_zero_is_plain_training_on_repeated_sentences(task, arch):
    model = tiny.model(task, arch, dropout=0.3)
    loss, _, logged, grads = tiny.step(ours(task, num_iter=3, alpha=0.0), model, tiny.sample(task))
    repeated = tiny.sample(task, tiny.repeated(tiny.SENTENCES, 3))
    other_loss, _, other_logged, other_grads = tiny.step(plain(task), model, repeated)
    torch.testing.assert_close(loss, other_loss / 3)
    torch.testing.assert_close(logged["nll_loss"], other_logged["nll_loss"] / 3)
    torch.testing.assert_close(grads, {name: grad / 3 for name, grad in other_grads.items()}, rtol=1e-4, atol=1e-6)
    assert logged["intra_distillation_loss"] > 0.01
    assert logged["ntokens"] == logged["sample_size"] == tiny.sample(task)["ntokens"]


@pytest.mark.parametrize("div", ["X", "JS"])
@pytest.mark.parametrize("ignore_prefix_size", [0, 1, -1])
@MODELS
def test_loss_and_gradients_are_those_of_the_definition(task, arch, ignore_prefix_size, div):
    model, passes, alpha = tiny.model(task, arch, dropout=0.3), 3, 2.5
    options = {"num_iter": passes, "alpha": alpha, "div": div, "ignore_prefix_size": ignore_prefix_size}
    loss, _, logged, grads = tiny.step(ours(task, **options), model, tiny.sample(task))

    model.zero_grad()
    repeated = tiny.sample(task, tiny.repeated(tiny.SENTENCES, passes))
    with tiny.seeded(5):
        logits = model(**repeated["net_input"])[0].unflatten(0, (-1, passes)).transpose(0, 1)
    expected, spread = definition(task, logits, alpha, div, max(0, ignore_prefix_size))
    assert_are(model, (loss, logged, grads), expected, spread)


@pytest.mark.parametrize("div", ["X", "JS"])
def test_separate_passes_give_the_definition_too(task, div):
    """A model with LayerDrop."""
    model, passes, alpha = tiny.model(task, encoder_layerdrop=0.5, encoder_layers=4), 3, 2.5
    loss, _, logged, grads = tiny.step(ours(task, num_iter=passes, alpha=alpha, div=div), model, tiny.sample(task))

    model.zero_grad()
    with tiny.seeded(5):
        logits = torch.stack([model(**tiny.sample(task)["net_input"])[0] for _ in range(passes)])
    expected, spread = definition(task, logits, alpha, div)
    assert_are(model, (loss, logged, grads), expected, spread)


WAYS = {
    "on-features": {},
    "on-features-sequential": {"passes": "sequential"},
    "on-features-recompute": {"passes": "recompute"},
    "on-logits": {"report_accuracy": True},
    "on-logits-recompute": {"report_accuracy": True, "passes": "recompute"},
    "reference": {"id_loss": "reference"},
    "reference-sequential": {"id_loss": "reference", "passes": "sequential"},
}


@pytest.mark.parametrize("settings", [{}, {"share_all_embeddings": True}], ids=["untied", "tied"])
@pytest.mark.parametrize("div", ["X", "JS"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_gives_the_definition(task, way, div, settings):
    model, passes, alpha = tiny.model(task, dropout=0.3, **settings), 3, 2.5
    options = {"num_iter": passes, "alpha": alpha, "div": div, "ignore_prefix_size": 1, **way}
    loss, _, logged, grads = tiny.step(ours(task, **options), model, tiny.sample(task))

    model.zero_grad()
    with tiny.seeded(5):
        if "passes" in way:
            logits = torch.stack([model(**tiny.sample(task)["net_input"])[0] for _ in range(passes)])
        else:
            repeated = tiny.sample(task, tiny.repeated(tiny.SENTENCES, passes))
            logits = model(**repeated["net_input"])[0].unflatten(0, (-1, passes)).transpose(0, 1)
    assert_are(model, (loss, logged, grads), *definition(task, logits, alpha, div, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_give_what_logits_give_under_autocast(task, dtype):
    model = tiny.model(task, dropout=0.3)
    found = []
    for report_accuracy in (False, True):
        model.zero_grad()
        with tiny.seeded(5), torch.autocast("cpu", dtype):
            loss = ours(task, report_accuracy=report_accuracy)(model, tiny.sample(task))[0]
        (128 * loss).backward()
        found.append((loss.detach(), tiny.gradients(model)))
    (on_features, ours_grads), (on_logits, grads) = found
    assert on_features.dtype == torch.float32
    torch.testing.assert_close(on_features, on_logits, rtol=1e-2, atol=0)
    # Of all gradients, for some are nothing but what rounding leaves of zero.
    size = max(grad.abs().max().item() for grad in grads.values())
    for name in grads:
        torch.testing.assert_close(ours_grads[name], grads[name], rtol=0.05, atol=0.01 * size, msg=name)


def test_encoder_once_is_the_definition_on_its_passes(task):
    model, sample = tiny.model(task, dropout=0.3), tiny.sample(task)
    loss, _, logged, grads = tiny.step(ours(task, num_iter=3, alpha=2.5, encoder_once=True), model, sample)
    model.zero_grad()
    net_input = sample["net_input"]
    with tiny.seeded(5):
        encoder_out = model.encoder(net_input["src_tokens"], src_lengths=net_input["src_lengths"])
        rows = torch.arange(len(tiny.SENTENCES)).repeat_interleave(3)
        repeated = net_input["prev_output_tokens"][rows]
        logits = model.decoder(repeated, encoder_out=model.encoder.reorder_encoder_out(encoder_out, rows))[0]
    expected = definition(task, logits.unflatten(0, (-1, 3)).transpose(0, 1), 2.5, "X")
    assert_are(model, (loss, logged, grads), *expected)


class TestLogLine:
    def line(self, caplog, criterion, model, sample):
        with caplog.at_level(logging.INFO, fairseq_intra.criterion.__name__):
            for _ in range(2):
                criterion(model, sample)
        (found,) = [message for record in caplog.records if "loss by" in (message := record.getMessage())]
        return found

    @pytest.mark.parametrize(
        "settings,options,expected",
        [
            ({}, {}, "3 passes, batched; loss by torch on features"),
            ({}, {"encoder_once": True}, "3 passes, batched, through the encoder once; loss by torch on features"),
            ({"decoder_layerdrop": 0.2}, {}, "3 passes, sequential; loss by torch on features"),
            ({}, {"passes": "recompute", "num_iter": 2}, "2 passes, recompute; loss by torch on features"),
            ({}, {"id_loss": "reference"}, "3 passes, batched; loss by reference on logits"),
            ({}, {"report_accuracy": True}, "loss by torch on logits (--report-accuracy reads them)"),
            (
                {"arch": "lstm"},
                {},
                "loss by torch on logits (LSTMModel does not offer its features apart from its logits)",
            ),
        ],
        ids=str,
    )
    def test_says_once_what_is_done_and_why(self, task, caplog, settings, options, expected):
        model = tiny.model(task, dropout=0.3, **settings)
        assert self.line(caplog, ours(task, **options), model, tiny.sample(task)).endswith(expected)


def test_decoder_without_dropout_is_warned_of_where_the_encoder_runs_once(task, caplog):
    model = tiny.model(task, encoder_layerdrop=0.3)
    with caplog.at_level(logging.WARNING, fairseq_intra.criterion.__name__):
        ours(task, encoder_once=True)(model, tiny.sample(task))
    assert [record.getMessage().startswith("the decoder has no dropout") for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "options,message",
    [
        ({"id_loss": "triton"}, "--id-loss triton runs on a GPU, not on cpu"),
        ({"id_loss": "triton", "div": "JS"}, "--id-loss triton has no kernel for JS"),
    ],
)
def test_refuses_triton_where_it_cannot_run(task, options, message):
    with pytest.raises(UsageError, match=message):
        ours(task, **options)(tiny.model(task, dropout=0.3), tiny.sample(task))


def definition(task, logits, alpha, div, ignore_prefix_size=0):
    """(loss, divergence) of logits [K, B, T, V], sentence by sentence, and of each the positions that count."""
    smoothed = spread = 0
    for number, (_, target) in enumerate(tiny.SENTENCES):
        counts = torch.tensor([*target, task.target_dictionary.eos()])[ignore_prefix_size:]
        rows = logits[:, number, ignore_prefix_size : len(target) + 1]
        smoothed += sum(label_smoothed_nll_loss(z.log_softmax(-1), counts, 0.1)[0] for z in rows) / len(rows)
        spread += DIVERGENCES[div.lower()](rows).sum()
    return smoothed + alpha * spread, spread


def assert_are(model, found, expected, spread):
    loss, logged, grads = found
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(logged["intra_distillation_loss"], spread.detach())
    assert spread > 0.01
    torch.testing.assert_close(grads, tiny.gradients(model), rtol=1e-4, atol=1e-5)


def test_padded_batch_is_the_sum_of_its_sentences(task):
    model = tiny.model(task)
    batch = tiny.step(ours(task, report_accuracy=True), model, tiny.sample(task))
    alone = [tiny.step(ours(task, report_accuracy=True), model, tiny.sample(task, [one])) for one in tiny.SENTENCES]
    torch.testing.assert_close(batch[0], sum(found[0] for found in alone))
    assert batch[1] == sum(found[1] for found in alone)
    for name in batch[2]:
        torch.testing.assert_close(float(batch[2][name]), float(sum(found[2][name] for found in alone)), msg=name)
    sums = {name: sum(found[3][name] for found in alone) for name in batch[3]}
    torch.testing.assert_close(batch[3], sums, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"report_accuracy": True}, {"ignore_prefix_size": 2}])
def test_evaluation_is_one_pass_and_the_plain_loss(task, options):
    model = tiny.model(task, dropout=0.3).eval()
    expected = plain(task, **options)(model, tiny.sample(task))
    recording = tiny.Recording(model)
    found = ours(task, **options)(ModuleProxyWrapper(recording).eval(), tiny.sample(task))
    assert len(recording.calls) == 1
    assert recording.calls[0]["src_tokens"].size(0) == len(tiny.SENTENCES)
    assert found == expected


def test_a_model_without_logits_is_refused_in_training_alone(task):
    model = tiny.model(task, dropout=0.3, adaptive_softmax_cutoff="6,10")
    with pytest.raises(UsageError, match="--adaptive-softmax-cutoff"):
        ours(task)(model, tiny.sample(task))
    model.eval()
    assert ours(task)(model, tiny.sample(task)) == plain(task)(model, tiny.sample(task))


def test_accuracy_is_the_mean_over_passes(task):
    model, sample = tiny.model(task, dropout=0.3), tiny.sample(task)
    logged = tiny.step(ours(task, num_iter=3, report_accuracy=True), model, sample)[2]
    repeated = tiny.sample(task, tiny.repeated(tiny.SENTENCES, 3))
    expected = tiny.step(plain(task, report_accuracy=True), model, repeated)[2]
    assert (logged["n_correct"], logged["total"]) == (expected["n_correct"], expected["total"])
    assert reduced(logged)["accuracy"] == pytest.approx(100 * logged["n_correct"] / (3 * sample["ntokens"]), abs=1e-3)


def test_batch_of_nothing_but_ignored_positions(task):
    model = tiny.model(task, dropout=0.3)
    loss, _, logged, grads = tiny.step(
        ours(task, ignore_prefix_size=99, report_accuracy=True), model, tiny.sample(task)
    )
    assert loss == logged["nll_loss"] == logged["intra_distillation_loss"] == logged["total"] == 0
    assert not any(grad.any() for grad in grads.values())


def test_sample_is_left_as_it_was(task):
    sample, untouched = tiny.sample(task), tiny.sample(task)
    tiny.step(ours(task, ignore_prefix_size=1), tiny.model(task, dropout=0.3), sample)
    assert torch.equal(sample["target"], untouched["target"])
    assert sample.keys() == untouched.keys() and sample["net_input"].keys() == untouched["net_input"].keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_model_has_a_float32_loss(task, dtype):
    model = tiny.model(task)
    expected = tiny.step(ours(task), model, tiny.sample(task))[0]
    loss, _, _, grads = tiny.step(ours(task), model.to(dtype), tiny.sample(task))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0)
    assert all(grad.dtype == dtype and grad.isfinite().all() for grad in grads.values())


class TestWarning:
    def warnings(self, caplog, criterion, model, sample, times=3):
        with caplog.at_level(logging.WARNING, fairseq_intra.criterion.__name__):
            for _ in range(times):
                criterion(model, sample)
        return [record.getMessage() for record in caplog.records]

    def test_once_where_no_pass_can_differ(self, task, caplog):
        found = self.warnings(caplog, ours(task), tiny.model(task), tiny.sample(task))
        assert len(found) == 1
        assert "no dropout" in found[0] and "--dropout" in found[0] and "\n" not in found[0]

    @pytest.mark.parametrize(
        "settings", [{"dropout": 0.1}, {"attention_dropout": 0.1}, {"decoder_layerdrop": 0.1}], ids=str
    )
    def test_none_where_something_is_dropped(self, task, caplog, settings):
        assert not self.warnings(caplog, ours(task), tiny.model(task, **settings), tiny.sample(task))

    def test_none_for_one_pass(self, task, caplog):
        assert not self.warnings(caplog, ours(task, num_iter=1), tiny.model(task), tiny.sample(task))

    def test_none_in_evaluation(self, task, caplog):
        assert not self.warnings(caplog, ours(task), tiny.model(task).eval(), tiny.sample(task))


class TestReduceMetrics:
    def test_base_two_and_per_token(self):
        two = {"nsentences": 1, "sample_size": 2, "ntokens": 2}
        first = {"loss": 8.0, "nll_loss": 4.0, "intra_distillation_loss": 1.0, "alpha": 2 * 5.0, **two}
        second = {"loss": 4.0, "nll_loss": 2.0, "intra_distillation_loss": 0.5, "alpha": 6 * 1.0}
        second |= {"nsentences": 3, "sample_size": 6, "ntokens": 6}
        found = reduced(first, second)
        assert found["loss"] == pytest.approx(12 / 8 / math.log(2), abs=5e-4)
        assert found["nll_loss"] == pytest.approx(6 / 8 / math.log(2), abs=5e-4)
        assert found["intra_distillation_loss"] == pytest.approx(1.5 / 8 / math.log(2), abs=5e-5)
        assert found["ppl"] == pytest.approx(2 ** found["nll_loss"], rel=1e-2)
        # The mean a token: two of them at 5, six at 1.
        assert found["alpha"] == pytest.approx(2)

    @pytest.mark.parametrize("sentence_avg", [False, True])
    def test_of_a_real_step(self, task, sentence_avg):
        logged = tiny.step(ours(task, sentence_avg, alpha=2.5), tiny.model(task, dropout=0.3), tiny.sample(task))[2]
        found = reduced(logged)
        size = len(tiny.SENTENCES) if sentence_avg else logged["ntokens"]
        assert found["alpha"] == 2.5
        assert float(found["loss"]) == pytest.approx(logged["loss"].item() / size / math.log(2), abs=5e-4)
        divergence = logged["intra_distillation_loss"].item() / logged["ntokens"] / math.log(2)
        assert float(found["intra_distillation_loss"]) == pytest.approx(divergence, abs=5e-5)

    def test_sums_over_workers_as_one(self, task):
        """fairseq adds up the logging outputs of all workers and mini-batches first where a criterion allows it."""
        assert IntraDistillationCriterion.logging_outputs_can_be_summed()
        model, criterion = tiny.model(task, dropout=0.3), ours(task, report_accuracy=True)
        logs = [tiny.step(criterion, model, tiny.sample(task, [one]))[2] for one in tiny.SENTENCES]
        criterion.intra_distillation.alpha = 1.0
        logs.append(tiny.step(criterion, model, tiny.sample(task))[2])
        summed = {name: sum(log[name] for log in logs) for name in logs[0]}
        found, expected = reduced(summed), reduced(*logs)
        assert {name: float(value) for name, value in found.items()} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, rel=1e-5
        )
        assert all(isinstance(value, int | float) or value.numel() == 1 for value in logs[0].values())

    def test_validation_logs_what_plain_training_logs(self, task):
        logged = ours(task)(tiny.model(task).eval(), tiny.sample(task))[2]
        assert logged.keys() == PLAIN_KEYS
        assert reduced(logged).keys() == {"loss", "nll_loss", "ppl"}


@pytest.mark.parametrize(
    "options,message",
    [
        ({"num_iter": 0}, "--num-iter must be at least 1, not 0"),
        ({"num_iter": -3}, "--num-iter must be at least 1, not -3"),
        ({"alpha": -0.5}, "--alpha must be a number from 0 to 1000000, not -0.5"),
        ({"alpha": math.nan}, "--alpha must be a number from 0 to 1000000, not nan"),
        ({"alpha": math.inf}, "--alpha must be a number from 0 to 1000000, not inf"),
        ({"alpha": 1e39}, "--alpha must be a number from 0 to 1000000, not 1e+39"),
        ({"div": "KL"}, "--div must be X or JS, not KL"),
        ({"passes": "both"}, "--passes must be one of auto, batched, sequential, recompute, not both"),
        ({"id_loss": "fast"}, "--id-loss must be one of auto, torch, compiled, triton, reference, not fast"),
    ],
)
def test_refuses_in_one_line_that_names_the_flag(task, options, message):
    with pytest.raises(UsageError) as refusal:
        ours(task, **options)
    assert isinstance(refusal.value, SystemExit)
    # Python prints a SystemExit's code where it is a string, and exits with 1.
    assert refusal.value.code == f"fairseq_intra: error: {message}"


@pytest.mark.parametrize("label_smoothing", [-0.5, 2, math.nan])
def test_label_smoothing_is_a_share(task, label_smoothing):
    with pytest.raises(UsageError, match=f"--label-smoothing must be a number from 0 to 1, not {label_smoothing}"):
        IntraDistillationCriterion(task, False, label_smoothing)


def test_a_mean_over_several_mini_batches_counts_each_by_its_tokens():
    with metrics.aggregate(new_root=True) as aggregator:
        log_mean([{"alpha": 2.0, "ntokens": 2}], "alpha", "ntokens")
        log_mean([{"alpha": 0.0, "ntokens": 98}], "alpha", "ntokens")
        # As of a mini-batch in which no word has a label.
        log_mean([{"alpha": 0.0, "ntokens": 0}], "alpha", "ntokens")
    assert aggregator.get_smoothed_values() == {"alpha": 0.02}
