"""What a run is made of: steps, each a command of this package in a process of its own."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..processes import ending_on_signals
from .children import Children


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

    @property
    def done(self) -> bool:
        return bool(self.makes) and all(path.exists() for path in self.makes)


def work_in_order(steps: Iterable[Step]) -> None:
    """Runs steps one after another; what they print is printed.

    Raises:
        SystemExit: with a step's exit status, if that failed (it has said why), or on a signal.
    """
    with ending_on_signals(), Children() as children:
        for step in steps:
            status = 0 if step.done else children.start(step.command).wait()
            if status:
                raise SystemExit(status)
