"""From fairseq's command line, or a configuration file, to the criteria of fine-tuning and their alpha."""

import made
import pytest
import tagged
import tiny_head

from fairseq_intra.fine_tuning.question_answering_criterion import IntraDistillationQuestionAnsweringCriterion
from fairseq_intra.fine_tuning.sentence_prediction import IntraDistillationSentencePredictionCriterion
from fairseq_intra.fine_tuning.token_classification_criterion import IntraDistillationTokenClassificationCriterion

#: By the names of the criteria: the class, the task, and the flags that the task needs.
KINDS = {
    "intra_distillation_sentence_prediction": (
        IntraDistillationSentencePredictionCriterion,
        "sentence_prediction_intra_distillation",
        {"num_classes": 3},
    ),
    "intra_distillation_token_classification": (
        IntraDistillationTokenClassificationCriterion,
        "token_classification_intra_distillation",
        {},
    ),
    "intra_distillation_question_answering": (
        IntraDistillationQuestionAnsweringCriterion,
        "question_answering_intra_distillation",
        {},
    ),
}
EACH = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with dictionaries and no text."""
    folder = tmp_path_factory.mktemp("data")
    for kind, dictionary in {"input0": tagged.dictionaries()[0], "label": tiny_head.labels()}.items():
        (folder / kind).mkdir()
        dictionary.save(str(folder / kind / "dict.txt"))
    return folder


def settings(task, criterion):
    names = ("num_iter", "alpha", "divergence", "mode")
    alphas = [task.alpha_at(update) for update in (0, 100, 200, 1000)]
    return [getattr(criterion.intra_distillation, name) for name in names], alphas, task.cfg.freeze_encoder


@pytest.fixture
def command(data, monkeypatch):
    """(task, criterion) as fairseq-train makes them of a criterion's name and flags."""

    def make(name, *flags):
        _, task, more = KINDS[name]
        needed = [word for field, value in more.items() for word in (f"--{field.replace('_', '-')}", value)]
        always = [data, "--arch", "roberta", "--task", task, "--criterion", name, "--max-update", 1000]
        return made.of_command(monkeypatch, *always, *needed, *flags)

    return make


@EACH
def test_defaults_are_the_papers_for_fine_tuning(name, command):
    task, criterion = command(name)
    assert type(criterion) is KINDS[name][0]
    assert settings(task, criterion) == ([3, 1.0, "x", "auto"], [1.0] * 4, False)
    assert task.cfg.temperature_p == pytest.approx(20 / 3)


#: What the next two ask for; alpha is 1 after a tenth of 1,000 updates, 3 after a fifth.
GIVEN = ([2, 3.0, "js", "recompute"], [0.0, 1.0, 3.0, 3.0], True)


@EACH
def test_flags_arrive(name, command):
    flags = ["--num-iter", 2, "--alpha", 3, "--div", "JS", "--passes", "recompute", "--adaptive-alpha", 1]
    flags += ["--temperature-p", 5, "--temperature-q", 10, "--freeze-encoder"]
    assert settings(*command(name, *flags)) == GIVEN


@EACH
def test_a_configuration_file_arrives(name, data):
    _, task, more = KINDS[name]
    schedule = {"adaptive_alpha": 1, "temperature_p": 5, "temperature_q": 10, "freeze_encoder": True}
    method = {"num_iter": 2, "alpha": 3, "div": "JS", "passes": "recompute"}
    sections = {"_name": task, "data": str(data), **schedule, **more}
    assert settings(*made.of_configuration(sections, {"_name": name, **method}, 1000)) == GIVEN
