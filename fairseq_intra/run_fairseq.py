"""`python -m fairseq_intra.run_fairseq train ARGUMENTS` is `fairseq-train ARGUMENTS`, and starts two seconds earlier.

This package is imported before fairseq (see `deferred_imports` and `undisturbed_imports`), and nothing from the
current folder, which may hold downloaded data.
"""

import importlib
import os
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from .user_dir import PACKAGE

COMMANDS = ("generate", "interactive", "preprocess", "train", "validate")


def fairseq_command(name: str) -> list[str]:
    """The words that start one of fairseq's commands by this Python."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", "fairseq_intra.run_fairseq", name]
    # Without -P, -m would import modules of the current folder.
    return [sys.executable, str(Path(sys.executable).with_name(f"fairseq-{name}"))]


def word_of(path: Path) -> str:
    """A path that is not taken for a flag."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def fairseq_distribution() -> str:
    """The name under which fairseq is installed: it comes under more than one."""
    return packages_distributions()["fairseq"][0]


def main() -> None:
    """Runs the command of fairseq that is the first argument."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: python -m fairseq_intra.run_fairseq {{{','.join(COMMANDS)}}} ...")
    name = sys.argv.pop(1)
    sys.argv[0] = f"fairseq-{name}"
    # Python's -m put the current folder first, which the package is needed from only in an uninstalled checkout.
    here = os.getcwd()
    if sys.path[:1] in ([here], [""]) and PACKAGE.parent != Path(here):
        del sys.path[0]
    importlib.import_module(f"fairseq_cli.{name}").cli_main()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # A worker that fairseq spawns, one for each GPU: after fairseq's models, this would find logging set up in
    # another format than that of train.log.
    importlib.import_module("fairseq_cli.train")
