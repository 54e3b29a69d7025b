"""Intra-distillation for fairseq: give this folder to fairseq's commands as `--user-dir`."""

__version__ = "0.1.0"

from . import compat

compat.apply()

# fairseq imports the folder and no more: what registers itself must be imported here.
from . import (  # noqa: E402,F401
    criterion,
    intra_tagging,
    self_distillation,
    sentence_prediction,
    tagging_criterion,
    task,
)
