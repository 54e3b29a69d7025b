"""What the commands of `fairseq-intra` share: how they are declared, and what their flags have in common."""

from ..errors import UsageError


def add_command(commands, name, run, text):
    """Declares a subcommand, which `run` carries out with the parsed arguments; returns its parser."""
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def need_counts(args, *names):
    """Raises UsageError if one of the flags was given and is below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
