"""From fairseq's command line, or a configuration file, to the criterion and its alpha."""

import logging

import made
import pytest
import tiny
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from fairseq_intra.criterion import IntraDistillationCriterion
from fairseq_intra.errors import UsageError
from fairseq_intra.task import TranslationIntraDistillationTask

TASK = "translation_intra_distillation"
PLAIN, INTRA = "label_smoothed_cross_entropy", "intra_distillation"
BY_EITHER_NAME = pytest.mark.parametrize("way", [PLAIN, INTRA])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with dictionaries and no text."""
    folder = tmp_path_factory.mktemp("data")
    tiny.save_dictionaries(folder)
    return folder


@pytest.fixture
def command(data, monkeypatch):
    """(task, criterion) as fairseq-train makes them of its arguments. Takes about a second."""

    def make(criterion, *flags, task=TASK):
        always = [data, "--source-lang", "de", "--target-lang", "en", "--arch", "transformer"]
        return made.of_command(monkeypatch, *always, "--task", task, "--criterion", criterion, *flags)

    return make


@pytest.fixture
def configuration(data):
    """(task, criterion) as fairseq-hydra-train makes them of the sections of a configuration file."""

    def make(task=None, criterion=None, max_update=1000):
        sections = {"_name": TASK, "data": str(data), "source_lang": "de", "target_lang": "en", **(task or {})}
        return made.of_configuration(sections, {"_name": INTRA, **(criterion or {})}, max_update)

    return make


def refused(make, *arguments, **more):
    """The one line with which this is refused."""
    with pytest.raises(UsageError) as refusal:
        make(*arguments, **more)
    start, message = refusal.value.code.split("fairseq_intra: error: ")
    assert not start and "\n" not in message
    return message


def settings(criterion):
    names = (
        *("num_iter", "alpha", "divergence", "mode", "id_loss", "encoder_once"),
        *("eps", "sentence_avg", "report_accuracy", "ignore_prefix_size"),
    )
    ours = criterion.intra_distillation
    return {name: getattr(criterion if hasattr(criterion, name) else ours, name) for name in names}


class TestFlags:
    @BY_EITHER_NAME
    def test_defaults(self, command, way):
        task, criterion = command(way)
        assert type(task) is TranslationIntraDistillationTask
        assert type(criterion) is IntraDistillationCriterion
        plain = {"eps": 0.0, "sentence_avg": False, "report_accuracy": False, "ignore_prefix_size": 0}
        assert settings(criterion) == {"num_iter": 3, "alpha": 5.0, "divergence": "x", **self.DEFAULT, **plain}
        assert [task.alpha_at(x) for x in (0, 10, 10**6)] == [5.0] * 3

    DEFAULT = {"mode": "auto", "id_loss": "auto", "encoder_once": False}
    METHOD = ["--num-iter", 2, "--alpha", 0.75, "--div", "JS"]
    HOW = ["--passes", "recompute", "--id-loss", "torch", "--encoder-once"]
    PARENTS = ["--label-smoothing", 0.15, "--sentence-avg", "--report-accuracy", "--ignore-prefix-size", 4]

    @pytest.mark.parametrize("task,way", [(TASK, PLAIN), ("translation", INTRA)])
    def test_reach_the_criterion(self, command, task, way):
        found, criterion = command(way, *self.METHOD, *self.HOW, *self.PARENTS, task=task)
        how = {"mode": "recompute", "id_loss": "torch", "encoder_once": True}
        plain = {"eps": 0.15, "sentence_avg": True, "report_accuracy": True, "ignore_prefix_size": 4}
        assert settings(criterion) == {"num_iter": 2, "alpha": 0.75, "divergence": "js", **how, **plain}
        assert (type(found) is TranslationIntraDistillationTask) == (task == TASK)

    def test_reaches_the_task(self, command):
        assert command(INTRA, "--split-batch", 4)[0].cfg.split_batch == 4

    def test_reach_the_schedule(self, command):
        flags = ["--adaptive-alpha", 1, "--max-update", 7, "--max-updates-train", 400]
        task, _ = command(PLAIN, *flags, "--temperature-p", 4, "--temperature-q", 8, "--alpha", 3)
        # 1 after 1/8 of 400 updates, 3 after a quarter of them; between them 3 * (x / 100)^log2(3).
        expected = {0: 0, 25: 1 / 3, 50: 1, 100: 3, 400: 3}
        assert {x: task.alpha_at(x) for x in expected} == pytest.approx(expected)

    @pytest.mark.parametrize(
        "flags,message",
        [
            (["--num-iter", 0], "--num-iter"),
            (["--adaptive-alpha", 1, "--temperature-p", 10], "--temperature-p"),
            (["--adaptive-alpha", 1], "--max-update or --max-updates-train"),
            (["--split-batch", 0], "--split-batch must be at least 1, not 0"),
            (["--distill-part", 3, "--num-iter", 1], "--distill-part 3 is for two passes or more"),
            (["--plain-updates", 3, "--num-iter", 1], "--plain-updates 3 is for two passes or more"),
            (["--plain-patience", 3, "--num-iter", 1], "--plain-patience 3 is for two passes or more"),
            (["--distill-interval", 2, "--num-iter", 1], "--distill-interval 2 is for two passes or more"),
        ],
        ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
    )
    def test_refused_by_name(self, command, flags, message):
        assert message in refused(command, PLAIN, *flags)


class TestCriterion:
    def test_plain_one_is_replaced_and_the_log_says_so(self, configuration, caplog):
        with caplog.at_level(logging.INFO, "fairseq_intra.task"):
            configuration(criterion={"_name": PLAIN})
        found = [record.getMessage() for record in caplog.records if record.name == "fairseq_intra.task"]
        assert found == [f"task {TASK}: criterion intra_distillation in place of label_smoothed_cross_entropy"]

    def test_ours_needs_no_word(self, configuration, caplog):
        with caplog.at_level(logging.INFO, "fairseq_intra.task"):
            configuration()
        assert not [record for record in caplog.records if record.name == "fairseq_intra.task"]

    def test_any_other_is_rejected(self, command):
        name = "label_smoothed_cross_entropy_with_alignment"
        message = refused(command, name)
        assert f"--criterion intra_distillation or label_smoothed_cross_entropy, not {name}" in message

    def test_fairseqs_own_task_keeps_the_plain_one(self, command):
        assert type(command(PLAIN, task="translation")[1]) is LabelSmoothedCrossEntropyCriterion


class TestSchedule:
    def test_published_command(self, command):
        """alpha = 5, p = 5, q = 10 over 50,000 updates: see test_adaptive_alpha.py."""
        flags = ["--adaptive-alpha", 1, "--max-updates-train", 50_000, "--max-update", 50_000]
        task, _ = command(PLAIN, *flags, "--temperature-q", 10, "--temperature-p", 5, "--alpha", 5)
        expected = {0: 0, 2_500: 0.2, 5_000: 1, 10_000: 5, 30_000: 5}
        assert {x: task.alpha_at(x) for x in expected} == pytest.approx(expected)

    def test_counts_on_max_update(self, command):
        """1 after a tenth of the updates, by the defaults of p and q."""
        assert command(INTRA, "--adaptive-alpha", 1, "--max-update", 500)[0].alpha_at(50) == pytest.approx(1)

    def test_counts_on_max_updates_train_before_max_update(self, configuration):
        task, _ = configuration({"adaptive_alpha": 1, "max_updates_train": 2000}, max_update=500)
        assert task.alpha_at(200) == pytest.approx(1)

    def test_unknown_number_of_updates(self, configuration):
        message = refused(configuration, {"adaptive_alpha": 1}, max_update=0)
        assert "--max-update " in message and "--max-updates-train" in message
        configuration({"adaptive_alpha": 1, "max_updates_train": 10}, max_update=0)
        configuration({"adaptive_alpha": 0}, max_update=0)

    @pytest.mark.parametrize(
        "task,message",
        [
            (
                {"temperature_p": 10},
                "--temperature-p must be above 0 and below --temperature-q, a finite number, not p = 10.0",
            ),
            ({"temperature_q": 4}, "a finite number, not p = 5.0, q = 4.0"),
            ({"temperature_q": float("inf")}, "below --temperature-q, a finite number, not p = 5.0, q = inf"),
            ({"temperature_p": 0}, "--temperature-p must be above 0"),
            ({"adaptive_alpha": 2}, "--adaptive-alpha must be 0 or 1, not 2"),
            ({"adaptive_alpha": -1}, "--adaptive-alpha must be 0 or 1, not -1"),
            ({"max_updates_train": -5}, "--max-updates-train must be at least 0, not -5"),
        ],
        ids=str,
    )
    def test_rejects_in_one_line_that_names_the_flag(self, configuration, task, message):
        assert message in refused(configuration, {"adaptive_alpha": 1, **task})

    def test_temperatures_do_not_matter_where_alpha_is_constant(self, configuration):
        configuration({"temperature_p": 10, "temperature_q": 5})


class TestConfigurationFile:
    def test_temperatures_below_one(self, configuration):
        task, _ = configuration({"adaptive_alpha": 1, "temperature_p": 0.5, "temperature_q": 1})
        # Alpha is 1 after all updates, and would be full after twice as many.
        assert task.alpha_at(1000) == pytest.approx(1)

    def test_published_setting(self, configuration):
        task, criterion = configuration(
            {"adaptive_alpha": 1, "temperature_p": 5, "temperature_q": 10, "max_updates_train": 0},
            {"num_iter": 4, "alpha": 3, "div": "JS", "label_smoothing": 0.1},
        )
        plain = {"eps": 0.1, "sentence_avg": False, "report_accuracy": False, "ignore_prefix_size": 0}
        assert settings(criterion) == {"num_iter": 4, "alpha": 3.0, "divergence": "js", **TestFlags.DEFAULT, **plain}
        assert [task.alpha_at(x) for x in (0, 100, 200, 900)] == pytest.approx([0, 1, 3, 3])

    def test_plain_criterion_takes_the_tasks_values(self, configuration):
        plain = {"_name": PLAIN, "label_smoothing": 0.1}
        criterion = configuration({"num_iter": 4, "alpha": 3, "div": "JS"}, plain)[1]
        assert type(criterion) is IntraDistillationCriterion
        ours = criterion.intra_distillation
        found = (ours.num_iter, ours.alpha, ours.divergence, criterion.eps)
        assert found == (4, 3.0, "js", 0.1)

    @pytest.mark.parametrize("task", [{}, {"alpha": 3, "num_iter": 4, "div": "JS"}])
    def test_values_in_both_places_may_agree(self, configuration, task):
        criterion = configuration(task, {"alpha": 3, "num_iter": 4, "div": "JS"})[1]
        ours = criterion.intra_distillation
        assert (ours.alpha, ours.num_iter, ours.divergence) == (3.0, 4, "js")

    @pytest.mark.parametrize(
        "name,task,criterion", [("alpha", 2.0, 3.0), ("num_iter", 2, 4), ("div", "JS", "X"), ("alpha", 0.0, 3.0)]
    )
    def test_values_in_both_places_must_not_contradict(self, configuration, name, task, criterion):
        message = refused(configuration, {name: task}, {name: criterion})
        assert f"task.{name}={task} contradicts criterion.{name}={criterion}: set criterion.{name} alone" in message

    @pytest.mark.parametrize(
        "criterion,message",
        [
            ({"num_iter": 0}, "--num-iter must be at least 1, not 0"),
            ({"alpha": -2}, "--alpha must be a number from 0 to 1000000, not -2.0"),
        ],
    )
    def test_refuses_what_the_criterion_refuses(self, configuration, criterion, message):
        assert refused(configuration, {}, criterion) == message
        assert refused(configuration, criterion, {"_name": PLAIN}) == message


class TestTraining:
    def test_alpha_follows_the_update_number(self, configuration):
        task, criterion = configuration({"adaptive_alpha": 1}, {"_name": PLAIN})
        model, sample = tiny.model(task, dropout=0.3), tiny.sample(task)
        expected = {0: 0, 50: 0.2, 100: 1, 700: 5}
        told = []
        model.set_num_updates = told.append  # which layers with a schedule of their own count on
        for update in (0, 50, 100, 700, 100):  # once more, as a resumed run would
            logged = task.train_step(sample, model, criterion, tiny.Optimizer(), update)[2]
            assert criterion.intra_distillation.alpha == task.alpha_at(update) == pytest.approx(expected[update])
            assert logged["alpha"] == pytest.approx(expected[update] * sample["ntokens"])
            assert told[-1] == update

    def test_constant_alpha_stays(self, configuration):
        task, criterion = configuration(criterion={"alpha": 2})
        for update in (0, 700):
            task.train_step(tiny.sample(task), tiny.model(task, dropout=0.3), criterion, tiny.Optimizer(), update)
            assert criterion.intra_distillation.alpha == 2

    def test_dummy_batch_gives_zero_gradients(self, configuration):
        task, criterion = configuration()
        model = tiny.model(task, dropout=0.3)
        task.train_step(tiny.sample(task), model, criterion, tiny.Optimizer(), 300)
        trained = tiny.gradients(model)
        assert any(gradient.any() for gradient in trained.values())
        model.zero_grad()
        task.train_step(tiny.sample(task), model, criterion, tiny.Optimizer(), 300, ignore_grad=True)
        assert tiny.gradients(model).keys() == trained.keys()
        assert not any(gradient.any() for gradient in tiny.gradients(model).values())

    def test_learns(self, configuration):
        task, criterion = configuration({"adaptive_alpha": 1}, {"label_smoothing": 0.1})
        model, sample = tiny.model(task, dropout=0.1), tiny.sample(task)
        adam = torch.optim.Adam(model.parameters(), lr=0.02)
        before = task.valid_step(sample, model, criterion)[2]["nll_loss"]
        with tiny.seeded(1):
            for update in range(40):
                model.zero_grad()
                task.train_step(sample, model, criterion, tiny.Optimizer(), update * 10)
                adam.step()
        assert task.valid_step(sample, model, criterion)[2]["nll_loss"] < before / 2
