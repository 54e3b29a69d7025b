"""The benchmarks run and say what they measured. Speed itself is not tested."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
from evaluated_runs import TUNING, evaluated

from fairseq_intra.runs.tables import results_table
from fairseq_intra.runs.training_log import parse_log

LOG = """2026-11-23 10:00:00 | INFO | train_inner | epoch 001:     20 / 82 loss=9, num_updates=40
2026-11-23 10:00:01 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 5 | nll_loss 3.5 | num_updates 40
"""
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a benchmark; returns what it printed."""

    def run_here(script, *arguments):
        always = [script, "--device", "cpu", "--threads", 1]
        monkeypatch.setattr(sys, "argv", [str(word) for word in (*always, *arguments)])
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        return capsys.readouterr().out

    return run_here


@pytest.mark.parametrize("more", [[], ["--growth"], ["--dtype", "bfloat16"]], ids=str)
def test_loss(run, tmp_path, more):
    figures = tmp_path / "figures.json"
    size = ["--passes", 2, "--positions", 6, "--vocab", 40, "--width", 8]
    table = run("loss.py", *size, "--rounds", 3, "--json", figures, *more)
    found = json.loads(figures.read_text())
    assert found["machine"]["command"].startswith("python ") and found["machine"]["torch"]
    for ratio in found["ratios"].values():
        assert 0 < ratio["p20"] <= ratio["median"] <= ratio["p80"]
        assert f"{ratio['median']:.2f} ({ratio['p20']:.2f} to {ratio['p80']:.2f})" in table
    assert ("ours on features" in found["ratios"]) == ("--growth" not in more)


def test_profile_of_the_loss(run, tmp_path):
    figures = tmp_path / "figures.json"
    size = ["--passes", 2, "--positions", 6, "--vocab", 40, "--width", 8]
    table = run("loss.py", *size, "--rounds", 1, "--json", figures, "--profile")
    shares = json.loads(figures.read_text())["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    largest = max(shares, key=shares.get)
    assert f"| {largest} | {shares[largest]:.0%} |" in table


def test_the_table_of_time_to_quality(run, tmp_path):
    """Of two methods at the time of 160 plain updates; the second makes half of them, and then K passes."""
    (tmp_path / "out").mkdir()
    steps = {"two passes": [(2, 1), (3, 2)], "three passes": [(2.5, 1), (5, 2)]}
    (tmp_path / "out" / "step_times.json").write_text(json.dumps(steps))
    updates = {"plain": range(10, 161, 10), "late": range(84, 113, 4)}
    for method, share in {"plain": 2, "late": 3}.items():
        folder = tmp_path / "out" / f"{method}.seed1"
        for name, tuning in ("average5.test", None), ("average5.test.tuned", TUNING):
            evaluated(folder / "checkpoints", method, share=share, name=name, tuning=tuning)
        begin = "2026-11-23 10:00:00 | INFO | valid | epoch 1"
        bleu = {at: at / 10 if method == "plain" else 20 - at / 10 for at in updates[method]}
        lines = [f"{begin} | nll_loss {4 - at / 100} | bleu {bleu[at]} | num_updates {at}" for at in bleu]
        (folder / "train.log").write_text("\n".join(lines))
        (folder / "arguments.txt").write_text(f"--max-update\n{160 if method == 'plain' else 112}\n")
    given = ["--data", "data", "--out", tmp_path / "out", "--budget", 160, "--switch", 80, "--seeds", 2]
    given += ["--batch-tokens", 2048]
    for wrong in (
        ["--out", tmp_path],
        ["--methods", "rdrop late"],
        ["--methods", "plain", "--against", "late"],
        ["--budget", 9],
    ):
        with pytest.raises(SystemExit):
            run("time_to_quality.py", *given, *wrong, "--parts", "table")
    with pytest.raises(SystemExit, match="2"):
        run("time_to_quality.py", *given, "--parts", "tabel")
    for wrong in (["--switch", 40], ["--budget", 320]):
        with pytest.raises(SystemExit, match="give those that it was made with"):
            run("time_to_quality.py", *given, *wrong, "--parts", "table")
    with pytest.raises(SystemExit, match=r"has no finished run of plain .--against., evaluated on test9"):
        run("time_to_quality.py", *given, "--tests", "test9", "--parts", "table")
    assert not (tmp_path / "out" / "time_to_quality.png").exists()
    with pytest.raises(SystemExit, match="has no checkpoint of update 80: train the method plain first"):
        run("time_to_quality.py", *given, "--methods", "late", "--parts", "train")
    table = run("time_to_quality.py", *given, "--parts", "table", "--json", tmp_path / "json")
    assert "three passes 2.5 (2.50 to 2.50)" in table and "two passes 1.75 (1.50 to 2.00)" in table
    assert (tmp_path / "out" / "time_to_quality.svg").exists()
    rows = [line.split("|")[1:-1] for line in table.split("\n") if line.startswith("|")][2:]
    plain, plain_tuned, late, late_tuned = ([cell.strip() for cell in row] for row in rows)
    assert plain[:7] == ["plain", "1", "160", "2.400", "16.00", "no (+2.00)", "1"] and plain[8:] == ["", "", ""]
    assert late[:7] == ["late", "1", "112", "2.880", "8.80", "yes (-0.80)", "1"]
    assert [row[:7] for row in (plain_tuned, late_tuned)] == 2 * [[*[""] * 6, "1.2"]]
    for ours, theirs in ((late, plain), (late_tuned, plain_tuned)):
        assert float(ours[8]) == pytest.approx(float(ours[7]) - float(theirs[7]), abs=0.011)
        assert 0 < float(ours[9]) < 0.1 and ours[9] == ours[10]
    pictures = [tmp_path / "out" / f"time_to_quality.{kind}" for kind in ("png", "svg")]
    for picture in pictures:
        picture.write_text("all of the runs")
    against = run("time_to_quality.py", *given, "--parts", "table", "--methods", "plain late", "--against", "late")
    plain, _, late, _ = ([cell.strip() for cell in line.split("|")[1:-1]] for line in against.split("\n")[-6:-2])
    assert "difference from late" in against and late[8] == ""
    assert float(plain[8]) == pytest.approx(float(plain[7]) - float(late[7]), abs=0.011)
    curve = json.loads((tmp_path / "json").read_text())["curves"]["late"]["1"]
    assert [point[0] for point in curve] == [*range(10, 81, 10), *range(90, 161, 10)]
    assert all(picture.read_text() == "all of the runs" for picture in pictures)
    (tmp_path / "out" / "plain.seed1").rename(tmp_path / "elsewhere")
    with pytest.raises(SystemExit, match=r"late\.seed1 begins with .*plain\.seed1, which is not there"):
        run("time_to_quality.py", *given, "--methods", "plain late", "--against", "late", "--parts", "table")


def test_times_of_steps_of_another_batch_are_not_used(run, tmp_path):
    (tmp_path / "step_times.json").write_text(json.dumps({"two passes": [(2, 1)]}))
    given = ["--data", "data", "--out", tmp_path, "--budget", 160, "--seeds", 0]
    given += ["--parts", "train", "--preset", "tiny"]
    run("time_to_quality.py", *given, "--batch-tokens", 2048)
    run("time_to_quality.py", *given, "--batch-tokens", 2048)
    for other in (["--batch-tokens", 1024], ["--batch-tokens", 2048, "--threads", 2]):
        with pytest.raises(SystemExit, match="was made with other arguments.* there, .* now"):
            run("time_to_quality.py", *given, *other)


@pytest.fixture
def sizes(tmp_path):
    """Three sizes, 160 plain updates each: of the second plain training alone is finished, of the third nothing."""
    steps = json.dumps({"two passes": [(2, 1), (3, 1.5), (4, 2)]})
    for size, method, share in ((100, "plain", 2), (100, "rdrop", 3), (2000, "plain", 2)):
        folder = tmp_path / str(size) / f"{method}.seed1"
        for name, tuning in (("average5.test", None), ("average5.test.tuned", TUNING)):
            evaluated(folder / "checkpoints", method, share=share, name=name, tuning=tuning)
        # R-Drop makes half as many updates, and is as good on valid after each as plain training after two.
        step = 2 if method == "plain" else 1
        begin = "2026-11-23 10:00:00 | INFO | valid | epoch 1 | nll_loss 4"
        lines = [f"{begin} | bleu {number} | num_updates {5 * step * number}" for number in range(1, 17)]
        (folder / "train.log").write_text("\n".join(lines))
        (folder / "arguments.txt").write_text(f"--max-update\n{80 * step}\n")
    (tmp_path / "300").mkdir()
    for size in ("100", "2000", "300"):
        (tmp_path / size / "step_times.json").write_text(steps)
    return tmp_path


@pytest.fixture
def when_it_pays(run, sizes):
    given = ["--budget", 160, "--switch", 80, "--methods", "plain rdrop late", "--prefix", sizes / "picture"]
    return lambda *names: run("when_it_pays.py", *given, *(sizes / name for name in names))


def test_the_gain_over_the_number_of_pairs(sizes, when_it_pays):
    table = when_it_pays("2000", "300", "100")
    rows = [line.split("|")[1:-1] for line in table.split("\n") if line.startswith("|")][2:]
    plain, rdrop, other = ([cell.strip() for cell in row] for row in rows)
    assert plain[:3] == ["100", "plain", "1"] and other[:3] == ["2,000", "plain", "1"]
    # The mean of the last four validations, 14.5, is reached by the 15th.
    for row in (plain, other):
        assert row[4:7] == row[8:11] == [""] * 3 and row[11:] == ["150", "1.00"]
    assert rdrop[:3] == ["100", "rdrop", "1"] and rdrop[11:] == ["150", "1.00"]
    for score, difference, p in (rdrop[3:6], rdrop[7:10]):
        assert float(difference) == pytest.approx(float(score) - float(plain[3]), abs=0.011) and float(p) < 0.1
    assert (sizes / "picture.svg").exists() and (sizes / "picture.png").exists()


def test_plain_s_level_that_is_never_reached(sizes, when_it_pays):
    log = sizes / "100" / "rdrop.seed1" / "train.log"
    log.write_text(re.sub(r"bleu \d+", "bleu 14.4", log.read_text()))
    rdrop = when_it_pays("100").rstrip().split("\n")[-1]
    assert rdrop.endswith("| not reached |  |")


def test_folders_that_are_no_sizes(sizes, when_it_pays, capsys):
    wrong = {"picture": "its name is not a number of pairs", "400": "has no step_times.json"}
    for name, message in wrong.items():
        with pytest.raises(SystemExit, match="2"):
            when_it_pays("100", name)
        assert message in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit, match="no size has a finished run of plain training"):
        when_it_pays("300")
    assert not (sizes / "picture.png").exists()


def test_kept_runs_have_the_validations_and_records_of_finished_ones(tmp_path, monkeypatch, capsys):
    log = "".join(
        [
            "2026-11-23 10:00:00 | INFO | fairseq.trainer | begin training epoch 1\n",
            *[LOG.replace("=40", f"={at}").replace(" 40", f" {at}") for at in (40, 80)],
            "2026-11-23 10:00:02 | INFO | x | intra-distillation begins after 80 updates\n",
            "2026-11-23 10:00:02 | INFO | fairseq.trainer | begin training epoch 2\n",
            LOG.replace("=40", "=100").replace(" 40", " 120"),
        ]
    )
    for name in ("done", "broken"):
        evaluated(tmp_path / name / "checkpoints", "late", share=2, name="average5.test")
        (tmp_path / name / "train.log").write_text(log)
        (tmp_path / name / "arguments.txt").touch()
    (tmp_path / "done" / "finished").touch()
    (tmp_path / "step_times.json").write_text("{}\n")
    runs = [str(tmp_path / name) for name in ("done", "broken")]

    def keep(*flags):
        monkeypatch.setattr(sys, "argv", ["keep_runs.py", "--to", str(tmp_path / "kept"), *flags, *runs])
        runpy.run_path(str(BENCHMARKS / "keep_runs.py"), run_name="__main__")

    keep()
    assert capsys.readouterr().out == f"{tmp_path / 'broken'} is not finished, and left out\n"
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"done", "step_times.json"}
    before, kept = (
        parse_log((folder / "done" / "train.log").read_text()) for folder in (tmp_path, tmp_path / "kept")
    )
    assert kept == before and kept.switch and len(kept.valid) == 3
    record = Path("done/checkpoints/average5.test.json")
    assert (tmp_path / "kept" / record).read_bytes() == (tmp_path / record).read_bytes()
    assert not list((tmp_path / "kept").rglob("*.hyp"))
    keep("--unfinished")
    assert parse_log((tmp_path / "kept" / "broken" / "train.log").read_text()) == before
    assert not (tmp_path / "kept" / "broken" / "finished").exists()
    # A run that was continued has lost what it had.
    (tmp_path / record).unlink()
    (tmp_path / "done" / "finished").unlink()
    keep("--unfinished")
    assert not {record, Path("done/finished")} & {
        path.relative_to(tmp_path / "kept") for path in (tmp_path / "kept").rglob("*")
    }
    before = {path for path in tmp_path.rglob("*")}
    with pytest.raises(SystemExit):
        keep("--to", str(tmp_path))
    assert "which would be replaced by what is kept of it" in capsys.readouterr().err
    assert {path for path in tmp_path.rglob("*")} == before
    runs.append(f"{tmp_path}/other/done")
    with pytest.raises(SystemExit):
        keep()
    assert "two runs are called done" in capsys.readouterr().err
    evaluated(tmp_path / "plain" / "checkpoints", "plain", share=3, name="average5.test")
    assert "late intra-distillation" in results_table([tmp_path / "plain", tmp_path / "kept" / "broken"])


def test_validations_at_equal_updates(run, tmp_path):
    """The mean of the last five; of a run that has not come so far, nothing."""
    begin = "2026-11-23 10:00:00 | INFO | valid | epoch 1"
    for name, validations in (("whole", 8), ("half", 4)):
        (tmp_path / name).mkdir()
        lines = [
            f"{begin} | nll_loss {9 - number} | bleu {number} | num_updates {10 * number}" for number in range(1, 9)
        ]
        (tmp_path / name / "train.log").write_text("\n".join(lines[:validations]))
    with pytest.raises(SystemExit, match="2"):
        run("validations.py", "--updates", "45,x", tmp_path / "whole")
    table = run("validations.py", "--updates", "45,80", tmp_path / "whole", tmp_path / "half")
    assert "| whole | 6.500 | 3.000 | 2.50 | 6.00 |" in table
    assert "| half |  |  |  |  |" in table
    table = run("validations.py", "--updates", "45,80", "--average", 2, tmp_path / "whole")
    assert "| whole | 5.500 | 1.500 | 3.50 | 7.50 |" in table
    table = run("validations.py", "--updates", "45,80", "--within", 30, tmp_path / "whole")
    assert "| whole | 6.000 | 2.000 | 3.00 | 7.00 |" in table
    log = tmp_path / "half" / "train.log"
    log.write_text(re.sub(r" \| bleu [\d.]+", "", log.read_text()))
    assert "| half | " in run("validations.py", "--updates", "40", tmp_path / "half")


def test_updates_that_are_counted_from_a_second_warm_up_have_no_share(run, tmp_path, capsys):
    for name in ("plain.seed1", "late-second-warmup.seed1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.log").write_text(
            "2026-11-23 10:00:00 | INFO | valid | epoch 1 | nll_loss 3 | bleu 9 | num_updates 100\n"
        )
    plain, other = tmp_path / "plain.seed1", tmp_path / "late-second-warmup.seed1"
    with pytest.raises(SystemExit, match="2"):
        run("validations.py", "--updates", "100", "--full", other, plain)
    assert "late-second-warmup.seed1 counts its updates from a second warm-up" in capsys.readouterr().err


def test_validations_have_the_share_of_the_full_method_s_gain_and_what_it_cost(run, tmp_path):
    line = "2026-11-23 10:00:00 | INFO | valid | epoch 1 | nll_loss 3 | bleu {} | num_updates 100"
    for name, bleu, flags in (("plain", 10, ""), ("intra", 12, ""), ("late", 11, "--plain-updates\n60\n")):
        folder = tmp_path / f"{name}.seed1"
        folder.mkdir()
        (folder / "train.log").write_text(line.format(bleu))
        (folder / "arguments.txt").write_text(flags)
    (tmp_path / "step_times.json").write_text('{"three passes": [[5.0, 2.0]]}')
    runs = [tmp_path / f"{name}.seed1" for name in ("plain", "intra", "late")]
    table = run("validations.py", "--updates", 100, "--full", runs[1], *runs)
    for row in (
        "plain.seed1 | 3.000 | 10.00 | 1.00 | +0.00 | 0%",
        "intra.seed1 | 3.000 | 12.00 | 2.50 | +2.00 | 100%",
    ):
        assert f"| {row} |" in table
    # 60 plain updates, and 40 of two and a half times the time.
    assert "| late.seed1 | 3.000 | 11.00 | 1.60 | +1.00 | 50% |" in table
    with pytest.raises(SystemExit):
        run("validations.py", "--updates", 100, "--full", runs[0], *runs)


def test_the_python_in_shell_recipes_imports_what_is_there():
    scripts = "".join(script.read_text() for script in BENCHMARKS.glob("*.sh"))
    lines = re.findall(r"^(?:from|import) fairseq_intra.*", scripts, re.MULTILINE)
    assert lines
    for line in lines:
        exec(line, {})


@pytest.mark.slow
def test_decode(run, dataset, trained, tmp_path):
    table = run("decode.py", "--checkpoint", trained.checkpoint, "--data", dataset, "--rounds", 1)
    assert "Decoding 10 sentences (" in table and "checks and scoring of evaluate: " in table
    rows = [line.split(" | ") for line in table.split("\n") if line.startswith(("| fairseq-", "| evaluate", "| CTr"))]
    assert [row[0][2:] for row in rows] == [
        *("fairseq-generate", "evaluate", "CTranslate2 float32", "CTranslate2 int8")
    ]
    # The same program with the same batches.
    assert rows[0][2] == "1.00 (1.00 to 1.00)" and rows[1][3:] == ["+0.00", "100.0% |"]
    assert all(float(row[1]) > 0 for row in rows)


def test_another_python_than_the_one_that_is_asked_for_measures_nothing(tmp_path):
    environment = os.environ | {"FAIRSEQ_INTRA_PYTHON": "/nowhere/python"}
    command = [BENCHMARKS / "gpu.sh", "--out", tmp_path / "out", "--rehearse"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "no Python at '/nowhere/python'" in done.stderr


@pytest.mark.slow
def test_rehearsal_of_the_gpu_s_measurements(tmp_path):
    command = [BENCHMARKS / "gpu.sh", "--out", tmp_path / "out", "--rehearse"]
    environment = os.environ | {"FAIRSEQ_INTRA_PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = {path.name.partition(".")[0] for path in (tmp_path / "out").glob("*.json")}
    assert results == {"machine", "tests", "launch", "loss", "step", "host", "largest"}
    titles = [line for line in done.stdout.split("\n") if line.startswith("**")]
    assert len(titles) == len(results) - 1
    assert json.loads((tmp_path / "out" / "largest.recompute.json").read_text())["max_tokens"] == 24
    assert json.loads((tmp_path / "out" / "tests.json").read_text())["kernels"]["status"] == 0
    steps = json.loads((tmp_path / "out" / "step.iwslt.float32.json").read_text())
    assert f"| iwslt, float32 | recompute | {steps['ratios']['recompute']['median']:.2f} " in done.stdout


@pytest.fixture
def gpu():
    return pytest.importorskip("gpu", reason="needs Triton")


def test_measurements_go_on_where_a_call_stopped(gpu, tmp_path, monkeypatch):
    calls, broken = [], [True]

    def case(name):
        calls.append(name)
        if name == "second" and broken:
            raise broken.pop() and RuntimeError("the card fell off the bus")
        return {"of": name}

    names = ("first", "second", "third")
    monkeypatch.setattr(gpu, "cases", lambda _: [("part", name, lambda name=name: case(name)) for name in names])
    args = Namespace(out=tmp_path, device="cpu", threads=1, deadline=time.monotonic() - 1, parts=["part"])
    assert gpu.measure(Namespace(**vars(args) | {"parts": ["another"]})) == (0, [])
    assert gpu.measure(args) == (3, [])
    args.deadline += 1000
    assert gpu.measure(args) == (0, ["second"])
    assert gpu.measure(args) == (0, [])
    assert calls == ["first", "second", "third", "second"]
    assert json.loads((tmp_path / "second.json").read_text()) == {"of": "second"}


def test_results_of_two_gpus_never_share_a_folder(gpu, tmp_path):
    (tmp_path / "machine.json").write_text('{"device": "another"}')
    with pytest.raises(gpu.UsageError, match="has results of another, not of .*: name another folder"):
        gpu.measure(Namespace(out=tmp_path, device="cpu", threads=1))


def test_trainings_of_another_preset_never_share_a_folder(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "cases", lambda _: [])
    args = {"out": tmp_path, "device": "cpu", "threads": 1, "parts": ["training"], "data": ["DATA"], "updates": 40}
    assert gpu.measure(Namespace(**args, preset="paper")) == gpu.measure(Namespace(**args, preset="paper")) == (0, [])
    with pytest.raises(gpu.UsageError, match="'--preset paper' there, '--preset tiny' now"):
        gpu.measure(Namespace(**args, preset="tiny"))


def test_a_training_is_stopped_in_time_and_its_score_is_read(gpu, tmp_path, monkeypatch):
    parts = sys.modules["gpu_parts"]
    train, evaluate = (tmp_path / "scripts" / name for name in ("train.sh", "evaluate.sh"))
    train.parent.mkdir()
    monkeypatch.setattr(parts, "CHECKOUT", tmp_path)
    args = Namespace(out=tmp_path, preset="paper", updates=40, deadline=time.monotonic())
    for script in (train, evaluate):
        script.write_text('#!/bin/sh\necho "$@" >>"$0.arguments"; sleep 60\n')
        script.chmod(0o755)
    with pytest.raises(gpu.OutOfTime):
        parts.training(args, "DATA", "late", "training.DATA.late")
    assert not evaluate.with_suffix(".sh.arguments").exists()
    checkpoints = tmp_path / "runs" / "training.DATA.late" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints.parent / "train.log").write_text(LOG)
    (checkpoints / "checkpoint_best.test.json").write_text('{"bleu": {"score": 12.5, "signature": "s"}}')
    for script in (train, evaluate):
        script.write_text('#!/bin/sh\necho "$@" >>"$0.arguments"\n')
    args.deadline += 60
    found = parts.training(args, "DATA", "late", "training.DATA.late")
    assert found == {"updates": 40, "best validation nll": 3.5, "bleu": 12.5, "signature": "s"}
    words = train.with_suffix(".sh.arguments").read_text().split("\n")[1]
    assert "--method intra --plain-updates 20 --updates 40" in words


def test_no_gpu_is_reported_in_one_line(gpu, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", "anywhere"])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    *_, line = capsys.readouterr().err.strip().split("\n")
    assert line.endswith("there is no GPU here that torch can use; --rehearse does every part on the CPU")
