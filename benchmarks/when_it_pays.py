"""The gain of a method over the number of pairs: the table and the picture of multi30k_sizes.sh.

python benchmarks/when_it_pays.py --out DIR --step-times FILE
"""

import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from measure import arguments, show
from time_to_quality import METHODS, STEPS, compared, mean_cost, read_times, record_of, statistics_of

from fairseq_intra.runs.arguments import flag_values, method_by_flags
from fairseq_intra.runs.comparison import mean_and_spread
from fairseq_intra.runs.figures import line_style, new_figure, save_figure
from fairseq_intra.runs.multi30k_grid import TESTS
from fairseq_intra.runs.scoring import bleu_of
from fairseq_intra.runs.training_log import parse_log


class Training(NamedTuple):
    """A finished training."""

    statistics: list[list[int]]  #: BLEU's, by sentence, of the three tests
    cost: float  #: its time, in plain updates
    plain: "Training | None"  #: that of the same seed


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, help="that of multi30k_sizes.sh")
    parser.add_argument("--step-times", required=True, type=Path, help="what time_to_quality.py measured")
    args = parser.parse_args()
    times = read_times(args.step_times)
    sizes = sorted(int(path.name) for path in args.out.iterdir() if path.name.isdigit())
    found = {size: runs for size in sizes if (runs := runs_of(args.out / str(size), times))}
    if not found:
        sys.exit(f"no size of {args.out} has a finished run yet")
    columns = ["pairs", "method", "seeds", "BLEU", "difference from plain", "p, median", "time", "in plain's"]
    rows = [row(size, method, runs) for size, of_size in found.items() for method, runs in of_size.items()]
    title = "BLEU of the three tests together, length penalty tuned on valid; time in plain updates"
    show(title, columns, rows, args, table=[columns, *rows])
    plot(found, args.out / "when_it_pays")


def runs_of(folder, times):
    """{method: its finished runs, by seed}; plain is the first."""
    found = {}
    for name in METHODS:
        for path in sorted(folder.glob(f"en-de.{name}.seed*")):
            records = [record_of(path, test, "tuned") for test in TESTS]
            if all(record.exists() for record in records):
                seed = path.name.rpartition("seed")[2]
                plain = found.get("plain", {}).get(seed)
                found.setdefault(name, {})[seed] = Training(statistics_of(records), cost_of(path, times), plain)
    return {name: list(runs.values()) for name, runs in found.items()}


def cost_of(folder, times):
    """The time of a training in plain updates, by its flags."""
    log = parse_log((folder / "train.log").read_text())
    words = (folder / "arguments.txt").read_text().splitlines()
    flags, method = flag_values(words), method_by_flags(words)
    updates = log.valid[-1]["num_updates"]
    step = "plain" if method == "plain" else step_of(flags)
    # A late run may end before it has switched.
    begin = log.switch["num_updates"] if log.switch else updates if method == "late" else 0
    return begin + (updates - begin) * mean_cost(times, step, int(flags.get("--distill-interval", 1)))


def step_of(flags):
    """The kind of steps, of STEPS, that intra-distillation with these flags makes."""
    wanted = ["--num-iter", flags["--num-iter"], *["--encoder-once"] * ("--encoder-once" in flags)]
    found = [name for name, step in STEPS.items() if step == (wanted, 1)]
    return found[0] if found else sys.exit(f"time_to_quality.py measures no steps with {' '.join(wanted)}")


def row(size, method, runs):
    cost = statistics.mean(run.cost for run in runs)
    first = [f"{size:,}", method, str(len(runs)), mean_and_spread([bleu_of(run.statistics) for run in runs])]
    pairs = [(run.plain.statistics, run.statistics) for run in runs if run.plain]
    if not pairs:
        return [*first, "", "", f"{cost:.0f}", ""]
    difference, p, _ = compared(pairs)
    ratio = statistics.mean(run.cost / run.plain.cost for run in runs if run.plain)
    return [*first, difference, p, f"{cost:.0f}", f"{ratio:.2f}"]


def plot(found, prefix):
    figure, (score, cost) = new_figure(1, 2)
    for number, method in enumerate(dict.fromkeys(method for of_size in found.values() for method in of_size)):
        of_size = {size: runs[method] for size, runs in found.items() if method in runs}
        style = {"marker": "o", "markersize": 3, "label": method, **line_style(number)}
        scores = [[bleu_of(run.statistics) for run in runs] for runs in of_size.values()]
        spreads = [statistics.stdev(each) if len(each) > 1 else 0 for each in scores]
        score.errorbar(list(of_size), [statistics.mean(each) for each in scores], spreads, **style)
        costs = [statistics.mean(run.cost for run in runs) for runs in of_size.values()]
        cost.plot(list(of_size), costs, **style)
    for panel, label in ((score, "BLEU"), (cost, "time in plain updates")):
        panel.set(xlabel="pairs of training text", ylabel=label, xscale="log")
    score.legend()
    save_figure(figure, prefix)


if __name__ == "__main__":
    main()
