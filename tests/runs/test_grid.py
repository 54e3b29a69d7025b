"""`fairseq-intra grid`: what it starts, where, in which order, and what it makes of failures, locks and signals."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import corpus
import pytest
from training_stub import MANIFEST
from waiting import wait_for

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.files import is_locked
from fairseq_intra.runs import arguments, progress, scheduler, steps, tables, task_table
from fairseq_intra.transfer import table as transfer_table

STUB = Path(__file__).parent.parent / "stub_step.py"
NAMES = [f"{pair}.{method}.seed1" for pair in ("de-en", "fa-en") for method in ("plain", "intra")]
BOTH_SEEDS = [*NAMES, *(name.replace("seed1", "seed2") for name in NAMES)]
#: `fairseq-intra` as in `stubs`, in a process of its own: the first argument is the file of calls.
DRIVER = f"""
import sys
from fairseq_intra import cli
from fairseq_intra.runs import scheduler, steps
calls = sys.argv.pop(1)
scheduler.gpu_count = lambda: 0
steps.start_of = lambda name: [sys.executable, "-IS", {str(STUB)!r}, calls, name]
cli.main(sys.argv[1:])
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Steps are stubs, which note their calls in a file; returns that file."""
    path = tmp_path / "calls"
    path.touch()
    monkeypatch.setattr(steps, "start_of", lambda name: [sys.executable, "-IS", str(STUB), str(path), name])
    monkeypatch.setattr(scheduler, "POLL", 0.01)
    monkeypatch.setattr(scheduler, "gpu_count", lambda: 0)
    monkeypatch.setattr(tables, "results_table", shown)
    monkeypatch.setattr(task_table, "task_table", lambda folders: " ".join(folder.name for folder in folders))
    monkeypatch.setattr(transfer_table, "transfer_table", lambda files: " ".join(file.name for file in files))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return path


def shown(files, paper, show_differences):
    """In place of a table: what it is of."""
    return "\n".join([f"paper {paper}{', differences' * show_differences}", *map(str, files)])


@pytest.fixture
def data(tmp_path):
    for name in ("de-en", "fa-en", "bible.de-en"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "manifest.json").write_text(MANIFEST)
    return tmp_path / "data"


def translation(data, *more):
    given = [
        "grid",
        "translation",
        "--data",
        data,
        "--out",
        data.parent / "out",
        "--langs",
        "de fa de",
    ]
    return [str(word) for word in [*given, *more]]


def called(path):
    """Every call so far as [name, GPUs, flags...]."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def runs_of(path, *names):
    """The names of the runs whose steps of these names were called, in order."""
    return [
        Path(words[words.index("--out") + 1]).name
        if "--out" in words
        else Path(words[words.index("--checkpoint") + 1]).parent.parent.name
        for words in called(path)
        if words[0] in names
    ]


def test_every_run_is_trained_and_evaluated_once(data, calls, capsys):
    cli.main(translation(data, "--seeds", "1 2", "--preset", "tiny", "--alpha", "1"))
    out = data.parent / "out"
    assert runs_of(calls, "train") == runs_of(calls, "evaluate") == BOTH_SEEDS
    train, evaluate = called(calls)[:2]
    assert train[2:] == ["--data", f"{data}/de-en", "--method", "plain", "--seed", "1", "--out", f"{out}/{NAMES[0]}",
                         "--preset", "tiny", "--alpha", "1"]  # fmt: skip
    best = f"{out}/{NAMES[0]}/checkpoints/checkpoint_best.pt"
    assert evaluate[2:] == ["--data", f"{data}/de-en", "--checkpoint", best]
    files = [f"{out}/{name}/checkpoints/checkpoint_best.test.json" for name in BOTH_SEEDS]
    said = capsys.readouterr()
    assert said.out == "\n".join(["# IWSLT'14", "", "paper True", *files, ""]) == (out / "table.md").read_text()
    assert "8 runs, 1 at a time\n" in said.err
    assert re.search(rf"^fairseq_intra: 0 of 8 runs done, 0 failed; .+; now {NAMES[0]}", said.err, re.MULTILINE)
    # Repeated, each training sees for itself that it is finished, and no evaluation is repeated.
    calls.write_text("")
    cli.main(translation(data, "--jobs", "3"))
    assert sorted(runs_of(calls, "train")) == sorted(NAMES) and not runs_of(calls, "evaluate")


def test_another_corpus_has_all_its_datasets_and_no_figures_of_the_paper(data, calls, capsys):
    given = ["grid", "translation", "--data", data, "--out", data.parent / "out", "--corpus", "Real text"]
    cli.main([str(word) for word in [*given, "--average", 5]])
    said = capsys.readouterr().out.split("\n")
    assert said[:3] == ["# Real text", "", "paper False"]
    assert [Path(file).parts[-3:] for file in said[3:-1]] == [
        (f"{pair}.{method}.seed1", "checkpoints", "average5.test.json")
        for pair in ("bible.de-en", "de-en", "fa-en")
        for method in ("plain", "intra")
    ]


def test_other_settings_stand_in_the_table_where_that_is_asked_for(data, calls, capsys):
    """The flag is the table's, and not that of a training."""
    cli.main(translation(data, "--show-differences"))
    assert "paper True, differences\n" in capsys.readouterr().out
    assert not any("--show-differences" in words for words in called(calls))
    cli.main(translation(data, "--table", "--show-differences"))
    assert "paper True, differences\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["grid", "translation", "--help"])
    assert "--show-differences" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("grid", "given"),
    [("glue", ["--glue=.", "--checkpoint=a.pt"]), ("transfer", ["--task=ner", "--input=.", "--pretrained=."])],
)
def test_runs_of_a_table_that_has_no_column_for_it_do_not_differ(tmp_path, calls, grid, given):
    with pytest.raises(UsageError, match="--show-differences: all runs of this table must have the same settings"):
        cli.main(["grid", grid, *given, "--out", str(tmp_path / "out"), "--table", "--show-differences"])


def test_four_methods_and_the_late_start_s_flag_for_late_alone(data, calls):
    cli.main(
        translation(
            data, "--methods", "late plain rdrop intra", "--langs", "de", "--plain-patience", "2", "--lr", "1"
        )
    )
    found = {words[words.index("--method") + 1]: words for words in called(calls) if words[0] == "train"}
    assert list(found) == ["late", "plain", "rdrop", "intra"]
    assert found["intra"][-2:] == ["--lr", "1"] and "--plain-patience" not in found["intra"]
    assert found["late"][-4:] == ["--plain-patience", "2", "--lr", "1"]


def test_one_method_makes_no_table(data, calls, capsys):
    cli.main(translation(data, "--methods", "intra"))
    said = capsys.readouterr()
    assert (
        not said.out
        and "no table: it needs plain and another method" in said.err
        and runs_of(calls, "train") == NAMES[1::2]
    )


def test_without_results_there_is_no_table_and_the_status_says_so(data, calls, capsys):
    with pytest.raises(UsageError, match="--out .*/out: no such folder"):
        cli.main(translation(data, "--table"))
    (data.parent / "out").mkdir()
    with pytest.raises(UsageError, match=r"table\.md is not made: see above"):
        cli.main(translation(data, "--table"))
    assert "no table: nothing has runs of all methods" in capsys.readouterr().err


def test_a_failed_run_stops_no_other_and_is_named(data, calls, capsys, monkeypatch):
    monkeypatch.setenv("FAILS", "de-en.intra")
    logs = data.parent / "out" / "logs"
    with pytest.raises(UsageError, match=rf"1 of 4 runs failed: de-en.intra.seed1 \(see {logs}\)"):
        cli.main(translation(data))
    said = capsys.readouterr()
    assert runs_of(calls, "train") == NAMES and "de-en.intra.seed1 failed: the reason\n" in said.err
    assert said.out.endswith("\nLeft out, for a run of it failed: de-en, seed 1.\n")
    assert "fa-en.plain.seed1" in said.out and "de-en.plain.seed1" not in said.out
    monkeypatch.delenv("FAILS")
    calls.write_text("")
    cli.main(translation(data))
    assert "Left out" not in capsys.readouterr().out and runs_of(calls, "evaluate") == ["de-en.intra.seed1"]


def test_a_run_that_is_out_of_time_has_not_failed(data, calls, capsys, monkeypatch):
    monkeypatch.setenv("OUT_OF_TIME", "de-en.intra")
    with pytest.raises(SystemExit) as end:
        cli.main(translation(data))
    said = capsys.readouterr()
    assert end.value.code == 75 and runs_of(calls, "train") == NAMES and "intra.seed1 failed" not in said.err
    assert "de-en.intra.seed1: stopped by --stop-time-hours\n" in said.err
    assert said.err.endswith("1 of 4 runs are out of time: de-en.intra.seed1; with more of it they resume\n")
    assert said.out.endswith("\nLeft out, for a run of it is not finished: de-en, seed 1.\n")


def test_results_of_an_unfinished_run_are_not_in_the_table(data, calls, capsys):
    """Somebody has evaluated it meanwhile."""
    cli.main(translation(data))
    (data.parent / "out" / NAMES[0] / "finished").unlink()
    cli.main(translation(data, "--table"))
    assert "Left out, for a run of it is not finished: de-en, seed 1." in capsys.readouterr().out


def test_a_table_of_runs_on_another_dataset_is_rejected(data, calls):
    cli.main(translation(data))
    kept = data.parent / "out" / NAMES[0] / "arguments.txt"
    kept.write_text(f"{arguments.data_line(data / 'de-en')}\n")
    cli.main(translation(data, "--table"))
    kept.write_text("# data of another\n")
    with pytest.raises(UsageError, match=f"{NAMES[0]} was trained on another dataset than .*de-en"):
        cli.main(translation(data, "--table"))


def test_a_table_of_other_runs_does_not_stay(data, calls):
    """What is there, is of the runs that the command names."""
    cli.main(translation(data))
    out = data.parent / "out"
    before = (out / "table.md").read_text()
    cli.main(translation(data, "--methods", "intra"))
    assert not (out / "table.md").exists() and (out / "table.earlier.md").read_text() == before
    cli.main(translation(data))
    assert (out / "table.md").read_text() == before and not (out / "table.earlier.md").exists()


@pytest.mark.parametrize("path", [None, "/an other/folder"])
def test_a_list_finds_the_package_where_it_was_made(data, calls, capsys, monkeypatch, path):
    monkeypatch.setenv("PYTHONPATH", path) if path else monkeypatch.delenv("PYTHONPATH", raising=False)
    cli.main(translation(data, "--list"))
    words, start = shlex.split(capsys.readouterr().out.split("\n")[0]), steps.start_of("train")
    commands = [words, words[words.index("&&") + 1 :]]
    for command in commands:
        assert command[: len(start) - 1 + bool(path)] == [*[f"PYTHONPATH={path}"] * bool(path), *start[:-1]]


def test_a_list_has_one_command_a_run_which_does_it_and_nothing_else_is_made(data, calls, capsys, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    cli.main(translation(data, "--dropout", "0.2", "--list"))
    lines = capsys.readouterr().out.split("\n")[:-1]
    assert len(lines) == 4 and not called(calls) and not (data.parent / "out").exists()
    words, start = shlex.split(lines[3]), [*steps.start_of("train"), "--data"]
    assert words[: len(start)] == start and "&&" in words
    for line in lines[:3]:
        subprocess.run(["sh", "-c", line], check=True)
    assert runs_of(calls, "train") == runs_of(calls, "evaluate") == NAMES[:3]
    cli.main(translation(data, "--table"))
    said = capsys.readouterr().out.split("\n")
    assert [Path(file).parts[-3] for file in said[3:5]] == NAMES[:2]
    assert said[5:] == ["Left out, for a run of it is not finished: fa-en, seed 1.", ""]
    assert (data.parent / "out" / "table.md").exists() and len(called(calls)) == 6


def test_one_run_at_a_time_on_each_group_of_gpus(data, calls, monkeypatch):
    monkeypatch.setattr(scheduler, "gpu_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cli.main(translation(data, "--gpus", "1,3"))
    where = {Path(words[words.index("--out") + 1]).name: words[1] for words in called(calls) if words[0] == "train"}
    assert {where[NAMES[0]], where[NAMES[1]]} == {"1", "3"} == set(where.values())


def test_places(monkeypatch):
    monkeypatch.setattr(scheduler, "gpu_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    devices = [place["CUDA_VISIBLE_DEVICES"] for place in scheduler.places(None, 2, 2)]
    assert devices == ["4,5", "6,7", "4,5", "6,7"]
    assert scheduler.places("3,0", 1, 1) == [{"CUDA_VISIBLE_DEVICES": "7"}, {"CUDA_VISIBLE_DEVICES": "4"}]
    for gpus, per_run, wrong in (
        ("0,4", 1, "there is no GPU 4 here; torch sees 4"),
        ("0 1", 1, "must be indices with commas between, such as 0,1, not '0 1'"),
        ("1,1", 1, "GPU 1 appears twice"),
        (None, 3, "--gpus 0,1,2,3: 4 do not make groups of --gpus-per-run 3"),
    ):
        with pytest.raises(UsageError, match=wrong):
            scheduler.places(gpus, per_run, 1)
    monkeypatch.setattr(scheduler, "gpu_count", lambda: 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert scheduler.places(None, 1, 2) == [{"OMP_NUM_THREADS": "5"}] * 2
    with pytest.raises(UsageError, match="--gpus-per-run 2: torch sees no GPU here"):
        scheduler.places(None, 2, 1)


@contextlib.contextmanager
def held(folder):
    """Another process's lock of a folder."""
    folder.mkdir(parents=True)
    with open(folder / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def test_a_run_that_another_process_works_on_is_waited_for(data, calls, capsys):
    def release():
        wait_for(lambda: len(runs_of(calls, "evaluate")) == 3)
        lock.close()

    with held(data.parent / "out" / NAMES[0]) as lock:
        releasing = threading.Thread(target=release)
        releasing.start()
        cli.main(translation(data))
        releasing.join()
    assert runs_of(calls, "train") == [*NAMES[1:], NAMES[0]]
    assert f"{NAMES[0]}: waiting for another process that works on it" in capsys.readouterr().err


def test_two_grids_do_not_share_a_folder(data, calls):
    with held(data.parent / "out"), pytest.raises(UsageError, match="another process is working in"):
        cli.main(translation(data))
    assert not called(calls)


@contextlib.contextmanager
def driven(arguments, calls, hold, step="train"):
    """The command in a process of its own, once the run HOLD is in its training, or in another step."""
    # Where the tests run in the background, SIGINT is ignored, and the grid would heed that.
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(calls), *arguments],
        env=corpus.environment(HOLD=hold, HOLD_IN=step),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=corpus.heed_signals,
    )
    try:
        wait_for(lambda: hold in runs_of(calls, step), process)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_in_one_line(data, calls, number):
    with driven(translation(data, "--jobs", "2"), calls, NAMES[1]) as process:
        wait_for(lambda: is_locked(data.parent / "out" / NAMES[1]))
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 128 + number and "Traceback" not in said
        assert re.search(r"fairseq_intra: stopped by SIG\w+; the same command resumes\n$", said)
        assert not is_locked(data.parent / "out" / NAMES[1])


@pytest.mark.parametrize("step", ["train", "evaluate"])
def test_sigusr1_makes_trainings_save_and_ends_the_rest(data, calls, step):
    """So does Slurm, in time for the job to be queued again."""
    with driven(translation(data, "--jobs", "2"), calls, NAMES[1], step) as process:
        wait_for(lambda: NAMES[2] in runs_of(calls, "train"))
        process.send_signal(signal.SIGUSR1)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert said.endswith(f"fairseq_intra: stopped by SIGUSR1; the same command resumes {data.parent / 'out'}\n")
    assert " failed:" not in said and "Traceback" not in said
    assert (data.parent / "out" / NAMES[1] / "saved").exists() is (step == "train")
    assert len(called(calls)) < 8
    calls.write_text("")
    cli.main(translation(data))
    assert NAMES[1] in runs_of(calls, "evaluate")


def test_after_sigkill_what_it_started_ends_and_the_repeat_resumes(data, calls, capsys):
    with driven(translation(data), calls, NAMES[2]) as process:
        wait_for(lambda: is_locked(data.parent / "out" / NAMES[2]))
        process.kill()
    wait_for(lambda: not is_locked(data.parent / "out" / NAMES[2]))
    assert not (data.parent / "out" / "table.md").exists()
    calls.write_text("")
    cli.main(translation(data))
    assert runs_of(calls, "evaluate") == NAMES[2:] and "Left out" not in capsys.readouterr().out


def test_the_status_line_tells_the_updates_and_the_time_left(tmp_path):
    """2 of 12 updates took a minute: a run takes 6 minutes, and 5 from its first line on."""
    runs = [scheduler.Run(name, tmp_path / name, [], name.split(".")[1]) for name in BOTH_SEEDS]
    assert progress.remaining_seconds(runs, 2) is None
    for run in runs[:3]:
        run.folder.mkdir()
        (run.folder / "arguments.txt").write_text("--max-update\n100\n--max-update=12\n")
        (run.folder / "train.log").write_text(
            "2026-11-24 00:00:00 | INFO | fairseq.trainer | begin training epoch 1\n"
            "2026-11-24 00:01:00 | INFO | train_inner | epoch 001: 1 / 8 loss=9, num_updates=2\n"
        )
    runs[0].state, runs[1].state, runs[2].state = "done", "failed", "active"
    # One that is active, and five that have not begun.
    assert progress.remaining_seconds(runs, 2) == (300 + 5 * 360) / 2
    line = progress.Progress(runs, 2)._line(runs[2:4], 7260)
    assert line == (
        "1 of 8 runs done, 1 failed; about 2 h 1 min of training left; now fa-en.plain.seed1 2/12, fa-en.intra.seed1"
    )
    (runs[2].folder / "finished").touch()
    assert "now fa-en.plain.seed1 evaluating, fa-en" in progress.Progress(runs, 2)._line(runs[2:4], 7260)
    # Early stopping may have ended it.
    assert progress.remaining_seconds(runs, 2) == 5 * 360 / 2
    # Intra-distillation takes twice the time; what has not begun is taken for the slowest.
    for log in (run.folder / "train.log" for run in runs[:3] if run.method == "intra"):
        log.write_text(log.read_text().replace("00:01:00", "00:02:00"))
    late = scheduler.Run("fa-en.late.seed1", tmp_path / "late", [], "late")
    waiting = [run.method for run in runs if run.state == "waiting"]
    expected = 360 * waiting.count("plain") + 720 * waiting.count("intra")
    assert waiting.count("plain") and waiting.count("intra")
    assert progress.remaining_seconds(runs, 1) == expected
    assert progress.remaining_seconds([*runs, late], 1) == expected + 720


def test_on_a_terminal_the_status_line_is_rewritten_in_place(data, calls, capsys, monkeypatch):
    """What is printed beside it stays, in lines of its own."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FAILS", "de-en.intra")
    with pytest.raises(UsageError, match="1 of 4 runs failed"):
        cli.main(translation(data))
    said = capsys.readouterr().err
    for name in (NAMES[0], *NAMES[2:]):
        assert re.search(rf"\r\033\[K\d of 4 runs done, \d failed; .+; now {name}", said)
    seen = [line.rpartition("\r\033[K")[2] for line in said.split("\n")]
    assert seen[:2] == ["fairseq_intra: 4 runs, 1 at a time", "fairseq_intra: de-en.intra.seed1 failed: the reason"]
    assert re.fullmatch("3 of 4 runs done, 1 failed; .+; now none", seen[2]) and seen[3:] == [""]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--langs", "de fr"), "--langs must be of ar de es fa he it nl pl, not 'fr'"),
        (("--langs", "de nl"), r"has no dataset nl-en \(no nl-en/manifest.json\)"),
        (("--methods", "plain both"), "must be of plain rdrop intra late, as a quoted list, not 'plain both'"),
        (("--seeds", "1,2"), "must be whole numbers, such as '1 2 3', not '1,2'"),
        (("--seed", "1"), "--seed: here it is --seeds, with one or more"),
        (("--dry-run",), "--dry-run: --list shows the commands"),
        (("--table", "--equal-time"), "--equal-time: give it to fairseq-intra table, with the runs in OUT"),
        (("--corpus", ""), "argument --corpus: is empty"),
        (("--corpus", " "), "argument --corpus: is empty"),
        (("--jobs=0",), "--jobs must be at least 1, not 0"),
        (("--data", "/nowhere"), "--data /nowhere is not a folder"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_made(data, calls, given, named):
    with pytest.raises(UsageError, match=named):
        cli.main(translation(data, *given))
    assert not (data.parent / "out").exists() and not called(calls)


def test_a_dataset_in_place_of_the_folder_of_datasets_is_named(data, calls):
    with pytest.raises(
        UsageError, match=f"--data {data}/de-en is a dataset; give the folder that it lies in: {data}"
    ):
        cli.main(translation(data / "de-en"))


def test_what_is_wrong_with_the_flags_of_a_training_is_said_once(data, calls, capfd):
    with pytest.raises(SystemExit) as ended:
        cli.main(translation(data, "--bad"))
    assert ended.value.code == 1 and capfd.readouterr().err == "fairseq_intra: error: --bad is no flag\n"
    assert not (data.parent / "out").exists()


@pytest.mark.parametrize(
    ("kept", "average"),
    [
        ("--keep-last-epochs 3", 4),
        ("--no-epoch-checkpoints --save-interval-updates 5 --keep-interval-updates 2", 4),
        ("--no-epoch-checkpoints", 1),
    ],
)
def test_an_average_of_more_checkpoints_than_are_kept_is_said_before_training(data, calls, kept, average):
    with pytest.raises(UsageError, match=f"--average {average}: with these flags a training keeps {average - 1} ch"):
        cli.main(translation(data, "--average", average, *kept.split()))
    assert not called(calls) and not (data.parent / "out").exists()
    if average > 1:
        cli.main(translation(data, "--average", average - 1, *kept.split()))
        assert runs_of(calls, "train") == NAMES


def test_a_number_of_checkpoints_that_is_none_is_one_line(data, calls):
    with pytest.raises(UsageError, match="--keep-last-epochs must be a whole number, not ten"):
        cli.main(translation(data, "--average", 2, "--keep-last-epochs", "ten"))
    assert not called(calls)


def test_every_run_may_continue_a_checkpoint(data, calls):
    cli.main(translation(data, "--continue-from", "/plain.pt"))
    trainings = [words for words in called(calls) if words[0] == "train"]
    assert trainings and all(words[words.index("--continue-from") + 1] == "/plain.pt" for words in trainings)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_it_is_not_one_of_several_workers(data, calls, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with pytest.raises(UsageError, match="run it once, not under torchrun"):
        cli.main(translation(data))


def test_glue_is_prepared_then_fine_tuned(tmp_path, calls, capsys):
    for task in ("CoLA", "RTE"):
        (tmp_path / "glue" / task).mkdir(parents=True)
    (tmp_path / "model.pt").touch()
    given = [
        "grid",
        "glue",
        "--glue",
        tmp_path / "glue",
        "--checkpoint",
        tmp_path / "model.pt",
        "--tasks",
        "CoLA RTE",
    ]
    command = [str(word) for word in [*given, "--out", tmp_path / "out", "--seeds", "4", "--epochs", 1]]
    with pytest.raises(UsageError, match="--gpus-per-run: finetune trains on one GPU"):
        cli.main([*command, "--gpus-per-run", "2"])
    cli.main([*command, "--list"])
    lines = capsys.readouterr().out.split("\n")[:-1]
    assert [words[0] for words in called(calls)] == ["prepare"] * 2 and len(lines) == 4
    cli.main(command)
    names = ["CoLA.plain.seed4", "CoLA.intra.seed4", "RTE.plain.seed4", "RTE.intra.seed4"]
    assert runs_of(calls, "finetune") == names and capsys.readouterr().out == " ".join(names) + "\n"
    prepare, *_, finetune = called(calls)
    assert prepare[2:] == ["glue", "--input", f"{tmp_path}/glue/CoLA", "--vocabulary", str(tmp_path), "--out",
                           f"{tmp_path}/out/data/CoLA"]  # fmt: skip
    assert finetune[2:] == ["--data", f"{tmp_path}/out/data/RTE", "--checkpoint", f"{tmp_path}/model.pt", "--method",
                            "intra", "--seed", "4", "--out", f"{tmp_path}/out/RTE.intra.seed4",
                            "--epochs", "1"]  # fmt: skip
    with pytest.raises(UsageError, match="has no folder QNLI"):
        cli.main([*command, "--tasks", "QNLI"])
    with pytest.raises(UsageError, match="--tasks is empty; it takes names of tasks"):
        cli.main([*command, "--tasks", " "])
    with pytest.raises(UsageError, match="--data: it is made in OUT/data"):
        cli.main([*command, "--data", "other"])


def test_transfer_is_prepared_fine_tuned_and_tested_on_every_language(tmp_path, calls, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "xlmr").mkdir()
    given = ["grid", "transfer", "--task", "ner", "--input", tmp_path / "in", "--pretrained", tmp_path / "xlmr"]
    command = [str(word) for word in [*given, "--out", tmp_path / "out", "--epochs", 2, "--lr", 0.1]]
    with pytest.raises(UsageError, match="holds no model.pt"):
        cli.main(command)
    for name in ("model.pt", "dict.txt"):
        (tmp_path / "xlmr" / name).write_text(name)
    # What failed before it has made anything binds the folder to nothing.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "arguments.txt").write_text("task ner\nsource eng\n")
    cli.main(command)
    found = called(calls)
    assert [words[0] for words in found] == ["prepare-transfer", *["finetune-transfer", "evaluate-transfer"] * 2]
    assert found[1][2:] == ["--data", f"{tmp_path}/out/data", "--pretrained", f"{tmp_path}/xlmr", "--method", "plain",
                            "--seed", "1", "--out", f"{tmp_path}/out/plain.seed1", "--batch", "32", "--epochs", "2",
                            "--lr", "0.1"]  # fmt: skip
    table = " ".join([f"checkpoint_best.{language}.json" for language in ("de", "en")] * 2) + "\n"
    assert capsys.readouterr().out == table == (tmp_path / "out" / "table.md").read_text()
    cli.main(command)
    assert [words[0] for words in called(calls)[5:]] == ["finetune-transfer"] * 2
    (tmp_path / "out" / "data" / "manifest.json").write_text('{"inputs": {"en/train": "0"}}')
    with pytest.raises(UsageError, match="out/data was made when .*in/en/train was another; give another --out"):
        cli.main(command)
    (tmp_path / "out" / "data" / "manifest.json").write_text("{}")
    (tmp_path / "xlmr" / "model.pt").write_text("another")
    with pytest.raises(UsageError, match="out was made with other arguments or data"):
        cli.main(command)


@pytest.mark.parametrize("trains,status", [(True, signal.SIGUSR1), (False, signal.SIGTERM)])
def test_sigusr1_ends_steps_in_order_too(tmp_path, trains, status):
    """A training is told by the signal itself, so that it saves; the step behind it does not begin."""
    told, ready, later = tmp_path / "told", tmp_path / "ready", tmp_path / "later"
    program = f"""
import pathlib, signal, sys, time
def end(number, _):
    pathlib.Path({str(told)!r}).write_text(str(number))
    sys.exit(1)
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, end)
pathlib.Path({str(ready)!r}).touch()
time.sleep(60)
"""

    def ask():
        wait_for(ready.exists)
        os.kill(os.getpid(), signal.SIGUSR1)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(SystemExit, match="75"):
        steps.work_in_order(
            [steps.Step([sys.executable, "-c", program], trains=trains), steps.Step(["touch", str(later)])]
        )
    asking.join()
    assert told.read_text() == str(int(status)) and not later.exists()


def test_a_step_and_a_run_are_done_when_all_of_their_results_are_there(tmp_path):
    results = tmp_path / "de.json", tmp_path / "en.json"
    step, run = steps.Step([], results), scheduler.Run("plain.seed1", tmp_path, [], results=results)
    for path, done in zip(results, (False, True), strict=True):
        path.touch()
        assert step.done == done and not run.evaluated
    (tmp_path / "finished").touch()
    assert run.evaluated
