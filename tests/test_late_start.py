"""Plain training first, intra-distillation late: the switch, what follows it, and a run resumed across it."""

import re
from copy import deepcopy
from types import SimpleNamespace

import commands
import fairseq_cli.train as train_command
import made
import pytest
import tiny
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from fairseq_intra import checkpoint
from fairseq_intra.errors import UsageError
from fairseq_intra.patches.early_end_warning import warn_at_the_end, warn_at_the_lowest_rate


@pytest.fixture
def configuration(tmp_path):
    """(task, criterion) with these settings of the task."""
    tiny.save_dictionaries(tmp_path)

    def make(max_update=100, **task):
        sections = {
            "_name": "translation_intra_distillation",
            "data": str(tmp_path),
            "source_lang": "de",
            "target_lang": "en",
        }
        criterion = {"_name": "intra_distillation", "label_smoothing": 0.1}
        return made.of_configuration(sections | task, criterion, max_update)

    return make


def step(task, criterion, update):
    """(loss, logging output, gradients, number of forwards' rows) of one training step."""
    model, rows = tiny.model(task, dropout=0.3), []
    model.register_forward_pre_hook(lambda _, args, call: rows.append(len(call["src_tokens"])), with_kwargs=True)
    with tiny.seeded(update):
        loss, _, log = task.train_step(tiny.sample(task), model, criterion, tiny.Optimizer(), update)
    return loss, log, tiny.gradients(model), sum(rows)


def plain_step(task, update):
    """The same of fairseq's own criterion."""
    criterion = LabelSmoothedCrossEntropyCriterion(task, False, 0.1)
    model = tiny.model(task, dropout=0.3)
    with tiny.seeded(update):
        loss, _, log = criterion(model, tiny.sample(task))
    loss.backward()
    return loss, tiny.gradients(model)


def test_the_first_updates_are_plain_training_bit_for_bit(configuration):
    task, criterion = configuration(plain_updates=3)
    for update in range(5):
        loss, log, gradients, rows = step(task, criterion, update)
        expected, expected_gradients = plain_step(task, update)
        if update < 3:
            assert loss == expected and rows == len(tiny.SENTENCES) and "alpha" not in log
            assert all(torch.equal(gradients[name], g) for name, g in expected_gradients.items())
        else:
            assert rows == 3 * len(tiny.SENTENCES) and log["intra_distillation_loss"] > 0


def test_without_the_flags_all_updates_have_k_passes(configuration):
    task, criterion = configuration()
    assert step(task, criterion, 0)[3] == 3 * len(tiny.SENTENCES)


@pytest.mark.parametrize(
    "settings,plain",
    [
        ({}, [1, 3, 5]),
        ({"plain_updates": 2}, [0, 1, 3, 5]),
        # Counted from the switch.
        ({"plain_updates": 3}, [0, 1, 2, 4]),
        ({"plain_patience": 2}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_intra_distillation_in_every_second_update(configuration, caplog, settings, plain):
    caplog.set_level("INFO", "fairseq_intra")
    task, criterion = configuration(distill_interval=2, **settings)
    for update in range(6):
        loss, log, gradients, rows = step(task, criterion, update)
        expected, expected_gradients = plain_step(task, update)
        if update in plain:
            assert loss == expected and rows == len(tiny.SENTENCES) and "alpha" not in log
            assert all(torch.equal(gradients[name], g) for name, g in expected_gradients.items())
        else:
            assert rows == 3 * len(tiny.SENTENCES) and log["intra_distillation_loss"] > 0
    assert caplog.text.count("intra-distillation begins after") == ("plain_updates" in settings)
    if "plain_updates" in settings:
        assert f"begins after {settings['plain_updates']} updates" in caplog.text


def validate(task, *values, metric="loss", start=0):
    for number, value in enumerate(values, start + 1):
        task.post_validate(None, {metric: value, "num_updates": 10 * number}, None)


@pytest.mark.parametrize(
    "values,maximize,switch",
    [
        ([5, 4, 4.5, 4.2], False, 40),
        ([5, 4, 4.5, 3.9, 4], False, None),
        ([5, 5, 5], False, 30),
        ([20, 21, 20, 20.5], True, 40),
        ([float("nan"), 5, 4, 4.5], False, None),
        ([float("nan"), float("nan"), 0.1, 0.2], True, None),
        ([5, float("nan"), float("nan")], False, 30),
    ],
)
def test_plain_until_validation_has_not_improved(configuration, values, maximize, switch):
    task, criterion = configuration(plain_patience=2, maximize_best_checkpoint_metric=maximize)
    validate(task, *values)
    assert task.switch_update == switch
    rows = step(task, criterion, 50)[3]
    assert rows == (1 if switch is None else 3) * len(tiny.SENTENCES)


def test_what_was_decided_is_in_the_state_that_checkpoints_hold(configuration):
    before, whole = configuration(plain_patience=2)[0], configuration(plain_patience=2)[0]
    values = [5, 4, 4.5, 4.2, 3]
    validate(whole, *values)
    validate(before, *values[:3])
    resumed, criterion = configuration(plain_patience=2)
    resumed.load_state_dict(before.state_dict())
    validate(resumed, *values[3:], start=3)
    assert resumed.state_dict() == whole.state_dict() and resumed.switch_update == 40
    assert step(resumed, criterion, 60)[3] == 3 * len(tiny.SENTENCES)


def test_a_metric_that_is_not_measured_is_reported_as_elsewhere(configuration):
    """By what `patches.input_checks` puts in the place of fairseq's dictionary."""
    task, _ = configuration(plain_patience=1, best_checkpoint_metric="bleu")
    cfg = tiny.configuration("data", "--best-checkpoint-metric", "bleu", "--eval-bleu")
    trainer = SimpleNamespace(task=SimpleNamespace(), get_num_updates=lambda: 7)
    task.post_validate(None, train_command.get_valid_stats(cfg, trainer, {"loss": 3.0}, False), None)
    assert task.state.late_start["best"] == 0


def test_only_the_first_validation_set_counts(configuration):
    task, _ = configuration(plain_patience=2)
    for update in (10, 20, 30):
        for value in (100 - update, 7):
            task.post_validate(None, {"loss": value, "num_updates": update}, None)
    assert task.switch_update is None


def test_a_training_that_begins_at_the_switch_says_so_once(configuration, caplog):
    caplog.set_level("INFO", "fairseq_intra")
    task, criterion = configuration(plain_updates=2)
    for update in (2, 2, 3):
        step(task, criterion, update)
    assert caplog.text.count("intra-distillation begins after 2 updates") == 1
    task, criterion = configuration(plain_updates=2)
    step(task, criterion, 3)
    assert caplog.text.count("intra-distillation begins after 2 updates") == 1


@pytest.mark.parametrize("switch", [{"plain_updates": 100}, {"plain_patience": 2}])
def test_before_the_switch_alpha_follows_no_schedule(configuration, switch):
    task, criterion = configuration(max_update=1100, adaptive_alpha=1, **switch)
    step(task, criterion, 40)
    assert criterion.intra_distillation.alpha == task.max_alpha == 5


def test_adaptive_alpha_counts_from_the_switch(configuration):
    task, criterion = configuration(max_update=1100, plain_updates=100, adaptive_alpha=1)
    alphas = {100: 0, 200: 1, 300: 5, 900: 5}
    for update, alpha in alphas.items():
        step(task, criterion, update)
        assert criterion.intra_distillation.alpha == pytest.approx(alpha)


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"plain_updates": -1}, "--plain-updates must be at least 0, not -1"),
        ({"plain_patience": -2}, "--plain-patience must be at least 0, not -2"),
        ({"distill_interval": 0}, "--distill-interval must be at least 1, not 0"),
        ({"plain_updates": 1, "plain_patience": 1}, "exclude each other"),
        ({"plain_patience": 3, "patience": 3}, "--patience 3 would end the training .* make --patience greater"),
        ({"plain_patience": 1, "disable_validation": True}, "leave out --disable-validation, or use --plain-updates"),
    ],
)
def test_settings_that_make_no_sense_are_rejected(configuration, settings, message):
    with pytest.raises(UsageError, match=message):
        configuration(**settings)


def test_what_cannot_work_is_rejected_before_the_switch(configuration):
    task, criterion = configuration(plain_updates=3)
    criterion.id_loss = "triton"
    with pytest.raises(UsageError, match="--id-loss"):
        step(task, criterion, 0)


def test_a_run_repeated_with_less_patience_switches(configuration):
    patient, hasty = (configuration(plain_patience=patience)[0] for patience in (5, 2))
    validate(patient, 1, 1, 1, 1)
    hasty.load_state_dict(deepcopy(patient.state_dict()))
    validate(hasty, 1, start=4)
    assert (patient.switch_update, hasty.switch_update) == (None, 50)


@pytest.mark.parametrize(("max_epoch", "should_stop", "warned"), [(0, True, 1), (1, False, 1), (2, False, 0)])
def test_the_last_epoch_of_a_training_says_that_it_was_plain(max_epoch, should_stop, warned):
    said = []
    program = SimpleNamespace(train=lambda *_: ([1.0], should_stop))
    warn_at_the_end(program)
    cfg = SimpleNamespace(optimization=SimpleNamespace(max_epoch=max_epoch))
    trainer, task = SimpleNamespace(get_num_updates=lambda: 7), SimpleNamespace(warn_of_early_end=said.append)
    assert program.train(cfg, trainer, task, SimpleNamespace(next_epoch_idx=2)) == ([1.0], should_stop)
    assert said == [7] * warned


@pytest.mark.parametrize(("rate", "warned"), [(0.1, 1), (0.2, 0)])
def test_a_training_whose_rate_has_become_too_low_says_that_it_was_plain(rate, warned):
    said = []

    class Trainer:
        cfg = SimpleNamespace(optimization=SimpleNamespace(stop_min_lr=0.1))
        task = SimpleNamespace(warn_of_early_end=said.append)

        def lr_step(self, epoch, val_loss=None):
            return rate

        def get_num_updates(self):
            return 7

    warn_at_the_lowest_rate(Trainer)
    assert Trainer().lr_step(2, 3.0) == rate and said == [7] * warned


def test_a_run_that_ends_while_plain_says_so(configuration, caplog):
    configuration(plain_updates=10)[0].warn_of_early_end(10)
    assert "all of them plain" in caplog.text
    caplog.clear()
    for settings, updates in (({"plain_updates": 10}, 11), ({}, 5)):
        configuration(**settings)[0].warn_of_early_end(updates)
    assert not caplog.text


@pytest.mark.parametrize(("plain_updates", "warned"), [(99, False), (100, True)])
def test_a_run_that_is_all_plain_says_so_at_its_start(configuration, caplog, plain_updates, warned):
    configuration(max_update=100, plain_updates=plain_updates)
    assert (f"--plain-updates {plain_updates} is not below --max-update 100: all" in caplog.text) == warned


def test_a_run_that_ends_while_alpha_grows_says_so(configuration, caplog):
    configuration(max_update=1000, adaptive_alpha=1)[0].warn_of_early_end(100)
    assert "ended after 100 updates with alpha at 1.00 of 5: adaptive alpha counts on 1000 updates" in caplog.text
    caplog.clear()
    for settings, updates in (({"plain_updates": 100}, 280), ({}, 200)):
        configuration(max_update=1000, adaptive_alpha=1, **settings)[0].warn_of_early_end(updates)
    assert not caplog.text


def test_intra_distillation_begins_with_the_whole_patience(configuration):
    vars(train_command.should_stop_early).update(num_runs=3, best=4.5)
    task, criterion = configuration(plain_updates=2)
    counted = []
    for update in (1, 2, 3):
        step(task, criterion, update)
        counted.append(train_command.should_stop_early.num_runs)
        train_command.should_stop_early.num_runs += 1
    assert counted == [3, 0, 1] and train_command.should_stop_early.best == 4.5


def test_a_run_resumed_across_the_switch_is_the_uninterrupted_one(dataset, tmp_path):
    """At a learning rate of 1e-9 validation does not improve: after the second time intra-distillation begins."""
    flags = [*commands.PUBLISHED, *commands.TINY, "--lr", 1e-9, "--save-interval-updates", 2, "--max-update", 9]
    flags += ["--plain-patience", 1, "--max-updates-train", 9]
    moments = ["update:4", "update:2", "update:4", "end"]
    calls = [
        lambda: commands.train_killed(dataset, tmp_path / "whole", ["end"], *flags),
        lambda: commands.train_killed(dataset, tmp_path / "killed", moments, *flags),
    ]
    whole, killed = map("".join, commands.at_once(*calls))
    assert "intra-distillation begins after 4 updates of plain training" in whole
    lines = {line["num_updates"]: line for line in commands.updates(whole)}
    assert ["alpha" in lines[update] for update in (4, 5)] == [False, True]
    for line in commands.updates(killed):
        assert line == lines[line["num_updates"]]
    found, expected = (checkpoint.load(tmp_path / name / "checkpoint_last.pt") for name in ("killed", "whole"))
    for name, value in expected["model"].items():
        assert re.search(tiny.UNUSED, name) or torch.equal(found["model"][name], value), name


def test_once_decided_the_switch_stays(configuration):
    """Else adaptive alpha would begin anew with every further validation that does not improve."""
    task, _ = configuration(plain_patience=2)
    validate(task, 5, 5, 5, 5, 6)
    assert task.switch_update == 30


def test_a_schedule_that_would_end_before_the_switch_is_over_soon_after_it(configuration):
    task, criterion = configuration(max_update=200, plain_updates=100, adaptive_alpha=1, max_updates_train=50)
    step(task, criterion, 150)
    assert criterion.intra_distillation.alpha == 5
