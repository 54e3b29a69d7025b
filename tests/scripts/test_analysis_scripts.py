"""`fairseq-intra pruning-curve` and `self-distill`: what they run, skip and reject; their scripts; the table."""

import json
import sys
from pathlib import Path

import corpus
import pytest
from evaluated_runs import DECODING, SIGNATURE, evaluated
from training_stub import MANIFEST

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.runs import steps
from fairseq_intra.sensitivity import pruned_evaluations, self_distillation_rounds

STUB = Path(__file__).parent.parent / "stub_step.py"


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Steps are stubs, which note their calls in a file; returns that file."""
    path = tmp_path / "calls"
    path.touch()
    monkeypatch.setattr(steps, "start_of", lambda name: [sys.executable, "-IS", str(STUB), str(path), name])
    monkeypatch.setattr(pruned_evaluations, "pruning_curve", lambda folders, prefix: f"the table of {folders}")
    monkeypatch.setattr(self_distillation_rounds, "read_reports", list)
    monkeypatch.setattr(self_distillation_rounds, "sensitivity_table", lambda *what: f"the table of {what}")
    return path


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text(MANIFEST)
    return tmp_path / "data"


@pytest.fixture
def checkpoints(tmp_path):
    """Of two runs, the second with another name than the best."""
    made = [tmp_path / "plain/checkpoints/checkpoint_best.pt", tmp_path / "intra/checkpoints/average5.pt"]
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_text(path.parts[-3])
    return made


def called(path):
    """Every call so far as [name, flags...]; forgets them."""
    found = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    path.write_text("")
    return [[name, *flags] for name, _, *flags in found]


def curve(data, out, checkpoints, *more):
    named = [word for path in checkpoints for word in ("--checkpoint", path)]
    given = ["pruning-curve", "--data", data, "--out", out, "--ratios", "0 0.1 .5", "--max-len-b", 30, *named, *more]
    return [str(word) for word in given]


def test_a_curve_has_both_orders_of_every_checkpoint(data, checkpoints, tmp_path, calls, capsys):
    out = tmp_path / "out"
    cli.main(curve(data, out, checkpoints))
    points = [("ascending", "0", "whole")]
    points += [(order, ratio, f"{order}-{ratio}") for ratio in ("0.1", ".5") for order in ("ascending", "descending")]
    expected = []
    for name, path in zip(("plain", "intra.average5"), checkpoints, strict=True):
        model, report = ["--checkpoint", str(path)], f"{out}/{name}.sensitivity.json"
        expected.append(["sensitivity", *model, "--data", str(data), "--output", report])
        for order, ratio, point in points:
            pruned = f"{out}/{name}/{point}.pt"
            how = ["--scores", report, "--order", order, "--ratio", ratio, "--output", pruned]
            expected.append(["prune", *model, *how])
            expected.append(["evaluate", "--checkpoint", pruned, "--data", str(data), "--max-len-b", "30"])
        assert {path.name for path in (out / name).glob("*.json")} == {f"{point}.test.json" for _, _, point in points}
        assert not list((out / name).glob("*.pt"))
    assert called(calls) == expected
    assert capsys.readouterr().out == f"the table of {[out / 'plain', out / 'intra.average5']}\n"


def test_finished_points_are_skipped_and_another_model_is_not_mixed_in(data, checkpoints, tmp_path, calls):
    given = curve(data, tmp_path / "out", checkpoints[:1])
    cli.main(given)
    called(calls)
    (tmp_path / "out/plain/descending-0.1.test.json").unlink()
    cli.main(given)
    assert [words[0] for words in called(calls)] == ["prune", "evaluate"]
    checkpoints[0].write_text("another")
    with pytest.raises(UsageError, match="plain was made with other arguments or data .'# checkpoint "):
        cli.main(given)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--ratios", "0 1.5"], "must be numbers between 0 and 1, such as '0 0.1 0.5', not '0 1.5'"),
        (["--checkpoint", "/nowhere.pt"], "--checkpoint /nowhere.pt: no such file"),
        (["--data", "/nowhere"], "--data /nowhere is not a prepared dataset"),
        (["--average=3"], "--average cannot be given: pruned checkpoints are evaluated one by one"),
        (["--output", "x"], "--output cannot be given: pruned checkpoints are evaluated one by one"),
        (["--tune-lenpen"], "--tune-lenpen cannot be given: pruned checkpoints are evaluated one by one"),
    ],
)
def test_a_curve_s_wrong_arguments_are_named(data, checkpoints, tmp_path, calls, arguments, named):
    with pytest.raises(UsageError, match=named):
        cli.main(curve(data, tmp_path / "out", checkpoints, *arguments))
    assert not (tmp_path / "out").exists()


def test_checkpoints_of_one_name_are_rejected(data, checkpoints, tmp_path, calls):
    (tmp_path / "again").mkdir()
    (tmp_path / "again/plain").symlink_to(tmp_path / "plain")
    again = tmp_path / "again/plain/checkpoints/checkpoint_best.pt"
    with pytest.raises(UsageError, match="two of the checkpoints would be called plain"):
        cli.main(curve(data, tmp_path / "out", [checkpoints[0], again]))


def self_distill(data, out, *more):
    given = ["self-distill", "--data", data, "--rounds", 2, "--out", out, "--preset", "tiny", *more]
    return [str(word) for word in given]


def test_every_round_learns_from_the_one_before(data, tmp_path, calls, capsys):
    out = tmp_path / "out"
    given = self_distill(data, out, "--method", "intra", "--weight", 0.7)
    cli.main(given)
    expected = []
    for number in range(3):
        best = f"{out}/round{number}/checkpoints/checkpoint_best.pt"
        how = ["--method", "intra"]
        if number:
            teacher = f"{out}/round{number - 1}/checkpoints/checkpoint_best.pt"
            how = ["--method", "self-distillation", "--teacher", teacher]
            how += ["--distillation-weight", "0.7", "--distillation-temperature", "1"]
        model = ["--checkpoint", best, "--data", str(data)]
        expected += [
            ["train", "--data", str(data), "--out", f"{out}/round{number}", *how, "--preset", "tiny"],
            ["evaluate", *model],
            ["sensitivity", *model, "--output", f"{out}/round{number}.sensitivity.json"],
        ]
    assert called(calls) == expected
    reports = [out / f"round{number}.sensitivity.json" for number in range(3)]
    evaluations = [out / f"round{number}/checkpoints/checkpoint_best.test.json" for number in range(3)]
    table = f"the table of {(reports, evaluations, False)}\n"
    assert capsys.readouterr().out == (out / "rounds.md").read_text() == table
    # Repeated, each training sees for itself that it is finished.
    cli.main(given)
    assert [words[0] for words in called(calls)] == ["train"] * 3
    # More updates of one round would be another teacher of the next.
    for path in out.glob("round?/checkpoints/*.pt"):
        path.unlink()
    with pytest.raises(UsageError, match="out was made with other arguments or data"):
        cli.main([*given, "--updates", "2000"])
    assert not called(calls)


def test_a_failed_round_ends_the_command_with_its_status(data, tmp_path, calls, monkeypatch, capfd):
    monkeypatch.setenv("FAILS", "round1")
    with pytest.raises(SystemExit) as ended:
        cli.main(self_distill(data, tmp_path / "out"))
    assert ended.value.code == 1 and capfd.readouterr().out.endswith("the reason\n\n")
    assert [words[0] for words in called(calls)] == ["train", "evaluate", "sensitivity", "train"]


def test_what_failed_before_its_first_checkpoint_binds_nothing(data, tmp_path, calls, monkeypatch):
    monkeypatch.setenv("FAILS", "round0")
    with pytest.raises(SystemExit):
        cli.main(self_distill(data, tmp_path / "out", "--dropot", "0.2"))
    monkeypatch.delenv("FAILS")
    cli.main(self_distill(data, tmp_path / "out", "--dropout", "0.2"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--method", "self-distillation"], "--method: invalid choice: 'self-distillation'"),
        (["--teacher", "x.pt"], "--teacher cannot be given: every round has its own"),
        (["--dry-run"], "--dry-run cannot be given: a round needs the model of the one before it"),
        (["--data", "/nowhere"], "--data /nowhere is not a prepared dataset"),
        (["--weight", "7"], "--weight must be between 0 and 1, not 7"),
        (["--weight", "nan"], "--weight must be between 0 and 1, not nan"),
        (["--temperature", "0"], "--temperature must be a number above 0, not 0"),
    ],
)
def test_a_round_s_wrong_arguments_are_named(data, tmp_path, calls, arguments, named):
    with pytest.raises(UsageError, match=named):
        cli.main(self_distill(data, tmp_path / "out", *arguments))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("script", "command"), [("pruning-curve", "pruning-curve"), ("self-distillation", "self-distill")]
)
def test_the_script_is_the_command(tmp_path, script, command):
    (tmp_path / "python").write_text('#!/usr/bin/env bash\n[[ $2 == *find_spec* ]] || printf "%s\\n" "${@:4}"\n')
    (tmp_path / "python").chmod(0o755)
    done = corpus.run(f"scripts/{script}.sh", "--data", "a b", "--python", tmp_path / "python")
    assert done.stdout.split("\n")[:-1] == [command, "--data", "a b"]


def points(folder, name, **more):
    """The evaluated points of a checkpoint: (order, ratio) with the share of hypotheses that are spoilt."""
    for point, share in more.items():
        evaluated(folder / name, share=share, name=f"{point.replace('_', '-').replace('x', '.')}.test")
    return folder / name


def test_the_curve_as_table_and_picture(tmp_path, capsys):
    plain = points(tmp_path, "plain", whole=9, ascending_0x1=4, descending_0x1=2)
    other = points(tmp_path, "intra", whole=9, ascending_0x1=5, descending_0x1=1, descending_0x5=1)
    cli.main(["plot-pruning", str(plain), str(other), "--output", str(tmp_path / "curve")])
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.split("\n")]
    assert rows[0] == ["| model", "first removed", "0 %", "10 %", "50 % |"]
    assert [row[:2] for row in rows[2:6]] == [
        [f"| {model}", f"{first} sensitive"] for model in ("plain", "intra") for first in ("least", "most")
    ]
    assert rows[2][2] == rows[3][2] and float(rows[2][3]) > float(rows[3][3]) and rows[2][4] == "|"
    assert SIGNATURE in said and (tmp_path / "curve.md").read_text() == said
    drawn = json.loads((tmp_path / "curve.json").read_text())
    assert list(drawn[0]["bleu"]) == ["0.0", "0.1"] and f"{drawn[0]['bleu']['0.1']:.2f}" == rows[2][3]
    assert ">intra<" in (tmp_path / "curve.svg").read_text() and (tmp_path / "curve.png").exists()


def test_curves_that_cannot_be_drawn_are_refused(tmp_path):
    plain = points(tmp_path, "plain", whole=9, ascending_0x1=4)
    with pytest.raises(UsageError, match="empty holds no evaluation of a pruned checkpoint"):
        (tmp_path / "empty").mkdir()
        cli.main(["plot-pruning", str(plain), str(tmp_path / "empty"), "--output", str(tmp_path / "curve")])
    with pytest.raises(UsageError, match="two folders are called plain"):
        cli.main(["plot-pruning", str(plain), str(tmp_path / "a" / "plain"), "--output", str(tmp_path / "curve")])
    evaluated(plain, name="descending-0.1.test", decoding=DECODING | {"beam": 1})
    with pytest.raises(UsageError, match="scores cannot be compared: runs differ in beam"):
        cli.main(["plot-pruning", str(plain), "--output", str(tmp_path / "curve")])
    evaluated(plain, name="descending-0.1.test", bleu={"score": 1.0, "signature": "other"})
    with pytest.raises(UsageError, match="scores cannot be compared: .*other"):
        cli.main(["plot-pruning", str(plain), "--output", str(tmp_path / "curve")])


def test_a_repeated_curve_takes_no_more_and_no_fewer_flags(data, checkpoints, tmp_path, calls):
    given = curve(data, tmp_path / "out", checkpoints[:1])
    cli.main(given)
    for other in ([*given, "--lenpen", "2"], [word for word in given if word not in ("--max-len-b", "30")]):
        with pytest.raises(UsageError, match="plain was made with other arguments or data"):
            cli.main(other)
