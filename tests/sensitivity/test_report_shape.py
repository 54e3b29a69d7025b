"""Sensitivity reports of the wrong shape end a command with one line."""

import dataclasses
import json

import numpy as np
import pytest
from evaluated_runs import DECODING, evaluated

from fairseq_intra.errors import UsageError
from fairseq_intra.json_files import write_record
from fairseq_intra.runs.evaluation import Evaluation
from fairseq_intra.sensitivity.report import Report, read_reports
from fairseq_intra.sensitivity.statistics import curves, summary
from fairseq_intra.sensitivity.table import sensitivity_table

SCORES = {"encoder.layers.0.fc1.weight": np.linspace(0.1, 1, 20, dtype=np.float32)}
NAMES = ("checkpoint", "method", "fingerprint", "criterion", "split", "gradient_of", "scores_sha256", "device")
NUMBERS = ("seed", "num_updates", "max_tokens", "batches", "batches_of_split", "sentences", "tokens")


@pytest.fixture
def report(tmp_path):
    """A report's file and its content."""
    values = dict.fromkeys(NAMES, "x") | dict.fromkeys(NUMBERS, 1) | {"format": 1, "label_smoothing": 0, "loss": 2.5}
    shapes = {"groups": summary(SCORES, 2.5), "curves": curves(SCORES["encoder.layers.0.fc1.weight"])}
    made = Report(**values, **shapes, tied={}, scores="a.npz", versions={})
    write_record(tmp_path / "a.json", made)
    return tmp_path / "a.json", dataclasses.asdict(made)


def test_a_report_is_read_as_it_was_written(report):
    path, content = report
    assert dataclasses.asdict(Report.read(path)) == content


@pytest.mark.parametrize(
    "wrong",
    [{"seed": "x"}, {"loss": "2"}, {"groups": {}}, {"groups": {"all": {}}}, {"curves": []}, {"scores": "../b.npz"}],
    ids=str,
)
def test_a_report_of_the_wrong_shape_is_one_line(report, wrong):
    path, content = report
    path.write_text(json.dumps(content | wrong))
    with pytest.raises(UsageError, match="a.json is not a JSON file that fairseq-intra sensitivity wrote") as error:
        Report.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["label_smoothing", "split", "gradient_of", "max_tokens", "batches", "tokens"])
def test_scores_of_other_settings_are_not_set_side_by_side(report, tmp_path, name):
    path, content = report
    (tmp_path / "b.json").write_text(json.dumps(content | {name: "y" if content[name] == "x" else 2}))
    with pytest.raises(UsageError, match=f"scores cannot be compared: {name} is "):
        read_reports([path, tmp_path / "b.json"])


def test_bleu_stands_beside_the_model_that_it_is_of(report, tmp_path):
    path, content = report
    (tmp_path / "b.json").write_text(json.dumps(content | {"seed": 2}))
    runs = [
        evaluated(tmp_path / f"{seed}", "x", seed=seed, num_updates=1, checkpoint="x", share=1 + seed)
        for seed in (1, 2)
    ]
    records = [run / "checkpoint_best.test.json" for run in runs]
    rows = sensitivity_table(read_reports([path, tmp_path / "b.json"]), records).split("\n")
    scores = [f"{Evaluation.read(record).bleu['score']:.2f}" for record in records]
    assert [row.split(" | ")[1] for row in rows[2:4]] == scores and scores[0] != scores[1]
    with pytest.raises(UsageError, match="evaluates another model than x of the same place"):
        sensitivity_table(read_reports([path, tmp_path / "b.json"]), records[::-1])
    evaluated(tmp_path / "2", "x", seed=2, num_updates=1, checkpoint="x", share=3, fingerprint="of a pruned copy")
    with pytest.raises(UsageError, match="evaluates another model than x of the same place"):
        sensitivity_table(read_reports([path, tmp_path / "b.json"]), records)
    for field, value in (("split", "valid"), ("reference_sha256", "0"), ("decoding", DECODING | {"beam": 1})):
        evaluated(tmp_path / "2", "x", seed=2, num_updates=1, checkpoint="x", share=3, **{field: value})
        with pytest.raises(UsageError, match="scores cannot be compared: runs differ in (split|references|beam): "):
            sensitivity_table(read_reports([path, tmp_path / "b.json"]), records)
