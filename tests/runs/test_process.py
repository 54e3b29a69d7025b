"""A command as a process group: signals end all of it, and so does the end of the process that started it."""

import contextlib
import os
import signal
import subprocess
import sys

import corpus
import pytest
from waiting import is_running, wait_for

#: A command with a child; both leave the number of their process, and stay. SIGUSR1 ends it with status 7. With
#: STUBBORN in the environment both ignore SIGTERM.
COMMAND = """import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
if "STUBBORN" in os.environ:
    process.KILL_TIMEOUT = 0.1
try:
    print("status", process.run(command, dict(os.environ), lambda line: print(line.decode(), end="", flush=True)))
except Stopped as stopped:
    print("stopped", *stopped.args)
"""
#: A command under the parent-death watchdog, as `children.Children` starts it, but for the time that it is given.
WATCHED = """import sys
from fairseq_intra.runs import watchdog
watchdog.KILL_TIMEOUT = 0.1
sys.exit(watchdog.main(*sys.argv[1:]))
"""


@contextlib.contextmanager
def starting(folder, **more):
    """The starter, once both processes of its command are there; `more` is of its environment."""
    (folder / "command.py").write_text(COMMAND)
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, folder],
        env=corpus.environment(**more),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        # Where the tests run in the background, SIGINT is ignored, and the starter would heed that.
        preexec_fn=corpus.heed_signals,
    )
    try:
        wait_for(lambda: len(pids(folder)) == 2, process)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def started(tmp_path):
    with starting(tmp_path) as process:
        yield process


def pids(folder):
    return [int(path.name[3:]) for path in folder.glob("pid*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_the_whole_group(started, tmp_path, number):
    started.send_signal(number)
    said, _ = started.communicate(timeout=60)
    wait_for(lambda: not any(map(is_running, pids(tmp_path))))
    assert said.split("\n")[-2] == ("line" if number == signal.SIGKILL else f"stopped {int(number)}")


def test_sigusr1_is_passed_on(started, tmp_path):
    started.send_signal(signal.SIGUSR1)
    said, _ = started.communicate(timeout=60)
    assert said.endswith("status 7\n")
    wait_for(lambda: not any(map(is_running, pids(tmp_path))))


def test_what_ignores_sigterm_is_killed(tmp_path):
    with starting(tmp_path, STUBBORN="1") as process:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        wait_for(lambda: not any(map(is_running, pids(tmp_path))))
    assert said.endswith(f"stopped {int(signal.SIGTERM)}\n")


def test_what_ignores_sigterm_is_killed_when_its_parent_is_gone(tmp_path):
    """By watchdog.py, to which the end of the pipe is the end of the parent."""
    (tmp_path / "command.py").write_text(COMMAND)
    read, write = os.pipe()
    command = [sys.executable, str(tmp_path / "command.py"), str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(read), *command],
        env=corpus.environment(STUBBORN="1"),
        stdout=subprocess.DEVNULL,
        pass_fds=[read],
        start_new_session=True,
    )
    os.close(read)
    try:
        wait_for(lambda: len(pids(tmp_path)) == 2, process)
        os.close(write)
        wait_for(lambda: not any(map(is_running, pids(tmp_path))))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_it_leaves_behind_does_not_hold_it_up(started, tmp_path):
    """A training whose first process has died, but whose workers have not."""
    parent = min(pids(tmp_path), key=lambda pid: os.getpgid(pid) != pid)
    os.kill(parent, signal.SIGKILL)
    said, _ = started.communicate(timeout=60)
    assert said.endswith("status -9\n")
    wait_for(lambda: not any(map(is_running, pids(tmp_path))))
