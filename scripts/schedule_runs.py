"""What lasts in iwslt14.sh: starts the runs, some at a time, says how they go, and makes the table."""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from run_progress import CLEAR_LINE, Progress

SCRIPTS = Path(__file__).resolve().parent
PROGRAM = "iwslt14.sh"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How a run's step is started, in a session of its own: when the pipe on the descriptor $0 closes because this
#: process ended, by SIGKILL even, the step ends with all that it started.
LEASH = '{ read -r -u "$0"; kill -TERM 0; } & "$@"; status=$?; kill $!; exit $status'
POLL = 0.2  # seconds
GRACE = 10  # seconds from SIGTERM to SIGKILL


class Stopped(Exception):
    """A signal asked for the end; its number is the argument."""


class Run:
    """One training with its evaluation."""

    def __init__(self, args, dataset, method, seed):
        self.name = f"{dataset}.{method}.seed{seed}"
        self.dataset, self.method, self.seed = dataset, method, seed
        self.folder = args.out / self.name
        checkpoint = self.folder / "checkpoints" / "checkpoint_best.pt"
        average = ["--average", args.average] if args.average else []
        scored = checkpoint.with_name(f"average{args.average}.pt") if args.average else checkpoint
        self.evaluation = scored.with_suffix(".test.json")
        data = ["--data", args.data / dataset]
        train = [SCRIPTS / "train.sh", *data, "--method", method, "--seed", seed, "--out", self.folder, *args.flags]
        evaluate = [SCRIPTS / "evaluate.sh", *data, "--checkpoint", checkpoint, *average]
        self.steps = [[str(word) for word in step] for step in (train, evaluate)]
        self.process = self.environment = None
        self.done = self.failed = False

    def is_locked(self) -> bool:
        """Whether another process works on it: what an earlier call started and did not get to end."""
        try:
            with open(self.folder / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


class Schedule:
    """The runs of a call and the places where they work."""

    def __init__(self, runs, args):
        self.runs, self.logs = runs, args.out / "logs"
        self.logs.mkdir(exist_ok=True)
        self.free = [_environment(place, args) for _ in range(args.jobs) for place in args.places]
        self.waiting, self.active, self.waited_for = list(runs), [], set()
        self.progress = Progress(runs, len(self.free), say)
        self.leash, self.held = os.pipe()

    def work(self):
        """Returns when no run is left."""
        say(f"{len(self.runs)} runs, {min(len(self.free), len(self.runs))} at a time")
        while self.waiting or self.active:
            self._start()
            self._reap()
            self.progress.show(self.active)
            time.sleep(POLL)
        self.progress.end()

    def stop(self):
        """Ends all that was started."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for sign, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            for run in self.active:
                if run.process.poll() is None:
                    os.killpg(run.process.pid, sign)
            deadline = time.monotonic() + patience
            while any(run.process.poll() is None for run in self.active) and time.monotonic() < deadline:
                time.sleep(POLL / 4)

    def _start(self):
        for run in [*self.waiting] if self.free else []:
            if run.is_locked():
                if run.name not in self.waited_for:
                    say(f"{run.name}: another process still works on it; it is waited for")
                self.waited_for.add(run.name)
            elif self.free:
                self.waiting.remove(run)
                run.environment = self.free.pop(0)
                (self.logs / f"{run.name}.log").write_bytes(b"")
                self.active.append(run)
                self._next_step(run)

    def _next_step(self, run):
        command = ["bash", "-c", LEASH, str(self.leash), *run.steps.pop(0)]
        with open(self.logs / f"{run.name}.log", "ab") as log:
            run.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=run.environment,
                pass_fds=[self.leash],
                start_new_session=True,
            )

    def _reap(self):
        for run in [*self.active]:
            status = run.process.poll()
            if status is None:
                continue
            # train.sh has seen that the run is the one asked for; only then does its evaluation count.
            if status == 0 and run.steps and not run.evaluation.exists():
                self._next_step(run)
                continue
            self.active.remove(run)
            self.free.append(run.environment)
            run.done, run.failed = status == 0, status != 0
            if run.failed:
                say(f"{run.name} failed: {self._last_words(run)}")

    def _last_words(self, run):
        lines = (self.logs / f"{run.name}.log").read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def main():
    args = _arguments()
    names = [(dataset, method, seed) for seed in args.seeds for dataset in args.datasets for method in args.methods]
    runs = [Run(args, *name) for name in dict.fromkeys(names)]
    schedule = Schedule(runs, args)
    for number in SIGNALS:
        # What the caller has it ignore, as nohup does, stays ignored.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stopped)
    try:
        schedule.work()
        status = _table(runs, args)
    except Stopped as stopped:
        schedule.stop()
        say("stopped; the same command goes on from here")
        sys.exit(128 + stopped.args[0])
    except OSError as error:
        schedule.stop()
        sys.exit(f"{PROGRAM}: error: {error}")
    failed = [run.name for run in runs if run.failed]
    if failed:
        say(f"error: {len(failed)} of {len(runs)} runs failed: {', '.join(failed)} (see {schedule.logs})")
    sys.exit(1 if failed else status)


def _table(runs, args):
    """Writes the table of the pairs and seeds whose runs are all done; returns the exit status."""
    if len(set(args.methods)) == 1:
        say("no table: it needs both methods")
        return 0
    lacking = sorted({(run.dataset, run.seed) for run in runs if not run.done})
    files = [run.evaluation for run in runs if (run.dataset, run.seed) not in lacking]
    if not files:
        say("no table: no pair has runs of both methods")
        return 0
    paper = [] if args.corpus else ["--paper"]
    command = [os.environ["FAIRSEQ_INTRA_PYTHON"], "-m", "fairseq_intra.cli", "table", *paper, *files]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        return done.returncode
    left_out = "".join(f"Left out, for a run of it failed: {dataset}, seed {seed}.\n" for dataset, seed in lacking)
    title = args.corpus or "IWSLT'14"
    text = f"# {title}\n\n{done.stdout}{left_out}"
    partial = args.out / ".table.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(args.out / "table.md")
    print(text, end="", flush=True)
    return 0


def say(text):
    # On a terminal the status line gives way.
    print(f"{CLEAR_LINE if sys.stderr.isatty() else ''}{PROGRAM}: {text}", file=sys.stderr, flush=True)


def _stopped(number, _frame):
    raise Stopped(number)


def _environment(place, args):
    if place != "cpu":
        return os.environ | {"CUDA_VISIBLE_DEVICES": place}
    threads = max(1, len(os.sched_getaffinity(0)) // args.jobs)
    return {"OMP_NUM_THREADS": str(threads)} | os.environ


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("datasets", "methods", "seeds", "places"):
        parser.add_argument(f"--{name}", nargs="+", required=True)
    parser.add_argument("--jobs", type=int, required=True, help="runs at once at each place")
    parser.add_argument("--corpus", required=True, help="its name; empty: IWSLT'14")
    parser.add_argument("--average", help="as of evaluate.sh")
    parser.add_argument("flags", nargs="*", help="train.sh's other flags, after --")
    return parser.parse_args()


if __name__ == "__main__":
    main()
