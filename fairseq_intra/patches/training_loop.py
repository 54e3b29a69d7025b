"""Where fairseq's training loop stands, its file being the program run or not, and from where its trainer counts."""

import importlib
import sys


def module():
    """`__main__` where that is fairseq's train.py, else `fairseq_cli.train`."""
    program = sys.modules["__main__"]
    return program if hasattr(program, "validate_and_save") else importlib.import_module("fairseq_cli.train")


def train_no_more(trainer) -> None:
    """The training ends before its next epoch. Not by an exit: others may follow in the process, as in a sweep."""
    # The loop reads it when the checkpoint is loaded; 0 is no limit.
    trainer.cfg.optimization.max_epoch = -1


def has_restored_updates(trainer) -> bool:
    """Whether the checkpoint that a trainer has loaded gave it its number of updates: without optimizer state, as
    after --no-save-optimizer-state, fairseq leaves it at 0.
    """
    history = trainer._optim_history
    return not history or trainer.get_num_updates() == history[-1]["num_updates"]
