"""scripts/iwslt14.sh: many runs. Python stands in for fairseq, but for the slow test at the end."""

import contextlib
import fcntl
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time

import commands
import corpus
import pytest

SCRIPT = "scripts/iwslt14.sh"
#: Stands in for Python: notes what is trained and where, holds or fails trainings of a name, scores and sets tables.
STAND_IN = """#!/usr/bin/env bash
value() { while [[ $1 != "$2" ]]; do set -- "$1" "${@:3}"; done; echo "$3"; }
case $* in
  *schedule_runs.py*) exec "$REAL_PYTHON" "$@" ;;
  *cuda.device_count*)
    IFS=, read -ra visible <<<"${CUDA_VISIBLE_DEVICES:-}"
    if ((${#visible[@]})); then echo "${#visible[@]}"; else echo "$GPUS"; fi ;;
  *fairseq_cli.train*)
    folder=$(value --save-dir "$@")
    echo "$folder ${CUDA_VISIBLE_DEVICES:-cpu} $(value --distributed-world-size "$@")" >>"$CALLS"
    echo "2026-11-24 00:00:00 | INFO | fairseq.trainer | begin training epoch 1"
    echo "2026-11-24 00:01:00 | INFO | train_inner | epoch 001: 1 / 8 loss=9, num_updates=2"
    while [[ $folder == *$HOLD* ]]; do sleep 0.05; done
    [[ $folder != *$FAILS* ]] || exit 1
    mkdir -p "$folder" && touch "$folder"/checkpoint_{last,best}.pt ;;
  *prepare_parallel.py\\ finish*) touch "$(value --to "$@")/manifest.json" ;;
  *fairseq_intra.cli\\ average*) touch "$(value --output "$@")" ;;
  *fairseq_intra.cli\\ score*) touch "$(value --output "$@").json"; echo "score $(value --output "$@")" >>"$CALLS" ;;
  *fairseq_intra.cli\\ table*) printf '%s\\n' "${@:3}" ;;
esac
"""
NONE = "no run is called so"


@pytest.fixture
def stand_in(tmp_path):
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    names = {"FAIRSEQ_INTRA_PYTHON": tmp_path / "python", "CALLS": tmp_path / "calls", "REAL_PYTHON": sys.executable}
    return {name: str(value) for name, value in names.items()} | {"GPUS": "0", "HOLD": NONE, "FAILS": NONE}


@pytest.fixture
def data(tmp_path):
    for name in ("de-en", "fa-en", "bible.de-en"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "manifest.json").write_text("{}")
    return tmp_path / "data"


def flags(data, *more):
    given = ["--data", data, "--out", data.parent / "out", "--preset", "tiny", "--updates", 12]
    return [*given, "--langs", "de fa", "--seeds", "1 2", *more]


NAMES = [
    f"{pair}.{method}.seed{seed}" for seed in (1, 2) for pair in ("de-en", "fa-en") for method in ("plain", "intra")
]


def calls(data, kind="train"):
    """The runs that were trained, or scored, in this order, each with the words behind it."""
    path = data.parent / "calls"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    found = [re.fullmatch(r"(score )?.*/out/([^/]+)/checkpoints\S*(?: (.*))?", line) for line in lines]
    return [(match[2], match[3]) for match in found if bool(match[1]) == (kind == "score")]


def trained(data):
    return [name for name, _ in calls(data)]


@contextlib.contextmanager
def running(stand_in, arguments, until, patience=120):
    """The script, once `until(what it said)` holds; killed at the end if it still runs."""
    said = open(stand_in["CALLS"] + ".stderr", "w+")
    command = [corpus.CHECKOUT / SCRIPT, *map(str, arguments)]
    process = subprocess.Popen(
        command,
        env=corpus.environment(**stand_in),
        stdout=said,
        stderr=said,
        start_new_session=True,
        # Where the tests run in the background, SIGINT is ignored, and the script would heed that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with said:
        try:
            wait_for(lambda: until(read(said)), process, patience)
            yield process, lambda: read(said)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read(file):
    return os.pread(file.fileno(), 1 << 20, 0).decode()


def wait_for(condition, process=None, patience=120):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


def is_free(folder):
    with open(folder / ".lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_every_run_once_and_the_table_of_all(data, stand_in):
    done = corpus.run(SCRIPT, *flags(data), **stand_in)
    assert done.returncode == 0, done.stderr
    out = data.parent / "out"
    assert trained(data) == [name for name, _ in calls(data, "score")] == NAMES
    files = [str(out / name / "checkpoints" / "checkpoint_best.test.json") for name in NAMES]
    assert done.stdout == "\n".join(["# IWSLT'14", "", "table", "--paper", *files, ""])
    assert (out / "table.md").read_text() == done.stdout
    again = corpus.run(SCRIPT, *flags(data, "--jobs", 3), **stand_in)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(calls(data)) == len(calls(data, "score")) == 8


def test_it_says_what_runs_and_for_how_long(data, stand_in):
    """2 of 12 updates took a minute: a run has 6 minutes to go, 5 from its first line on."""
    sign = "now de-en.intra.seed1 2/12, fa-en.intra.seed1"
    with running(stand_in | {"HOLD": "intra"}, flags(data, "--jobs", 2), lambda said: sign in said) as (_, said):
        (line,) = [line for line in said().split("\n") if sign in line]
    # Two that run and four that did not begin, two at a time: 17 or 17.5 minutes.
    assert re.match(r"iwslt14.sh: 2 of 8 runs done, 0 failed; about 1[78] min of training to go; now ", line)


def test_after_sigkill_the_orphans_end_and_the_same_command_goes_on(data, stand_in):
    out = data.parent / "out"
    held = "fa-en.plain.seed1"
    with running(stand_in | {"HOLD": held}, flags(data), lambda said: held in trained(data)) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
    wait_for(lambda: is_free(out / held))
    assert not (out / "table.md").exists()
    done = corpus.run(SCRIPT, *flags(data), **stand_in)
    assert done.returncode == 0, done.stderr
    assert trained(data) == [*NAMES[:3], *NAMES[2:]] and [name for name, _ in calls(data, "score")] == NAMES
    assert all((out / name / "finished").exists() for name in NAMES)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_that_runs(data, stand_in, number):
    started = lambda _: len(trained(data)) == 2  # noqa: E731
    with running(stand_in | {"HOLD": "de-en"}, flags(data, "--jobs", 2), started) as (process, said):
        process.send_signal(number)
        assert process.wait(120) == 128 + number
        assert said().endswith("iwslt14.sh: stopped; the same command goes on from here\n")
        assert all(is_free(data.parent / "out" / name) for name in NAMES[:2])
    assert len(calls(data)) == 2


def test_a_run_that_another_process_works_on_is_waited_for(data, stand_in):
    locked = data.parent / "out" / NAMES[0]
    locked.mkdir(parents=True)
    with (locked / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        others = lambda said: len(calls(data, "score")) == 7  # noqa: E731
        with running(stand_in, flags(data), others) as (process, said):
            assert f"{NAMES[0]}: another process still works on it; it is waited for" in said()
            assert NAMES[0] not in trained(data)
            lock.close()
            assert process.wait(120) == 0
    assert sorted(trained(data)) == sorted(NAMES)


def test_two_calls_do_not_share_a_folder(data, stand_in):
    with running(stand_in | {"HOLD": "de-en"}, flags(data), lambda _: trained(data)):
        assert "another run is working in" in corpus.fail(SCRIPT, *flags(data), **stand_in)


def test_a_failure_is_told_and_stops_no_other_run(data, stand_in):
    done = corpus.run(SCRIPT, *flags(data), **(stand_in | {"FAILS": "de-en.intra.seed2"}))
    assert done.returncode == 1 and trained(data) == NAMES
    assert "de-en.intra.seed2 failed: train.sh: error: fairseq-train failed; the whole log is" in done.stderr
    last = done.stderr.split("\n")[-2]
    assert last.startswith("iwslt14.sh: error: 1 of 8 runs failed: de-en.intra.seed2 (see ")
    assert done.stdout.endswith("\nLeft out, for a run of it failed: de-en, seed 2.\n")
    assert "de-en.plain.seed1" in done.stdout and "de-en.plain.seed2" not in done.stdout
    done = corpus.run(SCRIPT, *flags(data), **stand_in)
    assert done.returncode == 0 and trained(data) == [*NAMES, "de-en.intra.seed2"] and "Left out" not in done.stdout


def test_one_run_on_each_gpu(data, stand_in):
    corpus.succeed(SCRIPT, *flags(data, "--gpus", "1,3"), **(stand_in | {"GPUS": "4"}))
    assert dict(calls(data)[:2]) == {NAMES[0]: "1 1", NAMES[1]: "3 1"}
    assert sorted(trained(data)) == sorted(NAMES) and {where for _, where in calls(data)} == {"1 1", "3 1"}


def test_one_run_over_several_of_the_gpus_that_are_visible(data, stand_in):
    visible = stand_in | {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
    corpus.succeed(SCRIPT, *flags(data, "--gpus-per-run", 2), **visible)
    assert dict(calls(data)[:2]) == {NAMES[0]: "4,5 2", NAMES[1]: "6,7 2"}


def test_another_corpus_has_its_own_names_and_no_figures_of_the_paper(data, stand_in):
    given = ["--data", data, "--out", data.parent / "out", "--preset", "tiny", "--corpus", "Real text"]
    done = corpus.run(SCRIPT, *given, "--average", 5, **stand_in)
    assert done.returncode == 0, done.stderr
    files = [line for line in done.stdout.split("\n") if line.endswith("/checkpoints/average5.test.json")]
    names = [f"{pair}.{method}.seed1" for pair in ("bible.de-en", "de-en", "fa-en") for method in ("plain", "intra")]
    assert done.stdout.startswith("# Real text\n\ntable\n/") and trained(data) == names and len(files) == 6


def test_one_method_makes_no_table(data, stand_in):
    done = corpus.run(SCRIPT, *flags(data, "--methods", "intra"), **stand_in)
    assert (done.returncode, done.stdout) == (0, "") and "no table: it needs both methods" in done.stderr
    assert trained(data) == NAMES[1::2]


def test_five_pairs_of_two_corpora(tmp_path, stand_in):
    """benchmarks/real_text.sh"""
    for corpus_name, languages in {"tatoeba-de-en": ("de", "en"), "bible": ("de", "es", "nl", "pl", "en")}.items():
        (tmp_path / "text" / corpus_name).mkdir(parents=True)
        for language in languages:
            for split in ("train", "valid", "test"):
                text = "".join(f"{corpus_name} {language} {split} {number}\n" for number in range(9))
                with gzip.open(tmp_path / "text" / corpus_name / f"{split}.{language}.gz", "wt") as file:
                    file.write(text)
    given = ["--data", tmp_path / "text", "--out", tmp_path / "real", "--test-pairs", 4, "--updates", 12, "--jobs", 2]
    stand_in["CALLS"] = str(tmp_path / "real" / "calls")
    done = corpus.run("benchmarks/real_text.sh", *given, **stand_in)
    assert done.returncode == 0, done.stderr
    pairs = ["tatoeba.de-en", "bible.de-en", "bible.es-en", "bible.nl-en", "bible.pl-en"]
    assert sorted(run.name for run in (tmp_path / "real" / "runs").glob("*.seed1")) == sorted(
        f"{pair}.{method}.seed1" for pair in pairs for method in ("plain", "intra")
    )
    assert done.stdout.startswith("# Tatoeba and the Bible\n\ntable\n/")
    text = tmp_path / "real" / "text" / "4" / "bible.pl-en"
    assert len(corpus.lines(text / "train.pl")) == 9
    assert corpus.lines(text / "test.en") == [f"bible en test {number}" for number in range(4)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--langs", "de fr"), "--langs must be of ar de es fa he it nl pl, not 'fr'"),
        (("--langs", "de nl"), "has no dataset nl-en (no nl-en/manifest.json); data-prep/ makes it"),
        (("--corpus", "Bible", "--langs", "bible.fr"), "has no dataset bible.fr-en"),
        (("--methods", "plain both"), "--methods must be of plain and intra, not 'both'"),
        (("--methods", ""), "--methods is empty"),
        (("--seeds", "1 one"), "--seeds must be a whole number, not 'one'"),
        (("--seeds", "1,2"), "--seeds must be a whole number, not '1,2'"),
        (("--seed", "1"), "--seed: here it is --seeds, with one or more"),
        (("--gpus", "0,2"), "--gpus 0,2: there is no GPU 2 here; torch sees 2"),
        (("--gpus", "0 1"), "--gpus must be indices with commas between, such as 0,1, not '0 1'"),
        (("--gpus-per-run", "3"), "--gpus 0,1: 2 do not make groups of --gpus-per-run 3"),
        (("--dry-run",), "--dry-run is for scripts/train.sh alone"),
        (("--jobs", "0"), "--jobs must be a whole number of at least 1, not '0'"),
        (("--jobs=2",), "give --jobs and its value as two words, not '--jobs=2'"),
        (("--data", "/nowhere"), "--data '/nowhere' is not a folder"),
        (("--updates", "few"), "train.sh: error: --updates must be a whole number of at least 1, not 'few'"),
        (("--preset", "huge"), "train.sh: error: --preset must be paper, tiny, wmt or wmt-big, not 'huge'"),
        (("--out", "/proc/out"), "--out '/proc/out' cannot be made a folder"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_made(data, stand_in, arguments, named):
    assert named in corpus.fail(SCRIPT, *flags(data), *arguments, **(stand_in | {"GPUS": "2"}))
    assert not (data.parent / "out").exists() and not calls(data)


def test_a_gpu_is_not_there_on_a_machine_without(data, stand_in):
    assert "--gpus 0: there is no GPU 0 here; torch sees 0" in corpus.fail(
        SCRIPT, *flags(data, "--gpus", 0), **stand_in
    )
    error = corpus.fail(SCRIPT, *flags(data, "--gpus-per-run", 2), **stand_in)
    assert "--gpus-per-run 2: torch sees no GPU here" in error


def test_it_is_not_one_of_several_workers(data, stand_in):
    for more in ({"WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "2"}):
        assert "run it once, not under torchrun" in corpus.fail(SCRIPT, *flags(data), **(stand_in | more))


@pytest.mark.slow
def test_two_languages_two_methods_two_seeds_killed_half_way(dataset, tmp_path):
    """With fairseq itself."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    os.symlink(dataset, data / "de-en")
    for number, (split, count) in enumerate({"train": 200, "valid": 9, "test": 9}.items()):
        corpus.write_pairs(tmp_path / "text", split, corpus.sentences(count, seed=90 + number), ("fa", "en"))
    prepare = ["--input", tmp_path / "text", "--src", "fa", "--tgt", "en", "--out", data / "fa-en"]
    corpus.succeed("data-prep/prepare-parallel.sh", *prepare, "--vocab-size", 120, "--workers", 1)
    asked = [*flags(data), *commands.TINY, "--updates", 4]
    half_way = lambda _: len(list(out.glob("*/finished"))) == 3  # noqa: E731
    with running({"CALLS": str(tmp_path / "calls"), "OMP_NUM_THREADS": "1"}, asked, half_way, 1200) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
    wait_for(lambda: all(is_free(run) for run in out.glob("*seed*")))
    done = corpus.run(SCRIPT, *asked, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert {run.name for run in out.glob("*seed*")} == set(NAMES)
    for name in NAMES:
        assert (out / name / "train.log").read_text().count("done training") == 1
        assert json.loads((out / name / "checkpoints" / "checkpoint_best.test.json").read_text())["num_updates"] <= 4
    rows = done.stdout.split("\n")[2:7]
    assert [row.split("|")[1].strip() for row in rows] == ["pair", "---", "de-en", "fa-en", "average"]
    assert all(row.count("±") == 3 for row in rows[2:4]) and "33.07 to 36.10" in rows[2]
    assert (out / "table.md").read_text() == done.stdout
