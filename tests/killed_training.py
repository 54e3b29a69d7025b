"""fairseq-train, killed at a given moment.

python killed_training.py MOMENT ARGUMENTS is `fairseq-train ARGUMENTS` in a process that kills itself by SIGKILL at
`update:N`, before its Nth update; `write:N`, half-way through writing its Nth checkpoint; `copy:N`, half-way through
its Nth copy of one. With `end` it comes to its end.
"""

import io
import os
import shutil
import signal
import sys

from fairseq_cli.train import cli_main  # before all else of fairseq: it sets the log's format

# isort: split
import torch
from fairseq.trainer import Trainer


def main(moment, *arguments):
    """Becomes the training."""
    if moment != "end":
        kind, _, number = moment.partition(":")
        FAULTS[kind](_countdown(int(number)))
    sys.argv = ["fairseq-train", *arguments]
    cli_main()


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
    main(*sys.argv[1:])
