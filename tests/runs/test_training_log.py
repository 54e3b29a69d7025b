"""fairseq_intra/runs/training_log.py and the pictures made of it."""

import pytest

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.runs import learning_curves
from fairseq_intra.runs.training_log import parse_log

BEGIN = "2026-11-23 23:59:58 | INFO | fairseq.trainer | begin training epoch 1"


def train(update, loss, moment="23:59:59", more=""):
    said = f"loss={loss}, nll_loss=8.5{more}, ppl=3e+02, wps=0, num_updates={update}, lr=0.0005, gnorm=nan, wall=1"
    return f"2026-11-23 {moment} | INFO | train_inner | epoch 001:     20 / 82 {said}"


def valid(update, nll, day="24", moment="00:00:08", more=""):
    said = f"loss 6.4 | nll_loss {nll} | ppl 45.3{more} | num_updates {update} | best_loss 6.4"
    return f"2026-11-{day} {moment} | INFO | valid | epoch 001 | valid on 'valid' subset | {said}"


def test_lines_become_numbers_and_seconds():
    last = f"{BEGIN.replace('23:59:58', '23:59:59')}2"
    log = parse_log("\n".join([BEGIN, train(20, 9, more=", alpha=2.5"), "noise", valid(20, 5.5), last, valid(40, 5)]))
    (line,) = log.train
    assert (line["num_updates"], line["loss"], line["alpha"], line["ppl"], line["time"]) == (20, 9, 2.5, 300, 1)
    assert line["gnorm"] != line["gnorm"]
    assert [(line["time"], line["nll_loss"]) for line in log.valid] == [(10, 5.5), (10, 5)]


def test_what_a_resumed_run_does_again_counts_once():
    first = [train(20, 9), valid(20, 5.5), train(40, 8), valid(40, 5), train(60, 7)]
    again = [train(40, 8.1), valid(40, 5.1), train(60, 7.1)]
    log = parse_log("\n".join([BEGIN, *first, *again]))
    assert [(line["num_updates"], line["loss"]) for line in log.train] == [(20, 9), (40, 8.1), (60, 7.1)]
    assert [(line["num_updates"], line["nll_loss"]) for line in log.valid] == [(20, 5.5), (40, 5.1)]


def test_the_time_of_an_interruption_does_not_count():
    resumed = "2026-11-24 12:00:{} | INFO | fairseq.trainer | Preparing to load checkpoint x"
    begin = BEGIN.replace("23 23:59:58", "24 12:00:20")
    later = [train(40, 8, "12:00:21").replace("-23 ", "-24 "), valid(40, 5, moment="12:00:30")]
    again = begin.replace("12:00:20", "12:00:31").replace("epoch 1", "epoch 2")
    lines = [
        BEGIN,
        train(20, 9),
        valid(20, 5.5),
        resumed.format("05"),
        begin,
        *later,
        again,
        valid(60, 4, moment="12:00:40"),
    ]
    # 10 seconds until the interruption.
    # Killed before its first line: in the resumed part, and in the first.
    idle = [resumed.format("05"), begin.replace("00:20", "00:06")]
    early = [BEGIN.replace("23:59:58", "10:00:00"), resumed.format("05").replace("24 12:00:05", "23 23:59:57")]
    for stopped in (lines[:3] + idle + lines[3:], early + lines):
        assert [line["time"] for line in parse_log("\n".join(stopped)).valid] == [10, 20, 30]
    assert [line["time"] for line in parse_log("\n".join(lines)).valid] == [10, 20, 30]


def test_the_switch_of_a_late_start_is_in_the_log_and_in_the_picture(tmp_path):
    said = "intra-distillation begins after 20 updates of plain training"
    switch = f"2026-11-24 00:00:03 | INFO | fairseq_intra.late_start | {said}"
    late = "\n".join([BEGIN, train(20, 9), switch, train(40, 8), valid(40, 5)])
    assert parse_log(late).switch == {"num_updates": 20, "time": 5}
    assert parse_log(late.replace(switch, "")).switch is None
    for text, lines in ((late, 4), (late.replace(switch, ""), 0)):
        (tmp_path / "train.log").write_text(text)
        learning_curves.plot_runs([tmp_path], tmp_path / "picture")
        # One in each panel: nll of both, that of valid over time as well, and the learning rate.
        assert (tmp_path / "picture.svg").read_text().count("stroke-width: 0.6") == lines


def test_the_log_of_fairseq_itself(trained):
    log = parse_log(trained.log)
    assert [line["num_updates"] for line in log.train] == list(range(1, 21))
    assert all({"loss", "intra_distillation_loss", "alpha", "lr"} <= line.keys() for line in log.train)
    alphas = [line["alpha"] for line in log.train]
    assert alphas == sorted(alphas) and alphas[-1] == 5
    assert log.valid[-1]["num_updates"] == 20 and log.valid[-1]["nll_loss"] > 0
    assert log.valid[-1]["time"] >= log.train[-1]["time"] >= 0


@pytest.fixture
def runs(trained, tmp_path):
    """A run of intra-distillation, and a log of plain training that was validated with BLEU."""
    (tmp_path / "intra").mkdir()
    (tmp_path / "intra" / "train.log").write_text(trained.log)
    (tmp_path / "plain.log").write_text(
        "\n".join([BEGIN, train(9, 9), valid(9, 5, more=" | bleu 3.25"), train(18, 8)])
    )
    return [tmp_path / "intra", tmp_path / "plain.log"]


def test_all_that_was_logged_is_drawn(runs, tmp_path, capsys):
    cli.main(["plot", *map(str, runs), "--output", str(tmp_path / "picture")])
    assert f"written: {tmp_path}/picture.png, {tmp_path}/picture.svg" in capsys.readouterr().out
    drawn = (tmp_path / "picture.svg").read_text()
    for panel in learning_curves.PANELS:
        assert f">{panel.title}<" in drawn and f">{panel.unit}<" in drawn
    assert drawn.count(">minutes<") == 2 and drawn.count(">updates<") == 6
    assert drawn.count(">intra<") == drawn.count(">plain.log<") == 1


def test_what_no_run_logged_has_no_panel(runs, tmp_path):
    learning_curves.plot_runs(runs[1:], tmp_path / "picture")
    drawn = (tmp_path / "picture.svg").read_text()
    assert ">validation BLEU<" in drawn and ">alpha<" not in drawn and ">divergence<" not in drawn


def test_runs_of_one_name_are_told_apart_by_their_folders(runs, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "plain.log").write_text(runs[1].read_text())
    learning_curves.plot_runs([runs[1], tmp_path / "b" / "plain.log"], tmp_path / "picture")
    drawn = (tmp_path / "picture.svg").read_text()
    assert f">{runs[1]}<" in drawn and f">{tmp_path}/b/plain.log<" in drawn


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda run: run.unlink(), r"cannot read .*plain\.log: No such file"),
        (
            lambda run: run.write_text("text"),
            r"plain\.log has no line of an update \(--log-format simple, every --log-int",
        ),
    ],
)
def test_a_log_of_no_use_is_named(runs, tmp_path, spoil, named):
    spoil(runs[1])
    with pytest.raises(UsageError, match=named):
        learning_curves.plot_runs(runs, tmp_path / "picture")
    assert not list(tmp_path.glob("picture*"))


def test_time_is_drawn_in_minutes():
    log = parse_log("\n".join([BEGIN, train(20, 9), valid(20, 5.5, moment="00:01:58")]))
    (panel,) = [panel for panel in learning_curves.PANELS if (panel.name, panel.over) == ("nll_loss", "time")]
    assert learning_curves._curve(log, panel) == ([2.0], [5.5])
