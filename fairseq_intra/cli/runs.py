"""Commands about trained models and their scores."""

from pathlib import Path

from ..errors import UsageError
from ..files import need_folder_of
from ..user_dir import PACKAGE
from .command import add_command, need_counts

AVERAGES = """fairseq-intra average --folder RUN --last 5 --output average5.pt
  fairseq-intra average --inputs RUN/checkpoints/checkpoint8.pt RUN/checkpoints/checkpoint9.pt --output average.pt"""


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = add_command(commands, "user-dir", _user_dir, "print the plugin's folder, for fairseq's --user-dir")

    command = add_command(commands, "average", _average, "average the parameters of checkpoints", AVERAGES)
    command.add_argument("--inputs", nargs="+", type=Path, metavar="FILE", help="the checkpoints")
    command.add_argument("--last", type=int, metavar="N", help="the last N numbered ones of --folder instead")
    command.add_argument("--folder", type=Path, help="a run, or its folder of checkpoints, with --last")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")

    command = add_command(commands, "table", _table, "results table (Markdown) of evaluated runs")
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="JSON file of an evaluation, or its folder"
    )
    command.add_argument("--paper", action="store_true", help="a column of what is reported for IWSLT'14")
    command.add_argument(
        "--equal-time",
        action="store_true",
        help="the limits of updates may differ; seconds until each checkpoint are shown",
    )
    command.add_argument(
        "--show-differences", action="store_true", help="other settings may differ; a column says in what"
    )

    command = add_command(commands, "task-table", _task_table, "results table (Markdown) of fine-tuned runs")
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder (scripts/finetune.sh)")

    command = add_command(
        commands, "plot", _plot, "draw loss, divergence, alpha, learning rate and validation of runs"
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or its train.log")
    command.add_argument(
        "--output",
        type=Path,
        default=Path("training"),
        metavar="PREFIX",
        help="PREFIX.png and .svg (default: training)",
    )


def _user_dir(_args):
    print(PACKAGE)


def _average(args):
    from ..checkpoint import average, last_checkpoints

    if (args.inputs is None) == (args.last is None) or (args.last is None) != (args.folder is None):
        raise UsageError("average takes either --inputs FILE... or --last N with --folder DIR")
    need_counts(args, "last")
    need_folder_of(args.output)
    inputs = args.inputs or last_checkpoints(_checkpoints_of(args.folder), args.last)
    if args.output.resolve() in [path.resolve() for path in inputs]:
        raise UsageError(f"--output {args.output} is one of the checkpoints that are averaged; give another file")
    average(inputs, args.output)
    print(f"{args.output}: mean of {', '.join(str(path) for path in inputs)}")


def _checkpoints_of(folder):
    """A run's folder of checkpoints, which --folder may name by the run."""
    if not folder.is_dir():
        raise UsageError(f"--folder {folder}: no such folder")
    within = folder / "checkpoints"
    return within if within.is_dir() else folder


def _table(args):
    from ..runs.tables import results_table

    print(results_table(args.runs, args.paper, args.equal_time, args.show_differences))


def _task_table(args):
    from ..runs.task_table import task_table

    print(task_table(args.runs))


def _plot(args):
    from ..runs.learning_curves import plot_runs

    need_folder_of(args.output)
    print("written: " + ", ".join(str(path) for path in plot_runs(args.runs, args.output)))
