"""What the commands of `fairseq-intra` share: how they are declared, and how their flags are read."""

import argparse
from collections.abc import Callable
from pathlib import Path

from ..errors import UsageError

MAX_LENPEN = 100


class Parser(argparse.ArgumentParser):
    """Reads flags; a mistake is a one-line error message, and no flag may be abbreviated."""

    def __init__(self, **more):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        self.register("type", Path, _path)

    def error(self, message):
        raise UsageError(f"{message} (see {self.prog} --help)")


def _path(text):
    """`type=Path` stands for this: an empty path, as of a variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return Path(text)


def not_empty(text: str) -> str:
    """A `type` of flags whose value may not be blank, as that of a variable that is not set is."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def add_command(commands, name: str, run: Callable | None, text: str, example: str = "", more: str = "") -> Parser:
    """Declares a command.

    Args:
        commands: the subparsers of `fairseq-intra`, or of one of its commands.
        name: of the command.
        run: called with the parsed arguments; None for one that has commands of its own.
        text: what the command does, for the help.
        example: command lines that the help shows below the flags.
        more: what the help says of it above them.
    """
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}." + (f"\n\n{more}" if more else ""),
        epilog=f"example:\n  {example}" if example else None,
    )
    command.set_defaults(run=run, command=command)
    return command


def need_counts(args: argparse.Namespace, *names: str) -> None:
    """Raises UsageError if one of the flags was given and is below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {value}")


def need_lenpen(lenpen: float) -> None:
    """Raises UsageError on a length penalty that is no exponent of a length."""
    if not 0 <= lenpen <= MAX_LENPEN:
        raise UsageError(f"--lenpen must be a number from 0 to {MAX_LENPEN}, not '{lenpen:g}'")
