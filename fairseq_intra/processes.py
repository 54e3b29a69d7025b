"""Child processes and signals: whatever ends a command ends all of its processes and leaves nothing half-written."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

#: What ends a command: `kill`, Ctrl-C, a terminal that is closed.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FORK = multiprocessing.get_context("fork")
_WATCH_EVERY = 0.1


class Ended(BaseException):
    """A signal arrived: everything that is open closes, then the command ends."""


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Within the block a signal is an exception, so that partial files go and child processes end; it is reported.

    The exit status is 128 and the signal's number, as shells have it.
    """

    def end(number, _frame):
        for name in SIGNALS:
            signal.signal(name, signal.SIG_IGN)
        raise Ended(number)

    # What is ignored from the start stays so: nohup ignores SIGHUP.
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, end)
        yield
    except Ended as ended:
        name = signal.Signals(ended.args[0]).name
        print(f"fairseq_intra: error: ended by {name}; the same command resumes", file=sys.stderr, flush=True)
        sys.exit(128 + ended.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_process(function: Callable, *arguments: Any) -> Any:
    """What a function returns, called in a process of its own, which a signal can end whatever library runs in it.

    Raises:
        ChildProcessError: if the process was killed.
        Exception: what the function raised.
    """
    receiving, sending = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_call, args=(sending, function, arguments))
    child.start()
    sending.close()
    try:
        succeeded, outcome = receiving.recv()
    except EOFError:
        child.join()
        raise ChildProcessError(f"a process was killed (status {child.exitcode}); is there enough memory?") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            # Its own children are in its group.
            os.killpg(child.pid, signal.SIGKILL)
        child.join()
    if not succeeded:
        raise outcome
    return outcome


def _call(sending, function, arguments):
    os.setpgid(0, 0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _watch_parent(lambda: os.killpg(0, signal.SIGKILL))
    try:
        outcome = True, function(*arguments)
    except Exception as error:
        outcome = False, error
    sending.send(outcome)


def be_worker() -> None:
    """Called first in a worker process of a pool: Ctrl-C is its parent's matter, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _watch_parent(lambda: os._exit(1))


def _watch_parent(end):
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(_WATCH_EVERY)
        end()

    threading.Thread(target=watch, daemon=True).start()
