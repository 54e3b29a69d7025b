"""Keeps fairseq's processes from importing what is seldom needed and takes as long as torch itself.

Scikit-learn and SciPy: fairseq imports all its criterions and tasks when it starts, and two of them import these
packages for the scores of classification. In a process that imports this package before fairseq, those names stand
for the packages' functions, which are imported when they are called. Everything else that imports the packages gets
them as they are.

torch's compiler, `torch._dynamo`: torch marks functions that it must not look into, among them those of every
optimizer, and imports it at the first call of one, to tell it so. In a process that imports this package before
torch, they are called as they are until something else has imported the compiler.
"""

import builtins
import functools
import pkgutil
import sys

from .import_hooks import around_import

#: The modules of fairseq whose imports are deferred, and the modules that they import from.
IMPORTING = ("fairseq.criterions.sentence_prediction", "fairseq.tasks.audio_classification")
DEFERRED = ("sklearn", "sklearn.metrics", "scipy.stats")


def defer_imports() -> None:
    """Defers these imports from now on; call it before something imports torch or fairseq."""
    around_import(IMPORTING, _defer_scores)
    around_import(("torch._compile",), _defer_compiler)


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


def _defer_scores(execute, module):
    vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
    execute(module)


def _defer_compiler(execute, module):
    """Around the import of `torch._compile`, whose `_disable_dynamo` is the decorator that marks them."""
    execute(module)
    disable = module._disable_dynamo

    def _disable_dynamo(fn=None, recursive=True):
        if fn is None:
            return functools.partial(_disable_dynamo, recursive=recursive)
        disabled = disable(fn, recursive)

        @functools.wraps(fn)
        def called(*args, **kwargs):
            return (disabled if "torch._dynamo" in sys.modules else fn)(*args, **kwargs)

        return called

    module._disable_dynamo = _disable_dynamo
