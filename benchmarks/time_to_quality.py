"""What the same wall time buys: plain training and each mode of intra-distillation on the quickstart's data.

python benchmarks/time_to_quality.py --data DIR --out DIR [--minutes M] [--seeds N]

Trains with scripts/train.sh (preset tiny) for M minutes each, three seeds, and reports validation nll over time and
the BLEU of the best checkpoint, as a table on stdout and as a picture, OUT/time_to_quality.png and .svg. Nothing
else may want the same cores meanwhile. Repeated, finished runs are skipped.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import arguments, parsed, show

from fairseq_intra.runs.figures import line_style, new_figure, save_figure
from fairseq_intra.runs.training_log import parse_log

METHODS = {
    "plain": ["--method", "plain"],
    "batched": ["--method", "intra", "--passes", "batched"],
    "sequential": ["--method", "intra", "--passes", "sequential"],
    "recompute": ["--method", "intra", "--passes", "recompute"],
    "encoder-once": ["--method", "intra", "--encoder-once"],
}
#: Updates from one validation to the next. A step of plain training is about a third as long as the others': so all
#: validate about as often in time.
INTERVAL = {method: 150 if method == "plain" else 50 for method in METHODS}
SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder that prepare-l10n.sh or prepare-parallel.sh made")
    parser.add_argument("--out", required=True, type=Path, help="where the runs go")
    parser.add_argument("--minutes", type=float, default=5, help="of training, each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: %(default)s)")
    args = parsed(parser)
    runs = {}
    # Seeds in the outer loop: a slow spell of the machine hits all methods.
    for seed in range(1, args.seeds + 1):
        for method in METHODS:
            runs.setdefault(method, []).append(run(args, method, seed))
    columns = ["method", "updates", "best validation nll", "BLEU, mean and standard deviation"]
    title = f"{args.minutes:g} minutes of training each, {args.seeds} seeds"
    show(title, columns, [[method, *cells(found)] for method, found in runs.items()], args, runs=runs)
    plot(runs, args.out / "time_to_quality")


def run(args, method, seed):
    """{"updates", "curve": [[seconds, validation nll]], "bleu"} of one run."""
    folder = args.out / f"{method}.{args.minutes:g}min.seed{seed}"
    result = folder / "checkpoints" / "checkpoint_best.test.json"
    data = ["--data", args.data]
    environment = os.environ | {"FAIRSEQ_INTRA_PYTHON": sys.executable}
    if not result.exists():
        train = [SCRIPTS / "train.sh", *data, "--preset", "tiny", "--updates", 10**6, "--seed", seed, "--out", folder]
        limits = ["--stop-time-hours", args.minutes / 60]
        limits += ["--validate-interval-updates", INTERVAL[method], "--save-interval-updates", INTERVAL[method]]
        evaluate = [SCRIPTS / "evaluate.sh", *data, "--checkpoint", folder / "checkpoints" / "checkpoint_best.pt"]
        for command in ([*train, *METHODS[method], *limits], evaluate):
            subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr, env=environment)
    log = parse_log((folder / "train.log").read_text())
    # From the first epoch's begin, in seconds; nll in bits.
    curve = [[line["time"], line["nll_loss"]] for line in log.valid]
    updates = int(log.train[-1]["num_updates"])
    return {"updates": updates, "curve": curve, "bleu": json.loads(result.read_text())["bleu"]["score"]}


def cells(runs):
    best = statistics.mean(min(nll for _, nll in run["curve"]) for run in runs)
    scores = [run["bleu"] for run in runs]
    spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    updates = statistics.mean(run["updates"] for run in runs)
    return [f"{updates:.0f}", f"{best:.3f}", f"{statistics.mean(scores):.2f}{spread}"]


def plot(runs, prefix):
    figure, (panel,) = new_figure()
    for number, (method, found) in enumerate(runs.items()):
        for seed, run in enumerate(found):
            minutes, nll = zip(*((seconds / 60, nll) for seconds, nll in run["curve"]), strict=True)
            panel.plot(minutes, nll, label=None if seed else method, **line_style(number))
    panel.set(xlabel="minutes of training", ylabel="validation nll (bits per token)")
    panel.legend()
    save_figure(figure, prefix)


if __name__ == "__main__":
    main()
