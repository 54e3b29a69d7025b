"""With `python -m fairseq_cli.train`, Python looks for modules in the current folder first, maybe a download.

fairseq imports some packages only when they are needed (sacremoses, nltk, iopath). What it imports before it reads
--user-dir (torch, wandb) is out of reach here: the console scripts (fairseq-train) or PYTHONSAFEPATH=1 help.
"""

import os
import sys
from pathlib import Path

import fairseq


def apply():
    """Takes the current folder, where `-m` put it, out of sys.path; repeated, it changes nothing."""
    program = getattr(sys.modules["__main__"], "__spec__", None)
    if program is None or program.name.split(".")[0] != "fairseq_cli" or getattr(sys.flags, "safe_path", False):
        return
    here = os.getcwd()
    if Path(fairseq.__file__).parents[1] == Path(here):
        return
    # fairseq may have put the parent of --user-dir before it.
    for place in (1, 0):
        if sys.path[place : place + 1] in ([here], [""]):
            del sys.path[place]
            return
