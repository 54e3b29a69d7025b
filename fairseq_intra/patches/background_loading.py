"""The threads that prepare mini-batches ahead are stopped before the process ends.

fairseq never stops them (fairseq/data/iterators.py). Where Python ends while one of them is inside of torch, C++ ends
the process by SIGABRT, and a training that has written its last checkpoint looks like one that has failed.
"""

import atexit
import contextlib
import functools
import queue
import threading
import time
import weakref

from fairseq.data.iterators import BackgroundConsumer

#: Seconds that a mini-batch in preparation may take; a data loader that hangs is not to keep the process.
PATIENCE = 3.0

_threads: weakref.WeakSet = weakref.WeakSet()
_ending = threading.Event()


def apply():
    """Puts the patch into fairseq's modules."""
    init = BackgroundConsumer.__init__

    @functools.wraps(init)
    def __init__(self, queue, source, *args, **kwargs):
        init(self, queue, _until_the_end(source), *args, **kwargs)
        _threads.add(self)

    BackgroundConsumer.__init__ = __init__
    atexit.register(_stop)


def _until_the_end(source):
    for item in source:
        if _ending.is_set():
            return
        yield item


def _stop():
    _ending.set()
    deadline = time.monotonic() + PATIENCE
    for thread in list(_threads):
        while thread.is_alive() and time.monotonic() < deadline:
            # It may be waiting for room in its queue.
            with contextlib.suppress(queue.Empty):
                thread._queue.get_nowait()
            thread.join(0.01)
