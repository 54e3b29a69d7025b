"""The command `fairseq-intra`."""

import argparse
import logging
import warnings

from .commands_of_runs import add_run_commands
from .commands_of_sensitivity import add_sensitivity_commands
from .commands_of_transfer import add_transfer_commands


def main(arguments: list[str] | None = None) -> None:
    """Runs one subcommand. Raises UsageError, which prints one line and exits with 1, on a user's mistake."""
    args = _parser().parse_args(arguments)
    # What libraries say of their own workings is not what was asked for; fairseq lets all of it through.
    for library in ("fairseq", "matplotlib", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    args.run(args)


def _parser():
    parser = argparse.ArgumentParser(prog="fairseq-intra", description="Tools beside the fairseq plugin.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_run_commands(commands)
    add_sensitivity_commands(commands)
    add_transfer_commands(commands)
    return parser


if __name__ == "__main__":
    main()
