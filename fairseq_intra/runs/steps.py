"""What a run is made of: steps, each a command of this package in a process of its own."""

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..processes import UNFINISHED, ending_on_signals, sigusr1_calls
from .children import Children

POLL = 0.1  # seconds


def own_command(name: str, *flags: object) -> list[str]:
    """The words that run a command of this package."""
    return [*start_of(name), *map(str, flags)]


def start_of(name: str) -> list[str]:
    """The words that start a command of this package: the one place that knows."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", "fairseq_intra.cli", name]
    # Without -P, which keeps the current folder out, -m would import modules of it.
    return [str(Path(sys.executable).with_name("fairseq-intra")), name]


@dataclass(frozen=True)
class Step:
    """A command, and what it makes: where all of that is there, it need not be run again."""

    command: list[str]
    makes: tuple[Path, ...] = ()  #: empty: it is always run, and sees for itself what is finished
    trains: bool = False  #: SIGUSR1 makes it save and end

    @property
    def done(self) -> bool:
        return bool(self.makes) and all(path.exists() for path in self.makes)


def work_in_order(steps: Iterable[Step]) -> None:
    """Runs steps one after another; what they print is printed.

    Raises:
        SystemExit: with a step's exit status, if that failed (it has said why), or on a signal; with UNFINISHED after
            SIGUSR1, which makes a training save and end, and ends another step.
    """
    asked = threading.Event()
    with ending_on_signals(), Children() as children, sigusr1_calls(asked.set):
        for step in steps:
            status = 0 if step.done else _status(children, step, asked)
            if asked.is_set():
                raise SystemExit(UNFINISHED)
            if status:
                raise SystemExit(status)


def _status(children, step, asked):
    child, told = children.start(step.command), False
    while child.poll() is None:
        if asked.is_set() and not told:
            children.ask_to_end(child, step.trains)
            told = True
        time.sleep(POLL)
    return child.returncode
