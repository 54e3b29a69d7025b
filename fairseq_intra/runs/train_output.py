"""What fairseq-train prints: all of it to the log, what tells of the progress to the terminal, and why it ended."""

import contextlib
import errno
import os
import re
import sys
import time
from pathlib import Path

from ..errors import UsageError
from ..files import check_space_beside
from ..write_errors import os_error_message

#: Of the log, what the terminal shows: measurements, and what is wrong.
SHOWN = re.compile(rb"\| (?:train_inner|valid|train|WARNING|ERROR) \||[Ee]rror|intra-distillation begins after")
#: Not this: what fairseq warns of on current torch whatever one does; a user's mistake, which `reason` names.
HIDDEN = re.compile(
    rb"mismatched key_padding_mask and attn_mask|torch\.cuda\.amp|FutureWarning|UserWarning|pin_memory"
    rb"|^fairseq-train: error:|^" + re.escape(UsageError.PREFIX.encode())
)
UPDATES = re.compile(rb"\| train_inner \|.*\bups=([\d.]+).*\bnum_updates=(\d+)")
#: How a training that came to its end says so: fairseq_cli/train.py, and patches/resume.py.
DONE = re.compile(rb"\| (?:done training in|nothing left to train:)")
TIME_IS_UP = b"Stopping training due to cumulative_training_time"
SWITCH = b"intra-distillation begins after"
PREEMPTED = b"preempted by SIGUSR1"
#: How torch says that a process which it started for a GPU has ended, whatever that one said.
OF_A_WORKER = "torch.multiprocessing.spawn.ProcessExitedException"


class TrainOutput:
    """Takes fairseq-train's output, line by line.

    Args:
        log: the file that the lines are appended to.
        total_updates: as many as the training shall have, for the time left; None if that is unknown.
    """

    def __init__(self, log: Path, total_updates: int | None):
        self.log, self.total_updates = log, total_updates
        self.done = self.time_is_up = self.preempted = False
        self._first: tuple[float, int] | None = None
        self._readers = True
        with _space_for(log):
            self._file = open(log, "ab", buffering=0)

    def close(self):
        self._file.close()

    def take(self, line: bytes) -> None:
        """Takes one line.

        Raises:
            UsageError: if the log cannot be written.
        """
        with _space_for(self.log):
            self._file.write(line)
        self.done |= bool(DONE.search(line))
        self.time_is_up |= TIME_IS_UP in line
        self.preempted |= PREEMPTED in line
        if SWITCH in line:
            # Updates take longer from here: the time left is told from these.
            self._first = None
        if SHOWN.search(line) and not HIDDEN.search(line):
            self._show(self._progress(line) + line.decode(errors="replace"))

    @property
    def came_to_its_end(self) -> bool:
        """Whether the last update was made, or early stopping or a last epoch ended the training."""
        return self.done and not (self.time_is_up or self.preempted)

    def reason(self) -> str:
        """The last line that says why the training failed, "" if there is none.

        Raises:
            UsageError: if the disk is full, so that the log may lack it.
        """
        with _space_for(self.log):
            check_space_beside(self.log)
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in reversed(lines) if line and line[0] != " "] or [""]
        if OF_A_WORKER in lines[0]:
            return next((line for line in lines if line.startswith(UsageError.PREFIX)), lines[0])
        return lines[0]

    def _progress(self, line):
        found = UPDATES.search(line)
        if not found or not self.total_updates:
            return ""
        now, pace, update = time.monotonic(), float(found[1]), int(found[2])
        if self._first is None:
            self._first = now, update
        elif now > self._first[0]:
            # Validations and checkpoints count, too.
            pace = (update - self._first[1]) / (now - self._first[0])
        left = f", {duration((self.total_updates - update) / pace)} left" if pace else ""
        return f"[update {update} of {self.total_updates}{left}] "

    def _show(self, text):
        if not self._readers:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read it has gone (| head); the training goes on.
            self._readers = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def duration(seconds: float) -> str:
    """A time in words, such as "3 min" or "2 days 4 h"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} days {hours % 24} h"


@contextlib.contextmanager
def _space_for(log):
    try:
        yield
    except OSError as error:
        what = "train: " if error.errno not in (errno.ENOSPC, errno.EDQUOT) else "fairseq-train failed: "
        raise UsageError(what + os_error_message(error, log)) from None
