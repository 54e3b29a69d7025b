"""Child processes and signals: whatever ends a command ends all of its processes and leaves nothing half-written."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .console import say

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

#: What ends a command: `kill`, Ctrl-C, a terminal that is closed, Slurm before its time limit.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
#: Exit status of what ended before it was finished, as it was asked to by SIGUSR1: repeat it.
UNFINISHED = 75
_FORK = multiprocessing.get_context("fork")
_WATCH_EVERY = 0.1


class Stopped(BaseException):
    """A signal asked for the end; its number is the argument."""


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Within, a signal raises Stopped, so that all that is open closes; what the caller ignores (nohup) stays so.

    Where a library has lost what was raised, the block ends with it all the same, and the next signal raises it anew.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    asked: list[int] = []
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, functools.partial(_stop, os.getpid(), asked))
        yield
    except Exception:
        # Such as an import that was cut short.
        if asked:
            raise Stopped(asked[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise Stopped(asked[0])


def _stop(owner, asked, number, _frame):
    if os.getpid() != owner:
        # A worker that was forked from it just ends.
        os._exit(128 + number)
    # A second signal must not interrupt what the first one closes.
    if not _is_stopping(sys.exc_info()[1]):
        asked.append(number)
        raise Stopped(number)


def _is_stopping(error):
    """Whether Stopped is what is being handled, or came before it."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None


@contextlib.contextmanager
def sigusr1_calls(function: Callable[[], object]) -> Iterator[None]:
    """Within, SIGUSR1 calls a function, and ends nothing."""
    before = signal.signal(signal.SIGUSR1, lambda *_: function())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def ignore_sigusr1() -> None:
    """Called in a child before its program begins: Slurm sends SIGUSR1 to all processes, and the parent decides."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


@contextlib.contextmanager
def ending_on_signals(then: str = "the same command resumes") -> Iterator[None]:
    """Within, a signal ends the command in order, with one line that names it and what comes `then`.

    Raises:
        SystemExit: with 128 and the signal's number, as shells have it; with UNFINISHED on SIGUSR1.
    """
    try:
        with signals_raise():
            yield
    except Stopped as stopped:
        number = stopped.args[0]
        say(f"stopped by {signal.Signals(number).name}; {then}")
        sys.exit(UNFINISHED if number == signal.SIGUSR1 else 128 + number)


def in_process(function: Callable, *arguments: Any) -> Any:
    """What a function returns, called in a process of its own, which a signal can end whatever library runs in it.

    Raises:
        ChildProcessError: if the process was killed.
        Exception: what the function raised.
    """
    receiving, sending = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_call, args=(sending, function, arguments))
    child.start()
    try:
        sending.close()
        succeeded, outcome = receiving.recv()
    except EOFError:
        child.join()
        raise ChildProcessError(f"a process was killed (status {child.exitcode}); is there enough memory?") from None
    finally:
        # Its own children are in its group, which it may not have made yet.
        child.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
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


def _be_worker(*initialise):
    """Called first in a worker process of a pool: Ctrl-C is its parent's matter, and it ends with its parent."""
    # The other signals end it as they are: to set a handler now could lose one that has just arrived.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch_parent(lambda: os._exit(1))
    if initialise:
        function, *arguments = initialise
        function(*arguments)


@contextlib.contextmanager
def worker_pool(workers: int, *initialise: Any) -> Iterator["ProcessPoolExecutor"]:
    """Worker processes, which end with the block, and with this process.

    Args:
        workers: their number.
        initialise: a function that is called in each first, and its arguments; none: nothing is.

    Raises:
        ChildProcessError: if one of them was killed.
    """
    # Imported here, for every command starts with this file.
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    pool = ProcessPoolExecutor(workers, _FORK, _be_worker, initialise)
    try:
        yield pool
    except BrokenProcessPool:
        raise ChildProcessError("a worker process was killed; is there enough memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _watch_parent(end):
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(_WATCH_EVERY)
        end()

    threading.Thread(target=watch, daemon=True).start()
