"""Commands about the sensitivity of parameters, and what becomes of a model without some of them."""

import argparse
import math
import re
from pathlib import Path

from ..errors import UsageError
from ..files import need_file_or_none, need_folder_of
from ..limits import check_seed
from ..sensitivity import GRADIENTS, ORDERS
from .command import add_command, need_counts

RATIOS = "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9"


def add_commands(commands):
    """Adds them to the subparsers of `fairseq-intra`."""
    command = add_command(
        commands, "sensitivity", _sensitivity, "what each parameter of a checkpoint contributes to the loss"
    )
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")
    command.add_argument("--split", default="valid", help="the split whose loss it is (default: %(default)s)")
    command.add_argument("--max-tokens", type=int, default=4096, help="of a mini-batch (default: %(default)s)")
    command.add_argument("--batches", type=int, metavar="N", help="mini-batches, drawn at random (default: all)")
    command.add_argument(
        "--gradient-of",
        choices=GRADIENTS,
        default="batch",
        help="batch: mean over the mini-batches of |parameter x gradient|, the paper's, which grows as they get "
        "smaller; split: the same of all of them as one, however they are cut (default: %(default)s)",
    )
    command.add_argument("--cpu", action="store_true", help="not on the GPU, even if there is one")
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE.json", help="statistics; the scores lie beside it as .npz"
    )

    command = add_command(
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

    command = add_command(commands, "plot-sensitivity", _plot_sensitivity, "sensitivity of checkpoints as a picture")
    _reports(command)
    command.add_argument(
        "--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.png and .svg are written"
    )

    command = add_command(commands, "prune", _prune, "set parameters of a checkpoint to zero, by their sensitivity")
    command.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the model's checkpoint")
    command.add_argument("--scores", type=Path, required=True, metavar="FILE.json", help="its sensitivity")
    command.add_argument("--order", choices=ORDERS, required=True, help="least sensitive first, most, or any")
    command.add_argument("--ratio", type=float, required=True, help="share of the prunable parameters, 0 to 1")
    command.add_argument(
        "--norms-and-biases", action="store_true", help="they are prunable, too (default: they are not)"
    )
    command.add_argument("--seed", type=int, default=1, help="of the random order (default: %(default)s)")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")

    command = add_command(
        commands, "plot-pruning", _plot_pruning, "BLEU against parameters removed (see scripts/pruning-curve.sh)"
    )
    command.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="evaluations of one pruned checkpoint"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="PREFIX", help="PREFIX.md, .json, .png and .svg"
    )

    command = add_command(
        commands,
        "pruning-curve",
        _pruning_curve,
        "BLEU against the share of parameters removed, of one or several checkpoints: as table and picture",
        "fairseq-intra pruning-curve --checkpoint RUN/checkpoints/checkpoint_best.pt --data DATA --out CURVE",
    )
    command.set_defaults(passes_on=True)
    command.add_argument(
        "--checkpoint", type=Path, action="append", required=True, metavar="FILE", help="may be given several times"
    )
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="points and pruning-curve.*")
    command.add_argument(
        "--ratios",
        type=_ratios,
        default=RATIOS.split(),
        help=f"shares to remove, as a quoted list (default: '{RATIOS}')",
    )

    command = add_command(
        commands,
        "self-distill",
        _self_distill,
        "rounds of self-distillation, with BLEU and sensitivity of every round",
        "fairseq-intra self-distill --data DATA --rounds 2 --out ROUNDS",
        "All other flags go to fairseq-intra train of every round: --preset tiny --updates 300.",
    )
    command.set_defaults(passes_on=True)
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset made by data-prep/")
    command.add_argument("--rounds", type=int, required=True, metavar="R", help="rounds after round 0")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="roundN/ and rounds.md")
    command.add_argument(
        "--method", choices=("plain", "intra"), default="plain", help="of round 0 (default: %(default)s)"
    )
    command.add_argument(
        "--weight", type=float, default=0.5, help="share of the distance to the teacher (default: %(default)s)"
    )
    command.add_argument(
        "--temperature", type=float, default=1.0, help="of the distributions in it (default: %(default)s)"
    )


def _ratios(text):
    words = text.split()
    # They stand in the names of files, so no other spelling of a number.
    if not words or not all(re.fullmatch(r"0|1|0?\.\d+|[01]\.0+", word) for word in words):
        raise argparse.ArgumentTypeError(f"must be numbers between 0 and 1, such as '0 0.1 0.5', not '{text}'")
    return list(dict.fromkeys(words))


def _reports(command):
    command.add_argument(
        "reports", nargs="+", type=Path, metavar="FILE.json", help="written by fairseq-intra sensitivity"
    )


def _sensitivity(args):
    from ..sensitivity.measure import measure
    from ..sensitivity.statistics import ALL

    need_counts(args, "max_tokens", "batches")
    if args.output.suffix != ".json":
        raise UsageError(f"--output must end in .json, not be {args.output}")
    need_file_or_none(args.output)
    more = {name: getattr(args, name) for name in ("split", "max_tokens", "batches", "gradient_of", "cpu")}
    report = measure(args.checkpoint, args.data, args.output, **more)
    of = f"{report.batches} of {report.batches_of_split} mini-batches of {report.split}"
    print(
        f"{args.output}, {report.scores}: {report.groups[ALL]['parameters']} parameters, {of}, loss {report.loss:.3f}"
    )


def _sensitivity_table(args):
    from ..sensitivity.report import read_reports
    from ..sensitivity.table import sensitivity_table

    print(sensitivity_table(read_reports(args.reports), args.evaluations, args.groups))


def _plot_sensitivity(args):
    from ..sensitivity.plot import draw
    from ..sensitivity.report import read_reports

    need_folder_of(args.output)
    made = draw(read_reports(args.reports), args.output)
    print(f"written: {', '.join(map(str, made))}")


def _prune(args):
    from .. import checkpoint as checkpoints
    from ..sensitivity.pruning import prune

    check_seed(args.seed)
    need_file_or_none(args.output)
    if args.output.exists() and "pruned" not in checkpoints.load(args.output):
        raise UsageError(f"--output {args.output} is a model that was not pruned; give another file")
    more = {name: getattr(args, name) for name in ("order", "ratio", "norms_and_biases", "seed")}
    count, prunable = prune(args.checkpoint, args.scores, args.output, **more)
    print(f"{args.output}: {count} of {prunable} prunable parameters are zero, {args.order}")


def _plot_pruning(args):
    from ..sensitivity.pruning_curve import pruning_curve

    need_folder_of(args.output)
    print(pruning_curve(args.folders, args.output))


def _pruning_curve(args):
    from ..sensitivity.pruned_evaluations import evaluate_pruned

    decided = ("--average", "--split", "--output", "--wmt-set", "--tune-lenpen")
    _reject(args.passed, decided, "pruned checkpoints are evaluated one by one on the test split")
    print(evaluate_pruned(args.checkpoint, args.data, args.out, args.ratios, args.passed))


def _self_distill(args):
    from ..sensitivity.self_distillation_rounds import self_distill

    need_counts(args, "rounds")
    _reject(args.passed, ("--teacher",), "every round has its own; see fairseq-intra train for one training")
    _reject(args.passed, ("--dry-run",), "a round needs the model of the one before it")
    # Round 0 has no teacher: its training would come first.
    if not 0 <= args.weight <= 1:
        raise UsageError(f"--weight must be between 0 and 1, not {args.weight:g}")
    if not 0 < args.temperature < math.inf:
        raise UsageError(f"--temperature must be a number above 0, not {args.temperature:g}")
    teacher = ["--distillation-weight", f"{args.weight:g}", "--distillation-temperature", f"{args.temperature:g}"]
    print(self_distill(args.data, args.out, args.rounds, args.method, teacher, args.passed))


def _reject(words, names, why):
    for word in words:
        if word.partition("=")[0] in names:
            raise UsageError(f"{word.partition('=')[0]} cannot be given: {why}")
