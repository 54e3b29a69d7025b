"""Imports of torch and fairseq that nothing disturbs: no search for garbage, no signal."""

import gc
import signal

from .import_hooks import around_import
from .processes import SIGNALS


def import_undisturbed() -> None:
    """From here on, while Python imports torch or fairseq, a signal waits, and garbage is not looked for.

    There is none, and the search takes a seventh of the time; later ones leave out what there is by then. What a
    signal's handler raises would be lost in C code of torch, which imports numpy, or leave numpy half imported.
    """
    around_import(("numpy", "torch", "fairseq"), _undisturbed)


def _undisturbed(execute, module):
    collects, before = gc.isenabled(), signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    gc.disable()
    try:
        execute(module)
    finally:
        # Else the next search would go through all of it.
        gc.freeze()
        if collects:
            gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
