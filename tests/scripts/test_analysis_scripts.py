"""scripts/pruning-curve.sh and scripts/self-distillation.sh: what they run, skip and refuse; the curve's table."""

import json

import corpus
import pytest
from evaluated_runs import SIGNATURE, evaluated

from fairseq_intra import cli
from fairseq_intra.errors import UsageError

CURVE, ROUNDS = "scripts/pruning-curve.sh", "scripts/self-distillation.sh"
#: Stands in for Python: has no GPU, notes what it is asked to do, and makes the files that this would make.
STAND_IN = """#!/usr/bin/env bash
value_of() { local flag=$1; shift; while [[ $# -gt 1 && $1 != "$flag" ]]; do shift; done; printf '%s' "$2"; }
case $* in
  *cuda.device_count*) echo 0; exit ;;
  *cuda.is_available*) exit 1 ;;
  *fairseq_cli.* | *fairseq_intra.cli*) printf '%s\\n' "$*" >>"$CALLS" ;;
  *) exit 0 ;;
esac
if [[ -n $FAILS && $* == *$FAILS* ]]; then
  [[ $* != *"cli evaluate "* ]] || echo "fairseq_intra: error: fairseq-generate failed" >&2
  exit 1
fi
case $* in
  *fairseq_cli.train*)
    folder=$(value_of --save-dir "$@")
    mkdir -p "$folder" && touch "$folder/checkpoint_best.pt" "$folder/checkpoint_last.pt" ;;
  *"cli evaluate "*) model=$(value_of --checkpoint "$@"); touch "${model%.pt}.test.json" ;;
  *"cli sensitivity "* | *"cli prune "*) touch "$(value_of --output "$@")" ;;
  *"cli sensitivity-table "* | *"cli plot-pruning "*) echo "the table" ;;
esac
"""


@pytest.fixture
def stand_in(tmp_path):
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    names = {"FAIRSEQ_INTRA_PYTHON": tmp_path / "python", "CALLS": tmp_path / "calls", "FAILS": ""}
    return {name: str(value) for name, value in names.items()}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("{}")
    return tmp_path / "data"


@pytest.fixture
def checkpoints(tmp_path):
    """Of two runs, the second with another name than the best."""
    made = [tmp_path / "plain/checkpoints/checkpoint_best.pt", tmp_path / "intra/checkpoints/average5.pt"]
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_text(path.parts[-3])
    return made


def calls(stand_in, *kinds):
    """What was asked for of some kinds of commands, and forgets it."""
    with open(stand_in["CALLS"], "r+") as file:
        asked = file.read().split("\n")
        file.truncate(0)
    return [line for line in asked if any(kind in line for kind in kinds)]


def curve(data, out, checkpoints):
    named = [word for path in checkpoints for word in ("--checkpoint", path)]
    return ["--data", data, "--out", out, "--ratios", "0 0.1 .5", "--max-len-b", 30, *named]


def test_a_curve_has_both_orders_of_every_checkpoint(data, checkpoints, tmp_path, stand_in):
    out = tmp_path / "out"
    corpus.succeed(CURVE, *curve(data, out, checkpoints), **stand_in)
    asked = calls(stand_in, "cli prune", "cli sensitivity", "cli evaluate", "plot-pruning")
    for name, path in zip(("plain", "intra.average5"), checkpoints, strict=True):
        mine = [line for line in asked if f"--checkpoint {path} " in line and "evaluate" not in line]
        assert sum("cli sensitivity" in line for line in mine) == 1
        pruned = {line.split("--order ")[1] for line in mine if "cli prune" in line}
        points = [("ascending", "0", "whole")]
        points += [
            (order, ratio, f"{order}-{ratio}") for order in ("ascending", "descending") for ratio in ("0.1", ".5")
        ]
        assert pruned == {f"{o} --ratio {r} --output {out}/{name}/{p}.pt" for o, r, p in points}
        assert all(f"--scores {out}/{name}.sensitivity.json" in line for line in mine if "cli prune" in line)
        assert {path.name for path in (out / name).glob("*.json")} == {f"{p}.test.json" for _, _, p in points}
        assert not list((out / name).glob("*.pt"))
    assert sum("--max-len-b 30" in line for line in asked if "cli evaluate" in line) == 10
    assert asked[-1].endswith(f"plot-pruning {out}/plain {out}/intra.average5 --output {out}/pruning-curve")


def test_finished_points_are_skipped_and_another_model_is_not_mixed_in(data, checkpoints, tmp_path, stand_in):
    given = curve(data, tmp_path / "out", checkpoints[:1])
    failing = stand_in | {"FAILS": f"evaluate --checkpoint {tmp_path}/out/plain/descending-0.1.pt"}
    assert "fairseq-generate failed" in corpus.fail(CURVE, *given, **failing)
    assert len(calls(stand_in, "cli evaluate")) == 3
    corpus.succeed(CURVE, *given, **stand_in)
    assert len(calls(stand_in, "cli evaluate")) == 3
    corpus.succeed(CURVE, *given, **stand_in)
    assert not calls(stand_in, "cli evaluate", "cli sensitivity", "cli prune")
    checkpoints[0].write_text("another")
    assert "The first that differs: < # checkpoint " in corpus.fail(CURVE, *given, **stand_in)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--ratios", "0 1.5"], "--ratios must be numbers between 0 and 1, not '1.5'"),
        (["--ratios", "0 -1"], "--ratios must be numbers between 0 and 1, not '-1'"),
        (["--ratios=0"], "give --ratios and its value as two words, not '--ratios=0'"),
        (["--checkpoint", "/nowhere.pt"], "--checkpoint /nowhere.pt: no such file"),
        (["--data", "/nowhere"], "--data /nowhere is not a prepared dataset"),
        (["--average", "3"], "--average is not for pruned checkpoints"),
    ],
)
def test_a_curve_s_bad_arguments_are_named(data, checkpoints, tmp_path, stand_in, arguments, named):
    error = corpus.fail(CURVE, *curve(data, tmp_path / "out", checkpoints), *arguments, **stand_in)
    assert named in error and not (tmp_path / "out").exists()


def test_checkpoints_of_one_name_are_refused(data, checkpoints, tmp_path, stand_in):
    (tmp_path / "again").mkdir()
    (tmp_path / "again/plain").symlink_to(tmp_path / "plain")
    again = tmp_path / "again/plain/checkpoints/checkpoint_best.pt"
    error = corpus.fail(CURVE, *curve(data, tmp_path / "out", [checkpoints[0], again]), **stand_in)
    assert "two of the checkpoints would be called plain" in error


def rounds(data, out, *more):
    return ["--data", data, "--rounds", 2, "--out", out, "--preset", "tiny", "--updates", 7, *more]


def test_every_round_learns_from_the_one_before(data, tmp_path, stand_in):
    out = tmp_path / "out"
    more = ["--method", "intra", "--weight", 0.7, "--dropout", 0.2]
    said = corpus.run(ROUNDS, *rounds(data, out, *more), **stand_in).stdout
    assert said.endswith("the table\n") and corpus.lines(out / "rounds.md") == ["the table"]
    asked = calls(stand_in, "fairseq_cli", "cli")
    first, *students = [line for line in asked if "fairseq_cli.train" in line]
    assert "--criterion intra_distillation" in first and "--teacher" not in first
    for number, line in enumerate(students):
        teacher = f"--teacher {out}/round{number}/checkpoints/checkpoint_best.pt"
        assert "--criterion self_distillation" in line and teacher in line
        assert "--distillation-weight 0.7 --distillation-temperature 1 " in line
    assert len(students) == 2 and all("--dropout 0.2" in line for line in (first, *students))
    names = [f"{out}/round{number}" for number in range(3)]
    reports = " ".join(f"{name}.sensitivity.json" for name in names)
    evaluations = " ".join(f"{name}/checkpoints/checkpoint_best.test.json" for name in names)
    assert asked[-1].endswith(f"sensitivity-table {reports} --evaluations {evaluations}")


def test_finished_rounds_are_skipped_and_a_failed_one_is_repeated(data, tmp_path, stand_in):
    given = rounds(data, tmp_path / "out")
    done = corpus.run(ROUNDS, *given, **(stand_in | {"FAILS": "round0/checkpoints/checkpoint_best.pt --dist"}))
    assert done.returncode == 1 and "fairseq-train failed" in done.stderr
    calls(stand_in)
    corpus.succeed(ROUNDS, *given, **stand_in)
    assert len(calls(stand_in, "fairseq_cli.train")) == 2
    corpus.succeed(ROUNDS, *given, **stand_in)
    assert not calls(stand_in, "fairseq_cli", "cli sensitivity ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rounds", "0"], "--rounds must be a whole number of at least 1, not '0'"),
        (["--method", "self-distillation"], "--method must be plain or intra, not 'self-distillation'"),
        (["--teacher", "x.pt"], "--teacher is every round's own matter"),
        (["--weight=1"], "give --weight and its value as two words, not '--weight=1'"),
        (["--data", "/nowhere"], "--data /nowhere is not a prepared dataset"),
    ],
)
def test_a_round_s_bad_arguments_are_named(data, tmp_path, stand_in, arguments, named):
    error = corpus.fail(ROUNDS, *rounds(data, tmp_path / "out"), *arguments, **stand_in)
    assert named in error and not (tmp_path / "out").exists()


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
    assert rows[2][2] == rows[3][2] and float(rows[2][3]) > float(rows[3][3]) and rows[2][4] == " |"
    assert f"`{SIGNATURE}`, text as it is written." in said and "Decoding: beam 5, lenpen 1.0" in said
    assert (tmp_path / "curve.md").read_text() == said
    drawn = json.loads((tmp_path / "curve.json").read_text())
    assert list(drawn[0]["bleu"]) == ["0.0", "0.1"] and f"{drawn[0]['bleu']['0.1']:.2f}" == rows[2][3]
    assert ">intra<" in (tmp_path / "curve.svg").read_text() and (tmp_path / "curve.png").exists()


def test_curves_that_cannot_be_drawn_are_refused(tmp_path):
    plain = points(tmp_path, "plain", whole=9, ascending_0x1=4)
    with pytest.raises(UsageError, match="empty holds no evaluation of a pruned checkpoint"):
        (tmp_path / "empty").mkdir()
        cli.main(["plot-pruning", str(plain), str(tmp_path / "empty"), "--output", str(tmp_path / "curve")])
    evaluated(plain, name="descending-0.1.test", bleu={"score": 1.0, "signature": "other"})
    with pytest.raises(UsageError, match="scores cannot be compared: .*other"):
        cli.main(["plot-pruning", str(plain), "--output", str(tmp_path / "curve")])
