"""The command `fairseq-intra`."""

import os
import subprocess
import sys
from pathlib import Path

import commands
import corpus
import pytest
import torch
from evaluated_runs import evaluated

from fairseq_intra import checkpoint, cli
from fairseq_intra.errors import UsageError


def command(*arguments, cwd):
    line = [sys.executable, "-m", "fairseq_intra.cli", *map(str, arguments)]
    return subprocess.run(line, env=corpus.environment(), cwd=cwd, capture_output=True, encoding="utf-8")


def test_as_a_command_it_answers_from_any_folder_and_a_mistake_is_one_line(tmp_path):
    found, refused = commands.at_once(
        lambda: command("user-dir", cwd=tmp_path),
        lambda: command("average", "--inputs", "missing.pt", "--output", "mean.pt", cwd=tmp_path),
    )
    assert (found.returncode, found.stdout) == (0, f"{commands.PLUGIN}\n")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("fairseq_intra: error: no checkpoint missing.pt\n")
    assert "Traceback" not in refused.stderr


def test_where_nobody_reads_its_output_any_more_it_ends_as_other_commands_do():
    """As before `| head -1`: by the shell's status for SIGPIPE, without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "-m", "fairseq_intra.cli", "user-dir"]
    # As in a shell, what it prints is written at its end.
    environment = corpus.environment(PYTHONUNBUFFERED="")
    done = subprocess.run(line, env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_average_by_name_and_by_number(trained, tmp_path, capsys):
    numbered = checkpoint.last_checkpoints(trained.folder, 2)
    cli.main(["average", "--inputs", *map(str, numbered), "--output", str(tmp_path / "named.pt")])
    (tmp_path / "checkpoints").symlink_to(trained.folder)
    cli.main(["average", "--last", "2", "--folder", str(tmp_path), "--output", str(tmp_path / "last.pt")])
    said = capsys.readouterr().out
    assert said.count("checkpoint_1_15.pt, ") == said.count("checkpoint_2_20.pt\n") == 2
    named, last, *inputs = (
        checkpoint.load(path)["model"] for path in (tmp_path / "named.pt", tmp_path / "last.pt", *numbered)
    )
    for name, value in named.items():
        assert torch.equal(value, last[name])
        torch.testing.assert_close(value, (inputs[0][name] + inputs[1][name]) / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--output o.pt", "average takes either --inputs FILE... or --last N with --folder DIR"),
        ("--inputs a.pt --last 2 --folder . --output o.pt", "average takes either"),
        ("--last 2 --output o.pt", "average takes either"),
        ("--inputs a.pt --folder . --output o.pt", "average takes either"),
        ("--last 0 --folder . --output o.pt", "--last must be at least 1, not 0"),
        ("--last 2 --folder {} --output o.pt", "holds 0 numbered checkpoints, not the 2"),
        ("--inputs {}/a.pt --output o.pt", "no checkpoint .*a.pt"),
        ("--inputs {}/text --output o.pt", "checkpoint .*text (is rejected|cannot be read): "),
        ("--inputs {model} --output {}/none/o.pt", "--output .*/none/o.pt: its folder does not exist"),
        ("--inputs {model} --output .", "--output '.' must end in a name"),
        ("--inputs {model} --output {model}", "--output .* is one of the checkpoints that are averaged"),
        ("--last 1 --folder {}/none --output o.pt", "--folder .*/none: no such folder"),
    ],
)
def test_average_names_what_is_wrong(trained, tmp_path, arguments, named):
    (tmp_path / "text").write_text("text")
    with pytest.raises(UsageError, match=named):
        cli.main(["average", *arguments.format(tmp_path, model=trained.checkpoint).split()])


def test_table_prints_what_can_stand_in_a_readme(tmp_path, capsys):
    runs = [evaluated(tmp_path / method, method) for method in ("plain", "intra")]
    cli.main(["table", *map(str, runs)])
    assert "| de-en | " in capsys.readouterr().out
    cli.main(["table", *map(str, runs), "--equal-time", "--show-differences"])
    assert "| p-value | seconds |" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plot", "plot-sensitivity"])
def test_a_picture_needs_a_name(command):
    with pytest.raises(UsageError, match="--output '.' must end in a name"):
        cli.main([command, "anything", "--output", "."])


def test_a_flag_of_no_command_is_named():
    with pytest.raises(UsageError, match="unrecognized arguments: --papper .see fairseq-intra prepare glue --help"):
        cli.main(["prepare", "glue", "--input", ".", "--vocabulary", ".", "--out", "out", "--papper"])


def test_an_empty_path_is_not_the_current_folder():
    for flag in ("--out", "--input"):
        with pytest.raises(UsageError, match=f"argument {flag}: "):
            cli.main(["prepare", "parallel", "--src", "de", "--tgt", "en", "--input", ".", "--out", "out", flag, ""])


def test_a_command_is_needed():
    with pytest.raises(UsageError, match="required: COMMAND"):
        cli.main([])


def test_a_home_folder_is_not_needed(monkeypatch, capsys):
    """Some containers run with a user that has none."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    cli.main(["user-dir"])
    assert capsys.readouterr().out == f"{commands.PLUGIN}\n"


def test_what_a_terminal_cannot_show_is_replaced(tmp_path):
    runs = [
        evaluated(tmp_path / f"{method}{seed}", method, seed=seed) for method in ("plain", "intra") for seed in (1, 2)
    ]
    found = subprocess.run(
        [sys.executable, "-m", "fairseq_intra.cli", "table", *map(str, runs)],
        env=corpus.environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        encoding="ascii",
    )
    assert found.returncode == 0 and " ? " in found.stdout, found.stderr


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_standard_stream_changes_nothing_else(tmp_path, closed):
    runs = " ".join(str(evaluated(tmp_path / method, method)) for method in ("plain", "intra"))
    program = f"exec {sys.executable} -m fairseq_intra.cli table {runs} {closed}"
    done = subprocess.run(["bash", "-c", program], env=corpus.environment(), capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("| pair |") == ("1>&-" not in closed)


def test_a_name_that_is_not_utf8_is_rejected_before_any_work(tmp_path):
    arguments = ["prepare", "parallel", "--input", str(tmp_path), "--src", "de", "--tgt", "en"]
    with pytest.raises(UsageError, match=r"the name .*udcff.* is not UTF-8; give another"):
        cli.main([*arguments, "--out", str(tmp_path / "o\udcff")])


@pytest.mark.parametrize(
    "wrong", [["--checkpoint", "a.pt:b\udcff.pt"], ["--remove-bpe", "\udcff"], ["--split=\udcff"]]
)
def test_a_word_that_is_not_utf8_is_rejected_before_any_work(wrong):
    """Also one that names several files, and one that is passed on."""
    with pytest.raises(UsageError, match=r"the name .*udcff.* is not UTF-8; give another"):
        cli.main(["evaluate", "--checkpoint", "a.pt", "--data", "data", *wrong])
