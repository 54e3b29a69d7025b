"""The scheduler of many trainings: runs spread over the GPUs of one machine, or over jobs on its CPU."""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..cores import core_count
from ..errors import UsageError
from ..files import is_locked
from ..processes import UNFINISHED, sigusr1_calls
from .children import Children
from .progress import Progress
from .steps import POLL, Step
from .workers import gpu_count


@dataclass
class Run:
    """One training with its evaluation."""

    name: str
    folder: Path  #: whose lock tells that a process works on it, and whose train.log how far it is
    steps: list[Step]
    method: str = ""
    group: str = ""  #: the runs of a group are compared: they are in the table together, or none of them is
    checkpoint: Path | None = None  #: what the results are of
    results: tuple[Path, ...] = ()  #: what the table reads
    state: str = "waiting"  #: then active, and done, failed, stopped, or out of time (of its --stop-time-hours)
    process: subprocess.Popen | None = field(default=None, repr=False)
    trains: bool = False  #: the step in hand
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def evaluated(self) -> bool:
        """Whether its results are there, and are those of the finished training."""
        return bool(self.results) and all(path.exists() for path in (self.folder / "finished", *self.results))


def places(gpus: str | None, per_run: int, jobs: int) -> list[dict[str, str]]:
    """The places where one run works at a time, each as the environment variables that confine a run to it.

    Args:
        gpus: indices with commas between, such as "0,1"; None: all GPUs that torch sees.
        per_run: GPUs that work on one run together.
        jobs: runs in parallel on each group of GPUs, or on the CPU.

    Raises:
        UsageError: if there are no such GPUs, or they do not make groups.
    """
    count = gpu_count()
    indices = list(range(count)) if gpus is None else _indices(gpus, count)
    if not indices:
        if per_run > 1:
            raise UsageError(f"--gpus-per-run {per_run}: torch sees no GPU here")
        return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, core_count() // jobs))}] * jobs
    if len(indices) % per_run:
        raise UsageError(
            f"--gpus {','.join(map(str, indices))}: {len(indices)} do not make groups of --gpus-per-run {per_run}"
        )
    # Under CUDA_VISIBLE_DEVICES an index counts within it.
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = [visible[index] if index < len(visible) else str(index) for index in indices]
    groups = [",".join(names[first : first + per_run]) for first in range(0, len(names), per_run)]
    return [{"CUDA_VISIBLE_DEVICES": group} for _ in range(jobs) for group in groups]


def _indices(gpus, count):
    if not all(index.isdecimal() and index.isascii() for index in gpus.split(",")):
        raise UsageError(f"--gpus must be indices with commas between, such as 0,1, not '{gpus}'")
    indices = [int(index) for index in gpus.split(",")]
    for index in indices:
        if index >= count:
            raise UsageError(f"--gpus {gpus}: there is no GPU {index} here; torch sees {count}")
        if indices.count(index) > 1:
            raise UsageError(f"--gpus {gpus}: GPU {index} appears twice; --jobs runs several on one")
    return indices


def run_all(runs: list[Run], at: list[dict[str, str]], logs: Path) -> None:
    """Does all runs, one at each place at a time; returns when none is left. Their `state` tells how they ended.

    A run that fails does not stop the others. A run whose folder another process has locked is waited for. What a
    run prints is in LOGS/NAME.log. However this process ends, the runs end with it; repeated, they resume. After
    SIGUSR1 trainings save and end, other steps end, and no run begins.
    """
    with Children() as children:
        _Schedule(runs, at, logs, children).run_all()


class _Schedule:
    def __init__(self, runs, at, logs, children):
        self.runs, self.logs, self.children = runs, logs, children
        self.free, self.waiting, self.active = [*at], [*runs], []
        self.waited_for = set()
        self.asked = threading.Event()  #: to end
        self.progress = Progress(runs, len(at))

    def run_all(self):
        """Until no run is left."""
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        self.progress.say(f"{runs}, {min(len(self.free), len(self.runs))} at a time")
        try:
            with sigusr1_calls(self.asked.set):
                self._work()
        finally:
            self.progress.end()

    def _work(self):
        told = False
        while self.active or (self.waiting and not self.asked.is_set()):
            if not self.asked.is_set():
                self._start()
            elif not told:
                for run in self.active:
                    self.children.ask_to_end(run.process, run.trains)
                told = True
            self._reap()
            self.progress.show(self.active)
            time.sleep(POLL)

    def _start(self):
        for run in [*self.waiting] if self.free else []:
            if is_locked(run.folder):
                if run.name not in self.waited_for:
                    self.progress.say(f"{run.name}: waiting for another process that works on it")
                self.waited_for.add(run.name)
            elif self.free:
                self.waiting.remove(run)
                run.environment = self.free.pop(0)
                run.state = "active"
                self.active.append(run)
                (self.logs / f"{run.name}.log").write_bytes(b"")
                self._next_step(run)

    def _next_step(self, run):
        """Starts the first step that is not done; returns whether there was one."""
        while run.steps and run.steps[0].done:
            run.steps.pop(0)
        if not run.steps:
            return False
        with open(self.logs / f"{run.name}.log", "ab") as log:
            step = run.steps.pop(0)
            run.process, run.trains = self.children.start(step.command, run.environment, log), step.trains
        return True

    def _reap(self):
        for run in [*self.active]:
            status = run.process.poll() if run.process else 0
            # The first step has seen that the run is the one asked for; only then does its evaluation count.
            if status is None or (status == 0 and not self.asked.is_set() and self._next_step(run)):
                continue
            self.active.remove(run)
            self.free.append(run.environment)
            run.state = self._state_at_its_end(run, status)
            if run.state == "failed":
                self.progress.say(f"{run.name} failed: {self._last_line(run)}")
            elif run.state == "out of time":
                self.progress.say(f"{run.name}: {self._last_line(run)}")

    def _state_at_its_end(self, run, status):
        if not status and all(step.done for step in run.steps):
            return "done"
        if self.asked.is_set():
            return "stopped"
        return "out of time" if status == UNFINISHED else "failed"

    def _last_line(self, run):
        lines = (self.logs / f"{run.name}.log").read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"exit status {run.process.poll()}")
