"""What runs have reached on valid after the same numbers of updates, whether they are finished or not.

python benchmarks/validations.py --updates N,N,... RUN...

Each figure is the mean of the last validations until then (--average, five by default; --within, those of the last
updates, for runs that were validated at other intervals): from one to the next BLEU goes up and down by more than
runs differ. With --full the first run is plain training: at the last of --updates the table has each run's time in
that of as many plain updates, its gain over the first one's BLEU, and the share of the full method's gain. Names of
runs are then those of time_to_quality.py, whose step_times.json lies beside them.
"""

import re
import statistics
from pathlib import Path

from keep_runs import need_runs
from measure import arguments, show
from time_to_quality import METHODS, RESTARTED, STEP_TIMES, read_times, update_cost

from fairseq_intra.files import read_lines
from fairseq_intra.runs.arguments import flag_value
from fairseq_intra.runs.training_log import parse_log


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.set_defaults(threads=1)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder of train, or of keep_runs.py")
    parser.add_argument(
        "--updates", required=True, metavar="N,N,...", help="updates, those of plain training included"
    )
    of_mean = parser.add_mutually_exclusive_group()
    of_mean.add_argument("--average", type=int, default=5, metavar="N", help="validations (default: %(default)s)")
    of_mean.add_argument("--within", type=int, metavar="N", help="the validations of the last N updates instead")
    parser.add_argument("--full", type=Path, metavar="RUN", help="the full method: adds time and share of its gain")
    args = parser.parse_args()
    need_runs(parser, [*args.runs, *[args.full] * bool(args.full)])
    if not re.fullmatch(r"\d+(,\d+)*", args.updates):
        parser.error(f"--updates takes whole numbers with commas between them, not '{args.updates}'")
    updates = [int(number) for number in args.updates.split(",")]
    columns = ["run", *(f"{name}, {number:,}" for name in ("nll", "BLEU") for number in updates)]
    rows = [[run.name, *cells_of(run, updates, args)] for run in args.runs]
    if args.full:
        columns += ["time", "gain", "share of the full gain"]
        rows = [row + cells for row, cells in zip(rows, shares(parser, updates[-1], args), strict=True)]
    show(
        "Validation after so many updates: nll (bits per token) and BLEU", columns, rows, args, table=[columns, *rows]
    )


def validations_of(run):
    return parse_log((run / "train.log").read_text()).valid


def cells_of(run, updates, args):
    lines = validations_of(run)
    found = {name: [mean_at(lines, name, number, args) for number in updates] for name in ("nll_loss", "bleu")}
    return [
        "" if value is None else f"{value:.{digits}f}"
        for name, digits in (("nll_loss", 3), ("bleu", 2))
        for value in found[name]
    ]


def shares(parser, number, args):
    """The cells of time, gain and share, of every run."""
    if restarted := [run for run in (args.full, *args.runs) if method_of(run).start == RESTARTED]:
        parser.error(
            f"{restarted[0]} counts its updates from a second warm-up on: --full cannot set it beside others"
        )
    plain, full, *bleu = (
        mean_at(validations_of(run), "bleu", number, args) for run in (args.runs[0], args.full, *args.runs)
    )
    if plain is None or full is None or full <= plain:
        parser.error(f"--full {args.full} has no gain over {args.runs[0]} after {number} updates to have a share of")
    for run, score in zip(args.runs, bleu, strict=True):
        gain = [] if score is None else [f"{score - plain:+.2f}", f"{(score - plain) / (full - plain):.0%}"]
        yield [f"{time_of(run, number):.2f}", *(gain or ["", ""])]


def time_of(run, number):
    """The time of so many updates in that of plain ones; those before a switch are plain."""
    plain = int(flag_value(read_lines(run / "arguments.txt"), "--plain-updates") or 0)
    return (plain + (number - plain) * update_cost(read_times(run.parent / STEP_TIMES), method_of(run))) / number


def method_of(run):
    return METHODS[run.name.rpartition(".seed")[0]]


def mean_at(lines, name, number, args):
    """The mean of the last validations until this update; None before the first, and behind the last."""
    if not lines or lines[-1]["num_updates"] < number:
        return None
    until = [line for line in lines if line["num_updates"] <= number and name in line]
    if args.within is None:
        last = until[-args.average :]
    else:
        last = [line for line in until if line["num_updates"] > number - args.within]
    return statistics.mean(line[name] for line in last) if last else None


if __name__ == "__main__":
    main()
