"""What a folder is made with: the file arguments.txt in it, which a repeated command must agree with."""

from itertools import zip_longest
from pathlib import Path

from ..errors import UsageError
from ..files import read_lines, write_text


def keep_arguments(folder: Path, lines: list[str], has_results: bool = True) -> None:
    """Writes FOLDER/arguments.txt; where it is there already, its lines must be these.

    Args:
        folder: what is made.
        lines: what it is made with.
        has_results: whether the folder holds any yet; without, other arguments are allowed.

    Raises:
        UsageError: naming the first line that differs.
    """
    path = folder / "arguments.txt"
    if not (has_results and path.exists()):
        write_text(path, "".join(f"{line}\n" for line in lines))
        return
    for before, now in zip_longest(read_lines(path), lines):
        if before != now:
            raise UsageError(
                f"{folder} was made with other arguments or data ('{before}' there, '{now}' now); give another --out"
            )
