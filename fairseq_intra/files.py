"""Files that nobody sees half of, and the JSON files that the plugin's commands read again."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from .errors import UsageError


@contextlib.contextmanager
def replacing(path: Path):
    """Gives the name to write a file under; it gets its own name, in one step, once the block has ended well."""
    partial = path.with_name(f".{path.name}.partial")
    yield partial
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with line feeds as it has them."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_record(path: Path, record) -> None:
    """Writes a dataclass as JSON."""
    write_text(path, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def read_record(cls, path: Path, form: int, what: str):
    """An instance of a dataclass that `write_record` wrote; its field `format` tells versions of the file apart.

    Raises:
        UsageError: if there is no such file, or it is not `what`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    names = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(content, dict) or set(content) != names or content["format"] != form:
        raise UsageError(f"{path} is not {what} (format {form})")
    return cls(**content)


def read_lines(path: Path) -> list[str]:
    """A text file's lines, cut at line feeds only (text may hold other characters Unicode calls line breaks)."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            return [line.rstrip("\n") for line in file]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None


def need_folder_of(output: Path) -> None:
    """Said before long work: the file that --output names can be written.

    Raises:
        UsageError: if the folder it is to lie in is not there.
    """
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: its folder is not there")
