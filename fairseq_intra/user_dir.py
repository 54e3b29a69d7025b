"""Registers the plugin when fairseq reads `--user-dir`, even if this package was imported before fairseq.

fairseq skips a user dir whose module is imported already (fairseq/utils.py, import_user_module).
"""

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def register_when_fairseq_reads_it() -> None:
    """Wraps fairseq's `import_user_module` as soon as something imports fairseq."""
    sys.meta_path.insert(0, _FairseqFinder())


class _FairseqFinder(importlib.abc.MetaPathFinder):
    """Finds `fairseq.utils` as Python would, once, and wraps a function of it when it is loaded."""

    def find_spec(self, name, path, target=None):
        if name != "fairseq.utils":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_wrap(module):
                load(module)
                module.import_user_module = _registering(module.import_user_module)

            spec.loader.exec_module = load_and_wrap
        return spec


def _registering(import_user_module):
    @functools.wraps(import_user_module)
    def import_user_module_and_plugin(args):
        import_user_module(args)
        user_dir = getattr(args, "user_dir", None)
        if user_dir is not None and Path(user_dir).resolve() == PACKAGE:
            importlib.import_module("fairseq_intra.plugin")

    return import_user_module_and_plugin
