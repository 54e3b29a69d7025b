"""Imports of torch and fairseq without a search for garbage: there is none, and it takes a seventh of the time."""

import gc

from .import_hooks import around_import


def import_without_collecting() -> None:
    """From here on, Python looks for no garbage while it imports torch or fairseq, nor in what there is by then."""
    around_import(("torch", "fairseq"), _without_collecting)


def _without_collecting(execute, module):
    collects = gc.isenabled()
    gc.disable()
    try:
        execute(module)
    finally:
        # Else the next search would go through all of it.
        gc.freeze()
        if collects:
            gc.enable()
