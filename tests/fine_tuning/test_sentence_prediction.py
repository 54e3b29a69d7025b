"""The criterion for classes and numbers, against fairseq's own and the definitions, on a tiny RoBERTa."""

import logging
import math

import pytest
import tiny
import tiny_head
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionConfig, SentencePredictionCriterion
from fairseq.distributed import ModuleProxyWrapper
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import OmegaConf

from fairseq_intra.errors import UsageError
from fairseq_intra.fine_tuning.sentence_prediction import (
    IntraDistillationSentencePredictionCriterion,
    SentencePredictionCriterionConfig,
)
from fairseq_intra.loss.definitions import DIVERGENCES, squared_distance
from fairseq_intra.passes import joined_passes

#: What the measures of evaluation are made of.
LISTS = ("pred", "targ")
KINDS = pytest.mark.parametrize("regression", [False, True], ids=["classes", "regression"])


def plain(task, **options):
    cfg = SentencePredictionConfig(regression_target=task.cfg.regression_target, **options)
    return SentencePredictionCriterion(cfg, task)


def ours(task, **options):
    cfg = OmegaConf.structured(SentencePredictionCriterionConfig())
    cfg = OmegaConf.merge(cfg, {"regression_target": task.cfg.regression_target, **options})
    return IntraDistillationSentencePredictionCriterion(cfg, task)


def reduced(criterion, *logging_outputs):
    found = tiny.logged(criterion, *logging_outputs)
    return {name: float(value) for name, value in found.items() if name not in LISTS}


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0])
    assert found[1] == expected[1]
    for name in expected[2]:
        # In float32: of K copies in one batch, matrix products round in another order.
        assert float(found[2][name]) == pytest.approx(float(expected[2][name]), rel=1e-5, abs=1e-6), name
    torch.testing.assert_close(found[3], expected[3], rtol=1e-4, atol=5e-5)
    assert any(gradient.any() for gradient in found[3].values())


@KINDS
@pytest.mark.parametrize("more", [{}, {"mha_reg_scale_factor": 0.01, "ffn_reg_scale_factor": 0.02}], ids=str)
def test_one_pass_is_fairseqs_own_training(regression, more):
    task = tiny_head.task(regression)
    model, sample = tiny.roberta(task, **tiny_head.DROPOUT, **more), tiny_head.sample(task)
    assert_same(tiny.step(ours(task, num_iter=1), model, sample), tiny.step(plain(task), model, sample))


@KINDS
def test_passes_without_dropout_are_fairseqs_own_training(regression):
    task = tiny_head.task(regression)
    model, sample = tiny.roberta(task), tiny_head.sample(task)
    found = tiny.step(ours(task, alpha=5.0), model, sample)
    assert_same(found, tiny.step(plain(task), model, sample))
    assert abs(found[2]["intra_distillation_loss"]) < 1e-6


@KINDS
def test_alpha_zero_is_fairseqs_own_training_on_repeated_texts(regression):
    task = tiny_head.task(regression)
    model, sample = tiny.roberta(task, **tiny_head.DROPOUT), tiny_head.sample(task)
    loss, size, logged, gradients = tiny.step(ours(task, alpha=0.0), model, sample)
    repeated = tiny_head.sample(task, tiny.repeated(tiny_head.TEXTS, 3), repeated_targets(regression, 3))
    other_loss, other_size, other_logged, other_gradients = tiny.step(plain(task), model, repeated)
    torch.testing.assert_close(loss, other_loss / 3)
    torch.testing.assert_close(gradients, {n: g / 3 for n, g in other_gradients.items()}, rtol=1e-4, atol=5e-5)
    assert size == other_size / 3 == len(tiny_head.TEXTS)
    if not regression:
        assert logged["ncorrect"] == pytest.approx(other_logged["ncorrect"].item() / 3)


def repeated_targets(regression, passes):
    return tiny.repeated(tiny_head.NUMBERS if regression else tiny_head.CLASSES, passes)


@pytest.mark.parametrize("settings", [tiny_head.DROPOUT, {"encoder_layerdrop": 0.5, "encoder_layers": 4}], ids=str)
@pytest.mark.parametrize("div", ["X", "JS", "regression"])
def test_loss_and_gradients_are_those_of_the_definition(div, settings):
    """Batched passes where dropout samples a mask per example, sequential where LayerDrop samples one per forward."""
    task = tiny_head.task(div == "regression")
    model, sample = tiny.roberta(task, **settings), tiny_head.sample(task)
    options = {} if div == "regression" else {"div": div}
    loss, _, logged, gradients = tiny.step(ours(task, alpha=1.5, **options), model, sample)

    model.zero_grad()
    head = {"features_only": True, "classification_head_name": tiny_head.HEAD}
    with tiny.seeded(5):
        if "encoder_layerdrop" in settings:
            outputs = torch.stack([model(**sample["net_input"], **head)[0] for _ in range(3)])
        else:
            texts = tiny_head.sample(task, tiny.repeated(tiny_head.TEXTS, 3))["net_input"]
            outputs = model(**texts, **head)[0].unflatten(0, (-1, 3)).transpose(0, 1)
    target = sample["target"].flatten()
    if div == "regression":
        plain_loss = sum((output.flatten() - target).square().sum() for output in outputs) / 3
        spread = squared_distance(outputs.squeeze(-1)).sum()
    else:
        plain_loss = sum(-output.log_softmax(-1)[range(4), target].sum() for output in outputs) / 3
        spread = DIVERGENCES[div.lower()](outputs).sum()
    expected = plain_loss + 1.5 * spread
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(logged["intra_distillation_loss"], spread.detach())
    torch.testing.assert_close(logged["task_loss"], plain_loss.detach())
    assert spread > 1e-3
    torch.testing.assert_close(gradients, tiny.gradients(model), rtol=1e-4, atol=5e-5)


@KINDS
def test_padded_batch_is_the_sum_of_its_texts(regression):
    """Noise is added per copy in the head alone, so that none depends on how long a text is."""
    task = tiny_head.task(regression)
    model = tiny.roberta(task)
    targets = tiny_head.NUMBERS if regression else tiny_head.CLASSES
    batch = tiny.step(ours(task, alpha=2.0), Noisy(model), tiny_head.sample(task))
    alone = [
        tiny.step(ours(task, alpha=2.0), Noisy(model, number), tiny_head.sample(task, [text], [target]))
        for number, (text, target) in enumerate(zip(tiny_head.TEXTS, targets, strict=True))
    ]
    assert batch[2]["intra_distillation_loss"] > 1e-3
    for name in batch[2].keys() - {"pred", "targ"}:
        torch.testing.assert_close(
            float(batch[2][name]), float(sum(one[2][name] for one in alone)), rtol=1e-5, atol=0
        )
    sums = {name: sum(one[3][name] for one in alone) for name in batch[3]}
    torch.testing.assert_close(batch[3], sums, rtol=1e-4, atol=5e-5)


class Noisy(torch.nn.Module):
    """A model whose outputs have something of their own in every pass, which follows the text, not its place."""

    def __init__(self, module, first=0):
        super().__init__()
        self.module, self.first = module, first
        self.classification_heads, self.get_targets = module.classification_heads, module.get_targets

    def forward(self, **net_input):
        output, extra = self.module(**net_input)
        row = torch.arange(len(output)) + 3 * self.first
        return output + torch.sin(1.0 + row).unsqueeze(1) * torch.arange(1, output.size(1) + 1), extra


def test_heads_own_dropout_samples_a_mask_per_copy():
    task = tiny_head.task()
    model, sample = tiny.roberta(task, pooler_dropout=0.5), tiny_head.sample(task)
    net_input = sample["net_input"] | {"classification_head_name": tiny_head.HEAD}
    first, second, third = joined_passes(ours(task).intra_distillation.run_passes(model, net_input))
    assert not torch.allclose(first, second) and not torch.allclose(second, third)


def test_a_frozen_model_trains_its_head_alone_whatever_else_it_has(monkeypatch):
    """As BART, which has a decoder beside the encoder."""
    task = tiny_head.task(freeze_encoder=True)
    model = tiny.roberta(tiny_head.task())
    model.decoder = torch.nn.Linear(2, 2)
    monkeypatch.setattr(SentencePredictionTask, "build_model", lambda *_: model)
    task.build_model(None)
    trained = {name.partition(".")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"classification_heads"}


class TestEncoderOnce:
    def calls(self, model, sample, task, **options):
        rows = []
        model.encoder.register_forward_hook(lambda _, args, output: rows.append(len(args[0])))
        return tiny.step(ours(task, **options), model, sample), rows

    @pytest.mark.parametrize("frozen", [False, True])
    def test_where_it_drops_nothing_and_the_gradients_are_those_of_k_passes(self, frozen, caplog):
        task = tiny_head.task(freeze_encoder=frozen)
        model, sample = tiny.roberta(task, pooler_dropout=0.5), tiny_head.sample(task)
        with caplog.at_level(logging.INFO, "fairseq_intra"):
            found, rows = self.calls(model, sample, task)
        assert rows == [len(tiny_head.TEXTS)]
        assert "3 passes, batched, through the encoder once, which has no dropout" in caplog.text
        model.zero_grad()
        texts = tiny_head.sample(task, tiny.repeated(tiny_head.TEXTS, 3))["net_input"]
        with tiny.seeded(5):
            outputs = model(**texts, classification_head_name=tiny_head.HEAD)[0].unflatten(0, (-1, 3))
        outputs, target = outputs.transpose(0, 1), sample["target"].flatten()
        plain_loss = sum(-output.log_softmax(-1)[range(4), target].sum() for output in outputs) / 3
        (plain_loss + DIVERGENCES["x"](outputs).sum()).backward()
        torch.testing.assert_close(found[3], tiny.gradients(model), rtol=1e-4, atol=5e-5)
        assert any(name.startswith("encoder") for name in found[3]) != frozen

    @pytest.mark.parametrize(
        "settings,rows",
        [({"dropout": 0.1}, [12]), ({"attention_dropout": 0.1}, [12]), ({"encoder_layerdrop": 0.2}, [4] * 3)],
        ids=str,
    )
    def test_not_where_it_drops_something(self, settings, rows):
        task = tiny_head.task(freeze_encoder=True)
        model = tiny.roberta(task, pooler_dropout=0.5, **settings)
        assert self.calls(model, tiny_head.sample(task), task)[1] == rows

    def test_not_where_the_passes_are_asked_to_be_apart(self):
        task = tiny_head.task()
        model = tiny.roberta(task, pooler_dropout=0.5)
        assert self.calls(model, tiny_head.sample(task), task, passes="sequential")[1] == [4] * 3


def test_model_is_called_through_its_wrapper():
    task = tiny_head.task()
    for settings in ({"dropout": 0.3}, {"pooler_dropout": 0.3}):
        model = tiny.roberta(task, **settings)
        recording = tiny.Recording(model, (model.encoder, model.classification_heads[tiny_head.HEAD]))
        tiny.step(ours(task), ModuleProxyWrapper(recording), tiny_head.sample(task))
        assert len(recording.calls) == 1


MEASURES = ["report_mcc", "report_acc_and_f1", "report_pearson_and_spearman"]


@KINDS
def test_evaluation_is_fairseqs_own(regression):
    task = tiny_head.task(regression, num_classes=1 if regression else 2)
    names = MEASURES[2:] if regression else MEASURES[:2]
    options = dict.fromkeys(names, True)
    model = tiny.roberta(task, **tiny_head.DROPOUT).eval()
    sample = tiny_head.sample(task, target=None if regression else [0, 1, 1, 0])
    expected, found = plain(task, **options)(model, sample), ours(task, **options)(model, sample)
    assert found == expected
    logged = reduced(ours(task), found[2])
    assert logged == reduced(plain(task), expected[2])
    assert logged.keys() >= ({"pearson", "spearman"} if regression else {"accuracy", "f1", "mcc"})


@KINDS
def test_metrics_of_training_are_means_a_text(regression):
    task = tiny_head.task(regression)
    model = tiny.roberta(task, **tiny_head.DROPOUT)
    criterion = ours(task, alpha=2.0)
    logs = [tiny.step(criterion, model, tiny_head.sample(task))[2]]
    criterion.intra_distillation.alpha = 1.0
    one = tiny_head.sample(task, tiny_head.TEXTS[:1], [0.5] if regression else [2])
    logs.append(tiny.step(criterion, model, one)[2])
    found = reduced(criterion, *logs)
    assert found["alpha"] == pytest.approx((4 * 2.0 + 1.0) / 5, abs=1e-4)
    for name in ("loss", "task_loss", "intra_distillation_loss"):
        total = sum(float(log[name]) for log in logs)
        assert found[name] == pytest.approx(total / 5 / math.log(2), abs=1e-3)
    for log, alpha in zip(logs, (2.0, 1.0), strict=True):
        parts = float(log["task_loss"]) + alpha * float(log["intra_distillation_loss"])
        assert float(log["loss"]) == pytest.approx(parts, rel=1e-5)
    if not regression:
        assert 0 <= found["accuracy"] <= 100
    summed = {name: sum(log[name] for log in logs) for name in logs[0]}
    assert reduced(criterion, summed) == pytest.approx(found, rel=1e-5)


def test_alpha_follows_the_update_number():
    """By default 1.5 is reached at 3/20 of 1000 updates, 1 at a tenth."""
    task = tiny_head.task(adaptive_alpha=1)
    model, sample = tiny.roberta(task, **tiny_head.DROPOUT), tiny_head.sample(task)
    cfg = SentencePredictionCriterionConfig(_name="intra_distillation_sentence_prediction", alpha=1.5)
    criterion = task.build_criterion(OmegaConf.structured(cfg))
    for update, alpha in {0: 0.0, 100: 1.0, 150: 1.5, 900: 1.5}.items():
        logged = task.train_step(sample, model, criterion, tiny.Optimizer(), update)[2]
        assert logged["alpha"] / len(tiny_head.TEXTS) == criterion.intra_distillation.alpha == pytest.approx(alpha)


def test_learns():
    task = tiny_head.task()
    model, sample, criterion = tiny.roberta(task, **tiny_head.DROPOUT), tiny_head.sample(task), ours(task)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    before = task.valid_step(sample, model, criterion)[0]
    with tiny.seeded(1):
        for _ in range(30):
            tiny.step(criterion, model.train(), sample)
            adam.step()
    assert task.valid_step(sample, model, criterion)[0] < before / 2


class TestRefusals:
    def test_divergence_of_classes_for_a_regression(self):
        with pytest.raises(UsageError, match="--div JS is for classes.*--regression-target.*leave --div out"):
            ours(tiny_head.task(regression=True), div="JS")

    @pytest.mark.parametrize(
        "options,message", [({"num_iter": 0}, "--num-iter must be"), ({"alpha": -1}, "--alpha must be")]
    )
    def test_values_of_the_method(self, options, message):
        with pytest.raises(UsageError, match=message):
            ours(tiny_head.task(), **options)

    def test_a_head_that_is_not_there(self):
        task = tiny_head.task()
        with pytest.raises(UsageError, match="no head 'other' .--classification-head-name."):
            ours(task, classification_head_name="other")(tiny.roberta(task), tiny_head.sample(task))

    def test_a_criterion_that_is_not_of_the_method(self):
        with pytest.raises(UsageError, match="needs a criterion of intra-distillation, not sentence_prediction"):
            tiny_head.task().build_criterion(OmegaConf.structured(SentencePredictionConfig("sentence_prediction")))

    def test_no_number_of_classes(self):
        task = tiny_head.task(num_classes=-1)
        with pytest.raises(UsageError, match="--num-classes must be at least 1, not -1"):
            type(task).setup_task(task.cfg)

    def test_fewer_classes_than_labels(self, tmp_path):
        for name, symbols in (("input0", tiny.dictionary()), ("label", tiny_head.labels(3))):
            (tmp_path / name).mkdir()
            symbols.pad_to_multiple_(8)
            symbols.save(str(tmp_path / name / "dict.txt"))
        task = tiny_head.task(num_classes=2, data=str(tmp_path))
        with pytest.raises(UsageError, match="--num-classes 2 is less than the 3 labels of .*/label"):
            type(task).setup_task(task.cfg)
        task.cfg.num_classes = 3
        assert type(task).setup_task(task.cfg).label_dictionary


@KINDS
def test_before_a_late_start_it_is_fairseqs_own_training(regression):
    task = tiny_head.task(regression)
    criterion = ours(task, alpha=5.0)
    criterion.intra_distillation.is_plain = True
    model, sample = tiny.roberta(task, **tiny_head.DROPOUT), tiny_head.sample(task)
    found = tiny.step(criterion, model, sample)
    assert_same(found, tiny.step(plain(task), model, sample))
    assert "alpha" not in found[2]


def test_what_cannot_work_is_rejected_before_a_late_start():
    task = tiny_head.task()
    criterion = ours(task, passes="batched")
    criterion.intra_distillation.is_plain = True
    with pytest.raises(UsageError, match="--passes batched would use identical dropout masks"):
        criterion(tiny.roberta(task, encoder_layerdrop=0.5, encoder_layers=4), tiny_head.sample(task))
