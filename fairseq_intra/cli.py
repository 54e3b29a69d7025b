"""The command `fairseq-intra`."""

import argparse
import logging
import warnings
from pathlib import Path

from .checkpoint import average, last_checkpoints
from .errors import UsageError
from .evaluation import evaluate, read_manifest
from .files import need_folder_of
from .learning_curves import plot_runs
from .pruning import ORDERS, prune
from .pruning_curve import pruning_curve
from .sensitivity import GRADIENTS
from .sensitivity_plot import draw, read_reports, sensitivity_table
from .sensitivity_report import measure
from .sensitivity_summary import ALL
from .table import results_table
from .task_table import task_table
from .transfer import evaluate_all
from .transfer_data import KINDS, prepare
from .transfer_table import transfer_table
from .wmt_sets import source_file


def main(arguments: list[str] | None = None) -> None:
    """Runs one subcommand. Raises UsageError, which prints one line and exits with 1, on a user's mistake."""
    args = _parser().parse_args(arguments)
    # What libraries say of their own workings is not what was asked for; fairseq lets all of it through.
    for library in ("fairseq", "matplotlib", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    args.run(args)


def _parser():
    parser = argparse.ArgumentParser(prog="fairseq-intra", description="Tools beside the fairseq plugin.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _add(commands, "user-dir", _user_dir, "print the plugin's folder, for fairseq's --user-dir")

    command = _add(commands, "average", _average, "average the parameters of checkpoints")
    command.add_argument("--inputs", nargs="+", type=Path, metavar="FILE", help="the checkpoints")
    command.add_argument("--last", type=int, metavar="N", help="the last N numbered ones of --folder instead")
    command.add_argument("--folder", type=Path, help="a run's folder of checkpoints, with --last")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")

    command = _add(commands, "score", _score, "score the output of fairseq-generate (see scripts/evaluate.sh)")
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

    command = _add(commands, "wmt-source", _wmt_source, "print where sacreBLEU keeps the source text of a WMT set")
    command.add_argument(
        "--wmt-set", required=True, metavar="NAME", help="sacreBLEU's name for it, such as wmt14/full"
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")

    command = _add(commands, "table", _table, "results table (Markdown) of evaluated runs")
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="JSON file of an evaluation, or its folder"
    )
    command.add_argument("--paper", action="store_true", help="a column of what is reported for IWSLT'14")

    command = _add(commands, "task-table", _task_table, "results table (Markdown) of fine-tuned runs")
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder (scripts/finetune.sh)")

    command = _add(commands, "plot", _plot, "draw loss, divergence, alpha, learning rate and validation of runs")
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or its train.log")
    command.add_argument(
        "--output",
        type=Path,
        default=Path("training"),
        metavar="PREFIX",
        help="PREFIX.png and .svg (default: training)",
    )

    command = _add(
        commands, "sensitivity", _sensitivity, "what each parameter of a checkpoint contributes to the loss"
    )
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")
    command.add_argument("--split", default="valid", help="the split whose loss it is (default: %(default)s)")
    command.add_argument("--max-tokens", type=int, default=4096, help="of a mini-batch (default: %(default)s)")
    command.add_argument("--batches", type=int, metavar="N", help="mini-batches, drawn at random (default: all)")
    command.add_argument(
        "--gradient-of",
        choices=list(GRADIENTS),
        default="batch",
        help="batch: mean over the mini-batches of |parameter x gradient|, the paper's, which grows as they get "
        "smaller; split: the same of all of them as one, however they are cut (default: %(default)s)",
    )
    command.add_argument("--cpu", action="store_true", help="not on the GPU, even if there is one")
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE.json", help="statistics; the scores lie beside it as .npz"
    )

    command = _add(
        commands, "sensitivity-table", _sensitivity_table, "sensitivity of checkpoints as a table (Markdown)"
    )
    _reports(command)
    command.add_argument("--groups", action="store_true", help="with a row for every group of parameters")
    command.add_argument(
        "--evaluations",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE.json",
        help="scores to stand beside, one each",
    )

    command = _add(commands, "plot-sensitivity", _plot_sensitivity, "sensitivity of checkpoints as a picture")
    _reports(command)
    command.add_argument(
        "--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.png and .svg are written"
    )

    command = _add(commands, "prune", _prune, "set parameters of a checkpoint to zero, by their sensitivity")
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--scores", type=Path, required=True, metavar="FILE.json", help="its sensitivity")
    command.add_argument("--order", choices=ORDERS, required=True, help="least sensitive first, most, or any")
    command.add_argument("--ratio", type=float, required=True, help="share of the prunable parameters, 0 to 1")
    command.add_argument(
        "--norms-and-biases", action="store_true", help="they are prunable, too (default: they are not)"
    )
    command.add_argument("--seed", type=int, default=1, help="of the random order (default: %(default)s)")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")

    command = _add(
        commands, "plot-pruning", _plot_pruning, "BLEU against parameters removed (see scripts/pruning-curve.sh)"
    )
    command.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="evaluations of one pruned checkpoint"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.md, .json, .png and .svg"
    )

    command = _add(commands, "prepare-transfer", _prepare_transfer, "binarise text for cross-lingual transfer")
    command.add_argument(
        "--task", choices=KINDS, required=True, help="ner: LANG/{train,dev,test}; xnli: XNLI's two archives"
    )
    command.add_argument("--input", type=Path, required=True, metavar="DIR", help="the text")
    command.add_argument("--source", default="en", help="language to train on (default: %(default)s)")
    command.add_argument("--languages", nargs="+", default=[], help="languages to test (default: all)")
    command.add_argument(
        "--encoder", type=Path, required=True, metavar="DIR", help="dict.txt and sub-words of the encoder"
    )
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")

    command = _add(commands, "evaluate-transfer", _evaluate_transfer, "score a fine-tuned encoder on languages")
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="made by prepare-transfer")
    command.add_argument("--max-tokens", type=int, default=8000, help="of a mini-batch (default: %(default)s)")
    command.add_argument("--cpu", action="store_true", help="not on the GPU, even if there is one")

    command = _add(commands, "transfer-table", _transfer_table, "scores by language as a table (Markdown)")
    command.add_argument("evaluations", nargs="+", type=Path, metavar="FILE.json", help="of evaluate-transfer")
    return parser


def _reports(command):
    command.add_argument(
        "reports", nargs="+", type=Path, metavar="FILE.json", help="written by fairseq-intra sensitivity"
    )


def _add(commands, name, run, text):
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def _user_dir(_args):
    print(Path(__file__).resolve().parent)


def _average(args):
    if (args.inputs is None) == (args.last is None) or (args.last is None) != (args.folder is None):
        raise UsageError("average takes either --inputs FILE... or --last N with --folder DIR")
    _need_counts(args, "last")
    need_folder_of(args.output)
    inputs = args.inputs or last_checkpoints(args.folder, args.last)
    average(inputs, args.output)
    print(f"{args.output}: mean of {', '.join(str(path) for path in inputs)}")


def _need_counts(args, *names):
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {value}")


def _score(args):
    decoding = {"beam": args.beam, "lenpen": args.lenpen, "flags": args.flags}
    metrics = tuple(args.metrics.split())
    result = evaluate(args.generated, args.data, args.split, args.checkpoint, decoding, args.output, metrics)
    for name, found in (("BLEU", result.bleu), ("chrF", result.chrf), ("TER", result.ter)):
        if found:
            print(f"{name} {found['score']:.2f}  {found['signature']}")
    print(f"written: {args.output}.json, {args.output}.hyp")


def _wmt_source(args):
    manifest = read_manifest(args.data)
    if manifest["lowercase"]:
        raise UsageError(f"{args.data} was lowercased, and WMT's sets are scored as they are written")
    print(source_file(args.wmt_set, f"{manifest['source']}-{manifest['target']}"))


def _table(args):
    print(results_table(args.runs, args.paper))


def _task_table(args):
    print(task_table(args.runs))


def _plot(args):
    print("written: " + ", ".join(str(path) for path in plot_runs(args.runs, args.output)))


def _sensitivity(args):
    _need_counts(args, "max_tokens", "batches")
    if args.output.suffix != ".json":
        raise UsageError(f"--output must end in .json, not be {args.output}")
    need_folder_of(args.output)
    more = {name: getattr(args, name) for name in ("split", "max_tokens", "batches", "gradient_of", "cpu")}
    report = measure(args.checkpoint, args.data, args.output, **more)
    of = f"{report.batches} of {report.batches_of_split} mini-batches of {report.split}"
    print(
        f"{args.output}, {report.scores}: {report.groups[ALL]['parameters']} parameters, {of}, loss {report.loss:.3f}"
    )


def _sensitivity_table(args):
    print(sensitivity_table(read_reports(args.reports), args.evaluations, args.groups))


def _plot_sensitivity(args):
    made = draw(read_reports(args.reports), args.output)
    print(f"written: {', '.join(map(str, made))}")


def _prune(args):
    need_folder_of(args.output)
    more = {name: getattr(args, name) for name in ("order", "ratio", "norms_and_biases", "seed")}
    count, prunable = prune(args.checkpoint, args.scores, args.output, **more)
    print(f"{args.output}: {count} of {prunable} prunable parameters are zero, {args.order}")


def _plot_pruning(args):
    need_folder_of(args.output)
    print(pruning_curve(args.folders, args.output))


def _prepare_transfer(args):
    need_folder_of(args.output)
    if args.output.exists():
        raise UsageError(f"--output {args.output} is there already")
    made = prepare(args.task, args.input, args.source, args.languages, args.encoder, args.output)
    for split, counts in made["splits"].items():
        print(f"{split}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


def _evaluate_transfer(args):
    _need_counts(args, "max_tokens")
    for made in evaluate_all(args.checkpoint, args.data, args.max_tokens, args.cpu):
        print(f"{made.language}: {made.metric} {made.score:.2f}")


def _transfer_table(args):
    print(transfer_table(args.evaluations))


if __name__ == "__main__":
    main()
