"""What runs have reached on valid after the same numbers of updates, whether they are finished or not.

python benchmarks/validations.py --updates N,N,... RUN...

Each figure is the mean of the last validations until then (--average, five by default; --within, those of the last
updates, for runs that were validated at other intervals): from one to the next BLEU goes up and down by more than
runs differ.
"""

import statistics
from pathlib import Path

from keep_runs import need_runs
from measure import arguments, show

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
    args = parser.parse_args()
    need_runs(parser, args.runs)
    updates = [int(number) for number in args.updates.split(",")]
    columns = ["run", *(f"{name}, {number:,}" for name in ("nll", "BLEU") for number in updates)]
    rows = [[run.name, *cells_of(run, updates, args)] for run in args.runs]
    show(
        "Validation after so many updates: nll (bits per token) and BLEU", columns, rows, args, table=[columns, *rows]
    )


def cells_of(run, updates, args):
    lines = parse_log((run / "train.log").read_text()).valid
    found = {name: [mean_at(lines, name, number, args) for number in updates] for name in ("nll_loss", "bleu")}
    return [
        "" if value is None else f"{value:.{digits}f}"
        for name, digits in (("nll_loss", 3), ("bleu", 2))
        for value in found[name]
    ]


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
