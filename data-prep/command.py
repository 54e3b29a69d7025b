"""What the Python side of every script of this folder shares: how it reports, and how it ends."""

import argparse
import errno
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from parallel_text import BadInput

#: The script that this process works for: prepare_l10n.py is started by prepare-l10n.sh.
PROGRAM = Path(sys.argv[0]).stem.replace("_", "-") + ".sh"


def say(message: str) -> None:
    """One line of progress, in the form of the script's own."""
    print(f"{PROGRAM}: {message}", file=sys.stderr, flush=True)


def run(parse: Callable[[], argparse.Namespace]) -> None:
    """Takes the step that the arguments name; a user's mistake ends it with one line and status 1."""
    arguments = argparse.Namespace()
    try:
        arguments = parse()
        arguments.step(arguments)
    except (BadInput, zipfile.BadZipFile) as error:
        sys.exit(f"{PROGRAM}: error: {error}")
    except OSError as error:
        sys.exit(f"{PROGRAM}: error: {told(error, getattr(arguments, 'to', None))}")
    except KeyboardInterrupt:
        sys.exit(130)


def told(error: OSError, folder: Path | None) -> str:
    """One line about an operating system's error; a full disk's names no file, so the folder written to stands in."""
    where = error.filename or folder or "standard output"
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk of {where}; free some and run this again"
    return f"{where}: {error.strerror}"
