"""Keeps what tables and curves of finished runs are made from: records of evaluations, and each log's validations.

python benchmarks/keep_runs.py --to DIR [--unfinished] RUN...

DIR/NAME of a run is read like the run itself, by `fairseq-intra table`, `fairseq-intra plot`, time_to_quality.py and
when_it_pays.py. The times of steps that lie beside a run go with it.
"""

import argparse
import re
import shutil
from pathlib import Path

from fairseq_intra.files import replacing

WANTED = re.compile(r"\| INFO \| valid \||intra-distillation begins after")
#: What time_to_quality.py measures, beside its runs.
STEP_TIMES = "step_times.json"
BEGUN, TRAINED = "| begin training epoch", "| INFO | train_inner |"
RESUMED = "| Preparing to load checkpoint"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder of train or of a grid")
    parser.add_argument("--to", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--unfinished", action="store_true", help="keep also runs that are not finished, as far as they are"
    )
    args = parser.parse_args()
    names = [run.name for run in args.runs]
    if twice := [name for name in names if names.count(name) > 1]:
        parser.error(f"two runs are called {twice[0]}; keep them in two folders")
    if own := [run for run in args.runs if (args.to / run.name).resolve() == run.resolve()]:
        parser.error(f"--to {args.to} holds {own[0]} itself, which would be replaced by what is kept of it")
    need_runs(parser, args.runs)
    for run in args.runs:
        if not (run / "finished").exists() and not args.unfinished:
            print(f"{run} is not finished, and left out")
            continue
        keep(run, args.to / run.name)


def need_runs(parser, folders):
    if missing := [folder for folder in folders if not (folder / "train.log").is_file()]:
        parser.error(f"{missing[0]} is no run: it has no train.log")


def keep(run, to):
    times = run.parent / STEP_TIMES
    to.parent.mkdir(parents=True, exist_ok=True)
    if times.exists():
        shutil.copyfile(times, to.parent / STEP_TIMES)
    # In place of what was kept before: a run that was continued has lost what it had then.
    with replacing(to) as partial:
        (partial / "checkpoints").mkdir(parents=True)
        for name in ("arguments.txt", "finished"):
            if (run / name).exists():
                shutil.copyfile(run / name, partial / name)
        lines = (run / "train.log").read_text().splitlines(keepends=True)
        (partial / "train.log").write_text("".join(thinned(lines)))
        for record in sorted((run / "checkpoints").rglob("*.json")):
            copy = partial / record.relative_to(run)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(record, copy)


def thinned(lines):
    """When training began and was resumed, the switch, the validations, each behind the last line of training."""
    trained, begins = "", True
    for line in lines:
        if TRAINED in line:
            trained = line
        elif BEGUN in line:
            yield from [line] * begins
            begins = False
        elif RESUMED in line or WANTED.search(line):
            yield from (trained, re.sub(f"({re.escape(RESUMED)}).*", r"\1", line))
            trained, begins = "", begins or RESUMED in line


if __name__ == "__main__":
    main()
