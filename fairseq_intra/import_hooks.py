"""Takes the place of a module's execution when something imports it, however much later."""

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Collection
from types import ModuleType

Execute = Callable[[ModuleType], None]


def around_import(names: Collection[str], around: Callable[[Execute, ModuleType], None]) -> None:
    """From here on, importing one of these modules calls `around(execute, module)`.

    Args:
        names: full names; a module that is imported already stays as it is.
        around: runs the module's code by `execute(module)`, and does what is to come before and after.
    """
    sys.meta_path.insert(0, _Finder(names, around))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules as Python would."""

    def __init__(self, names, around):
        self._names, self._around = names, around

    def find_spec(self, name, path, target=None):
        if name not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(self._around, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec
