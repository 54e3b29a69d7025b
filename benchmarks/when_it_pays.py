"""The gain of a late start over the number of pairs: the table and the picture of multi30k_sizes.sh.

python benchmarks/when_it_pays.py --out DIR --step-cost X
"""

import statistics
import sys
from pathlib import Path

from measure import arguments, show

from fairseq_intra.runs.comparison import mean_and_spread
from fairseq_intra.runs.evaluation import Evaluation
from fairseq_intra.runs.figures import line_style, new_figure, save_figure
from fairseq_intra.runs.multi30k_grid import TESTS
from fairseq_intra.runs.scoring import bleu_of, p_value
from fairseq_intra.runs.training_log import parse_log

METHODS = ("plain", "late")


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, help="that of multi30k_sizes.sh")
    parser.add_argument("--step-cost", required=True, type=float, help="a step of K passes in plain ones")
    args = parser.parse_args()
    sizes = sorted(int(path.name) for path in args.out.iterdir() if path.name.isdigit())
    found = {size: runs for size in sizes if (runs := runs_of(args.out / str(size), args.step_cost))}
    if not found:
        sys.exit(f"no size of {args.out} has a plain and a late run of one seed yet")
    columns = ["pairs", "seeds", "plain", "late", "difference", "p, median", "plain's updates", "late's time"]
    rows = [row(size, runs) for size, runs in found.items()]
    title = "BLEU of the three tests together, length penalty tuned on valid; late's time in plain updates"
    show(title, columns, rows, args, table=[columns, *rows])
    plot(found, args.out / "when_it_pays")


def runs_of(folder, step_cost):
    """[(statistics of plain, of late, cost of plain, of late)] of the seeds that have both."""
    runs = {}
    for path in folder.glob("en-de.*.seed*"):
        _, method, seed = path.name.split(".")
        records = [path / "checkpoints" / f"average5.{test}.tuned.json" for test in TESTS]
        if method in METHODS and all(record.exists() for record in records):
            rows = sum((Evaluation.read(record).sentence_statistics(record) for record in records), [])
            runs.setdefault(seed, {})[method] = rows, cost_of(path, step_cost)
    both = [of_seed for _, of_seed in sorted(runs.items()) if len(of_seed) == len(METHODS)]
    return [tuple(of_seed[method][which] for which in (0, 1) for method in METHODS) for of_seed in both]


def cost_of(folder, step_cost):
    """The time of a training in plain updates."""
    log = parse_log((folder / "train.log").read_text())
    updates = log.valid[-1]["num_updates"]
    begin = log.switch["num_updates"] if log.switch else updates
    return begin + (updates - begin) * step_cost


def row(size, runs):
    scores = [[bleu_of(run[which]) for run in runs] for which in (0, 1)]
    gains = [late - plain for plain, late in zip(*scores, strict=True)]
    values = [p_value(plain, late) for plain, late, *_ in runs]
    cells = [
        mean_and_spread(scores[0]),
        mean_and_spread(scores[1]),
        mean_and_spread(gains, "+"),
        f"{statistics.median_high(values):.3f}",
    ]
    costs = [f"{statistics.mean(run[which] for run in runs):.0f}" for which in (2, 3)]
    return [f"{size:,}", str(len(runs)), *cells, *costs]


def plot(found, prefix):
    figure, (score, cost) = new_figure(1, 2)
    for number, method in enumerate(METHODS):
        of_size = {size: [bleu_of(run[number]) for run in runs] for size, runs in found.items()}
        means = [statistics.mean(scores) for scores in of_size.values()]
        spreads = [statistics.stdev(scores) if len(scores) > 1 else 0 for scores in of_size.values()]
        score.errorbar(list(of_size), means, spreads, marker="o", markersize=3, label=method, **line_style(number))
    times = [statistics.mean(run[3] / run[2] for run in runs) for runs in found.values()]
    cost.plot(list(found), times, marker="o", markersize=3, **line_style(1))
    for panel, label in ((score, "BLEU"), (cost, "late's time in plain's")):
        panel.set(xlabel="pairs of training text", ylabel=label, xscale="log")
    score.legend()
    save_figure(figure, prefix)


if __name__ == "__main__":
    main()
