"""`fairseq-intra train`: what it hands to fairseq-train, what it rejects, and when a run is finished."""

import fcntl
import itertools
import json
import os
import signal
import struct
import sys

import commands
import corpus
import pytest
from evaluated_runs import evaluated
from training_stub import MANIFEST, FakeTraining, follow, shown

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.files import sha256
from fairseq_intra.runs import arguments, cost, presets, process, workers
from fairseq_intra.runs.run import RunFolder

INTRA = {
    "paper": "--num-iter 3 --alpha 5 --adaptive-alpha 1 --temperature-p 5 --temperature-q 10 --div X",
    "tiny": "--num-iter 3 --alpha 1 --adaptive-alpha 0 --div X",
    "multi30k": "--num-iter 3 --alpha 1 --adaptive-alpha 0 --div X",
}
RDROP = "--num-iter 2 --alpha {} --adaptive-alpha 0 --div X"
LATE = {
    "paper": f"{INTRA['paper']} --plain-patience 3",
    "tiny": f"{INTRA['tiny']} --plain-patience 1",
    "multi30k": "--num-iter 2 --alpha 1 --adaptive-alpha 0 --div X --plain-updates 1000",
}
LAST = "checkpoint_last.pt"


@pytest.fixture
def training(monkeypatch):
    """fairseq-train is a stub, there is no GPU, and no launcher."""
    fake = FakeTraining()
    monkeypatch.setattr(process, "run", fake)
    monkeypatch.setattr(workers, "gpu_count", lambda: 0)
    for name in (*commands.TORCHRUN, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def train(data, tmp_path, training):
    """Trains into out/ and returns the words that fairseq-train got, none if it was not started."""

    def train(*more, method="plain", preset="tiny", out=tmp_path / "out", **where):
        given = ["--data", where.get("data", data), "--method", method, "--out", out, "--preset", preset]
        before = len(training.calls)
        cli.main(["train", *map(str, given), "--updates", "7", *map(str, more)])
        return training.calls[-1] if len(training.calls) > before else []

    return train


def kept(tmp_path, out="out"):
    return corpus.lines(tmp_path / out / "arguments.txt")


def rejected(call, match):
    """The message with which a call is rejected; it is one line, and has what is asked for."""
    with pytest.raises(UsageError, match=match) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("preset", "alpha"), [("paper", 5), ("tiny", 1), ("multi30k", 1)])
def test_rdrop_and_late_have_the_preset_s_flags(train, tmp_path, capsys, preset, alpha):
    passed = ["--alpha", "2", "--num-iter", "4", "--plain-patience", "7", "--dropout", "0.2", "--passes", "batched"]
    rdrop, late = (train(method=method, preset=preset, out=tmp_path / method) for method in ("rdrop", "late"))
    assert follow(rdrop, "--criterion", "intra_distillation", *RDROP.format(alpha).split(), "--cpu")
    assert follow(late, "--criterion", "intra_distillation", *LATE[preset].split(), "--cpu")
    assert "tables call it" not in capsys.readouterr().err
    rdrop, late = (
        train(*passed, method=method, preset=preset, out=tmp_path / f"{method}2") for method in ("rdrop", "late")
    )
    # What would make R-Drop another method is left out.
    assert follow(rdrop, "--cpu", "--alpha", "2", "--dropout", "0.2", "--passes", "batched")
    assert "left out, as R-Drop does not have them: --num-iter 4 --plain-patience 7\n" in capsys.readouterr().err
    assert follow(late, "--cpu", *passed)


@pytest.mark.parametrize(
    "preset,given,left_out",
    [("tiny", "--plain-updates", "--plain-patience"), ("multi30k", "--plain-patience", "--plain-updates")],
)
def test_what_ends_plain_training_takes_the_place_of_the_preset_s(train, preset, given, left_out):
    late = train(given, "3", method="late", preset=preset)
    assert left_out not in late and late.count(given) == 1 and follow(late, given, "3")


def test_epochs_that_are_to_be_kept_are_saved(train, tmp_path):
    """Also where the preset saves none."""
    assert "--no-epoch-checkpoints" in train(preset="tiny")
    assert "--no-epoch-checkpoints" not in train("--keep-last-epochs", "3", preset="tiny", out=tmp_path / "kept")


def begun(train, tmp_path, updates):
    """Leaves a run of so many updates that can be resumed."""
    train("--updates", updates)
    last = tmp_path / "out" / "checkpoints" / LAST
    last.parent.mkdir(exist_ok=True)
    last.touch()


def test_a_run_goes_on_only_where_more_updates_are_asked_for(train, data, tmp_path):
    """And not to the preset's number, where that of the run was left out."""
    begun(train, tmp_path, 40)
    with pytest.raises(UsageError, match="out was begun for 40 updates: give --updates 40, or more to continue it"):
        cli.main(
            ["train", "--data", str(data), "--method", "plain", "--out", str(tmp_path / "out"), "--preset", "tiny"]
        )


def test_what_stands_in_the_way_of_a_run_is_named_before_its_updates(train, tmp_path):
    begun(train, tmp_path, 40)
    with pytest.raises(UsageError, match="The first that differs: --dropout is 0.3 in the run and 0.2 here"):
        train("--updates", "50", "--dropout", "0.2")


def test_no_test_set_chooses_the_best_checkpoint(train):
    with pytest.raises(UsageError, match="--valid-subset: the best checkpoint would be chosen on a test set"):
        train("--valid-subset", "test,valid")


def test_flags_that_make_a_run_another_method_are_reported(train, tmp_path, capsys):
    for number, (flags, name) in enumerate(
        {"--num-iter 2": "rdrop", "--num-iter 1": "plain", "--plain-patience 2": "late"}.items()
    ):
        train(*flags.split(), method="intra", out=tmp_path / str(number))
        assert f"with these flags --method intra is {name}, and tables call it so" in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_the_methods_differ_in_task_and_criterion_only(train, training, tmp_path, preset):
    plain, intra = (
        train("--dropout", "0.2", method=method, preset=preset, out=tmp_path / method)
        for method in ("plain", "intra")
    )
    for method, words in (("plain", plain), ("intra", intra)):
        assert follow(words, *kept(tmp_path, method)[2:])
        assert (tmp_path / method / "finished").exists()
    tasks = ("--task translation --criterion label_smoothed_cross_entropy", INTRA[preset])
    place = plain.index("--task")
    assert plain[place : place + 4] == tasks[0].split()
    assert intra[:place] + intra[place + 4 + len(tasks[1].split()) : -5] == plain[:place] + plain[place + 4 : -5]
    assert follow(
        intra, *"--task translation_intra_distillation --criterion intra_distillation".split(), *tasks[1].split()
    )


def test_a_run_begun_by_the_script_of_version_0_2_resumes(train, training, data, tmp_path):
    """The lines of its arguments.txt, in their order."""
    words = train("--dropout", "0.2", "--adam-betas", "(0.9, 0.98)", method="intra", preset="paper")
    flags = """--share-all-embeddings --label-smoothing 0.1 --optimizer adam --adam-betas (0.9,0.98)
    --lr-scheduler inverse_sqrt --clip-norm 0 --seed 1 --arch transformer_iwslt_de_en --dropout 0.3
    --attention-dropout 0.1 --weight-decay 0.0001 --adam-eps 1e-6 --lr 5e-4 --warmup-updates 8000 --max-update 7
    --keep-last-epochs 10 --log-interval 100 --task translation_intra_distillation --criterion intra_distillation
    --num-iter 3 --alpha 5 --adaptive-alpha 1 --temperature-p 5 --temperature-q 10 --div X --cpu --dropout 0.2"""
    manifest = f"# data {sha256(data / 'manifest.json')}"
    assert kept(tmp_path) == [manifest, "# batch 4096", *flags.split(), "--adam-betas", "(0.9, 0.98)"]
    place = ["--user-dir", str(commands.PLUGIN), "--max-tokens", "4096", "--update-freq", "1"]
    assert words[:9] == [str(data / "bin"), *place, "--distributed-world-size", "1"]
    ending = f"--save-dir {tmp_path}/out/checkpoints --no-progress-bar --log-format simple"
    assert words[9:] == [*kept(tmp_path)[2:], *ending.split()]


def test_two_trainings_of_one_slurm_job_choose_their_ports_by_themselves(train, training, monkeypatch):
    """fairseq takes the port of a job's number, where it sees that."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    train()
    assert "SLURM_JOB_ID" not in training.environment


def test_a_gpu_is_used_and_by_the_paper_s_setting_in_half_precision(train, training, monkeypatch, tmp_path):
    for preset, gpu in itertools.product(("paper", "tiny"), (True, False)):
        monkeypatch.setattr(workers, "gpu_count", lambda gpu=gpu: int(gpu))
        words = train(preset=preset, method="intra", out=tmp_path / f"{preset}{gpu}")
        assert ("--cpu" in words, "--fp16" in words) == (not gpu, gpu and preset == "paper")
        assert ("GOMP_SPINCOUNT" in training.environment) == (not gpu)
        assert training.environment["PYTHONSAFEPATH"] == "1"


def test_with_cpu_no_gpu_is_used(train, monkeypatch):
    monkeypatch.setattr(workers, "gpu_count", lambda: 2)
    words = train("--cpu", preset="paper", method="intra")
    assert "--fp16" not in words and follow(words, "--distributed-world-size", "1")


@pytest.mark.parametrize("preset", presets.preset_names())
def test_a_preset_is_what_fairseq_hydra_train_reads(preset):
    """Every value of its file, in the section where fairseq has the flag."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    # 1.1, as fairseq has it: Hydra keeps the version for all of the process.
    with initialize_config_dir(str(presets.CONFIG), version_base="1.1"):
        read = OmegaConf.to_container(compose(preset.replace("-", "_")))
        assert preset != "paper" or OmegaConf.to_container(compose("intra_distillation")) == read
    found = presets.read_preset(preset)
    values = {
        key.replace("_", "-"): value for section in read.values() for key, value in section.items() if key != "_name"
    }
    names = {flag: read[section]["_name"] for section, flag in presets.FLAG_OF_SECTION.items()}
    for flag, text in (found.flags | found.method_flags).items():
        value = names.get(flag, values.get(flag))
        value = value[0] if flag == "lr" else value
        assert str(value) == text or (value is True and not text) or float(value) == float(text), flag
    assert {*values} - {*presets.DECIDED} == {*found.flags, *found.method_flags} - {*names}
    assert values["max-tokens"] * values.get("update-freq", [1])[0] == found.batch_tokens


def test_the_methods_flags_are_for_the_method_alone(train, capsys):
    """So that one command line does for both."""
    given = (
        "--alpha 2.5 --lr 0.25 --div=JS --encoder-once --plain-updates 3 --distill-interval 2 --distill-part 3 "
        "--dropout 0.2".split()
    )
    for method in ("intra", "plain"):
        train(*given, "--dry-run", method=method)
    intra, plain = (shown(text) for text in capsys.readouterr().out.split("\nfairseq-train"))
    assert follow(intra, *given)
    assert follow(plain, *"--lr 0.25 --dropout 0.2".split()) and not {"--alpha", "--encoder-once"} & set(plain)
    train(*given)
    said = capsys.readouterr().err
    method_flags = "--alpha 2.5 --div=JS --encoder-once --plain-updates 3 --distill-interval 2 --distill-part 3"
    assert f"only intra-distillation has them: {method_flags}\n" in said


def test_dry_run_prints_what_can_be_pasted(train, tmp_path, capsys):
    train("--adam-betas", "(0.9, 0.98)", "--dry-run")
    out = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert "  --adam-betas '(0.9, 0.98)' \\\n" in out and out.startswith("fairseq-train ")
    assert all(line.count(" --") <= 1 for line in out.splitlines())
    assert shown(out)[1:] == train("--adam-betas", "(0.9, 0.98)")


def test_the_readme_shows_the_paper_s_command(training, data, monkeypatch, capsys):
    monkeypatch.setattr(workers, "gpu_count", lambda: 1)
    monkeypatch.chdir(data.parent)
    cli.main("train --data data --method intra --out RUN --dry-run".split())
    said = capsys.readouterr().out.replace("data/bin", "DATA/bin").replace(str(commands.PLUGIN), "fairseq_intra")
    assert said in (corpus.CHECKOUT / "scripts" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("gpus", "preset", "given", "max_tokens", "update_freq"),
    [
        (1, "paper", "", 4096, 1),
        (4, "paper", "", 1024, 1),
        (1, "wmt", "", 4096, 8),
        (8, "wmt", "", 4096, 1),
        (16, "wmt-big", "", 2048, 1),
        (2, "wmt-big", "--max-tokens 2048 --batch-tokens=409600", 2048, 100),
        (0, "tiny", "--max-tokens=250", 250, 4),
    ],
)
def test_the_batch_is_the_same_on_any_machine(train, monkeypatch, gpus, preset, given, max_tokens, update_freq):
    monkeypatch.setattr(workers, "gpu_count", lambda: gpus)
    words = train(*given.split(), preset=preset)
    share = f"--max-tokens {max_tokens} --update-freq {update_freq} --distributed-world-size {max(gpus, 1)}"
    assert follow(words, *share.split()) and "--distributed-init-method" not in words


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ((4096, 3, 4096), "4096 is no multiple of 3 x 1365, workers and --max-tokens; .* is: --batch-tokens 4095"),
        ((4096, 2, 4096, 3000), "4096 is no multiple of 2 x 3000, .* is: --batch-tokens 6000"),
        ((4096, 2, 4096, 1500), "4096 is no multiple of 2 x 1500, .* is: --batch-tokens 3000"),
        ((3, 8, 4096), "3 is no multiple of 8 x 1, .* --batch-tokens 8"),
    ],
)
def test_a_batch_that_does_not_divide_is_rejected_with_one_that_does(given, nearest):
    rejected(lambda: workers.plan_batch(*given), f"--batch-tokens {nearest}$")


SLURM = {"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "60007"}


@pytest.mark.parametrize(
    ("environment", "meeting"),
    [(commands.TORCHRUN, "env://"), (SLURM | {"SLURM_STEP_NODELIST": "node[7-8]"}, "tcp://node7:20007")],
)
@pytest.mark.parametrize(
    ("gpus", "more"),
    [(8, "--device-id 1"), (1, "--device-id 0"), (0, "--distributed-backend gloo --ddp-backend legacy_ddp")],
)
def test_workers_that_were_started_together_train_together(
    train, tmp_path, monkeypatch, environment, meeting, gpus, more
):
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node7\necho node8\n")
    (tmp_path / "scontrol").chmod(0o755)
    for name, value in (environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(workers, "gpu_count", lambda: gpus)
    words = train(preset="wmt")
    together = f"--distributed-init-method {meeting} --distributed-rank 9 --distributed-no-spawn {more}"
    assert follow(words, *f"--update-freq 1 --distributed-world-size 16 {together}".split())
    # The first worker alone has the run's files in its care.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoints", "train.rank9.log"]


def test_half_of_torchruns_environment_is_rejected():
    rejected(lambda: workers.find_workers(1, {"WORLD_SIZE": "2", "RANK": "0"}), "WORLD_SIZE is set, but not all of")


def test_a_finished_run_is_left_alone_and_never_mixed_with_another(train, data, tmp_path, capsys):
    train()
    before = corpus.checksums(tmp_path / "out")
    assert not train() and "is finished" in capsys.readouterr().err
    for other, difference in (
        ("--seed 2", "--seed is 1 in the run and 2 here"),
        ("--dropout 0.1", "--dropout is 0.3 in the run and 0.1 here"),
        ("--patience=3", "--patience is not given in the run and 3 here"),
        ("--batch-tokens 2000", "--batch-tokens is 1000 in the run and 2000 here"),
        ("--updates 5", "--max-update is 7 in the run and 5 here"),
    ):
        said = rejected(
            lambda other=other: train(*other.split()), "is a run with other arguments or data; give another"
        )
        assert said.endswith(f"The first that differs: {difference}")
    assert corpus.checksums(tmp_path / "out") == before
    (data / "manifest.json").write_text(MANIFEST + "\n")
    rejected(train, "The first that differs: the checksum of --data is ")


def test_short_flags_are_flags(train, data, tmp_path):
    train("--adaptive-alpha", "1", "-a", "transformer_tiny")
    said = rejected(lambda: train("--adaptive-alpha", "1", "-a", "transformer_iwslt_de_en"), "differs")
    assert said.endswith("--arch is transformer_tiny in the run and transformer_iwslt_de_en here")
    assert arguments.flag_values(["--alpha", "-1", "-s", "de"]) == {"--alpha": "-1", "--source-lang": "de"}


def test_data_of_another_command_are_rejected(train, training, data):
    (data / "manifest.json").write_text('{"task": "CoLA", "num_classes": 2}')
    rejected(train, "manifest.json is not a dataset's manifest: its 'source' is missing")
    assert not training.calls


def test_two_at_once_are_rejected(train, training, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rejected(train, "another process is working in")
    assert not training.calls


def test_a_mistake_that_fairseq_train_names_is_told_once(train, training, capsys):
    training.lines, training.status = ["fairseq_intra: error: --alpha is wrong"], 1
    rejected(train, "and it ends: fairseq_intra: error: --alpha is wrong$")
    said = capsys.readouterr()
    assert "--alpha is wrong" not in said.out + said.err


def test_a_failed_training_is_not_finished_and_can_be_repeated(train, training, tmp_path):
    training.lines, training.status = (
        ["Traceback (most recent call last):", "  File", "ValueError: the reason", " "],
        1,
    )
    said = rejected(train, "fairseq-train failed; the whole log is ")
    assert said.endswith("train.log, and it ends: ValueError: the reason")
    assert not (tmp_path / "out" / "finished").exists()
    training.lines = [
        "fairseq_intra: error: --alpha is wrong",
        "Traceback (most recent call last):",
        "torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with exit code 1",
    ]
    rejected(train, "and it ends: fairseq_intra: error: --alpha is wrong$")
    training.status = -signal.SIGKILL
    rejected(train, "fairseq-train was ended by SIGKILL; the whole log is ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--max-source-positions 1k", "--max-source-positions must be a whole number, not 1k"),
        ("--max-tokens-valid 4096.5", "--max-tokens-valid must be a whole number, not 4096.5"),
        ("--fp16 --fp16-no-flatten-grads", "--fp16 needs a GPU"),
        ("--memory-efficient-fp16", "--memory-efficient-fp16 needs a GPU"),
    ],
)
def test_a_value_that_cannot_work_is_named_before_training(train, training, flags, message):
    rejected(lambda: train(*flags.split()), message)
    assert not training.calls


class TestFinished:
    """Only a run whose last update was made, or that early stopping ended."""

    TIME = (
        "2026 | INFO | fairseq_cli.train | Stopping training due to cumulative_training_time: 2 > stop_time_hours: 1"
    )

    def test_not_after_the_time_that_it_was_given(self, train, training, tmp_path, capsys):
        training.lines.insert(0, self.TIME)
        with pytest.raises(SystemExit) as end:
            train("--stop-time-hours", "1")
        assert end.value.code == 75 and not (tmp_path / "out" / "finished").exists()
        assert "stopped by --stop-time-hours; the same command" in capsys.readouterr().err

    def test_not_where_it_just_ended(self, train, training, tmp_path):
        training.lines = ["2026 | INFO | train_inner | loss=9, ups=1, num_updates=3"]
        rejected(train, "fairseq-train ended before its last update")
        assert not (tmp_path / "out" / "finished").exists()

    def test_with_nothing_left_to_train(self, train, training, tmp_path):
        training.lines = ["2026 | INFO | fairseq_intra.patches.resume | nothing left to train: 40 validations"]
        train()
        assert (tmp_path / "out" / "finished").exists()

    @pytest.mark.parametrize("finished", [True, False])
    def test_nothing_is_trained_again_where_the_checkpoints_are_gone(self, train, training, tmp_path, finished):
        training.lines.insert(0, "2026 | INFO | fairseq.checkpoint_utils | Saved checkpoint out/checkpoint_last.pt")
        train()
        for path in (tmp_path / "out" / "checkpoints").iterdir():
            path.unlink()
        if not finished:
            (tmp_path / "out" / "finished").unlink()
        assert "put them back" in rejected(train, "the checkpoints of .*out are gone")

    def test_the_last_line_names_a_file_that_is_there(self, train, training, capsys):
        training.makes = (LAST,)
        train("--disable-validation")
        assert capsys.readouterr().err.endswith(f"checkpoints/{LAST}\n")

    def test_without_any_checkpoint_it_is_an_error(self, train, training, tmp_path):
        training.makes = ()
        rejected(train, "fairseq-train wrote no checkpoint; see .*train.log")
        assert not (tmp_path / "out" / "finished").exists()


def test_where_a_training_begins_must_be_there(train, tmp_path):
    for flag in ("--restore-file", "--finetune-from-model"):
        rejected(lambda flag=flag: train(flag, tmp_path / "mistyped.pt"), f"{flag} .*mistyped.pt: no such file")
    mistyped = ("--teacher", tmp_path / "mistyped.pt")
    rejected(lambda: train(*mistyped, method="self-distillation"), "--teacher .*mistyped.pt: no such file")
    assert not (tmp_path / "out").exists()
    # What requeue scripts pass on their first start.
    train("--restore-file", LAST)
    train("--restore-file", tmp_path / "second" / "checkpoints" / LAST, out=tmp_path / "second")


class TestFolder:
    """What binds a folder to its arguments, and how a run goes on with others."""

    def test_a_run_that_failed_before_its_first_checkpoint_binds_nothing(self, train, training, tmp_path, capsys):
        training.lines, training.status = ["fairseq-train: error: unrecognized arguments: --dropot 0.2"], 2
        rejected(lambda: train("--dropot", "0.2"), "ends: fairseq-train: error: unrecognized arguments")
        assert "unrecognized" not in "".join(capsys.readouterr())  # which the message has said
        training.__init__()
        train("--dropout", "0.2")
        assert "has no checkpoint yet: it begins anew with these arguments" in capsys.readouterr().err
        assert "0.2" in kept(tmp_path) and "--dropot" not in kept(tmp_path)
        assert "unrecognized" not in (tmp_path / "out" / "train.log").read_text()

    def test_more_updates_continue_it(self, train, tmp_path, capsys):
        train()
        words = train("--updates", "9")
        assert follow(words, "--max-update", "9") and follow(kept(tmp_path), "--max-update", "9")
        assert "continues to 9 updates in place of 7" in capsys.readouterr().err
        assert not train("--updates", "9")

    def test_more_updates_make_its_evaluations_those_of_an_earlier_run(self, train, tmp_path):
        train()
        checkpoints = tmp_path / "out" / "checkpoints"
        record = evaluated(checkpoints, "plain", name="checkpoint_best.test")
        (checkpoints / "sensitivity.json").write_text("{}")
        # Of another one the texts were not kept.
        evaluated(checkpoints, "plain", name="average5.test")
        (checkpoints / "average5.test.hyp").unlink()
        kept = {path.name: path.read_bytes() for path in checkpoints.glob("*.test.*")}
        assert not train() and record.exists()
        train("--updates", "9")
        assert not list(checkpoints.glob("*.test.*")) and (checkpoints / "sensitivity.json").exists()
        aside = tmp_path / "out" / "evaluated.7"
        assert {path.name: path.read_bytes() for path in aside.iterdir()} == kept and len(kept) == 5

    def test_an_interrupted_run_resumes_its_own_checkpoint_whatever_it_began_from(
        self, train, training, tmp_path, capsys
    ):
        (tmp_path / "other.pt").touch()
        begin = ["--restore-file", tmp_path / "other.pt", "--reset-optimizer"]
        training.lines.insert(0, TestFinished.TIME)
        with pytest.raises(SystemExit):
            train(*begin)
        assert follow(training.calls[-1], *map(str, begin))
        training.__init__()
        words = train(*begin)
        assert "--reset-optimizer: not again, as the run resumes" in capsys.readouterr().err
        assert "--reset-optimizer" not in words and words[-2:] == ["--restore-file", LAST]
        assert follow(kept(tmp_path), *map(str, begin))

    def test_an_evaluation_of_an_unfinished_run_is_none_of_the_finished_one(self, train, training, tmp_path):
        checkpoints = tmp_path / "out" / "checkpoints"
        training.lines.insert(0, TestFinished.TIME)
        with pytest.raises(SystemExit):
            train()
        evaluated(checkpoints, "plain", name="checkpoint_best.test")
        of_transfer = {"metric": "f1", "labels_sha256": "x"}
        for name, content in (("en", json.dumps(of_transfer)), ("en.predictions", "{}"), ("mine", "no JSON")):
            (checkpoints / f"checkpoint_best.{name}.json").write_text(content)
        training.__init__()
        assert train() and [path.name for path in checkpoints.glob("*.json")] == ["checkpoint_best.mine.json"]
        aside = {path.name for path in (tmp_path / "out" / "evaluated.unfinished").glob("*.json")}
        assert aside == {f"checkpoint_best.{name}.json" for name in ("test", "en", "en.predictions")}

    def test_an_evaluation_made_while_it_trained_is_none_of_the_finished_one(
        self, train, training, tmp_path, monkeypatch
    ):
        checkpoints = tmp_path / "out" / "checkpoints"

        def run(*given):
            evaluated(checkpoints, "plain", name="checkpoint_best.test")
            return training(*given)

        monkeypatch.setattr(process, "run", run)
        assert train() and not list(checkpoints.glob("*.json"))
        assert (tmp_path / "out" / "evaluated.unfinished" / "checkpoint_best.test.json").is_file()

    def test_a_finished_and_evaluated_run_needs_no_checkpoints_and_stays_bound(self, train, training, tmp_path):
        train()
        checkpoints = tmp_path / "out" / "checkpoints"
        evaluated(checkpoints, "plain", name="checkpoint_best.test")
        for path in checkpoints.glob("*.pt"):
            path.unlink()
        assert not train() and (checkpoints / "checkpoint_best.test.json").exists()
        rejected(lambda: train("--dropout", "0.2"), "--dropout is 0.3 in the run and 0.2 here")
        rejected(lambda: train("--updates", "9"), "checkpoint_last.pt, from which it would resume to 9, is gone")
        assert len(training.calls) == 1 and (tmp_path / "out" / "finished").exists()

    def test_an_unfinished_run_does_not_begin_anew_without_its_last_checkpoint(self, train, training, tmp_path):
        training.lines[:0] = [TestFinished.TIME, "2026 | INFO | x | Saved checkpoint out/checkpoint_last.pt"]
        with pytest.raises(SystemExit):
            train()
        (tmp_path / "out" / "checkpoints" / LAST).unlink()
        assert "put them back" in rejected(train, "the checkpoints of .*out are gone")

    def test_a_worker_of_a_run_that_is_to_go_on_does_not_take_it_for_finished(self, train, tmp_path):
        train()
        run, now = RunFolder(tmp_path / "out", rank=1), kept(tmp_path)
        assert run.is_finished(now)
        assert not run.is_finished([word.replace("7", "9") if word == "7" else word for word in now])

    def test_a_student_of_another_teacher_is_another_run(self, train, tmp_path):
        teacher = tmp_path / "teacher.pt"
        teacher.write_text("one")
        assert train("--teacher", teacher, method="self-distillation")
        teacher.write_text("another")
        again = lambda: train("--teacher", teacher, method="self-distillation")  # noqa: E731
        rejected(again, "the checksum of --teacher is ")
        teacher.unlink()
        rejected(again, "teacher.pt")

    def test_a_value_of_several_lines_is_the_same_when_repeated(self, train):
        flags = ["--eval-bleu-args", '{"beam": 5,\n "lenpen": 1}']
        assert train(*flags) and not train(*flags)

    def test_a_longer_time_continues_it(self, train, training, tmp_path):
        training.lines.insert(0, TestFinished.TIME)
        for hours in ("1", "2"):
            with pytest.raises(SystemExit):
                train("--stop-time-hours", hours)
            assert follow(kept(tmp_path), "--stop-time-hours", hours)

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            (("--adaptive-alpha", "1", "--alpha", "5"), "adaptive alpha depends on that number"),
            (("--lr-scheduler", "cosine"), "--lr-scheduler cosine depends on that number"),
            (("--lr-scheduler", "tri_stage"), "--lr-scheduler tri_stage depends on that number"),
            (("--lr-scheduler", "polynomial_decay"), "--lr-scheduler polynomial_decay depends on that number"),
        ],
    )
    def test_more_updates_of_another_schedule_are_asked_for(self, train, tmp_path, more, why):
        train(*more, method="intra")
        before = corpus.checksums(tmp_path / "out")
        assert "Give --extend" in rejected(lambda: train(*more, "--updates", "9", method="intra"), why)
        assert corpus.checksums(tmp_path / "out") == before
        assert follow(train(*more, "--updates", "9", "--extend", method="intra"), "--max-update", "9")

    def test_a_schedule_of_a_given_number_does_not_depend_on_it(self, train):
        more = ("--adaptive-alpha", "1", "--alpha", "5", "--max-updates-train", "50")
        train(*more, method="intra")
        assert train(*more, "--updates", "9", method="intra")

    def test_flags_in_another_order_or_form_are_the_same(self, train):
        train("--dropout", "0.2", "--patience=3")
        assert not train("--patience", "3", "--dropout=0.2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--data /nowhere", "--data /nowhere is not a prepared dataset: no manifest.json"),
        ("--method both", "--method must be plain, rdrop, intra, late or self-distillation, not 'both'"),
        ("--preset huge", "--preset: invalid choice: 'huge' .*tiny"),
        ("--updates 0", "--updates must be at least 1, not 0"),
        ("--updates many", "--updates: invalid int value: 'many'"),
        ("--batch-tokens 0", "--batch-tokens must be at least 1, not 0"),
        ("--seed -1", "--seed must be a whole number from 0 to 4293967295, not -1"),
        ("--seed 99999999999", "--seed must be a whole number from 0 to 4293967295, not 99999999999"),
        ("--seed", "--seed: expected one argument"),
        ("--seed --preset tiny", "--seed: expected one argument"),
        ("--methd intra", "unknown flag --methd; is it --method?"),
        ("--updats=3", "unknown flag --updats; is it --updates?"),
        ("--save-dir /tmp", "--save-dir is set by this command: checkpoints go to OUT/checkpoints"),
        ("--log-format=json", "--log-format is set by this command"),
        ("--no-save", "--no-save is set by this command"),
        ("--distributed-world-size 2", "--distributed-world-size is set by this command; start it with torchrun"),
        ("--distributed-init-method=tcp://host:1", "--distributed-init-method is set by this command"),
        ("--update-freq 2", "--update-freq is set by this command: it follows from --batch-tokens, --max-tokens and"),
        ("--source-lang en", "--source-lang is set by this command: the languages are those of --data"),
        ("-t de", "--target-lang is set by this command: .* with --src and --tgt for the other direction"),
        ("--max-update 9", "--updates and --max-update are one limit: give one of them"),
        ("--alpha 1e7", "--alpha must be a number from 0 to 1000000, not 10000000.0"),
        ("--alpha nan", "--alpha must be a number from 0 to 1000000, not nan"),
        ("--fp16", "--fp16 needs a GPU, and torch sees none"),
        ("--wandb-project mine", "--wandb-project needs the package wandb"),
        ("--out ${x}", r"--out \$\{x\}: fairseq takes \$\{ for a variable"),
        ("--data ${x}", r"--data \$\{x\}: fairseq takes \$\{ for a variable"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(train, training, tmp_path, given, message):
    rejected(lambda: train(*given.split(), method="intra"), message)
    assert not training.calls and not (tmp_path / "out").exists()


def test_a_run_does_not_go_into_a_dataset(train, training, data):
    rejected(lambda: train(out=data), f"--out {data} is a dataset; give the run a folder of its own")
    assert not training.calls and not (data / "arguments.txt").exists()


def test_data_of_fairseq_preprocess_is_called_so(train, tmp_path):
    (tmp_path / "binarised").mkdir()
    (tmp_path / "binarised" / "dict.de.txt").write_text("")
    rejected(lambda: train(data=tmp_path / "binarised"), "data of fairseq-preprocess is for fairseq-train --user-dir")


def test_a_model_of_another_name_has_its_own_sizes(train, capsys):
    words = train("--arch", "transformer_iwslt_de_en", "--encoder-layers", "3")
    assert (
        arguments.flag_value(words, "--arch") == "transformer_iwslt_de_en"
        and arguments.flag_value(words, "--encoder-layers") == "3"
    )
    assert (
        arguments.flag_value(words, "--decoder-layers") is arguments.flag_value(words, "--encoder-embed-dim") is None
    )
    assert arguments.flag_value(words, "--dropout") == "0.3" and "--share-all-embeddings" in words
    said = "left out of the preset, as --arch transformer_iwslt_de_en has its own sizes: --encoder-layers 2 "
    assert said in capsys.readouterr().err


def test_the_preset_s_own_model_keeps_its_sizes(train, tmp_path):
    words = train("--arch", "transformer", out=tmp_path / "same")
    assert arguments.flag_value(words, "--decoder-layers") == "2"


def test_half_precision_that_works_without_a_gpu_is_not_rejected(train):
    assert train("--bf16", "--fp16-no-flatten-grads")


@pytest.mark.parametrize("given", ["--bf16", "--memory-efficient-bf16", "--memory-efficient-fp16", "--amp", "--fp16"])
def test_on_a_gpu_the_precision_given_is_the_only_one(train, monkeypatch, given):
    monkeypatch.setattr(workers, "gpu_count", lambda: 1)
    words = train(given, preset="paper")
    assert [word for word in words if word.endswith(("fp16", "bf16", "amp"))] == [given]


def test_two_precisions_are_rejected(train, monkeypatch):
    monkeypatch.setattr(workers, "gpu_count", lambda: 1)
    rejected(
        lambda: train("--fp16", "--memory-efficient-fp16", "--amp"), "--amp exclude each other; give one of them"
    )


@pytest.mark.parametrize("missing", ["--data", "--method", "--out"])
def test_what_is_required_is_asked_for(data, tmp_path, missing):
    given = {"--data": data, "--method": "plain", "--out": tmp_path / "out"}
    del given[missing]
    words = [str(word) for pair in given.items() for word in pair]
    rejected(lambda: cli.main(["train", *words]), f"the following arguments are required: {missing} ")


def test_no_flag_of_fairseq_looks_like_one_of_ours():
    """Else it could not be passed on."""
    from fairseq import options, tasks
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY

    import fairseq_intra.plugin  # noqa: F401

    parser = options.get_training_parser()
    for registry in (tasks.TASK_REGISTRY, CRITERION_REGISTRY, ARCH_MODEL_REGISTRY):
        for name in ("translation_intra_distillation", "intra_distillation", "transformer", "self_distillation"):
            if name in registry:
                parser.conflict_handler = "resolve"
                registry[name].add_args(parser)
    ours = (
        "--data --method --out --seed --dry-run --preset --updates --batch-tokens --max-tokens --valid-bleu --extend"
    )
    theirs = set(parser._option_string_actions) - {*ours.split(), *arguments.OWNED, *arguments.OWNED_BY_TRAIN}
    theirs = sorted(flag for flag in theirs if flag[:2] == "--" and not flag.startswith("--distributed-"))
    assert len(theirs) > 150
    arguments.check_passed(theirs, ours.split(), arguments.OWNED)


def write_index(path, sizes):
    head = struct.pack("<9sQBQ", b"MMIDIDX\x00\x00", 1, 4, len(sizes))
    path.write_bytes(head + struct.pack(f"<{len(sizes)}i", *sizes) + bytes(8 * len(sizes)))


def test_a_pair_that_no_worker_can_take_is_named(train, training, data, tmp_path):
    (data / "bin").mkdir()
    for split, sizes in {"train": ([5, 9, 2000], [4, 4, 4]), "valid": ([3], [60])}.items():
        for language, found in zip(("pt-BR", "en"), sizes, strict=True):
            write_index(data / "bin" / f"{split}.pt-BR-en.{language}.idx", found)
    # Of train fairseq leaves out pairs of more than 1,024 tokens by itself.
    rejected(lambda: train("--batch-tokens", "8"), r"bin, train: line 2 has 9 tokens, and a forward pass takes 8")
    rejected(lambda: train("--batch-tokens", "50"), r"bin, valid: line 1 has 60 tokens.*--max-tokens-valid")
    assert not training.calls
    assert train("--batch-tokens", "50", "--max-tokens-valid", "60")


def test_a_language_with_a_hyphen_is_told_to_fairseq(train, data):
    """fairseq infers languages from the names of files that have one hyphen."""
    (data / "manifest.json").write_text(MANIFEST.replace('"de"', '"pt-BR"'))
    assert follow(train(), *"--source-lang pt-BR --target-lang en".split())


def test_odd_names_of_folders(train, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x", "a b", "b:c", "it's"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(MANIFEST)
        given = [f"--data={name}", f"--out={name}/run", "--method", "plain", "--preset", "tiny"]
        cli.main(["train", *given])
        assert (tmp_path / name / "run" / "finished").exists()


class TestProgress:
    LINES = """2026 | INFO | train_inner | epoch 001: 2 / 9 loss=9, ups=0.02, num_updates=2, lr=1
2026 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 8.1 | num_updates 2
lib/functional.py:12: UserWarning: Support for mismatched key_padding_mask and attn_mask is deprecated
2026 | WARNING | fairseq.tasks | 3 samples have invalid sizes
2026 | WARNING | py.warnings | FutureWarning: `torch.cuda.amp.autocast(args...)` is deprecated, no Error
2026 | INFO | fairseq_cli.train | {'a': 1}""".split("\n")

    def test_the_terminal_has_what_matters_and_the_log_everything(self, train, training, tmp_path, capsys):
        training.lines = self.LINES + training.lines
        train()
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"[update 2 of 7, 4 min left] {self.LINES[0]}", self.LINES[1], self.LINES[3]]
        assert corpus.lines(tmp_path / "out" / "train.log") == training.lines

    def test_after_the_switch_of_a_late_start_time_is_told_from_the_slower_updates(self, train, training, capsys):
        switch = (
            "2026 | INFO | fairseq_intra.late_start | intra-distillation begins after 2 updates of plain training"
        )
        slower = self.LINES[0].replace("ups=0.02, num_updates=2", "ups=0.01, num_updates=4")
        training.lines = [self.LINES[0], switch, slower, *training.lines]
        train()
        lines = capsys.readouterr().out.splitlines()
        assert lines == [
            f"[update 2 of 7, 4 min left] {self.LINES[0]}",
            switch,
            f"[update 4 of 7, 5 min left] {slower}",
        ]

    def test_a_setting_of_a_gpu_says_how_long_it_takes_here(self, train, data, tmp_path, capsys, monkeypatch):
        # So that 50,000 updates of one pass take 100 days: 6+6 layers of 512 and 1,024, and 12,000 types.
        parameters = 6 * (4 * 512**2 + 2 * 512 * 1024) + 6 * (8 * 512**2 + 2 * 512 * 1024) + 12_000 * 512
        # Forward a product and a sum for each, backward twice as many.
        operations = 50_000 * presets.read_preset("paper").batch_tokens * parameters * 6
        monkeypatch.setattr(cost, "_flops_a_second", lambda: operations / (100.01 * 86400))
        (data / "bin").mkdir()
        (data / "bin" / "dict.de.txt").write_text("".join(f"w{number} 1\n" for number in range(12000)))
        for days, flags in {
            "100": "--method plain",
            "300": "--method intra",
            "140": "--method late --plain-updates 40000",
            "100 ": "--method late --plain-patience 2",
            "200": "--method intra --distill-interval 2",
            "100  ": "--method intra --distill-part 3",
        }.items():
            method, *more = flags.split()[1:]
            train("--updates", "50000", *more, preset="paper", method=method, out=tmp_path / flags)
            assert f"take at least {days.strip()} days" in capsys.readouterr().err, flags
        train(preset="tiny", out=tmp_path / "tiny")
        assert "at least" not in capsys.readouterr().err
        # Of these fairseq-train says what is wrong.
        for number, flags in enumerate(("--distill-interval 0", "--lr 5e-4x")):
            train(
                "--updates", "50000", *flags.split(), preset="paper", method="intra", out=tmp_path / f"wrong{number}"
            )


def test_validation_by_bleu(train):
    words = train("--valid-bleu")
    assert follow(words, "--eval-bleu") and follow(words, "--best-checkpoint-metric", "bleu")
    assert json.loads(words[words.index("--eval-bleu-args") + 1])["beam"] == 5


def test_by_the_console_script_where_python_would_import_from_the_current_folder(monkeypatch):
    from fairseq_intra.run_fairseq import fairseq_command

    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert fairseq_command("train") == [
        sys.executable,
        os.path.join(os.path.dirname(sys.executable), "fairseq-train"),
    ]
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    assert fairseq_command("train")[1:] == ["-P", "-m", "fairseq_intra.run_fairseq", "train"]
