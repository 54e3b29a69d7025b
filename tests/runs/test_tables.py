"""fairseq_intra/table.py, on evaluations made by hand."""

import re
import statistics
import subprocess
import sys

import pytest
from evaluated_runs import SIGNATURE, evaluated

from fairseq_intra.errors import UsageError
from fairseq_intra.runs import tables as table
from fairseq_intra.runs.evaluation import Evaluation


@pytest.fixture
def pair(tmp_path):
    """A plain run and a better one of intra-distillation."""
    return [evaluated(tmp_path / "plain"), evaluated(tmp_path / "intra", "intra", share=4)]


def bleu(run):
    return Evaluation.read(run / "checkpoint_best.test.json").bleu["score"]


def test_pairs_in_rows_with_differences_and_the_average(pair, tmp_path):
    more = [evaluated(tmp_path / "a", "intra", source="ar", share=3), evaluated(tmp_path / "b", source="ar", share=9)]
    rows = [re.split(r" *\| *", line)[1:-1] for line in table.results_table([*pair, *more]).split("\n")[:5]]
    scores = {"ar-en": (bleu(more[1]), bleu(more[0])), "de-en": (bleu(pair[0]), bleu(pair[1]))}
    means = [sum(column) / 2 for column in zip(*scores.values(), strict=True)]
    assert rows[0] == ["pair", "plain", "intra-distillation", "difference", "p-value"]
    assert [row[0] for row in rows[2:]] == ["ar-en", "de-en", "average"]
    for row, (plain, intra) in zip(rows[2:], [*scores.values(), means], strict=True):
        assert row[1:4] == [f"{plain:.2f}", f"{intra:.2f}", f"{intra - plain:+.2f}"]
    assert rows[2][3].startswith("-") and rows[3][3].startswith("+") and rows[4][4] == ""


def test_the_p_value_is_sacrebleu_s(pair):
    line = table.results_table(pair).split("\n")[2]
    reference, *systems = (
        run / f"checkpoint_best.test.{end}" for run, end in zip([pair[0], *pair], ("ref", "hyp", "hyp"), strict=True)
    )
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        reference,
        "-i",
        *systems,
        "-m",
        "bleu",
        "--paired-bs",
        "-f",
        "json",
    ]
    said = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    (expected,) = re.findall(r'"p_value": ([\d.]+)', said)
    assert 0 < float(expected) < 0.1
    assert line.endswith(f"| {float(expected):.3f} |")


def test_the_signature_stands_below(pair):
    assert f"BLEU, sacreBLEU signature `{SIGNATURE}`" in table.results_table(pair).split("\n")[-1]


def test_a_json_file_is_taken_by_its_name_and_other_splits_are_rows_of_their_own(pair):
    valid = [evaluated(run, run.name, name="checkpoint_best.valid", split="valid") for run in pair]
    names = [run / f"checkpoint_best.{split}.json" for run in valid for split in ("test", "valid")]
    rows = table.results_table(names).split("\n")
    assert rows[2].startswith("| de-en |") and rows[3].startswith("| de-en (valid) |")


def test_seeds_make_means_and_standard_deviations(pair, tmp_path):
    shares = {1: (2, 4), 2: (3, 9)}
    more = [
        evaluated(tmp_path / f"{method}{seed}", method, share=share, seed=seed)
        for seed, both in shares.items()
        for method, share in zip(("plain", "intra"), both, strict=True)
    ]
    lines = table.results_table([*more, *pair]).split("\n")
    plain, intra = ([bleu(run) for run in runs] for runs in ([pair[0], *more[::2]], [pair[1], *more[1::2]]))
    gains = [b - a for a, b in zip(plain, intra, strict=True)]
    cells = [f"{statistics.mean(n):{sign}.2f} ± {statistics.stdev(n):.2f}" for n, sign in ((plain, ""), (intra, ""))]
    cells.append(f"{statistics.mean(gains):+.2f} ± {statistics.stdev(gains):.2f}")
    single = [
        table.results_table([a, b]).split("\n")[2].split(" | ")[-1]
        for a, b in zip(more[::2], more[1::2], strict=True)
    ]
    p_values = sorted([*single, table.results_table(pair).split("\n")[2].split(" | ")[-1]])
    assert lines[2] == "| de-en | " + " | ".join([*cells, p_values[1]])
    assert lines[3].startswith(f"| average | {statistics.mean(plain):.2f} | {statistics.mean(intra):.2f} |")
    assert lines[5].startswith("Means and standard deviations over 3 seeds") and "median" in lines[6]


def test_two_corpora_with_one_pair_have_two_rows(pair, tmp_path):
    bible = [
        evaluated(tmp_path / f"b.{m}", m, dataset="bible.de-en", reference_sha256="bb") for m in ("plain", "intra")
    ]
    rows = table.results_table([*pair, *bible]).split("\n")
    assert rows[2].startswith("| bible.de-en |") and rows[3].startswith("| de-en |")


def test_what_the_paper_reports_stands_beside_it(pair, tmp_path):
    persian = [evaluated(tmp_path / f"fa.{method}", method, source="fa") for method in ("plain", "intra")]
    lines = table.results_table([*pair, *persian], beside_paper=True).split("\n")
    paper = [line.split("|")[-2].strip() for line in lines[2:5]]
    assert paper == ["33.07 to 36.10 (+3.03)", "", "+3.54 (8 pairs)"]
    assert {line.count("|") for line in lines[:5]} == {7}
    assert "An independent reproduction (2023) has de-en 32.90 to 35.11 (+2.21)." in lines[-1]


def other_signature(pair):
    evaluated(pair[1], "intra", bleu={"score": 1.0, "signature": "tok:char"})


def other_reference(pair):
    evaluated(pair[1], "intra", reference_sha256="bb")


def no_counterpart(pair):
    del pair[0]


def no_intra(pair):
    del pair[1]


def twice(pair):
    pair.append(evaluated(pair[0].parent / "again"))


def one_more_seed(pair):
    pair.append(evaluated(pair[0].parent / "second", seed=2))


def other_method(pair):
    evaluated(pair[1], "self-distillation")


def no_json(pair):
    (pair[0] / "checkpoint_best.test.json").write_text("{")


def none_in_folder(pair):
    (pair[0] / "checkpoint_best.test.json").unlink()


def two_in_folder(pair):
    evaluated(pair[0], name="average3.test")


def no_folder(pair):
    pair[0] = pair[0].parent / "nowhere"


def no_hypotheses(pair):
    (pair[0] / "checkpoint_best.test.hyp").unlink()
    pair[0] = pair[0] / "checkpoint_best.test.json"


def too_few(pair):
    (pair[1] / "checkpoint_best.test.hyp").write_text("one\n")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (other_signature, r"cannot be compared: .*plain.* has signature nrefs.*, .*intra.* has tok:char"),
        (other_reference, r"plain.* and .*intra.* were scored on different references"),
        (no_counterpart, r"de-en has no plain run of seed 0 to compare with"),
        (no_intra, r"de-en has no intra run of seed 0 to compare with"),
        (twice, r"again.* and .*plain.* are both plain runs of de-en with seed 0"),
        (one_more_seed, r"de-en has no intra run of seed 2 to compare with"),
        (other_method, r"intra.* is a self-distillation run; the table sets plain beside intra"),
        (no_json, r"plain.*checkpoint_best\.test\.json is not JSON"),
        (none_in_folder, r"plain should hold one evaluation, but holds none"),
        (two_in_folder, r"but holds average3.test.json, checkpoint_best.test.json; name the JSON file instead"),
        (no_folder, r"cannot read .*nowhere: No such file"),
        (no_hypotheses, r"cannot read .*checkpoint_best.test.hyp: No such file"),
        (too_few, r"checkpoint_best.test.hyp of intra has 1 lines, not 40"),
    ],
)
def test_what_cannot_be_compared_is_refused(pair, spoil, named):
    spoil(pair)
    with pytest.raises(UsageError, match=named) as refusal:
        table.results_table(pair)
    assert "\n" not in str(refusal.value)
