"""The table of fine-tuned runs, on folders made by hand."""

import json

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.runs.task_table import task_table

RUN = {"task": "CoLA", "metric": "mcc", "method": "plain", "seed": 1}
VALID = "2026-01-01 00:00:00 | INFO | valid | epoch 001 | valid on 'valid' subset | mcc {} | num_updates 3\n"


def finetuned(folder, run, score=40.0):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "train.log").write_text(VALID.format(score))
    (folder / "finished").touch()
    return folder


def test_both_methods_stand_in_one_row(tmp_path):
    runs = [
        finetuned(tmp_path / "plain", RUN), finetuned(tmp_path / "intra", RUN | {"method": "intra"}, 42.5)
    ]  # fmt: skip
    row = "| CoLA | Matthews correlation | 40.00 | 42.50 | +2.50 |"
    assert task_table(runs).split("\n")[2:4] == [row, "| average | | 40.00 | 42.50 | +2.50 |"]


def test_a_late_run_that_is_still_plain_at_its_best_epoch_is_counted_below_the_table(tmp_path):
    runs = [finetuned(tmp_path / method, RUN | {"method": method}) for method in ("plain", "late")]
    note = "1 of the late checkpoints is of before the switch: plain training."
    assert note in task_table(runs)
    switch = "2026-01-01 00:00:00 | INFO | x | intra-distillation begins after {} updates\n"
    for update, said in ((3, True), (2, False)):
        (runs[1] / "train.log").write_text(switch.format(update) + VALID.format(42.5))
        assert (note in task_table(runs)) == said


@pytest.mark.parametrize(
    "run",
    [[], None, {}, RUN | {"seed": "x"}, RUN | {"metric": []}, RUN | {"metric": "bleu"}, RUN | {"task": None}],
    ids=str,
)
def test_a_run_json_of_the_wrong_shape_is_one_line(tmp_path, run):
    with pytest.raises(UsageError, match="run.json is not of a run of scripts/finetune.sh: it should hold") as error:
        task_table([finetuned(tmp_path / "plain", run)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("# data b", "the checksum of --data is a and b"),
        ("# checkpoint c", "the checksum of --checkpoint is none and c"),
        ("--max-epoch\n30", "--max-epoch is 3 and 30"),
    ],
)
def test_runs_of_a_task_that_cannot_be_compared_are_named(tmp_path, line, named):
    runs = [finetuned(tmp_path / method, RUN | {"method": method}) for method in ("plain", "intra")]
    for run in runs:
        (run / "arguments.txt").write_text(f"# data a\n--max-epoch\n3\n--alpha\n{len(run.name)}\n")
    assert "| CoLA |" in task_table(runs)
    with (runs[1] / "arguments.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UsageError, match=f"plain and .*intra cannot be compared: {named}$"):
        task_table(runs)


def test_the_best_epoch_of_a_run_counts_and_one_without_a_number_does_not(tmp_path):
    runs = [finetuned(tmp_path / method, RUN | {"method": method}) for method in ("plain", "intra")]
    for run, scores in zip(runs, ((20, 40, 30), ("nan", 42.5, 10)), strict=True):
        lines = [VALID.replace("updates 3", f"updates {n}").format(score) for n, score in enumerate(scores, 1)]
        (run / "train.log").write_text("".join(lines))
    assert task_table(runs).split("\n")[2] == "| CoLA | Matthews correlation | 40.00 | 42.50 | +2.50 |"
