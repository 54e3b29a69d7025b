"""Keeps fairseq from importing scikit-learn and SciPy before a score needs them: together they take as long as torch.

fairseq imports all its criterions and tasks when it starts; two of them import these packages for the scores of
classification. In a process that imports this package before fairseq, those names stand for the packages' functions,
which are imported when they are called. Everything else that imports the packages gets them as they are.
"""

import builtins
import pkgutil

from .import_hooks import around_import

#: The modules of fairseq whose imports are deferred, and the modules that they import from.
IMPORTING = ("fairseq.criterions.sentence_prediction", "fairseq.tasks.audio_classification")
DEFERRED = ("sklearn", "sklearn.metrics", "scipy.stats")


def defer_imports() -> None:
    """Defers these imports from now on; call it before something imports fairseq's two modules."""
    around_import(IMPORTING, _deferring)


class _Deferred:
    """A function, or a module of functions, by its full name."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return _Deferred(f"{self._name}.{attribute}")

    def __call__(self, *args, **kwargs):
        return pkgutil.resolve_name(self._name)(*args, **kwargs)


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """Python's import statement, for the two modules alone."""
    if fromlist and name in DEFERRED:
        return _Deferred(name)
    return builtins.__import__(name, globals, locals, fromlist, level)


def _deferring(execute, module):
    vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
    execute(module)
