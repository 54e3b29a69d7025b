"""fairseq_intra/processes.py: child processes end with whoever started them."""

import signal
import subprocess
import sys

import corpus
import pytest
from waiting import is_running, wait_for

from fairseq_intra.processes import in_process, worker_pool


def test_results_and_errors_come_back():
    assert in_process(pow, 2, 5) == 32
    with pytest.raises(ZeroDivisionError):
        in_process(divmod, 1, 0)


def test_a_process_that_is_killed_is_reported():
    with pytest.raises(ChildProcessError, match="a process was killed .status -9.; is there enough memory"):
        in_process(signal.raise_signal, signal.SIGKILL)


def test_a_worker_that_is_killed_is_reported():
    with pytest.raises(ChildProcessError, match="a worker process was killed; is there enough memory"):
        with worker_pool(2) as pool:
            list(pool.map(signal.raise_signal, [signal.SIGKILL]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_children_and_theirs_end_with_their_parent(tmp_path, number):
    """Even where the parent is killed: a child in in_process, and a worker of a pool in it."""
    code = f"""
import os, time
from pathlib import Path
from fairseq_intra.processes import ending_on_signals, in_process, worker_pool
def note(name):
    Path({str(tmp_path)!r}, name).write_text(str(os.getpid()))
    time.sleep(60)
def work():
    with worker_pool(1) as pool:
        pool.submit(note, "worker")
        note("child")
with ending_on_signals():
    in_process(work)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], env=corpus.environment(), stderr=subprocess.PIPE)
    names = [tmp_path / "child", tmp_path / "worker"]
    wait_for(lambda: all(name.exists() and name.read_text() for name in names), parent)
    pids = [int(name.read_text()) for name in names]
    parent.send_signal(number)
    parent.communicate(timeout=30)
    wait_for(lambda: not any(map(is_running, pids)))
