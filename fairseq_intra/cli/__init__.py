"""The command `fairseq-intra`. Its modules declare the commands; what these need is imported when they run."""

import io
import logging
import os
import sys
import warnings

from .. import __version__
from ..errors import UsageError
from .command import Parser


def main(arguments: list[str] | None = None) -> None:
    """Runs one command. Raises UsageError, which prints one line and exits with 1, on a user's mistake."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="replace")
    parser = _parser()
    args, args.passed = parser.parse_known_args(arguments)
    if args.passed and not getattr(args, "passes_on", False):
        parser.error(f"unrecognized arguments: {' '.join(args.passed)}")
    # What libraries log of their own workings is not what was asked for; fairseq lets all of it through.
    for library in ("fairseq", "matplotlib", "PIL", "sacrebleu"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone (| head -1); Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        from ..write_errors import os_error_message

        raise UsageError(
            os_error_message(error, getattr(args, "out", None) or getattr(args, "output", None))
        ) from None


def _parser():
    from . import evaluate, finetune, finetune_transfer, grid, prepare, runs, sensitivity, train, transfer, translate

    parser = Parser(prog="fairseq-intra", description="Commands beside the fairseq plugin.")
    parser.add_argument("--version", action="version", version=f"fairseq-intra {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    groups = (prepare, train, finetune, finetune_transfer, evaluate, translate, grid, runs, sensitivity, transfer)
    for group in groups:
        group.add_commands(commands)
    return parser
