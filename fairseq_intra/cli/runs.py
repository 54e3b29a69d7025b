"""Commands about trained models and their scores."""

from pathlib import Path

from ..errors import UsageError
from ..files import need_folder_of
from ..user_dir import PACKAGE
from .command import add_command, need_counts


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = add_command(commands, "user-dir", _user_dir, "print the plugin's folder, for fairseq's --user-dir")

    command = add_command(commands, "average", _average, "average the parameters of checkpoints")
    command.add_argument("--inputs", nargs="+", type=Path, metavar="FILE", help="the checkpoints")
    command.add_argument("--last", type=int, metavar="N", help="the last N numbered ones of --folder instead")
    command.add_argument("--folder", type=Path, help="a run's folder of checkpoints, with --last")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")

    command = add_command(commands, "score", _score, "score the output of fairseq-generate (see scripts/evaluate.sh)")
    command.add_argument("--generated", type=Path, required=True, metavar="FILE", help="output of fairseq-generate")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")
    command.add_argument(
        "--split", default="test", help="the split generated from, or WMT set (default: %(default)s)"
    )
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--beam", type=int, required=True, help="beam size it was generated with")
    command.add_argument("--lenpen", type=float, required=True, help="length penalty it was generated with")
    command.add_argument(
        "--metrics", default="bleu chrf", help="of bleu chrf ter, as one word (default: %(default)s)"
    )
    command.add_argument("--flags", default="", help="fairseq-generate's other flags, as one word (default: none)")
    command.add_argument(
        "--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.json, .hyp and .ref are written"
    )

    command = add_command(
        commands, "wmt-source", _wmt_source, "print where sacreBLEU keeps the source text of a WMT set"
    )
    command.add_argument(
        "--wmt-set", required=True, metavar="NAME", help="sacreBLEU's name for it, such as wmt14/full"
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")

    command = add_command(commands, "table", _table, "results table (Markdown) of evaluated runs")
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="JSON file of an evaluation, or its folder"
    )
    command.add_argument("--paper", action="store_true", help="a column of what is reported for IWSLT'14")

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
    inputs = args.inputs or last_checkpoints(args.folder, args.last)
    average(inputs, args.output)
    print(f"{args.output}: mean of {', '.join(str(path) for path in inputs)}")


def _score(args):
    from ..runs.evaluation import evaluate

    decoding = {"beam": args.beam, "lenpen": args.lenpen, "flags": args.flags}
    metrics = tuple(args.metrics.split())
    result = evaluate(args.generated, args.data, args.split, args.checkpoint, decoding, args.output, metrics)
    for name, found in (("BLEU", result.bleu), ("chrF", result.chrf), ("TER", result.ter)):
        if found:
            print(f"{name} {found['score']:.2f}  {found['signature']}")
    print(f"written: {args.output}.json, {args.output}.hyp")


def _wmt_source(args):
    from ..runs.evaluation import read_manifest
    from ..runs.wmt_sets import source_file

    manifest = read_manifest(args.data)
    if manifest["lowercase"]:
        raise UsageError(f"{args.data} was lowercased, and WMT's sets are scored as they are written")
    print(source_file(args.wmt_set, f"{manifest['source']}-{manifest['target']}"))


def _table(args):
    from ..runs.tables import results_table

    print(results_table(args.runs, args.paper))


def _task_table(args):
    from ..runs.task_table import task_table

    print(task_table(args.runs))


def _plot(args):
    from ..runs.learning_curves import plot_runs

    print("written: " + ", ".join(str(path) for path in plot_runs(args.runs, args.output)))
