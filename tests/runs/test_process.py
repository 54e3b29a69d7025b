"""A command as a process group: signals end all of it, and so does the end of the process that started it."""

import os
import signal
import subprocess
import sys
import time

import corpus
import pytest

#: A command with a child; both leave the number of their process, and stay. SIGUSR1 ends it with status 7.
COMMAND = """import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, __file__, sys.argv[1], "child"])
print("line", flush=True)
folder = pathlib.Path(sys.argv[1])
(folder / f".{os.getpid()}").touch()
(folder / f".{os.getpid()}").rename(folder / f"pid{os.getpid()}")
time.sleep(600)
"""
#: What starts it, and says how it ended.
STARTER = """import os, sys
from fairseq_intra.runs import process
from fairseq_intra.processes import Stopped
command = [sys.executable, os.path.join(sys.argv[1], "command.py"), sys.argv[1]]
try:
    print("status", process.run(command, dict(os.environ), lambda line: print(line.decode(), end="", flush=True)))
except Stopped as stopped:
    print("stopped", *stopped.args)
"""


@pytest.fixture
def started(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path],
        env=corpus.environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        # Where the tests run in the background, SIGINT is ignored, and the starter would heed that.
        preexec_fn=corpus.heed_signals,
    )
    wait_for(lambda: len(pids(tmp_path)) == 2)
    yield process
    process.kill()
    process.wait()


def pids(folder):
    return [int(path.name[3:]) for path in folder.glob("pid*")]


def is_running(pid):
    """Whether it is there, and not only waiting to be collected."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, encoding="utf-8")
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_the_whole_group(started, tmp_path, number):
    started.send_signal(number)
    said, _ = started.communicate(timeout=60)
    wait_for(lambda: not any(map(is_running, pids(tmp_path))))
    assert said.split("\n")[-2] == ("line" if number == signal.SIGKILL else f"stopped {int(number)}")


def test_sigusr1_is_passed_on(started, tmp_path):
    started.send_signal(signal.SIGUSR1)
    said, _ = started.communicate(timeout=60)
    assert said.endswith("status 7\n") and not any(map(is_running, pids(tmp_path)))


def test_what_it_leaves_behind_does_not_hold_it_up(started, tmp_path):
    """A training whose first process has died, but whose workers have not."""
    parent = min(pids(tmp_path), key=lambda pid: os.getpgid(pid) != pid)
    os.kill(parent, signal.SIGKILL)
    said, _ = started.communicate(timeout=60)
    assert said.endswith("status -9\n")
    wait_for(lambda: not any(map(is_running, pids(tmp_path))))
