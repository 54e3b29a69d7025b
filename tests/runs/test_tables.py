"""The results table, on evaluations made by hand."""

import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys

import pytest
from evaluated_runs import (
    DECODING,
    HYPERPARAMETERS,
    SETTINGS,
    SIGNATURE,
    TRAINING,
    digest,
    evaluated,
    of_format_2,
)

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


def test_the_same_translations_have_p_value_1(tmp_path):
    same = [evaluated(tmp_path / method, method) for method in ("plain", "late")]
    assert table.results_table(same).split("\n")[2].endswith("| +0.00 | 1.000 |")


def test_a_late_run_that_is_still_plain_is_named(tmp_path):
    runs = [evaluated(tmp_path / "plain"), evaluated(tmp_path / "late", "late", share=3, before_switch=True)]
    assert "1 of the late checkpoints is of before the switch: plain training." in table.results_table(runs)
    runs[1] = evaluated(tmp_path / "late", "late", share=3, before_switch=False)
    assert "before the switch" not in table.results_table(runs)


def test_an_unfinished_run_is_named(tmp_path):
    runs = [tmp_path / name for name in ("plain", "late")]
    for run in runs:
        evaluated(run / "checkpoints", run.name)
        (run / "arguments.txt").touch()
        (run / "finished").touch()
    assert "Not finished" not in table.results_table(runs)
    (runs[1] / "finished").unlink()
    assert "\nNot finished: late." in table.results_table(runs)
    # Also what the record says, by the name that the folder had then.
    (runs[1] / "finished").touch()
    evaluated(runs[1] / "checkpoints", "late", unfinished=True, run="earlier")
    assert "\nNot finished: earlier." in table.results_table(runs)


def test_an_unfinished_run_whose_record_is_elsewhere_is_named(tmp_path):
    runs = [
        evaluated(tmp_path / "plain", "plain"),
        evaluated(tmp_path / "intra", "intra", unfinished=True, run="mine"),
    ]
    assert "\nNot finished: mine." in table.results_table(runs)


def test_the_signature_stands_below(pair):
    assert f"BLEU, sacreBLEU signature `{SIGNATURE}`, text as it is written;" in table.results_table(pair)


def test_decoding_and_lowercasing_stand_below(pair):
    lowercase = [evaluated(run, run.name, lowercase=True) for run in pair]
    said = table.results_table(lowercase)
    assert "lowercased text" in said and "Decoding: beam 5, lenpen 1.0, max-tokens 8000, max-len-a 1.0" in said


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
    # The average of one row would be the row.
    assert lines[4].startswith("Means and standard deviations over 3 seeds") and "median" in lines[5]


def test_two_corpora_with_one_pair_have_two_rows(pair, tmp_path):
    bible = [evaluated(tmp_path / f"b.{m}", m, dataset="bible.de-en", corpus="bible") for m in ("plain", "intra")]
    rows = table.results_table([*pair, *bible]).split("\n")
    assert rows[2].startswith("| bible.de-en |") and rows[3].startswith("| de-en |")


def test_every_other_method_has_a_column_beside_plain_s(pair, tmp_path):
    """In the same order, whatever the order of the files; each as in a table of its own with plain."""
    late = evaluated(tmp_path / "late", "late", share=9)
    rdrop = evaluated(tmp_path / "rdrop", "rdrop", share=3)
    lines = table.results_table([late, *pair, rdrop]).split("\n")
    both = "difference | p-value"
    names = f"| pair | plain | R-Drop | {both} | intra-distillation | {both} | late intra-distillation | {both} |"
    assert lines[0] == names and {line.count("|") for line in lines[:3]} == {names.count("|")}
    alone = [table.results_table([pair[0], other]).split("\n") for other in (rdrop, pair[1], late)]
    cells = [[cell.strip() for cell in one[2].split("|")[1:-1]] for one in alone]
    expected = [*cells[0][:2], *(cell for one in cells for cell in one[2:])]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == expected
    assert lines[-2] == "Differences and p-values are against plain."
    assert alone[0][0] == f"| pair | plain | R-Drop | {both} |" and alone[1] == table.results_table(pair).split("\n")


def test_a_method_that_one_row_lacks_is_named(pair, tmp_path):
    more = [evaluated(tmp_path / f"ar.{method}", method, source="ar") for method in ("plain", "late")]
    with pytest.raises(UsageError, match="ar-en has no intra run of seed 0 to compare with"):
        table.results_table([*pair, *more])


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
    path = evaluated(pair[1], "intra") / "checkpoint_best.test.ref"
    path.write_text("other " + path.read_text())
    record = path.with_suffix(".json")
    content = json.loads(record.read_text()) | {"reference_sha256": digest(path.read_text().splitlines())}
    record.write_text(json.dumps(content))


def edited_reference(pair):
    (pair[1] / "checkpoint_best.test.ref").write_text("one\n" * 40)


def edited_hypotheses(pair):
    (pair[1] / "checkpoint_best.test.hyp").write_text("one\n" * 40)


def edited_score(pair):
    evaluated(pair[1], "intra", bleu={"score": 42.0, "signature": SIGNATURE})


def other_corpus(pair):
    evaluated(pair[1], "intra", corpus="other")


def other_training_data(pair):
    evaluated(pair[1], "intra", trained_on="another")


def other_engine(pair):
    evaluated(pair[1], "intra", engine="ctranslate2")


def other_case(pair):
    evaluated(pair[1], "intra", lowercase=True)


def other_beam(pair):
    evaluated(pair[1], "intra", decoding=DECODING | {"beam": 4})


def other_flags(pair):
    evaluated(pair[1], "intra", decoding=DECODING | {"flags": {"unkpen": 1.0}})


def other_patience(pair):
    evaluated(pair[1], "intra", training=TRAINING | {"patience": 5})


def other_batch(pair):
    evaluated(pair[1], "intra", training=TRAINING | {"batch_tokens": 2048})


def more_updates(pair):
    evaluated(pair[1], "intra", training=TRAINING | {"max_update": 200})


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


def folder_of_runs(pair):
    for run in pair:
        (run / "checkpoints").mkdir()
        shutil.copy(run / "checkpoint_best.test.json", run / "checkpoints")
    pair[0] = pair[0].parent


def no_folder(pair):
    pair[0] = pair[0].parent / "nowhere"


def no_hypotheses(pair):
    (pair[0] / "checkpoint_best.test.hyp").unlink()
    pair[0] = pair[0] / "checkpoint_best.test.json"
    of_format_2(pair[0])


def too_few(pair):
    (pair[1] / "checkpoint_best.test.hyp").write_text("one\n")
    of_format_2(pair[1] / "checkpoint_best.test.json")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (other_signature, r"cannot be compared: runs differ in signature: nrefs.* of .*plain.*, tok:char of .*intra"),
        (other_reference, r"its text has"),
        (edited_reference, r"checkpoint_best.test.ref was changed since it was scored"),
        (edited_hypotheses, r"checkpoint_best.test.hyp was changed since it was scored"),
        (edited_score, r"says BLEU 42.00, but its text has "),
        (other_corpus, r"plain.* and .*intra.* are of two corpora, both called de-en"),
        (other_training_data, r"the models of .*plain.* and .*intra.* were trained on different data"),
        (other_engine, r"differ in engine: fairseq of .*plain.*, ctranslate2 of .*intra"),
        (other_case, r"differ in lowercase: False of .*plain.*, True of .*intra"),
        (other_beam, r"runs differ in beam: 5 of .*plain.*, 4 of .*intra.*; .*--show-differences"),
        (other_flags, r'runs differ in flags: "none" of .*plain.*, {"unkpen": 1.0} of .*intra'),
        (other_patience, r"runs differ in patience: -1 of .*plain.*, 5 of .*intra"),
        (other_batch, r"runs differ in batch tokens: 4096 of .*plain.*, 2048 of .*intra"),
        (more_updates, r"runs differ in max update: 100 of .*plain.*, 200 of .*--show-differences or --equal-time"),
        (no_counterpart, r"de-en has no plain run of seed 0 to compare with"),
        (no_intra, r"de-en has no intra run of seed 0 to compare with"),
        (twice, r"again.* and .*plain.* are both plain runs of de-en with seed 0"),
        (one_more_seed, r"de-en has no intra run of seed 2 to compare with"),
        (other_method, r"intra.* is a self-distillation run; the table sets plain beside rdrop, intra, late"),
        (no_json, r"plain.*checkpoint_best\.test\.json is not JSON"),
        (none_in_folder, r"plain holds no evaluation: run fairseq-intra evaluate first, or name its JSON file"),
        (folder_of_runs, r"holds no evaluation: give the runs in it: .*intra .*plain"),
        (no_folder, r"cannot read .*nowhere: No such file"),
        (no_hypotheses, r"cannot read .*checkpoint_best.test.hyp: No such file"),
        (too_few, r"intra/checkpoint_best.test.hyp has 1 lines, not 40"),
    ],
)
def test_what_cannot_be_compared_is_refused(pair, spoil, named):
    spoil(pair)
    with pytest.raises(UsageError, match=named) as refusal:
        table.results_table(pair)
    assert "\n" not in str(refusal.value)


def test_best_and_average_beside_one_run_are_rows_of_their_own(pair):
    for run in pair:
        evaluated(run, run.name, name="average3.test", kind="average of 3")
    rows = table.results_table(pair).split("\n")
    assert rows[2].startswith("| de-en (average of 3) |") and rows[3].startswith("| de-en (best) |")
    # A mean of scores of different kinds says nothing.
    assert not any("average |" in row for row in rows)


def tuned(run, method, chosen, grid=(0.9, 1.0, 1.2), **more):
    choice = {"split": "valid", "grid": list(grid), "bleu": [30.0, 31.0, 30.5], "chosen": chosen}
    decoding = DECODING | {"lenpen": chosen}
    return evaluated(run, method, name="checkpoint_best.test.tuned", tuning=choice, decoding=decoding, **more)


def test_tuned_length_penalties_are_rows_of_their_own(pair):
    """A penalty is chosen for each run, so that they differ; the rule by which it is chosen may not."""
    before = table.results_table(pair).split("\n")
    for run, chosen in zip(pair, (0.9, 1.2), strict=True):
        tuned(run, run.name, chosen, share=3)
    lines = table.results_table(pair).split("\n")
    assert lines[2] == before[2] and lines[3].startswith("| de-en (length penalty tuned) | ")
    # A mean of default and tuned rows says nothing.
    assert not any("average |" in line for line in lines)
    assert "de-en (length penalty tuned): 0.9 / 1.2, each best on valid of 0.9 1 1.2." in lines
    alone = table.results_table([run / "checkpoint_best.test.tuned.json" for run in pair]).split("\n")
    assert alone[2] == lines[3] and "lenpen tuned" in "\n".join(alone)
    tuned(pair[1], "intra", 1.2, grid=(1.0, 1.1, 1.2), share=3)
    with pytest.raises(UsageError, match="runs differ in grid of length penalties: best on valid of 0.9 1 1.2 of"):
        table.results_table(pair)


def test_a_tuned_run_is_not_set_beside_one_with_a_given_penalty(pair):
    tuned(pair[1], "intra", 1.2)
    (pair[1] / "checkpoint_best.test.json").unlink()
    with pytest.raises(UsageError, match="de-en has no intra run of seed 0"):
        table.results_table(pair)


def test_hyperparameters_are_the_same_for_all_methods(pair):
    evaluated(pair[1], "intra", hyperparameters=HYPERPARAMETERS | SETTINGS | {"dropout": "0.1"})
    with pytest.raises(UsageError, match=r"differ in dropout: 0.3 of .*plain.*, 0.1 of .*intra.*--show-differences$"):
        table.results_table(pair)
    rows = table.results_table(pair, show_differences=True).split("\n")
    assert rows[2].endswith("| dropout 0.3 / 0.1 |")


def test_settings_of_a_method_are_the_same_for_its_runs_and_may_be_others_for_another(pair, tmp_path):
    first = evaluated(tmp_path / "late", "late", hyperparameters=HYPERPARAMETERS | SETTINGS | {"plain_updates": "9"})
    assert "late intra-distillation" in table.results_table([*pair, first])
    other = HYPERPARAMETERS | SETTINGS | {"alpha": "1"}
    seeds = [evaluated(tmp_path / f"{method}2", method, seed=2) for method in ("plain", "intra")]
    evaluated(seeds[1], "intra", seed=2, hyperparameters=other)
    with pytest.raises(UsageError, match=r"runs differ in alpha of intra: 5 of .*/intra/.*, 1 of .*/intra2/"):
        table.results_table([*pair, *seeds])
    rows = table.results_table([*pair, *seeds], show_differences=True).split("\n")
    assert rows[2].endswith("| alpha of intra 5, 1 |")


def test_numbered_checkpoints_are_of_the_same_update_or_of_equal_time(pair):
    for (folder, method), updates in zip(((pair[0], "plain"), (pair[1], "intra")), (10, 20), strict=True):
        evaluated(folder, method, kind="numbered", num_updates=updates)
    with pytest.raises(UsageError, match="runs differ in updates of checkpoints chosen by hand: 10 of .*, 20 of .*"):
        table.results_table(pair)
    assert "| de-en |" in table.results_table(pair, equal_time=True)


def test_checkpoints_of_other_names_are_of_the_same_update_too(pair):
    for (folder, method), updates in zip(((pair[0], "plain"), (pair[1], "intra")), (10, 20), strict=True):
        evaluated(folder, method, kind="other", num_updates=updates)
    with pytest.raises(UsageError, match="runs differ in updates of checkpoints chosen by hand: 10 of .*, 20 of .*"):
        table.results_table(pair)


def test_of_a_checkpoint_from_elsewhere_it_is_unchecked_whether_its_training_had_ended(pair):
    evaluated(pair[1], "intra", unfinished=None)
    last = table.results_table(pair).split("\n")[-1]
    assert last == "Unchecked, as 1 of 2 records do not hold it: whether the training had ended."


def test_differences_are_shown_by_method(pair, tmp_path):
    """Else a setting that differs between seeds would look like one that differs between methods."""
    for run in pair:
        evaluated(run, run.name, training=TRAINING | {"patience": 5})
    more = [evaluated(tmp_path / f"{run.name}2", run.name, seed=2) for run in pair]
    row = table.results_table([*pair, *more], show_differences=True).split("\n")[2]
    assert row.endswith("| patience 5, -1 |")
    evaluated(more[1], "intra", seed=2, training=TRAINING | {"patience": 5})
    row = table.results_table([*pair, *more], show_differences=True).split("\n")[2]
    assert row.endswith("| patience 5, -1 / 5 |")


def test_differences_are_shown_where_they_are_asked_for(pair):
    other_patience(pair)
    rows = table.results_table(pair, show_differences=True).split("\n")
    assert rows[0].endswith("| p-value | differs in |") and rows[2].endswith("| patience -1 / 5 |")
    assert {row.count("|") for row in rows[:3]} == {7}


def test_zero_is_a_number_where_it_differs(pair):
    evaluated(pair[1], "intra", decoding=DECODING | {"lenpen": 0.0})
    with pytest.raises(UsageError, match="runs differ in lenpen: 1.0 of .*plain.*, 0.0 of .*intra"):
        table.results_table(pair)
    assert table.results_table(pair, show_differences=True).split("\n")[2].endswith("| lenpen 1.0 / 0.0 |")


def test_a_setting_that_no_run_of_a_row_has_is_not_shown_there(pair):
    """A tuned length penalty is chosen, and not a setting."""
    evaluated(pair[1], "intra", share=4, decoding=DECODING | {"lenpen": 0.5})
    for run in pair:
        tuned(run, run.name, 1.2)
    rows = table.results_table(pair, show_differences=True).split("\n")
    assert rows[2].endswith("| lenpen 1.0 / 0.5 |")
    assert rows[3].startswith("| de-en (length penalty tuned) |") and rows[3].endswith(" | |")


def test_a_name_with_the_sign_that_ends_a_cell_stays_in_its_own(tmp_path):
    runs = [evaluated(tmp_path / m, m, dataset="a|b.de-en") for m in ("plain", "intra")]
    head, line, row = table.results_table(runs).split("\n")[:3]
    assert row.startswith(r"| a\|b.de-en |") and row.replace(r"\|", "").count("|") == head.count("|")


def test_a_setting_that_differs_is_not_said_to_be_that_of_all(pair):
    evaluated(pair[1], "intra", decoding=DECODING | {"beam": 1})
    said = table.results_table(pair, show_differences=True)
    assert "| beam 5 / 1 |" in said and "Decoding: lenpen 1.0, max-tokens 8000" in said


def test_sources_that_were_cut_are_counted(pair):
    evaluated(pair[1], "intra", truncated=2)
    assert "In all runs together 2 sources were truncated to the model's --max-source-pos" in table.results_table(
        pair
    )


def test_times_that_are_not_equal_are_named(pair):
    assert "apart" not in table.results_table(pair, equal_time=True)
    evaluated(pair[1], "intra", training=TRAINING | {"seconds": 70.0})
    assert "\nThe times of de-en are more than 10% apart." in table.results_table(pair, equal_time=True)
    assert "apart" not in table.results_table(pair)


def test_equal_time_lifts_the_limit_of_updates_and_shows_seconds(pair):
    evaluated(pair[1], "intra", training=TRAINING | {"max_update": 50, "seconds": 62.4})
    rows = table.results_table(pair, equal_time=True).split("\n")
    assert rows[0].endswith("| p-value | seconds |") and rows[2].endswith("| 60 / 62 |")
    other_patience(pair)
    with pytest.raises(UsageError, match="runs differ in patience"):
        table.results_table(pair, equal_time=True)


def test_an_earlier_record_is_marked_unchecked(pair):
    before = table.results_table(pair).split("\n")
    of_format_2(pair[0] / "checkpoint_best.test.json")
    of_format_2(pair[1] / "checkpoint_best.test.json")
    after = table.results_table(pair).split("\n")
    assert before[:4] == after[:4] and not any("Unchecked" in line for line in before)
    assert after[-1].startswith("Unchecked, as 2 of 2 records do not hold it: corpus, data of training, hypotheses,")


def test_a_table_is_made_without_the_texts(pair):
    """Where they may not be copied: the records hold what BLEU and the bootstrap count."""
    with_texts = table.results_table([run / "checkpoint_best.test.json" for run in pair])
    for run in pair:
        for ending in ("hyp", "ref"):
            (run / f"checkpoint_best.test.{ending}").unlink()
    assert table.results_table([run / "checkpoint_best.test.json" for run in pair]) == with_texts


def test_a_score_edited_in_a_record_without_texts_is_noticed(pair):
    edited_score(pair)
    (pair[1] / "checkpoint_best.test.ref").unlink()
    with pytest.raises(UsageError, match="says BLEU 42.00, but its text has"):
        table.results_table(pair)


def test_confidence_intervals_stand_in_brackets(pair):
    path = pair[0] / "checkpoint_best.test.json"
    record = json.loads(path.read_text())
    record["bleu"]["confidence"] = {"mean": 50.0, "half_width": 4.5, "resamples": 1000}
    path.write_text(json.dumps(record))
    said = table.results_table(pair)
    assert f"| {record['bleu']['score']:.2f} (45.50 to 54.50) |" in said and "95 % confidence intervals" in said


def test_sacrebleu_s_log_is_not_part_of_a_table(pair):
    command = [sys.executable, "-m", "fairseq_intra.cli", "table", *pair]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    assert done.stderr == "" and done.stdout.startswith("| pair |")


@pytest.mark.parametrize(
    "wrong",
    [
        {"bleu": {}},
        {"bleu": {"score": "42", "signature": SIGNATURE}},
        {"seed": "x"},
        {"hypotheses": "../other.hyp"},
        {"reference": "/etc/passwd"},
        {"training": {"patience": 1}},
        {"statistics": [1]},
        {"format": None},
    ],
    ids=str,
)
def test_a_record_of_the_wrong_shape_is_one_line(pair, wrong):
    path = pair[0] / "checkpoint_best.test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(UsageError, match=r"plain/checkpoint_best.test.json is not an evaluation") as refusal:
        table.results_table(pair)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"'])
def test_json_that_is_no_record_is_one_line(pair, content):
    (pair[0] / "checkpoint_best.test.json").write_text(content)
    with pytest.raises(UsageError, match=r"plain/checkpoint_best.test.json is not an evaluation"):
        table.results_table(pair)


def test_scores_on_different_references_are_refused_by_the_records_alone(pair):
    """Where the texts are not there, and the score is that of its own reference."""
    records = [run / "checkpoint_best.test.json" for run in pair]
    for record in records:
        record.with_suffix(".hyp").unlink()
        record.with_suffix(".ref").unlink()
    records[1].write_text(json.dumps(json.loads(records[1].read_text()) | {"reference_sha256": "other"}))
    with pytest.raises(UsageError, match=r"plain.* and .*intra.* were scored on different references"):
        table.results_table(records)


def test_of_the_p_values_of_two_seeds_the_larger_counts(pair, tmp_path):
    more = [evaluated(tmp_path / f"{m}2", m, share=share, seed=2) for m, share in (("plain", 3), ("intra", 4))]
    rows = [table.results_table(runs).split("\n")[2] for runs in ([*pair, *more], pair, more)]
    both, *single = (row.split(" | ")[-1] for row in rows)
    assert both == max(single) != min(single)


def test_a_seed_that_goes_against_the_mean_does_not_speak_for_it(pair, tmp_path):
    """sacreBLEU's p-value is of the difference, whichever way it goes."""
    swapped = [evaluated(tmp_path / f"{m}2", m, share=share, seed=2) for m, share in (("plain", 4), ("intra", 2))]
    more = [evaluated(tmp_path / f"{m}3", m, share=share, seed=3) for m, share in (("plain", 2), ("intra", 4))]
    runs = [[*pair], swapped, more]
    cells = [
        table.results_table(sum(some, [])).split("\n")[2].split(" | ") for some in (runs[1:], runs[:1], runs[1:2])
    ]
    assert float(cells[1][-1].strip("| ")) < 0.1 and float(cells[2][-1].strip("| ")) < 0.1
    assert cells[0][-1] == "1.000 |"


@pytest.mark.parametrize("field", ["engine", "lowercase", "corpus"])
def test_what_the_first_record_does_not_hold_is_compared_among_the_others(pair, tmp_path, field):
    values = {"engine": ("fairseq", "ctranslate2"), "lowercase": (False, True), "corpus": ("a", "b")}[field]
    runs = [
        pair[0],
        *(
            evaluated(tmp_path / f"{m}", m, **{field: value})
            for m, value in zip(("intra", "late"), values, strict=True)
        ),
    ]
    evaluated(runs[0], "plain", **{field: None})
    with pytest.raises(UsageError, match="intra.*late"):
        table.results_table(runs)


@pytest.mark.parametrize("rule", [name for name in TRAINING if name != "seconds"])
def test_runs_of_other_rules_are_refused_and_other_limits_allowed_at_equal_time(pair, rule):
    evaluated(pair[1], "intra", training=TRAINING | {rule: 7})
    with pytest.raises(UsageError, match=f"runs differ in {rule.replace('_', ' ')}: "):
        table.results_table(pair)
    limit = rule in ("max_update", "max_epoch", "stop_time_hours")
    with contextlib.nullcontext() if limit else pytest.raises(UsageError, match="runs differ in"):
        table.results_table(pair, equal_time=True)


def test_a_score_that_is_off_by_little_is_noticed(pair):
    evaluated(pair[1], "intra", share=4, bleu={"score": bleu(pair[1]) + 0.01, "signature": SIGNATURE})
    with pytest.raises(UsageError, match="but its text has "):
        table.results_table(pair)
