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
    # The average of one row would be the row.
    assert task_table(runs).split("\n")[2:4] == [row, ""]
    more = [finetuned(tmp_path / f"{m}2", RUN | {"task": "RTE", "method": m}, 50.0) for m in ("plain", "intra")]
    assert task_table([*runs, *more]).split("\n")[4] == "| average | | 45.00 | 46.25 | +1.25 |"


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
        ("# checkpoint c", "the checksum of --checkpoint is not given and c"),
        ("--max-epoch\n30", "--max-epoch is 3 and 30"),
        ("--lr\n2e-5", "--lr is not given and 2e-5"),
        ("--sentence-avg", "--sentence-avg is not given and given"),
    ],
)
def test_runs_of_a_task_that_cannot_be_compared_are_named(tmp_path, line, named):
    runs = [finetuned(tmp_path / method, RUN | {"method": method}) for method in ("plain", "intra")]
    for run in runs:
        lines = ("# data a", "--max-epoch", "3", "--alpha", len(run.name), "--criterion", run.name, "--seed", 1)
        (run / "arguments.txt").write_text("".join(f"{line}\n" for line in lines))
    assert "| CoLA |" in task_table(runs)
    with (runs[1] / "arguments.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UsageError, match=f"plain and .*intra cannot be compared: {named}$"):
        task_table(runs)


def test_seeds_of_a_method_have_its_settings_alike(tmp_path):
    runs = []
    for seed, alpha in ((1, 2), (2, 5)):
        for method in ("plain", "intra"):
            folder = finetuned(tmp_path / f"{method}{seed}", RUN | {"method": method, "seed": seed})
            (folder / "arguments.txt").write_text(f"--alpha\n{alpha}\n" if method == "intra" else "")
            runs.append(folder)
    with pytest.raises(UsageError, match="intra1 and .*intra2 cannot be compared: --alpha is 2 and 5$"):
        task_table(runs)
    (runs[-1] / "arguments.txt").write_text("--alpha\n2\n--passes\nsequential\n")
    assert "| CoLA |" in task_table(runs)


def test_the_best_epoch_of_a_run_counts_and_one_without_a_number_does_not(tmp_path):
    runs = [finetuned(tmp_path / method, RUN | {"method": method}) for method in ("plain", "intra")]
    for run, scores in zip(runs, ((20, 40, 30), ("nan", 42.5, 10)), strict=True):
        lines = [VALID.replace("updates 3", f"updates {n}").format(score) for n, score in enumerate(scores, 1)]
        (run / "train.log").write_text("".join(lines))
    assert task_table(runs).split("\n")[2] == "| CoLA | Matthews correlation | 40.00 | 42.50 | +2.50 |"
