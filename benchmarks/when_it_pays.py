"""What the same time buys over the number of pairs: the table and the picture of multi30k_sizes.sh.

python benchmarks/when_it_pays.py --budget N --switch N --tests NAMES --methods NAMES [--seeds N] --prefix PATH DIR...

Each DIR is time_to_quality.py's --out, or what keep_runs.py kept of it; its name is the number of pairs. The
picture is PATH.png and PATH.svg.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

from keep_runs import STEP_TIMES
from measure import arguments, show
from time_to_quality import add_comparison, check_comparison, read_times, results, scores_of

from fairseq_intra.runs.comparison import mean_and_spread
from fairseq_intra.runs.figures import line_style, new_figure, save_figure
from fairseq_intra.runs.scoring import bleu_of

COLUMNS = ["pairs", "method", "seeds", "BLEU", "difference from plain", "p, median", "p of each seed"]
COLUMNS += ["BLEU, tuned", "difference", "p, median", "p of each seed", "plain's level after", "in plain's time"]


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of runs, named by the number of pairs")
    parser.add_argument("--prefix", required=True, type=Path, metavar="PATH", help="of the picture's files")
    add_comparison(parser)
    args = parser.parse_args()
    check_comparison(parser, args)
    found = {}
    for folder in args.folders:
        if not folder.resolve().name.isdigit():
            parser.error(f"{folder}: its name is not a number of pairs")
        if not (folder / STEP_TIMES).exists():
            parser.error(f"{folder} has no {STEP_TIMES}; time_to_quality.py --parts calibrate makes it")
        runs = results(argparse.Namespace(**vars(args), out=folder, times=read_times(folder / STEP_TIMES)))
        # Without plain training there is nothing to compare with.
        if "plain" in runs:
            found[int(folder.resolve().name)] = runs
    found = dict(sorted(found.items()))
    if not found:
        sys.exit("no size has a finished run of plain training yet")
    rows = [row(size, name, runs) for size, runs in found.items() for name in runs]
    title = f"The time of {args.budget} plain updates at each size; late from {args.switch}; two length penalties"
    show(title, COLUMNS, rows, args, table=[COLUMNS, *rows])
    plot(found, args)


def row(size, name, runs):
    own, plain = runs[name], runs["plain"]
    scores = [cell for kind in ("default", "tuned") for cell in scores_of(kind, own, plain)]
    return [f"{size:,}", name, str(len(own)), *scores, *time_to_level(own, plain)]


def time_to_level(own, plain):
    """(plain updates until BLEU on valid is what plain training's is in its last quarter, that in plain's own).

    Means over seeds, the latter of each seed's ratio.
    """
    reached = costs_of_level(own, plain)
    if not reached:
        return "not reached", ""
    costs, ratios = map(list, zip(*reached, strict=True))
    spread = f" ± {statistics.stdev(costs):.0f}" if len(costs) > 1 else ""
    return f"{statistics.mean(costs):.0f}{spread}", mean_and_spread(ratios)


def costs_of_level(own, plain):
    """(cost, that in plain's own) of that level for each seed; nothing if a run does not reach it."""
    costs = [
        (first(run.curve, level(other)), first(other.curve, level(other))) for run, other in of_same_seed(own, plain)
    ]
    return [] if None in [cost for cost, _ in costs] else [(cost, cost / other) for cost, other in costs]


def of_same_seed(own, plain):
    """A method's runs, each with the plain one of its seed; those that have none are left out."""
    return [(run, plain[seed]) for seed, run in own.items() if seed in plain]


def level(plain):
    """BLEU on valid of a plain run, the mean of the last quarter of its time."""
    end = plain.curve[-1][0]
    return statistics.mean(bleu for cost, _, bleu in plain.curve if cost > 3 / 4 * end)


def first(curve, bleu):
    """The cost of the first validation that is as good; None if none is."""
    return next((cost for cost, _, value in curve if value >= bleu), None)


def plot(found, args):
    figure, (scores, gains, times) = new_figure(1, 3)
    for number, name in enumerate(args.methods):
        of_size = {size: runs for size, runs in found.items() if name in runs}
        style = {"marker": "o", "markersize": 3, "capsize": 2, "label": name, **line_style(number)}
        tuned = {
            size: [bleu_of(run.statistics["tuned"]) for run in runs[name].values()] for size, runs in of_size.items()
        }
        draw(scores, tuned, style)
        if name != "plain":
            draw(gains, {size: differences(runs, name) for size, runs in of_size.items()}, style)
            costs = {size: costs_of_level(runs[name], runs["plain"]) for size, runs in of_size.items()}
            draw(times, {size: [ratio for _, ratio in each] for size, each in costs.items()}, style)
            for size in (size for size, each in costs.items() if not each):
                place = {"transform": times.get_xaxis_transform(), "ha": "center", "va": "top", "fontsize": "small"}
                times.text(size, 0.98, f"{name} not reached", color=style["color"], rotation=90, **place)
    scores.set(ylabel="BLEU, length penalty tuned")
    gains.set(ylabel="difference from plain, tuned")
    times.set(ylabel="time to plain's level / plain's")
    for panel, equal in ((gains, 0), (times, 1)):
        panel.axhline(equal, color="gray", linewidth=0.8)
    for panel in (scores, gains, times):
        # All sizes in each, also where nothing is reached.
        panel.set(xlabel="pairs of training text", xscale="log", xlim=(min(found) / 1.2, 1.2 * max(found)))
        panel.set_xticks(list(found), [f"{size:,}" for size in found])
        panel.set_xticks([], minor=True)
    scores.legend()
    save_figure(figure, args.prefix)


def draw(panel, of_size, style):
    """The mean over seeds at each size that has some, with the standard deviation of several."""
    of_size = {size: values for size, values in of_size.items() if values}
    if of_size:
        spreads = [statistics.stdev(values) if len(values) > 1 else math.nan for values in of_size.values()]
        panel.errorbar(list(of_size), [statistics.mean(values) for values in of_size.values()], spreads, **style)


def differences(runs, name):
    """A method's BLEU less plain's, of the seeds that both have."""
    return [
        bleu_of(own.statistics["tuned"]) - bleu_of(plain.statistics["tuned"])
        for own, plain in of_same_seed(runs[name], runs["plain"])
    ]


if __name__ == "__main__":
    main()
