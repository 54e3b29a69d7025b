"""The command `fairseq-intra`. Its modules declare the commands; what these need is imported when they run."""

import io
import logging
import os
import sys
import warnings
from pathlib import Path

from .. import __version__
from ..errors import UsageError
from .command import Parser


def main(arguments: list[str] | None = None) -> None:
    """Runs one command. Raises UsageError, which prints one line and exits with 1, on a user's mistake."""
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="replace")
    parser = _parser()
    args, args.passed = parser.parse_known_args(arguments)
    if args.passed and not getattr(args, "passes_on", False):
        args.command.error(f"unrecognized arguments: {' '.join(args.passed)}")
    # What libraries log of their own workings is not what was asked for; fairseq lets all of it through.
    for library in ("fairseq", "matplotlib", "PIL", "sacrebleu"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    _need_utf8_names(args)
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


def _open_what_is_closed():
    """Of a standard stream that the shell closed (2>&-) Python makes None, and the next file would get its number."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.set_inheritable(number, True)
            if null != number:
                os.close(null)
            setattr(sys, name, open(number, "w", encoding="utf-8"))


def _need_utf8_names(args):
    """Names of files come to stand in JSON, in tables and in the configurations of fairseq and SentencePiece."""
    for value in vars(args).values():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path | str) and str(path).encode(errors="replace").decode() != str(path):
                raise UsageError(f"the name {ascii(str(path))} is not UTF-8; give another")


def _parser():
    from . import evaluate, finetune, finetune_transfer, grid, prepare, runs, sensitivity, train, transfer, translate

    parser = Parser(prog="fairseq-intra", description="Commands beside the fairseq plugin.")
    parser.add_argument("--version", action="version", version=f"fairseq-intra {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    groups = (prepare, train, finetune, finetune_transfer, evaluate, translate, grid, runs, sensitivity, transfer)
    for group in groups:
        group.add_commands(commands)
    return parser
