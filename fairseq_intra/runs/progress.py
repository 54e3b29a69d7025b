"""How far the runs of a grid are, and how long the rest takes: from their logs."""

import functools
import re
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ..console import say
from .train_output import duration
from .training_log import parse_log

REFRESH = 5  # seconds between two looks at the logs
SILENCE = 600  # seconds after which a line is written though nothing changed
_CLEAR_LINE = "\r\033[K"


class RunState(NamedTuple):
    """How far a training is."""

    updates: int
    total: int
    seconds: float  #: of one update


class Progress:
    """The status line: rewritten in place on a terminal, elsewhere a new one where something has changed."""

    def __init__(self, runs, places: int):
        self.runs, self.places = runs, places
        self.on_terminal = sys.stderr.isatty()
        self.shown, self.looked, self.said = [], float("-inf"), float("-inf")

    def say(self, text: str) -> None:
        """Prints a line; on a terminal the status line gives way to it."""
        if self.on_terminal:
            print(_CLEAR_LINE, end="", file=sys.stderr)
        say(text)

    def show(self, active) -> None:
        """Says what is running, if it is time to."""
        state = [run.name for run in active]
        now = time.monotonic()
        if now < self.looked + REFRESH and state == self.shown[:-1]:
            return
        self.looked = now
        seconds = remaining_seconds(self.runs, self.places)
        state.append(seconds is None)
        changed, self.shown = state != self.shown, state
        if self.on_terminal:
            print(f"{_CLEAR_LINE}{self._line(active, seconds)}", end="", file=sys.stderr, flush=True)
        elif active and (changed or now > self.said + SILENCE):
            self.said = now
            say(self._line(active, seconds))

    def end(self) -> None:
        """Leaves the status line as it is."""
        if self.on_terminal:
            print(file=sys.stderr)

    def _line(self, active, seconds):
        done, failed = (sum(run.state == state for run in self.runs) for state in ("done", "failed"))
        running = ", ".join(run.name + _updates(run) for run in active)
        left = "time left not known yet" if seconds is None else f"about {duration(seconds)} of training left"
        return f"{done} of {len(self.runs)} runs done, {failed} failed; {left}; now {running or 'none'}"


def remaining_seconds(runs, places: int) -> float | None:
    """Seconds of training that are left, spread over the places; None before the first updates.

    For a method of which no run has begun, the slowest known speed is taken.
    """
    states = {run.name: read_state(run.folder) for run in runs}
    known = [(run.method, *states[run.name]) for run in runs if states[run.name]]
    if not known:
        return None
    speeds = {
        method: statistics.mean(seconds for name, _, _, seconds in known if name == method) for method, *_ in known
    }
    total = max(total for _, _, total, _ in known)
    left = 0.0
    for run in runs:
        # Early stopping ends a training before its last update.
        if run.state in ("waiting", "active") and not (run.folder / "finished").exists():
            updates, of = states[run.name][:2] if states[run.name] else (0, total)
            left += max(0, of - updates) * speeds.get(run.method, max(speeds.values()))
    return left / places


def read_state(folder: Path) -> RunState | None:
    """How far the training in a folder is; None before the first line of its log that tells."""
    log, arguments = folder / "train.log", folder / "arguments.txt"
    try:
        return _read(log, arguments, log.stat().st_mtime_ns, log.stat().st_size)
    except FileNotFoundError:
        return None


@functools.lru_cache(maxsize=1000)
def _read(path, arguments, _time, _size):
    log = parse_log(path.read_text(encoding="utf-8", errors="replace"))
    # One flag a line, its value on the next or behind "="; of several the last counts.
    totals = re.findall(r"^--max-update[=\n](\d+)$", arguments.read_text(encoding="utf-8"), re.MULTILINE)
    if not log.train or not totals:
        return None
    points = [(line["num_updates"], line["time"]) for line in log.train]
    # From line to line, so that a time in which it did not run does not count.
    seconds = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise([(0, 0), *points])]
    return RunState(int(points[-1][0]), int(totals[-1]), statistics.median(seconds))


def _updates(run):
    if (run.folder / "finished").exists():
        return " evaluating"
    state = read_state(run.folder)
    return f" {state.updates}/{state.total}" if state else ""
