"""Registers the plugin when fairseq reads `--user-dir`, even if this package was imported before fairseq.

fairseq skips a user dir whose module is imported already (fairseq/utils.py, import_user_module).
"""

import functools
import importlib
from pathlib import Path

from .import_hooks import around_import

PACKAGE = Path(__file__).resolve().parent


def register_when_fairseq_reads_it() -> None:
    """Wraps fairseq's `import_user_module` as soon as something imports fairseq."""
    around_import(["fairseq.utils"], _wrap)


def _wrap(execute, module):
    execute(module)
    module.import_user_module = _registering(module.import_user_module)


def _registering(original):
    @functools.wraps(original)
    def import_user_module(args):
        original(args)
        user_dir = getattr(args, "user_dir", None)
        if user_dir is not None and Path(user_dir).resolve() == PACKAGE:
            importlib.import_module("fairseq_intra.plugin")

    return import_user_module
