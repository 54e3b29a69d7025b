"""Runs a command that ends when the process that started it ends, even by SIGKILL.

    python watchdog.py DESCRIPTOR COMMAND...

DESCRIPTOR is the read end of a pipe whose write end the starting process holds: it closes with that process, however
this ends. The whole process group then gets SIGTERM, and SIGKILL once the command has ended or the kill timeout is
over. `children.Children` starts it in a session of its own; it imports nothing of the package.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
KILL_TIMEOUT = 10  # seconds from SIGTERM to SIGKILL


def main(descriptor: str, *command: str) -> int:
    """Runs the command; returns its exit status, 128 + N if signal N ended it."""
    for number in SIGNALS:
        # Not SIG_IGN, which the command would inherit; what is ignored already (nohup) stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"fairseq_intra: error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    orphaned = threading.Event()
    watch = threading.Thread(target=_end_with_parent, args=(int(descriptor), process, orphaned), daemon=True)
    watch.start()
    status = process.wait()
    if orphaned.is_set():
        watch.join()
    return status if status >= 0 else 128 - status


def _end_with_parent(descriptor, process, orphaned):
    os.read(descriptor, 1)
    orphaned.set()
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_TIMEOUT)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
