"""fairseq_intra/processes.py: child processes end with whoever started them."""

import contextlib
import signal
import subprocess
import sys

import corpus
import pytest
from waiting import is_running, wait_for

from fairseq_intra.processes import Stopped, in_process, signals_raise, worker_pool


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


def test_a_second_signal_does_not_interrupt_what_the_first_one_closes():
    closed = []
    with pytest.raises(Stopped), signals_raise():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            with contextlib.suppress(OSError):
                signal.raise_signal(signal.SIGUSR1)
                raise OSError
            signal.raise_signal(signal.SIGTERM)
            closed.append(True)
    assert closed


@pytest.mark.parametrize("then", [None, ImportError("numpy is half imported")])
def test_a_signal_that_a_library_lost_ends_the_block(then):
    """As C code of torch loses it, which imports numpy."""
    with pytest.raises(Stopped) as stopped, signals_raise():
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGTERM)
        if then:
            raise then
    assert stopped.value.args == (signal.SIGTERM,)


def test_the_next_signal_is_raised_where_one_was_lost():
    with pytest.raises(Stopped) as stopped, signals_raise():
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal was ignored")
    assert stopped.value.args == (signal.SIGTERM,)


@pytest.mark.parametrize("name", ["torch", "fairseq"])
def test_a_signal_waits_until_an_import_is_done(tmp_path, name):
    (tmp_path / f"{name}.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nprint('imported')\n"
    )
    code = f"""
import sys
from fairseq_intra.processes import ending_on_signals
sys.path.insert(0, {str(tmp_path)!r})
with ending_on_signals():
    import {name}
    print("went on")
"""
    done = subprocess.run([sys.executable, "-c", code], env=corpus.environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "imported\n")
    assert done.stderr == "fairseq_intra: stopped by SIGTERM; the same command resumes\n"


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
