"""How a user's mistake ends a command: one line, exit status 1, no traceback."""

import importlib.util


class UsageError(SystemExit):
    """A flag, file or value is wrong. The message names it and says what would be right.

    A SystemExit, because fairseq's commands pass that through: Python prints the line and exits with 1.
    """

    PREFIX = "fairseq_intra: error: "

    def __init__(self, message: str):
        super().__init__(f"{self.PREFIX}{message}")


def reason(error: BaseException) -> str:
    """The line of an error that says most: the first "size mismatch" in torch's list of them, else the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if line.startswith("size mismatch")), lines[0])


def need_package(name: str, extra: str) -> None:
    """Raises UsageError where a package is not installed that only an extra of this one brings."""
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        raise UsageError(f"{name} is not installed; install it: pip install 'fairseq-intra[{extra}]'")
