"""Intra-distillation for fairseq: give this folder to fairseq's commands as `--user-dir`."""

__version__ = "0.1.0"

from . import compat

compat.apply()

# fairseq imports the folder and no more: what registers itself must be imported here.
from . import criterion, intra_tagging, self_distillation, tagging_criterion, task  # noqa: E402,F401
