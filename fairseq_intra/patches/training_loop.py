"""Where fairseq's training loop stands: its file may be the program run."""

import importlib
import sys


def module():
    """`__main__` where that is fairseq's train.py, else `fairseq_cli.train`."""
    program = sys.modules["__main__"]
    return program if hasattr(program, "validate_and_save") else importlib.import_module("fairseq_cli.train")
