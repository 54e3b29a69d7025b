"""Processes that end with this one."""

import contextlib
import os
import signal
import subprocess
import sys

from ..user_dir import PACKAGE
from . import watchdog


class Children:
    """Starts commands, each in a session of its own under the parent-death watchdog; ends those left at its exit."""

    def __enter__(self):
        self._watched, self._held = os.pipe()
        self._started = []
        return self

    def __exit__(self, *_):
        os.close(self._held)
        os.close(self._watched)
        for process in self._started:
            process.wait()

    def start(self, command: list[str], environment: dict[str, str] | None = None, log=None) -> subprocess.Popen:
        """Starts a command.

        Args:
            command: its words.
            environment: variables beside those of this process.
            log: an open file that takes all it prints; None: it prints where this process does.
        """
        # Commands run this package, and scripts among them this interpreter.
        path = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        inherited = {"FAIRSEQ_INTRA_PYTHON": sys.executable} | os.environ
        inherited |= {"PYTHONPATH": os.pathsep.join(path)}
        process = subprocess.Popen(
            [sys.executable, "-I", watchdog.__file__, str(self._watched), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=inherited | (environment or {}),
            pass_fds=[self._watched],
            start_new_session=True,
        )
        self._started.append(process)
        return process

    @staticmethod
    def ask_to_end(process: subprocess.Popen, saves: bool) -> None:
        """Asks a command to end in order; one that `saves` on SIGUSR1 resumes there when it is repeated."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGUSR1 if saves else signal.SIGTERM)
