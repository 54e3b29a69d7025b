"""What runs have reached on valid after the same numbers of updates, whether they are finished or not.

python benchmarks/validations.py --updates N,N,... RUN...

Each figure is the mean of the last validations until then (--average, five by default): from one to the next BLEU
goes up and down by more than runs differ.
"""

import statistics
from pathlib import Path

from measure import arguments, show

from fairseq_intra.runs.training_log import parse_log


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.set_defaults(threads=1)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder of train, or of keep_runs.py")
    parser.add_argument(
        "--updates", required=True, metavar="N,N,...", help="updates, those of plain training included"
    )
    parser.add_argument("--average", type=int, default=5, metavar="N", help="validations (default: %(default)s)")
    args = parser.parse_args()
    updates = [int(number) for number in args.updates.split(",")]
    columns = ["run", *(f"{name}, {number:,}" for name in ("nll", "BLEU") for number in updates)]
    rows = [[run.name, *cells_of(run, updates, args.average)] for run in args.runs]
    show(
        "Validation after so many updates: nll (bits per token) and BLEU", columns, rows, args, table=[columns, *rows]
    )


def cells_of(run, updates, count):
    lines = parse_log((run / "train.log").read_text()).valid
    found = {name: [mean_at(lines, name, number, count) for number in updates] for name in ("nll_loss", "bleu")}
    return [
        "" if value is None else f"{value:.{digits}f}"
        for name, digits in (("nll_loss", 3), ("bleu", 2))
        for value in found[name]
    ]


def mean_at(lines, name, number, count):
    """The mean of the last validations until this update; None before the first, and behind the last."""
    if not lines or lines[-1]["num_updates"] < number:
        return None
    values = [line[name] for line in lines if line["num_updates"] <= number and name in line]
    return statistics.mean(values[-count:]) if values else None


if __name__ == "__main__":
    main()
