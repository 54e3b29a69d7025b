"""fairseq's commands, each in a process forked from one that has imported fairseq: that takes longer than the rest.

As a program (`commands.py` starts it) it reads calls from the Unix socket that is its standard input: JSON
[command, arguments, environment, folder] with three descriptors, for the standard output, the standard error and the
exit status. What is forked runs as the console script would: fairseq_cli is not imported yet, the plugin neither.
"""

import atexit
import gc
import importlib
import inspect
import json
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What fairseq's commands import; the last by torch's optimizers when the first of them is made.
IMPORTED = [f"fairseq.{name}" for name in ("tasks", "models", "criterions", "trainer", "checkpoint_utils")]
IMPORTED += ["fairseq.sequence_generator", "torch._dynamo"]


class ForkedFairseq:
    """The process that is forked. It ends with the one that started it.

    Args:
        environment: what torch reads when it is imported counts, such as OMP_NUM_THREADS.
    """

    def __init__(self, environment: Mapping[str, str]):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # -I: fairseq is to find nothing of tests/.
            subprocess.Popen(
                [sys.executable, "-I", __file__], stdin=theirs, stdout=subprocess.DEVNULL, env=environment
            )

    def start(
        self, command: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: int, err: int
    ) -> int:
        """Begins a command of fairseq; returns the descriptor from which its exit status can be read at its end.

        Args:
            command: "train", "hydra-train" and so on, or the path of a program in Python.
            arguments: its words.
            environment: of the command.
            folder: its current folder.
            out: descriptor of its standard output.
            err: of its standard error.
        """
        status, theirs = os.pipe()
        call = json.dumps([command, arguments, dict(environment), str(folder)])
        socket.send_fds(self._socket, [call.encode()], [out, err, theirs])
        os.close(theirs)
        return status


def serve():
    """Forks for every call until nobody can call any more."""
    for name in IMPORTED:
        importlib.import_module(name)
    read_defaults()
    # As if none of that had been imported: what a command imports first sets logging up.
    logging.root.handlers.clear()
    # What all share is no garbage: every process would look through it, and copy it, once at its end.
    gc.freeze()
    calls = socket.socket(fileno=sys.stdin.fileno())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        call, descriptors, *_ = socket.recv_fds(calls, 1 << 20, 3)
        if not call:
            return
        if os.fork() == 0:
            calls.close()
            return take(json.loads(call), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def read_defaults():
    """Does once what Hydra does for the first configuration of a process: reads defaults, and looks for modules."""
    from fairseq import options
    from fairseq.dataclass.utils import override_module_args
    from hydra.core.override_parser.overrides_parser import OverridesParser

    runpy.run_path(str(Path(__file__).with_name("quick_hydra.py")))["apply"]()
    flags = ["data", "--task=translation", "--arch=transformer", "--optimizer=adam", "--lr-scheduler=inverse_sqrt"]
    overrides, _ = override_module_args(options.parse_args_and_arch(options.get_training_parser(), flags))
    OverridesParser.create().parse_overrides(overrides)
    inspect.stack()


def take(call, out, err, status):
    """In a process of its own: waits for the command, or is it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process:
        _, ended = os.waitpid(process, 0)
        os.write(status, str(os.waitstatus_to_exitcode(ended)).encode())
        os._exit(0)
    os.close(status)
    for ours, theirs in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(theirs, ours)
    command, arguments, environment, folder = call
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    end(lambda: run(command, arguments))


def run(command, arguments):
    """Is one of fairseq's commands, or a program."""
    if command.endswith(".py"):
        sys.argv = [command, *arguments]
        sys.path.insert(0, str(Path(command).parent))
        runpy.run_path(command, run_name="__main__")
    else:
        sys.argv = [f"fairseq-{command}", *arguments]
        importlib.import_module(f"fairseq_cli.{command.replace('-', '_')}").cli_main()


def end(main):
    """Ends the process as a program does whose main function this is, but does not free all that is shared."""
    status = 0
    try:
        main()
    except SystemExit as asked:
        status = asked.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
