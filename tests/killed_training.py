"""fairseq-train, killed at given moments and started again each time.

python killed_training.py MOMENT... -- ARGUMENTS. Every MOMENT is one start of `fairseq-train ARGUMENTS`, in a process
of its own that kills itself by SIGKILL at `update:N`, before its Nth update; `write:N`, half-way through writing its
Nth checkpoint; `copy:N`, half-way through its Nth copy of one. `end` is a start that comes to its end, as the last
must. Each prints a line "started until MOMENT" before its log.
"""

import gc
import io
import os
import shutil
import signal
import sys

from fairseq_cli.train import cli_main  # before all else of fairseq: it sets the log's format

# isort: split
import torch
import torch._dynamo  # as torch's optimizers do when the first of them is made
from fairseq.trainer import Trainer


def main(moments, arguments):
    """Starts it once for each moment; raises where one did not end as it was to."""
    gc.freeze()  # what all share is no garbage
    for moment in moments:
        print(f"started until {moment}", flush=True)
        # A fork, because importing torch and fairseq takes longer than the training.
        process = os.fork()
        if process == 0:
            _train(moment, arguments)
        _, status = os.waitpid(process, 0)
        expected = 0 if moment == "end" else -signal.SIGKILL
        assert os.waitstatus_to_exitcode(status) == expected, f"until {moment}: status {status}"


def _train(moment, arguments):
    status = 1
    try:
        if moment != "end":
            kind, _, number = moment.partition(":")
            FAULTS[kind](_countdown(int(number)))
        sys.argv = ["fairseq-train", *arguments]
        cli_main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def _countdown(number):
    """A function that is true at its Nth call."""
    left = iter(range(number - 1, -1, -1))
    return lambda: next(left, None) == 0


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _at_update(due):
    train_step = Trainer.train_step

    def killed(self, *args, **kwargs):
        return _die() if due() else train_step(self, *args, **kwargs)

    Trainer.train_step = killed


def _while_writing(due):
    save = torch.save

    def killed(state, stream):
        if not due():
            return save(state, stream)
        whole = io.BytesIO()
        save(state, whole)
        stream.write(whole.getvalue()[: whole.tell() // 2])
        stream.flush()
        _die()

    torch.save = killed


def _while_copying(due):
    copy = shutil.copyfile

    def killed(source, target):
        if not due():
            return copy(source, target)
        with open(source, "rb") as whole, open(target, "wb") as half:
            half.write(whole.read(os.path.getsize(source) // 2))
        _die()

    shutil.copyfile = killed


FAULTS = {"update": _at_update, "write": _while_writing, "copy": _while_copying}

if __name__ == "__main__":
    separator = sys.argv.index("--")
    main(sys.argv[1:separator], sys.argv[separator + 1 :])
