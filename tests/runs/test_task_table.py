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


@pytest.mark.parametrize(
    "run",
    [[], None, {}, RUN | {"seed": "x"}, RUN | {"metric": []}, RUN | {"metric": "bleu"}, RUN | {"task": None}],
    ids=str,
)
def test_a_run_json_of_the_wrong_shape_is_one_line(tmp_path, run):
    with pytest.raises(UsageError, match="run.json is not of a run of scripts/finetune.sh: it should hold") as error:
        task_table([finetuned(tmp_path / "plain", run)])
    assert "\n" not in str(error.value)


def test_the_best_epoch_of_a_run_counts_and_one_without_a_number_does_not(tmp_path):
    runs = [finetuned(tmp_path / method, RUN | {"method": method}) for method in ("plain", "intra")]
    for run, scores in zip(runs, ((20, 40, 30), ("nan", 42.5, 10)), strict=True):
        lines = [VALID.replace("updates 3", f"updates {n}").format(score) for n, score in enumerate(scores, 1)]
        (run / "train.log").write_text("".join(lines))
    assert task_table(runs).split("\n")[2] == "| CoLA | Matthews correlation | 40.00 | 42.50 | +2.50 |"
