"""The command `fairseq-intra`. Its modules declare the commands; what these need is imported when they run."""

import argparse
import logging
import warnings

from .. import __version__


def main(arguments: list[str] | None = None) -> None:
    """Runs one command. Raises UsageError, which prints one line and exits with 1, on a user's mistake."""
    args = _parser().parse_args(arguments)
    # What libraries log of their own workings is not what was asked for; fairseq lets all of it through.
    for library in ("fairseq", "matplotlib", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    args.run(args)


def _parser():
    from . import runs, sensitivity, transfer

    parser = argparse.ArgumentParser(prog="fairseq-intra", description="Commands beside the fairseq plugin.")
    parser.add_argument("--version", action="version", version=f"fairseq-intra {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (runs, sensitivity, transfer):
        group.add_commands(commands)
    return parser
