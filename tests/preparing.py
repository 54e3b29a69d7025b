"""How the tests run `fairseq-intra prepare` in this process."""

import contextlib
import io

import pytest

from fairseq_intra import cli
from fairseq_intra.errors import UsageError


def prepare(*arguments: object) -> str:
    """Runs the command, which must do its work; returns what it said."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        cli.main(["prepare", *map(str, arguments)])
    return said.getvalue()


def rejected(*arguments: object) -> str:
    """Runs the command, which must reject its arguments or files; returns the one-line error message."""
    with pytest.raises(UsageError) as raised:
        prepare(*arguments)
    message = str(raised.value)
    assert message.startswith("fairseq_intra: error: ") and "\n" not in message
    return message
