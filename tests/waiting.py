"""How the tests wait for what other processes do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 60) -> None:
    """Returns once a condition holds, and fails where it never does.

    Args:
        condition: asked again and again.
        process: must not end before the condition holds.
        seconds: after which it fails.
    """
    deadline = time.monotonic() + seconds
    while True:
        # Asked first: what the process did before its end counts.
        ended = process is not None and process.poll() is not None
        if condition():
            return
        assert not ended, f"ended with status {process.returncode}"
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only waiting to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return _state(pid) not in ("", "X", "Z")


def _state(pid):
    """The letter that ps has for it; none where it has gone meanwhile."""
    if sys.platform != "linux":
        done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, encoding="utf-8")
        return done.stdout.strip()[:1]
    try:
        # Behind the program's name, in which any character may be.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
