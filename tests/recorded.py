"""A stand-in for Python that notes the words of the package's commands, and does nothing."""

from pathlib import Path

STUB = """#!/usr/bin/env bash
[[ $* != *fairseq_intra.cli* ]] || printf '%s\\n' "${@:4}" >>"$CALLS"
"""


def stub(folder: Path) -> dict[str, str]:
    """What has to be in a script's environment."""
    (folder / "python").write_text(STUB)
    (folder / "python").chmod(0o755)
    return {"FAIRSEQ_INTRA_PYTHON": str(folder / "python"), "CALLS": str(folder / "calls")}


def grids(environment: dict[str, str]) -> list[list[str]]:
    """The words of every grid that was asked for."""
    words = Path(environment["CALLS"]).read_text().split("\n")[:-1]
    begins = [number for number, word in enumerate(words) if word == "grid"]
    return [words[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True)]
