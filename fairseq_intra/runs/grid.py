"""What `fairseq-intra grid` does with a grid of runs: does them all, lists their commands, or makes their table."""

import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Protocol

from ..console import say
from ..errors import UsageError
from ..files import locked, make_folder, read_lines, write_text
from ..processes import UNFINISHED, ending_on_signals
from .arguments import DATA, data_line, flag_value, flag_values, without
from .comparison import PLAIN
from .same_arguments import keep_arguments
from .scheduler import Run, run_all

CONTINUES = re.compile("--continue-from")


class Grid(Protocol):
    """Runs that belong together: of translation, GLUE or transfer."""

    out: Path  #: the folder of everything
    methods: list[str]
    fewest: ClassVar[int]  #: how many methods make a table, plain training among them

    def arguments(self) -> list[str]:
        """What must be the same when the grid is repeated in OUT, beside what every run checks by itself."""

    def preparations(self) -> list[Run]:
        """What is done before the first training, one after another."""

    def runs(self) -> list[Run]:
        """The trainings; called after the preparations."""

    def table(self, runs: list[Run]) -> str:
        """The table of these runs, of every group all or none, in Markdown."""


def carry_out(grid: Grid, places: list[dict[str, str]]) -> None:
    """Does all runs, and writes OUT/table.md.

    Raises:
        UsageError: if a flag is wrong, another process works in OUT, or runs failed (it names them).
        SystemExit: if a preparation or the check of the flags failed, which has said why, or on a signal (by SIGUSR1
            with UNFINISHED, as where a run had --stop-time-hours and needs more).
    """
    logs = grid.out / "logs"
    with ending_on_signals():
        preparations = grid.preparations()
        if not preparations:
            _check_flags(grid.runs(), places[0])
        make_folder("--out", logs)
        with locked(grid.out):
            _prepare(grid, preparations, logs)
            runs = grid.runs()
            if preparations:
                _check_flags(runs, places[0])
            _do_all(grid, runs, places, logs)
            failed, stopped = (
                [run.name for run in runs if run.state == state] for state in ("failed", "out of time")
            )
            reason = "is not finished" if stopped else "failed"
            try:
                _write_table(grid, runs, [run for run in runs if run.state == "done"], reason)
            except UsageError as error:
                if not failed:
                    raise
                print(error, file=sys.stderr)
    if failed:
        raise UsageError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)} (see {logs})")
    if stopped:
        say(f"{len(stopped)} of {len(runs)} runs are out of time: {', '.join(stopped)}; with more of it they resume")
        sys.exit(UNFINISHED)


def list_commands(grid: Grid) -> None:
    """Prints a line of shell for every run; what comes before the first of them is done now."""
    with ending_on_signals():
        preparations = grid.preparations()
        if preparations:
            make_folder("--out", grid.out / "logs")
            with locked(grid.out):
                _prepare(grid, preparations, grid.out / "logs")
    show_commands(grid.runs())


def show_commands(runs: list[Run]) -> None:
    """Prints a line of shell for every run, which finds this package where this process has found it."""
    path = os.environ.get("PYTHONPATH")
    found = f"PYTHONPATH={shlex.quote(path)} " if path else ""
    for run in runs:
        print(" && ".join(found + shlex.join(step.command) for step in run.steps))


def make_table(grid: Grid) -> None:
    """Writes OUT/table.md of what is finished; nothing is trained or evaluated.

    Raises:
        UsageError: if there is nothing for a table.
    """
    if not grid.out.is_dir():
        raise UsageError(f"--out {grid.out}: no such folder")
    runs = grid.runs()
    for run in runs:
        _need_its_data(run)
    if not _write_table(grid, runs, [run for run in runs if run.evaluated], "is not finished"):
        raise UsageError(f"{grid.out / 'table.md'} is not made: see above")


def _need_its_data(run):
    """Raises UsageError where a run was trained on another dataset than it would be now."""
    flags = flag_values(run.steps[0].command)
    out, data = (Path(flags.get(name, "")) for name in ("--out", "--data"))
    kept = out / "arguments.txt"
    if not kept.is_file() or not (data / "manifest.json").is_file():
        return
    if any(line.startswith(DATA) and line != data_line(data) for line in read_lines(kept)):
        raise UsageError(f"{out} was trained on another dataset than {data}")


def _prepare(grid, preparations, logs):
    arguments = grid.arguments()
    done = [step.done for run in preparations for step in run.steps]
    if arguments:
        keep_arguments(grid.out, arguments, any(done))
    if all(done):
        return
    # One at a time: each uses all cores.
    _do_all(grid, preparations, [{}], logs)
    failed = [run.name for run in preparations if run.state == "failed"]
    if failed:
        raise UsageError(f"not prepared: {', '.join(failed)} (see {logs})")


def _do_all(grid, runs, places, logs):
    run_all(runs, places, logs)
    if any(run.state in ("waiting", "stopped") for run in runs):
        say(f"stopped by SIGUSR1; the same command resumes {grid.out}")
        sys.exit(UNFINISHED)


def _check_flags(runs, environment):
    """What is wrong with the flags of the trainings is said once, before any of them begins."""
    for run in {run.method: run for run in runs}.values():
        # A dry run has no command to show for a run that continues another one.
        command = [*without(run.steps[0].command, CONTINUES), "--dry-run"]
        dry = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
        if dry.returncode:
            raise SystemExit(1)
        for step in run.steps[1:]:
            if average := flag_value(step.command, "--average"):
                _check_average(shlex.split(dry.stdout), int(average))


def _check_average(training, average):
    """Raises UsageError where a training keeps fewer checkpoints than are to be averaged."""
    flags = flag_values(training)

    def number_of(name, default):
        value = flags.get(name, str(default))
        if not re.fullmatch("-?[0-9]+", value):
            raise UsageError(f"{name} must be a whole number, not {value}")
        return int(value)

    def kept(name):
        number = number_of(name, -1)
        return number if number >= 0 else math.inf

    epochs = 0 if "--no-epoch-checkpoints" in flags else kept("--keep-last-epochs")
    # Beside those that are named by their update, checkpoint_last.pt may be one (see checkpoint.last_checkpoints).
    updates = kept("--keep-interval-updates") + 1 if number_of("--save-interval-updates", 0) else 0
    if average > max(epochs, updates):
        raise UsageError(
            f"--average {average}: with these flags a training keeps {max(epochs, updates)} checkpoints; give "
            f"--keep-last-epochs {average}, or --save-interval-updates N --keep-interval-updates {average}"
        )


def _write_table(grid, runs, done, reason):
    """Whether there is one; if not, why."""
    path = grid.out / "table.md"
    if path.exists():
        # It may be of other runs: it is not to be taken for the table of these.
        path.replace(path.with_name("table.earlier.md"))
    if len(set(grid.methods)) < grid.fewest or PLAIN not in grid.methods:
        say(f"no table: it needs {PLAIN}{' and another method' if grid.fewest > 1 else ''}")
        return False
    left_out = list(dict.fromkeys(run.group for run in runs if run not in done))
    chosen = [run for run in runs if run.group not in left_out]
    if not chosen:
        say(f"no table: nothing has runs of all methods ({'; '.join(left_out)}: a run {reason})")
        return False
    text = (
        grid.table(chosen) + "\n" + "".join(f"Left out, for a run of it {reason}: {group}.\n" for group in left_out)
    )
    write_text(path, text)
    path.with_name("table.earlier.md").unlink(missing_ok=True)
    print(text, end="", flush=True)
    return True
