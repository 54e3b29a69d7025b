"""The criterion `self_distillation`: against its definition, its teacher, and what fairseq does with it."""

import re
from types import SimpleNamespace

import commands
import pytest
import tiny
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from loss_oracle import distillation_oracle as oracle

from fairseq_intra import checkpoint
from fairseq_intra.checkpoint import Built, Training
from fairseq_intra.errors import UsageError
from fairseq_intra.self_distillation import SelfDistillationCriterion

MODELS = pytest.mark.parametrize("arch", ["transformer", "lstm"])


@pytest.fixture
def task():
    made = tiny.translation_task()
    made.cfg.data, made.cfg.source_lang, made.cfg.target_lang = "/nowhere", "de", "en"
    return made


@pytest.fixture
def teacher(task, monkeypatch):
    """A model that is what every --teacher file holds."""
    model = tiny.model(task, dropout=0.3)
    for parameter in model.parameters():
        parameter.data *= 1.5
    monkeypatch.setattr(
        checkpoint, "build", lambda *_: Built(model.float().eval(), task, None, Training("plain", 1, 20), "")
    )
    return model


def ours(task, sentence_avg=False, **options):
    return SelfDistillationCriterion(task, sentence_avg, 0.1, teacher="teacher.pt", **options)


@MODELS
def test_the_loss_is_the_definition_at_the_positions_that_are_no_padding(task, teacher, arch):
    student, sample = tiny.model(task, arch), tiny.sample(task)
    settings = {"weight": 0.3, "temperature": 2.0}
    options = {f"distillation_{name}": value for name, value in settings.items()}
    loss, sample_size, logged, gradients = tiny.step(ours(task, **options), student, tiny.sample(task))
    keep = sample["target"].ne(task.target_dictionary.pad())
    logits, theirs = (model(**sample["net_input"])[0][keep].unsqueeze(0) for model in (student, teacher))
    expected, nll, distance = oracle(logits, sample["target"][keep], theirs.detach(), label_smoothing=0.1, **settings)
    student.zero_grad()
    expected.backward()
    torch.testing.assert_close(gradients, tiny.gradients(student), rtol=1e-4, atol=1e-6)
    assert [loss.item(), logged["loss"].item()] == pytest.approx([expected.item()] * 2)
    assert logged["nll_loss"].item() == pytest.approx(nll.item())
    assert logged["distillation_loss"].item() == pytest.approx(distance.item()) and distance > 0.1
    assert sample_size == logged["ntokens"] == int(keep.sum())


@MODELS
@pytest.mark.parametrize("options", [{}, {"report_accuracy": True, "ignore_prefix_size": 2}, {"sentence_avg": True}])
def test_without_weight_it_is_plain_training(task, teacher, arch, options):
    student = tiny.model(task, arch, dropout=0.3)
    options = {"sentence_avg": False} | options
    plain = LabelSmoothedCrossEntropyCriterion(task, label_smoothing=0.1, **options)
    expected = tiny.step(plain, student, tiny.sample(task))
    loss, sample_size, logged, gradients = tiny.step(
        ours(task, distillation_weight=0.0, **options), student, tiny.sample(task)
    )
    torch.testing.assert_close(loss, expected[0])
    torch.testing.assert_close(gradients, expected[3], rtol=1e-4, atol=1e-6)
    assert sample_size == expected[1] and logged["distillation_loss"] > 0
    for name, value in expected[2].items():
        assert float(logged[name]) == pytest.approx(float(value)), name


def test_a_student_that_is_its_teacher_stays(task, teacher):
    loss, _, _, gradients = tiny.step(
        ours(task, distillation_weight=1.0), tiny.model(task).eval().train(), tiny.sample(task)
    )
    assert loss > 0
    student = tiny.model(task)
    student.load_state_dict(teacher.state_dict())
    loss, _, _, gradients = tiny.step(ours(task, distillation_weight=1.0), student, tiny.sample(task))
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert all(gradient.abs().max() < 1e-5 for gradient in gradients.values())


def test_the_teacher_is_no_part_of_it_and_does_not_change(task, teacher):
    criterion, before = ours(task), {name: value.clone() for name, value in teacher.state_dict().items()}
    student = tiny.model(task, dropout=0.3)
    for _ in range(2):
        tiny.step(criterion, student, tiny.sample(task))
        student.train()
        criterion.train()
    assert not list(criterion.parameters()) and not criterion.state_dict() and not list(criterion.children())
    assert not teacher.training and not tiny.gradients(teacher)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_loading_the_teacher_leaves_the_dropout_of_the_student_as_it_is(task, teacher, monkeypatch):
    """A resumed training loads it again, in the midst of an uninterrupted one's updates."""
    build = checkpoint.build
    monkeypatch.setattr(checkpoint, "build", lambda *given: torch.randn(3) is not None and build(*given))
    criterion, student = ours(task), tiny.model(task, dropout=0.3)
    first, second = (tiny.step(criterion, student, tiny.sample(task))[3] for _ in range(2))
    assert all(torch.equal(second[name], gradient) for name, gradient in first.items())


def test_a_teacher_in_half_precision_under_autocast(task, teacher, monkeypatch):
    """As --amp has it on a GPU, where the teacher is in half precision."""
    criterion, student = ours(task), tiny.model(task)
    expected = tiny.step(criterion, student, tiny.sample(task))[-1]
    criterion._loaded = (teacher.bfloat16(),)
    # There a norm, the last layer, gives float32.
    teacher.decoder.layers[-1].register_forward_hook(lambda _layer, _given, found: (found[0].float(), *found[1:]))
    with tiny.seeded(5), torch.autocast("cpu", torch.bfloat16):
        student.zero_grad()
        loss = criterion(student, tiny.sample(task))[0]
    loss.backward()
    torch.testing.assert_close(tiny.gradients(student), expected, rtol=0.05, atol=0.02)


def test_validation_is_the_plain_loss_and_needs_no_teacher(task):
    student = tiny.model(task, dropout=0.3).eval()
    criterion = SelfDistillationCriterion(task, False, 0.1, teacher="/nowhere.pt")
    found = criterion(student, tiny.sample(task))
    expected = LabelSmoothedCrossEntropyCriterion(task, False, 0.1)(student, tiny.sample(task))
    assert found[0] == expected[0] and found[2] == expected[2]
    with pytest.raises(UsageError, match=r"no checkpoint /nowhere\.pt"):
        criterion(student.train(), tiny.sample(task))


def test_what_is_logged_is_in_bits_a_token():
    log = {"loss": 4.0, "nll_loss": 3.0, "distillation_loss": 6.0, "ntokens": 10, "sample_size": 10}
    found = tiny.logged(SelfDistillationCriterion, log, log | {"distillation_loss": 0.0, "ntokens": 20})
    assert found["distillation_loss"] == pytest.approx(6 / 30 / 0.6931, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"distillation_weight": 1.5}, "--distillation-weight must be between 0 and 1, not 1.5"),
        ({"distillation_weight": float("nan")}, "--distillation-weight must be between 0 and 1, not nan"),
        ({"distillation_temperature": 0}, "--distillation-temperature must be a number above 0, not 0"),
        ({"teacher": ""}, "needs --teacher"),
    ],
)
def test_values_that_are_not_allowed(task, options, named):
    with pytest.raises(UsageError, match=named):
        SelfDistillationCriterion(task, False, 0.1, **({"teacher": "t.pt"} | options))


def test_a_teacher_of_another_direction_is_refused(task, teacher):
    criterion = ours(task)
    task_of_teacher = tiny.translation_task()
    task_of_teacher.cfg.source_lang, task_of_teacher.cfg.target_lang = "en", "de"
    criterion.task, student = task, tiny.model(task)
    built = checkpoint.build()._replace(task=task_of_teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "build", lambda *_: built)
        with pytest.raises(UsageError, match=r"--teacher teacher\.pt translates en-de; wanted is de-en"):
            criterion(student, tiny.sample(task))


def test_tasks_without_two_languages_are_refused(task, teacher):
    message = "--criterion self_distillation is for --task translation"
    with pytest.raises(UsageError, match=message):
        ours(SimpleNamespace(target_dictionary=task.target_dictionary, cfg=None))
    built = checkpoint.build()._replace(task=SimpleNamespace(cfg=SimpleNamespace(data="x")))
    criterion = ours(task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "build", lambda *_: built)
        with pytest.raises(
            UsageError, match=r"--teacher teacher\.pt is no model of --task translation; wanted is de-en"
        ):
            criterion(tiny.model(task), tiny.sample(task))


def test_a_teacher_without_logits_is_refused(task, teacher):
    teacher.decoder.adaptive_softmax = torch.nn.Identity()
    with pytest.raises(UsageError, match="a teacher of self_distillation needs logits over the whole vocabulary"):
        ours(task)(tiny.model(task), tiny.sample(task))


def test_the_teacher_s_dictionaries_lie_in_a_folder_whose_name_has_a_colon(task, teacher, tmp_path, monkeypatch):
    (tmp_path / "a:b").mkdir()
    task.cfg.data, built, folders = str(tmp_path / "a:b"), checkpoint.build(), []
    monkeypatch.setattr(checkpoint, "build", lambda _, folder: folders.append(folder) or built)
    ours(task)(tiny.model(task), tiny.sample(task))
    assert folders == [tmp_path / "a:b"]


FLAGS = "--task translation --criterion self_distillation --arch transformer --optimizer adam --label-smoothing 0.1"


@pytest.fixture(scope="module")
def student(dataset, trained, tmp_path_factory):
    """(log, folder) of a training by fairseq-train from the trained model, in two goes."""
    folder = tmp_path_factory.mktemp("student")
    flags = [*FLAGS.split(), *commands.TINY, "--teacher", trained.checkpoint, "--distillation-weight", 0.9]
    flags += ["--distillation-temperature", 2]
    logs = [commands.train(dataset, folder, *flags, "--max-update", count) for count in (3, 6)]
    return "".join(logs), folder


def test_fairseq_trains_a_student_and_saves_nothing_of_the_teacher(student, trained):
    log, folder = student
    lines = commands.updates(log)
    assert [line["num_updates"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["distillation_loss"] > 0 for line in lines) and lines[-1]["loss"] < lines[0]["loss"]
    assert len(re.findall(rf"self-distillation: teacher {re.escape(str(trained.checkpoint))}, intra of 20", log)) == 2
    state = checkpoint.load(folder / "checkpoint_last.pt")
    assert checkpoint.training(state) == Training("self-distillation", 1, 6)
    assert not state.get("criterion") and len(state["last_optimizer_state"]["state"]) <= len(state["model"])
    assert set(state["model"]) == set(checkpoint.load(trained.checkpoint)["model"])
    cfg = state["cfg"].criterion
    assert (cfg.distillation_weight, cfg.distillation_temperature) == (0.9, 2.0)


def test_a_teacher_that_does_not_fit_is_one_line(dataset, trained, tmp_path):
    state = checkpoint.load(trained.checkpoint)
    for name in state["model"]:
        if "embed_tokens" in name or "output_projection" in name:
            state["model"][name] = state["model"][name][:-3]
    torch.save(state, tmp_path / "teacher.pt")
    error = commands.refused(
        "train",
        dataset / "bin",
        *["--user-dir", commands.PLUGIN, "--cpu", "--save-dir", tmp_path / "run", *FLAGS.split(), *commands.TINY],
        *["--teacher", tmp_path / "teacher.pt", "--max-update", 1],
    )
    assert "teacher.pt does not fit the dictionaries of the data" in error and "size mismatch" in error
