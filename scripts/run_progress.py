"""How far runs of train.sh are, and how long the rest will take: from their logs."""

import statistics
import sys
import time
from itertools import pairwise

from fairseq_intra.runs.training_log import parse_log

REFRESH = 5  # seconds between two looks at the logs
CLEAR_LINE = "\r\033[K"
SILENCE = 600  # seconds after which a line is written though nothing changed


class Progress:
    """The status line: rewritten in place on a terminal, elsewhere a new one where something has changed."""

    def __init__(self, runs, places, say):
        self.runs, self.places, self.say = runs, places, say
        self.on_terminal = sys.stderr.isatty()
        self.shown, self.looked, self.said = [], float("-inf"), float("-inf")

    def show(self, active):
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
            print(f"{CLEAR_LINE}{self._line(active, seconds)}", end="", file=sys.stderr, flush=True)
        elif active and (changed or now > self.said + SILENCE):
            self.said = now
            self.say(self._line(active, seconds))

    def end(self):
        if self.on_terminal:
            print(file=sys.stderr)

    def _line(self, active, seconds):
        done, failed = (sum(getattr(run, name) for run in self.runs) for name in ("done", "failed"))
        running = ", ".join(run.name + _updates(run) for run in active)
        left = "time unknown yet" if seconds is None else f"about {_duration(seconds)} of training to go"
        return f"{done} of {len(self.runs)} runs done, {failed} failed; {left}; now {running}"


def remaining_seconds(runs, places: int) -> float | None:
    """Seconds of training that are left, spread over the places; None before the first updates.

    Where no run of a method has begun yet, the slowest pace that is
    known stands for it.
    """
    states = {run.name: _state(run.folder) for run in runs}
    known = [(run.method, *states[run.name]) for run in runs if states[run.name]]
    if not known:
        return None
    paces = {method: statistics.mean(pace for name, _, _, pace in known if name == method) for method, *_ in known}
    total = max(total for _, _, total, _ in known)
    left = 0.0
    for run in runs:
        if not (run.done or run.failed):
            updates = states[run.name][0] if states[run.name] else 0
            left += max(0, total - updates) * paces.get(run.method, max(paces.values()))
    return left / places


def _state(folder):
    """(updates done, updates asked for, seconds for one), None before the first line of the log that tells."""
    try:
        log = parse_log((folder / "train.log").read_text(encoding="utf-8", errors="replace"))
        asked = (folder / "arguments.txt").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return None
    if not log.train or "--max-update" not in asked:
        return None
    # One flag a line, its value on the next; of several the last counts.
    total = int(asked[len(asked) - asked[::-1].index("--max-update")])
    points = [(line["num_updates"], line["time"]) for line in log.train]
    # From line to line, so that a time in which it did not run does not count.
    paces = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise([(0, 0), *points])]
    return int(points[-1][0]), total, statistics.median(paces)


def _updates(run):
    state = _state(run.folder)
    return f" {state[0]}/{state[1]}" if state else ""


def _duration(seconds):
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
