"""What the same time buys: plain training, R-Drop, intra-distillation from the start, and late.

python benchmarks/time_to_quality.py --data DIR --out DIR --budget N --batch-tokens N [--switch N]
    [--methods NAMES] [--seeds N] [--tests NAMES] [--parts calibrate,train,table]
    [FLAGS of fairseq-intra train, such as --preset tiny...]

Time is counted in updates of plain training: a method makes as many updates as its steps are worth, by the times of
steps measured in turn with plain ones on an idle core ("calibrate", kept in OUT/step_times.json). So trainings may
run at any time, interrupted or at low priority; repeated, finished ones are skipped. A late run continues the plain
run of its seed from the checkpoint at --switch. Every run is validated, by BLEU too, and saved at equal intervals of
time; the mean of its last checkpoints translates the tests, with length penalty 1 and with the one that is best on
valid.

"table" shows what is finished, with p-values by paired bootstrap for each seed over all sentences of the tests, and
draws OUT/time_to_quality.png and .svg, but not where --against names another method than plain. It says of each
method whether BLEU on valid was flat at the end.
"""

import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from keep_runs import STEP_TIMES
from measure import arguments, show

from fairseq_intra.errors import UsageError
from fairseq_intra.files import make_folder, write_text
from fairseq_intra.runs.arguments import flag_value
from fairseq_intra.runs.comparison import mean_and_spread
from fairseq_intra.runs.evaluation import Evaluation, record_name
from fairseq_intra.runs.figures import line_style, new_figure, save_figure
from fairseq_intra.runs.same_arguments import keep_arguments
from fairseq_intra.runs.scoring import bleu_of, p_value_of_seeds
from fairseq_intra.runs.training_log import parse_log


class Step(NamedTuple):
    """Flags of `train` that decide what an update costs."""

    flags: list[str]
    batches: int = 1  #: so many of them have the tokens of a plain one


class Method(NamedTuple):
    """What `train` is told beside the flags of its steps."""

    step: str
    flags: list[str]
    start: str = ""  #: the flag that takes plain's checkpoint, where a method begins with one
    interval: int = 1  #: from one of these steps to the next, those between being plain


CONTINUED, RESTARTED = "--continue-from", "--finetune-from-model"
INTRA, LATE = ["--method", "intra"], ["--method", "late"]
ALPHA_5 = ["--alpha", "5"]
STEPS = {
    "plain": Step([]),
    "two passes": Step(["--num-iter", "2"]),
    "three passes": Step(["--num-iter", "3"]),
    "encoder once": Step(["--num-iter", "3", "--encoder-once"]),
    "two passes, encoder once": Step(["--num-iter", "2", "--encoder-once"]),
    "a third of the tokens": Step(["--num-iter", "3"], batches=3),
    "a third of each batch": Step(["--num-iter", "3", "--distill-part", "3"]),
}
METHODS = {
    "plain": Method("plain", ["--method", "plain"]),
    "rdrop": Method("two passes", ["--method", "rdrop"]),
    "rdrop-alpha-5": Method("two passes", ["--method", "rdrop", *ALPHA_5]),
    "intra": Method("three passes", INTRA),
    "intra-alpha-5": Method("three passes", [*INTRA, *ALPHA_5]),
    "late": Method("three passes", LATE, CONTINUED),
    "late-encoder-once": Method("encoder once", LATE, CONTINUED),
    "late-two-passes": Method("two passes", LATE, CONTINUED),
    "late-two-passes-encoder-once": Method("two passes, encoder once", LATE, CONTINUED),
    "late-small-batches": Method("a third of the tokens", LATE, CONTINUED),
    "late-part": Method("a third of each batch", LATE, CONTINUED),
    "late-alpha-5": Method("three passes", [*LATE, *ALPHA_5], CONTINUED),
    "late-two-passes-alpha-5": Method("two passes", [*LATE, *ALPHA_5], CONTINUED),
    "late-every-second-alpha-5": Method("three passes", [*LATE, *ALPHA_5], CONTINUED, interval=2),
    "late-adaptive-alpha-5": Method("three passes", [*LATE, *ALPHA_5, "--adaptive-alpha", "1"], CONTINUED),
    # Moments and learning rate from new: fairseq resets both or none.
    "late-second-warmup": Method("three passes", INTRA, RESTARTED),
    "late-second-warmup-two-passes-alpha-5": Method("two passes", [*INTRA, *ALPHA_5], RESTARTED),
}
#: Updates that a step is timed for; the first LOGGED of them warm up.
TIMED, LOGGED = 30, 10
#: Validations of a run, at equal intervals of the budget; so many checkpoints are averaged.
VALIDATIONS, AVERAGED = 16, 5
PARTS = ("calibrate", "train", "table")
#: Checkpoints of a run that stay: all.
KEPT = 30
#: Epochs after which there is no validation of their own.
NEVER = 10**5
#: BLEU on valid is flat if its mean over the last eighth of the time is above that over the eighth before by less.
FLAT = 0.3
SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
VALID_BLEU = ["--valid-bleu", "--eval-bleu-args", '{"beam": 5, "max_len_a": 1.2, "max_len_b": 10}']


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.set_defaults(rounds=3, threads=1)
    parser.add_argument("--data", required=True, type=Path, help="a prepared dataset")
    parser.add_argument("--out", required=True, type=Path, help="where the runs go")
    parser.add_argument("--batch-tokens", required=True, type=int, metavar="N", help="of an update, as in train")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to do (default: %(default)s)")
    parser.add_argument(
        "--against", default="plain", metavar="NAME", help="what a table has differences from (default: %(default)s)"
    )
    add_comparison(parser)
    args, args.flags = parser.parse_known_args()
    check_comparison(parser, args)
    os.environ |= {"FAIRSEQ_INTRA_PYTHON": sys.executable, "OMP_NUM_THREADS": str(args.threads)}
    parts = args.parts.split(",")
    if not {*parts} <= {*PARTS}:
        parser.error(f"--parts takes any of {', '.join(PARTS)}, with commas between, not '{args.parts}'")
    if "table" in parts and "plain" not in args.methods:
        parser.error("--methods needs plain, with which the curves of the others begin")
    if "table" in parts and args.against not in args.methods:
        parser.error(f"--against {args.against} is none of --methods: {' '.join(args.methods)}")
    if {"calibrate", "train"} & set(parts):
        keep_settings(args)
    if "calibrate" in parts:
        calibrate(args)
    if not (args.out / STEP_TIMES).exists():
        parser.error(f"--out {args.out} has no {STEP_TIMES}; --parts calibrate makes it")
    args.times = read_times(args.out / STEP_TIMES)
    # Seeds in the outer loop: the table has something to compare early.
    for seed in range(1, args.seeds + 1) if "train" in parts else ():
        for name in args.methods:
            run(args, name, seed)
    if "table" in parts:
        table(args)


def add_comparison(parser):
    """What says which runs are compared, and at which time."""
    parser.add_argument("--budget", required=True, type=int, metavar="N", help="of every run, in plain updates")
    parser.add_argument(
        "--switch", type=int, metavar="N", help="plain updates of late runs (default: 5/16 of the budget)"
    )
    parser.add_argument("--methods", default=" ".join(METHODS), help="as a quoted list (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method (default: %(default)s)")
    parser.add_argument(
        "--tests", default="test", help="splits that are scored, as a quoted list (default: %(default)s)"
    )


def check_comparison(parser, args):
    # Late runs begin with a checkpoint of plain's.
    args.methods = sorted(args.methods.split(), key=lambda name: name != "plain")
    if unknown := [name for name in args.methods if name not in METHODS]:
        parser.error(f"--methods: {unknown[0]} is none of {', '.join(METHODS)}")
    if args.budget < VALIDATIONS:
        parser.error(f"--budget {args.budget} is less than {VALIDATIONS}, the number of validations")
    args.interval = args.budget // VALIDATIONS
    args.switch = args.switch or 5 * args.interval
    if args.switch % args.interval:
        parser.error(f"--switch must be a multiple of {args.interval}, the interval of the checkpoints")


def keep_settings(args):
    """Times of steps are those of one batch, setting and number of threads."""
    try:
        make_folder("--out", args.out)
        has_results = (args.out / STEP_TIMES).exists() or any(args.out.glob("*.seed*"))
        settings = [f"--batch-tokens {args.batch_tokens}", f"--threads {args.threads}", shlex.join(args.flags)]
        keep_arguments(args.out, settings, has_results)
    except UsageError as error:
        sys.exit(f"time_to_quality.py: error: {error}")


def call(script, *words):
    subprocess.run([str(word) for word in (SCRIPTS / script, *words)], check=True, stdout=sys.stderr)


def calibrate(args):
    """Times steps of the kinds that are missing, in turn with plain ones, by fairseq's count of updates a second."""
    path = args.out / STEP_TIMES
    kept = read_times(path) if path.exists() else {}
    steps = ["plain", *(step for step in STEPS if step not in kept and step != "plain")]
    if len(steps) == 1:
        return
    seconds = {step: [] for step in steps}
    for number in range(args.rounds):
        for step in steps:
            folder = args.out / "calibration" / f"{re.sub('[, ]+', '-', step)}.{number}"
            flags = [*METHODS["plain" if step == "plain" else "intra"].flags, *flags_of(args, step)]
            shutil.rmtree(folder, ignore_errors=True)  # train skips what is finished
            limits = ["--updates", TIMED, "--log-interval", LOGGED, "--disable-validation", "--no-epoch-checkpoints"]
            call("train.sh", "--data", args.data, "--out", folder, *args.flags, *flags, *limits)
            log = parse_log((folder / "train.log").read_text())
            seconds[step].append(statistics.mean(1 / line["ups"] for line in log.train[1:]))
    plain = seconds.pop("plain")
    kept |= {step: list(zip(found, plain, strict=True)) for step, found in seconds.items()}
    write_text(path, json.dumps(kept, indent=1) + "\n")


def flags_of(args, step):
    return ["--batch-tokens", args.batch_tokens // STEPS[step].batches, *STEPS[step].flags]


def read_times(path):
    """[(seconds of an update, those of a plain one in the same round)] of each kind of steps."""
    return json.loads(path.read_text())


def step_cost(times, step):
    """A step's time in that of a plain one: of each round, the median of all."""
    return 1 if step == "plain" else statistics.median(step_costs(times, step))


def step_costs(times, step):
    return [own / plain for own, plain in times[step]]


def update_cost(times, method):
    """The mean time of a method's updates in that of plain ones; of a late start, after the switch."""
    return mean_cost(times, method.step, method.interval)


def mean_cost(times, step, interval):
    """The mean time, in that of a plain one, of updates of which one in `interval` makes this step."""
    return (step_cost(times, step) + interval - 1) / interval


def updates_of(args, name):
    """(the first of a run as fairseq counts, the last, updates from one validation to the next)."""
    method = METHODS[name]
    cost = update_cost(args.times, method)
    begin = args.switch if method.start == CONTINUED else 0
    last = begin + round((args.budget - plain_updates_of(args, name)) / cost)
    # fairseq validates at multiples: the last update is to be one, or nearly so.
    return begin, last, last // round(last * cost / args.interval)


def plain_updates_of(args, name):
    return args.switch if METHODS[name].start else 0


def folder_of(args, name, seed):
    return args.out / f"{name}.seed{seed}"


def run(args, name, seed):
    folder, (begin, updates, interval) = folder_of(args, name, seed), updates_of(args, name)
    flags = ["--data", args.data, "--seed", seed, "--out", folder, *args.flags, "--updates", updates]
    flags += [*METHODS[name].flags, *flags_of(args, METHODS[name].step)]
    if METHODS[name].interval > 1:
        flags += ["--distill-interval", METHODS[name].interval]
    flags += ["--patience", -1, "--validate-interval", NEVER, "--no-epoch-checkpoints"]
    flags += ["--validate-interval-updates", interval, "--save-interval-updates", interval]
    flags += ["--keep-interval-updates", KEPT, *VALID_BLEU]
    if METHODS[name].start:
        plain = plain_checkpoint(args, seed)
        flags += [METHODS[name].start, plain, *(["--plain-updates", begin] if begin else [])]
    call("train.sh", *flags)
    if not all(path.exists() for paths in records_of(args, folder).values() for path in paths):
        given = ["--data", args.data, "--checkpoint", folder / "checkpoints" / "checkpoint_best.pt"]
        call("evaluate.sh", *given, "--average", AVERAGED, "--split", args.tests, "--tune-lenpen")


def plain_checkpoint(args, seed):
    """Where late runs begin."""
    folder = folder_of(args, "plain", seed) / "checkpoints"
    found = [*folder.glob(f"checkpoint_*_{args.switch}.pt")]
    if not found:
        sys.exit(f"error: {folder} has no checkpoint of update {args.switch}: train the method plain first")
    return found[0]


def records_of(args, folder):
    """The evaluations of all tests, by length penalty."""
    return {
        kind: [
            folder / "checkpoints" / f"{record_name(f'average{AVERAGED}', test, kind == 'tuned')}.json"
            for test in args.tests.split()
        ]
        for kind in ("default", "tuned")
    }


def statistics_of(records):
    """BLEU's of all sentences of several evaluations."""
    return sum((Evaluation.read(path).sentence_statistics(path) for path in records), [])


class Result(NamedTuple):
    """A finished run; costs are in plain updates."""

    curve: list[tuple[float, float, float]]  #: cost, validation nll in bits per token, BLEU
    statistics: dict[str, list[list[int]]]  #: BLEU's, by sentence, of all tests: "default" and "tuned"
    lenpen: float  #: the tuned one


def results(args):
    """{method: {seed: Result}} of what is finished."""
    found = {
        name: {seed: kept for seed in range(1, args.seeds + 1) if (kept := result(args, name, seed))}
        for name in args.methods
    }
    return {name: runs for name, runs in found.items() if runs}


def result(args, name, seed):
    """None where the run is not finished."""
    records = records_of(args, folder_of(args, name, seed))
    if not all(path.exists() for paths in records.values() for path in paths):
        return None
    check_budget(args, name, seed)
    found = {kind: statistics_of(paths) for kind, paths in records.items()}
    tuning = Evaluation.read(records["tuned"][0]).tuning
    return Result(curve_of(args, name, seed), found, tuning["chosen"])


def check_budget(args, name, seed):
    """Stops where --budget or --switch are not those that a run was made with."""
    folder = folder_of(args, name, seed)
    made = flag_value((folder / "arguments.txt").read_text().splitlines(), "--max-update")
    if made != str(updates := updates_of(args, name)[1]):
        sys.exit(
            f"error: {folder} has {made} updates, and --budget {args.budget} --switch {args.switch} would be "
            f"{updates}: give those that it was made with"
        )


def curve_of(args, name, seed):
    log = parse_log((folder_of(args, name, seed) / "train.log").read_text())
    cost, (begin, _, interval) = update_cost(args.times, METHODS[name]), updates_of(args, name)
    plain, lines = plain_updates_of(args, name), log.valid
    if plain and not folder_of(args, "plain", seed).is_dir():
        sys.exit(f"error: {name}.seed{seed} begins with {folder_of(args, 'plain', seed)}, which is not there")
    # The last validation of a training may come right behind another.
    if len(lines) > 1 and lines[-1]["num_updates"] - lines[-2]["num_updates"] < interval / 2:
        lines = lines[:-1]
    own = [(plain + (line["num_updates"] - begin) * cost, line["nll_loss"], line["bleu"]) for line in lines]
    return [point for point in curve_of(args, "plain", seed) if point[0] <= plain] + own if plain else own


def table(args):
    found = results(args)
    if args.against not in found:
        sys.exit(f"error: {args.out} has no finished run of {args.against} (--against), evaluated on {args.tests}")
    costs = {step: round(step_cost(args.times, step), 2) for step in args.times}
    spread = ", ".join(f"{step} {cost} ({spread_of(args, step)})" for step, cost in costs.items())
    rounds = max(map(len, args.times.values()))
    print(f"A step's time in that of a plain one, median and range of {rounds} rounds: {spread}.\n")
    columns = ["method", "seeds", "updates", "best validation nll", "BLEU on valid", "flat"]
    columns += ["length penalty", "BLEU", f"difference from {args.against}", "p, median", "p of each seed"]
    rows = [row for name, runs in found.items() for row in rows_of(args, name, runs, found[args.against])]
    title = f"The time of {args.budget} plain updates; late from {args.switch}; mean of {AVERAGED} checkpoints"
    figures = {name: {seed: kept.curve for seed, kept in runs.items()} for name, runs in found.items()}
    show(title, columns, rows, args, step_seconds=args.times, curves=figures, table=[columns, *rows])
    if args.against == "plain":
        plot(args, figures)


def spread_of(args, step):
    ratios = step_costs(args.times, step)
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def rows_of(args, name, runs, others):
    """Two rows: with the default length penalty, and with the tuned one."""
    mean = statistics.mean
    nll = mean(min(point[1] for point in kept.curve) for kept in runs.values())
    valid = mean(kept.curve[-1][2] for kept in runs.values())
    slope = mean(rise(kept.curve, args.budget) for kept in runs.values())
    flat = f"{'yes' if slope < FLAT else 'no'} ({slope:+.2f})"
    first = [name, str(len(runs)), str(updates_of(args, name)[1]), f"{nll:.3f}", f"{valid:.2f}", flat]
    tuned = "/".join(f"{kept.lenpen:g}" for kept in runs.values())
    return [
        [*first, "1", *scores_of("default", runs, others)],
        [*[""] * len(first), tuned, *scores_of("tuned", runs, others)],
    ]


def scores_of(kind, runs, others):
    """BLEU with one kind of length penalty, and its difference from that of another method's runs."""
    score = mean_and_spread([bleu_of(kept.statistics[kind]) for kept in runs.values()])
    seeds = [seed for seed in runs if seed in others]
    if runs is others or not seeds:
        return [score, "", "", ""]
    difference, p, values = compared([(others[seed].statistics[kind], runs[seed].statistics[kind]) for seed in seeds])
    return [score, difference, p, ", ".join(f"{value:.3f}" for value in values)]


def compared(pairs):
    """(mean difference, median p-value, all p-values) of pairs of statistics, a method's second: one pair a seed."""
    gains = [bleu_of(ours) - bleu_of(theirs) for theirs, ours in pairs]
    together, values = p_value_of_seeds(pairs)
    return mean_and_spread(gains, "+"), f"{together:.3f}", values


def rise(curve, budget):
    """By how much BLEU on valid rose between the two halves of the last quarter."""
    halves = [
        [bleu for cost, _, bleu in curve if begin * budget < cost <= (begin + 1 / 8) * budget + 1]
        for begin in (3 / 4, 7 / 8)
    ]
    return statistics.mean(halves[1]) - statistics.mean(halves[0])


def plot(args, curves):
    second = statistics.median(plain for rounds in args.times.values() for _, plain in rounds)
    figure, panels = new_figure(2)
    for panel, index, label in zip(panels, (1, 2), ("nll on valid (bits)", "BLEU on valid"), strict=True):
        for number, (name, runs) in enumerate(curves.items()):
            for which, curve in enumerate(runs.values()):
                points = [(point[0] * second / 60, point[index]) for point in curve]
                panel.plot(*zip(*points, strict=True), label=None if which else name, **line_style(number))
        panel.set(xlabel="minutes of training on one core", ylabel=label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save_figure(figure, args.out / "time_to_quality")


if __name__ == "__main__":
    main()
