"""Runs a command as a process group of its own, which signals end and which never outlives this process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from ..processes import ignore_sigusr1, signals_raise, sigusr1_calls

KILL_TIMEOUT = 5  # seconds from SIGTERM to SIGKILL
AGAIN = 1  # seconds from one SIGUSR1 to the next
#: Where its input ends without a word, this process was killed. Unlike watchdog.py it kills without waiting: nobody
#: is left to read what the command still prints.
WATCHDOG = "import os, sys; pid = int(sys.stdin.readline()); sys.stdin.read() or os.killpg(pid, 9)"


def run(command: list[str], environment: dict[str, str], take: Callable[[bytes], None]) -> int:
    """Runs a command to its end. SIGUSR1 is passed on to it, again and again until it has ended.

    Args:
        command: its words.
        environment: its environment.
        take: called with every line of its standard output and standard error.

    Returns:
        Its exit status.

    Raises:
        Stopped: after SIGINT, SIGTERM or SIGHUP, when nothing of the group is left.
    """
    group = _Group()
    with signals_raise(), sigusr1_calls(group.pass_on_sigusr1):
        try:
            group.start(command, environment)
            for line in group.process.stdout:
                take(line)
            return group.process.wait()
        finally:
            group.end()


class _Group:
    """The processes of a command: its own, and what that starts."""

    def __init__(self):
        self.process = self.watchdog = None

    def start(self, command, environment):
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self.watchdog = subprocess.Popen(
            [sys.executable, "-ISc", WATCHDOG], stdin=pipe, stdout=quiet, stderr=quiet, start_new_session=True
        )
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=quiet,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            preexec_fn=ignore_sigusr1,
            start_new_session=True,
        )
        self.watchdog.stdin.write(b"%d\n" % self.process.pid)
        self.watchdog.stdin.flush()
        # What a failed training leaves behind, such as its workers, would keep the pipe open.
        threading.Thread(target=self._kill_the_rest, daemon=True).start()

    def send(self, number):
        # There may be nobody left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def pass_on_sigusr1(self):
        """Returns at once: it is called by a signal."""
        threading.Thread(target=self._ask_for_checkpoint, daemon=True).start()

    def _ask_for_checkpoint(self):
        while self.process is None or self.process.poll() is None:
            if self.process:
                self.send(signal.SIGUSR1)
            time.sleep(AGAIN)

    def end(self):
        if self.process is not None:
            self.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(KILL_TIMEOUT)
            self.send(signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()
        if self.watchdog is not None:
            with contextlib.suppress(OSError):
                self.watchdog.stdin.write(b"ended")
            with contextlib.suppress(OSError):
                self.watchdog.stdin.close()
            self.watchdog.wait()

    def _kill_the_rest(self):
        self.process.wait()
        self.send(signal.SIGKILL)
