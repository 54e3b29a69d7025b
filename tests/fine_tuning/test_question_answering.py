"""Question answering: its loss against the definitions on the positions that count, its task and mini-batches."""

import math

import asked
import pytest
import tagged
import tiny
import torch

from fairseq_intra.data.encoder_text import EncoderText
from fairseq_intra.errors import UsageError
from fairseq_intra.fine_tuning.positionwise import head_input, read_dictionary
from fairseq_intra.fine_tuning.question_answering_criterion import (
    IntraDistillationQuestionAnsweringCriterion,
    QuestionAnsweringCriterion,
)
from fairseq_intra.loss.definitions import DIVERGENCES
from fairseq_intra.transfer.question_text import binarise
from fairseq_intra.transfer.squad import Answer, Question
from fairseq_intra.transfer.windows import Lengths

HEAD = asked.QuestionAnsweringIntraDistillationTask.HEAD
DROPOUT = {"dropout": 0.3, "attention_dropout": 0.3}
EACH_DIV = pytest.mark.parametrize("div", ["X", "JS"])


class Outputs(torch.nn.Module):
    """A stub of a model whose head puts out these numbers [rows, T, 2], whatever it reads."""

    def __init__(self, outputs):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.1)
        self.outputs = torch.nn.Parameter(outputs)

    def forward(self, **net_input):
        return self.outputs, None


def by_definition(outputs, sample, alpha, div):
    """The loss of outputs [K, B, T, 2], from the logits of the positions that count, example by example."""
    total, divergence = 0, 0
    for number, keep in enumerate(sample["answerable"]):
        for side in range(2):
            logits = outputs[:, number, keep, side]
            target = int(keep[: sample["target"][number, side]].sum())
            total = total - logits.log_softmax(-1)[:, target].mean() / 2
            divergence = divergence + DIVERGENCES[div.lower()](logits.unsqueeze(1)).sum()
    return total + alpha * divergence, divergence


def test_plain_loss_is_the_mean_cross_entropy_of_start_and_end():
    task, sample = asked.task(), asked.sample()
    model = tiny.roberta(task)
    loss, size, log = QuestionAnsweringCriterion(task)(model, sample)
    outputs = model(**head_input(sample, HEAD))[0].unsqueeze(0)
    assert loss.item() == pytest.approx(by_definition(outputs, sample, 0, "X")[0].item(), rel=1e-6)
    assert size == log["sample_size"] == log["nsentences"] == 3


@EACH_DIV
def test_one_pass_is_the_plain_criterion(div):
    task, sample = asked.task(head_dropout=0.3), asked.sample()
    model = tiny.roberta(task, **DROPOUT)
    plain = tiny.step(QuestionAnsweringCriterion(task), model, sample)
    ours = tiny.step(IntraDistillationQuestionAnsweringCriterion(task, num_iter=1, alpha=7.0, div=div), model, sample)
    assert ours[0].item() == pytest.approx(plain[0].item(), rel=1e-6) and ours[1] == plain[1]
    assert ours[2]["task_loss"].item() == pytest.approx(plain[0].item(), rel=1e-6)
    assert f"classification_heads.{HEAD}.dense.weight" in plain[3]
    torch.testing.assert_close(ours[3], plain[3])


def test_alpha_zero_is_the_plain_criterion_on_repeated_windows():
    task = asked.task(head_dropout=0.3)
    model = tiny.roberta(task, **DROPOUT)
    ours = tiny.step(IntraDistillationQuestionAnsweringCriterion(task, alpha=0.0), model, asked.sample())
    repeated = asked.sample(tiny.repeated((0, 1, 2), 3))
    plain = tiny.step(QuestionAnsweringCriterion(task), model, repeated)
    assert ours[0].item() == pytest.approx(plain[0].item() / 3, rel=1e-6) and ours[1] == plain[1] / 3
    torch.testing.assert_close(ours[3], {name: grad / 3 for name, grad in plain[3].items()}, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("div, passes", [("X", "batched"), ("JS", "sequential")])
def test_loss_and_gradient_are_those_of_the_definition(div, passes):
    task, sample = asked.task(head_dropout=0.3), asked.sample()
    model = tiny.roberta(task, **DROPOUT).double()
    criterion = IntraDistillationQuestionAnsweringCriterion(task, alpha=2.0, div=div, passes=passes)
    loss, _, log, gradients = tiny.step(criterion, model, sample)
    model.zero_grad()
    with tiny.seeded(5):
        if passes == "batched":
            copies = {name: value.repeat_interleave(3, 0) for name, value in sample["net_input"].items()}
            outputs = model(**head_input({"net_input": copies}, HEAD))[0].unflatten(0, (3, 3)).transpose(0, 1)
        else:
            outputs = torch.stack([model(**head_input(sample, HEAD))[0] for _ in range(3)])
    expected, divergence = by_definition(outputs, sample, 2.0, div)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert log["intra_distillation_loss"].item() == pytest.approx(divergence.item(), rel=1e-12) and divergence > 0
    torch.testing.assert_close(gradients, tiny.gradients(model), rtol=1e-9, atol=1e-12)


#: Two passes whose starts are (1/2, 1/2) and (1/4, 3/4) and whose ends agree, by hand.
X = math.log(3) / 16
JS = (math.log(4 / 3) / 2 + math.log(4 / 5) / 2 + math.log(2 / 3) / 4 + 3 * math.log(6 / 5) / 4) / 2


@pytest.mark.parametrize("div, divergence", [("X", X), ("JS", JS)])
def test_a_case_computed_by_hand(div, divergence):
    """One window `<s> question </s> </s> word </s>`; the answer is the word: start has 1/2 and 3/4, end 1/2 twice."""
    sample = asked.sample((2,), width=6)
    sample["target"] = torch.tensor([[4, 4]])
    outputs = torch.zeros(2, 6, 2)
    outputs[1, 4, 0] = math.log(3)
    criterion = IntraDistillationQuestionAnsweringCriterion(asked.task(), num_iter=2, alpha=3.0, div=div)
    loss, size, log = criterion(Outputs(outputs), sample)
    nll = ((math.log(2) + math.log(4 / 3)) / 2 + math.log(2)) / 2
    assert size == 1
    assert log["intra_distillation_loss"].item() == pytest.approx(divergence, rel=1e-5)
    assert log["task_loss"].item() == pytest.approx(nll, rel=1e-6)
    assert loss.item() == pytest.approx(nll + 3 * divergence, rel=1e-6)


@EACH_DIV
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_positions_that_are_left_out_contribute_exactly_nothing(div, dtype):
    """Whatever their logits are, up to the largest of fp16; and however far the others are below."""
    sample, rows = asked.sample(), 3 * 3
    with tiny.seeded(1):
        outputs = 8 * torch.randn(rows, 8, 2, dtype=torch.float64) - 100
        other = torch.finfo(torch.float16).max * torch.randn(rows, 8, 2).sign()
    left_out = ~sample["answerable"].repeat_interleave(3, 0).unsqueeze(-1).expand(rows, 8, 2)
    found = []
    for filled in (outputs, torch.where(left_out, other, outputs)):
        model = Outputs(filled.to(dtype))
        criterion = IntraDistillationQuestionAnsweringCriterion(asked.task(), alpha=2.0, div=div)
        loss, _, log, gradients = tiny.step(criterion, model, sample)
        found.append((loss, log["intra_distillation_loss"].item(), gradients["outputs"]))
    assert found[0][:2] == found[1][:2] and torch.equal(found[0][2], found[1][2])
    gradient = found[1][2]
    assert not gradient[left_out].any() and gradient[~left_out].isfinite().all() and gradient.any()
    expected, divergence = by_definition(
        outputs.to(dtype).double().unflatten(0, (3, 3)).transpose(0, 1), sample, 2.0, div
    )
    assert found[0][:2] == pytest.approx((expected.item(), divergence.item()), rel=1e-5)


def test_the_beginning_is_never_left_out():
    """The last window's answer is in another one: its target is `<s>`, whose logit gets a gradient."""
    model = Outputs(torch.zeros(1, 6, 2))
    *_, gradients = tiny.step(QuestionAnsweringCriterion(asked.task()), model, asked.sample((2,), width=6))
    assert gradients["outputs"][0, :, 0].tolist() == [-0.25, 0, 0, 0, 0.25, 0]


def test_padding_changes_nothing():
    task = asked.task()
    model, criterion = tiny.roberta(task), IntraDistillationQuestionAnsweringCriterion(task, num_iter=2)
    whole = criterion(model, asked.sample(width=11))[0]
    alone = [criterion(model, asked.sample((n,), len(asked.TOKENS[n])))[0] for n in range(3)]
    assert whole.item() == pytest.approx(sum(alone).item(), rel=1e-5)


def test_an_example_is_right_where_start_and_end_are():
    outputs = torch.zeros(3, 8, 2)
    outputs[0, 4, 0] = outputs[0, 6, 1] = 1  # as the target
    outputs[1, 5, 0] = 1  # its end is at `<s>`
    outputs[2, 3, 0] = outputs[2, 3, 1] = 9  # at a separator, which is no answer: at `<s>`, as the target
    _, _, log = QuestionAnsweringCriterion(asked.task())(Outputs(outputs).eval(), asked.sample())
    assert log["ncorrect"] == 2
    logged = tiny.logged(QuestionAnsweringCriterion, log)
    assert logged["accuracy"] == 66.67 and logged["loss"] == round(log["loss"].item() / 3 / math.log(2), 3)


def test_accuracy_of_several_passes_is_the_mean_of_theirs():
    """The passes of a window whose answer is its word: one is right, the others are not, or only at one end."""
    sample = asked.sample((2,), width=6)
    sample["target"] = torch.tensor([[4, 4]])
    outputs = torch.zeros(4, 6, 2)
    outputs[0, 4] = outputs[1, 4, 0] = 1
    outputs[2, 0] = 9  # their mean is at `<s>`
    criterion = IntraDistillationQuestionAnsweringCriterion(asked.task(), num_iter=4)
    assert criterion(Outputs(outputs), sample)[2]["ncorrect"] == 1 / 4


@pytest.fixture
def data(tmp_path):
    tagged.write_encoder(tmp_path / "encoder")
    segmenter, dictionary = EncoderText(tmp_path / "encoder"), read_dictionary(tmp_path / "encoder/dict.txt")
    (tmp_path / "data").mkdir()
    question = Question("1", "mo.", "Bakemo dilanabo la mo.", [Answer(7, "dilanabo")])
    binarise({"valid": [question]}, segmenter, dictionary, Lengths(18, 4, 8), tmp_path / "data")
    return tmp_path / "data"


def test_mini_batches_hold_what_was_written(data):
    task = asked.QuestionAnsweringIntraDistillationTask.setup_task(asked.task(data=str(data), max_positions=18).cfg)
    dataset = task.load_dataset("valid")
    batch = dataset.collater([dataset[n] for n in range(len(dataset))])
    rows = {name: batch[name].tolist() for name in ("id", "target", "answerable")}
    tokens = batch["net_input"]["src_tokens"]
    for number, target, answerable, row in zip(*rows.values(), tokens.tolist(), strict=True):
        text = [task.dictionary[token] for token in row]
        first = text.index("</s>") + 2
        assert text[0] == "<s>" and text[first - 1] == "</s>" and "".join(text[1 : first - 2]) == "▁mo."
        assert answerable == asked.answerable(row, first)
        answer = "".join(text[target[0] : target[1] + 1])
        assert answer == "<s>" if target == [0, 0] else answer.strip("▁") == "dilanabo", number
    assert sorted(target == [0, 0] for target in rows["target"]) == [False, *[True] * (len(rows["id"]) - 1)]


def test_data_that_does_not_fit_is_rejected(data):
    cfg = asked.task(data=str(data)).cfg
    with pytest.raises(UsageError, match="has windows of 18 subwords, --max-positions is 16: prepare the data with"):
        asked.QuestionAnsweringIntraDistillationTask.setup_task(cfg).load_dataset("valid")
    with pytest.raises(UsageError, match="holds no split train"):
        asked.QuestionAnsweringIntraDistillationTask.setup_task(cfg).load_dataset("train")
    with pytest.raises(UsageError, match="no input0/dict.txt"):
        asked.QuestionAnsweringIntraDistillationTask.setup_task(asked.task(data=str(data / "span")).cfg)


def test_before_a_late_start_it_is_the_plain_criterion():
    task, sample = asked.task(head_dropout=0.3), asked.sample()
    model, criterion = tiny.roberta(task, **DROPOUT), IntraDistillationQuestionAnsweringCriterion(task, alpha=5.0)
    criterion.intra_distillation.is_plain = True
    found, expected = (tiny.step(one, model, sample) for one in (criterion, QuestionAnsweringCriterion(task)))
    assert found[0] == expected[0] and found[2].keys() == expected[2].keys()
    torch.testing.assert_close(found[3], expected[3])


def test_what_cannot_work_is_rejected_before_a_late_start():
    task = asked.task()
    criterion = IntraDistillationQuestionAnsweringCriterion(task, passes="batched")
    criterion.intra_distillation.is_plain = True
    with pytest.raises(UsageError, match="--passes batched would use identical dropout masks"):
        criterion(tiny.roberta(task, encoder_layerdrop=0.5, encoder_layers=4), asked.sample())
