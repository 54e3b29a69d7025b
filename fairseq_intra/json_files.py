"""The JSON files that commands read again, and whether they have the shape that was written."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, NewType

from .errors import UsageError
from .files import write_text

#: The type of a record's field that names a file in the record's own folder.
FileName = NewType("FileName", str)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, indented."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UsageError: if it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from None


def write_record(path: Path, record: Any) -> None:
    """Writes a dataclass as JSON."""
    write_json(path, dataclasses.asdict(record))


def read_record(cls, path: Path, formats: int | tuple[int, ...], what: str):
    """An instance of a dataclass that `write_record` wrote; its field `format` tells versions of the file apart.

    Fields with a default may be missing, as in files of an earlier format.

    Args:
        cls: the dataclass; every field must have the type of its annotation.
        path: the JSON file.
        formats: the format, or those that can be read.
        what: the kind of file, for the error message.

    Raises:
        UsageError: if there is no such file, or it is not `what`.
    """
    content = read_json(path)
    readable = formats if isinstance(formats, tuple) else (formats,)
    types_of = typing.get_type_hints(cls)
    needed = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
    names = set(content) if isinstance(content, dict) else set()
    if not names or content.get("format") not in readable or not needed <= names <= set(types_of):
        raise UsageError(f"{path} is not {what} (format {' or '.join(map(str, readable))})")
    for name, value in content.items():
        if not has_type(value, types_of[name]):
            raise UsageError(f"{path} is not {what}: its '{name}' is {json.dumps(value)[:60]}")
    return cls(**content)


def has_type(value: Any, annotation: Any) -> bool:
    """Whether a value that was read from JSON is of a type; numbers of a float may be written without a point."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return True
    if annotation is FileName:
        return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and "\0" not in value
    if origin in (types.UnionType, typing.Union):
        return any(has_type(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(has_type(item, *parts) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(has_type(item, parts[1]) for item in value.values())
    if typing.is_typeddict(annotation):
        hints = typing.get_type_hints(annotation)
        known = isinstance(value, dict) and annotation.__required_keys__ <= set(value) <= set(hints)
        return known and all(has_type(item, hints[name]) for name, item in value.items())
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool))


def has_fields(value: Any, types_of: dict[str, Any]) -> bool:
    """Whether a value that was read from JSON is an object with these fields, of these types; it may have others."""
    return isinstance(value, dict) and all(has_type(value.get(name), kind) for name, kind in types_of.items())
