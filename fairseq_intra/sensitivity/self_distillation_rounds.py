"""Rounds of self-distillation: each trains a fresh model on the targets and on the outputs of the one before."""

from pathlib import Path

from ..console import say
from ..files import locked, make_folder, sha256, write_text
from ..runs.dataset import need_dataset
from ..runs.same_arguments import keep_arguments
from ..runs.steps import Step, own_command, work_in_order
from .report import read_reports
from .table import sensitivity_table


def self_distill(data: Path, out: Path, rounds: int, method: str, teacher_flags: list[str], flags: list[str]) -> str:
    """Trains, evaluates and measures every round; returns the table, which OUT/rounds.md has as well.

    Args:
        data: dataset made by data-prep/.
        out: the folder of roundN/ and roundN.sensitivity.json.
        rounds: after round 0, which has no teacher.
        method: of round 0, "plain" or "intra".
        teacher_flags: of `train`, weight and temperature of the distance to the teacher.
        flags: of `train`, in every round.

    Raises:
        UsageError: if there is no such dataset, another process works in OUT, or it was made with other arguments.
        SystemExit: with the exit status of a step that failed, which has said why.
    """
    need_dataset(data)
    out = out.absolute()  # a teacher's path is part of its student's arguments
    make_folder("--out", out)
    runs = [out / f"round{number}" for number in range(rounds + 1)]
    best = [run / "checkpoints" / "checkpoint_best.pt" for run in runs]
    reports = [out / f"{run.name}.sensitivity.json" for run in runs]
    evaluations = [path.with_suffix(".test.json") for path in best]

    def steps():
        for number, run in enumerate(runs):
            how: list[object] = ["--method", method]
            if number:
                how = ["--method", "self-distillation", "--teacher", best[number - 1], *teacher_flags]
            say(f"round {number} of {rounds}: {how[1]}")
            model = ["--checkpoint", best[number], "--data", data]
            # What is measured is not trained again because its checkpoint was removed.
            if best[number].exists() or not (evaluations[number].exists() and reports[number].exists()):
                yield Step(own_command("train", "--data", data, "--out", run, *how, *flags), trains=True)
            yield Step(own_command("evaluate", *model), (evaluations[number],))
            yield Step(own_command("sensitivity", *model, "--output", reports[number]), (reports[number],))

    # More updates of one round would be another teacher of the next.
    kept = [f"data {sha256(data / 'manifest.json')}", method, *map(str, teacher_flags), *flags]
    with locked(out):
        keep_arguments(out, kept, any(path.exists() for path in (*best, *evaluations, *reports)))
        work_in_order(steps())
        table = sensitivity_table(read_reports(reports), evaluations, False)
        write_text(out / "rounds.md", table + "\n")
    return table
