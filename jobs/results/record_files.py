"""Records as JSON files: encoded with the format version, checked when they are read."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from sweepwise.core import atomic

FORMAT_VERSION = 1
# Names on disk: of a configuration's folder, of a run's folder in it, and of a numbered record.
CONFIG_ID = re.compile(r"[0-9a-f]{10}")
SEED_FOLDER = re.compile(r"seed-(\d+)")
NUMBERED = re.compile(r"(\d{3,9})\.json")


class RecordError(ValueError):
    """A JSON value that is not a valid record; the message says why."""


Record = TypeVar("Record")


def encode(record: Any) -> dict[str, Any]:
    """The record as plain JSON values, with the format version."""
    return {"format": FORMAT_VERSION, **_finite(dataclasses.asdict(record))}


def decode(kind: type[Record], data: Any) -> Record:
    """`data` as a `kind`. Raises `RecordError` if a field is missing or has another type, or the format is newer."""
    if not isinstance(data, Mapping) or not isinstance(data.get("format"), int):
        raise RecordError("not a file of this program")
    if data["format"] > FORMAT_VERSION:
        raise RecordError(f"format {data['format']}, this program reads up to {FORMAT_VERSION}")
    return typing.cast(Record, _decode(kind, data))


def _decode(kind: Any, data: Any) -> Any:
    if not isinstance(data, Mapping):
        raise RecordError(f"not a record of type {kind.__name__}")
    values = {}
    for declared in dataclasses.fields(kind):
        if declared.name in data:
            values[declared.name] = _value(_hints(kind)[declared.name], data[declared.name], declared.name)
        elif declared.default is dataclasses.MISSING and declared.default_factory is dataclasses.MISSING:
            raise RecordError(f"{declared.name!r} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (a for a in arguments if a is not type(None))
        return _value(hint, value, name)
    if origin is list and isinstance(value, list):
        return [_value(arguments[0], item, name) for item in value]
    if origin is dict and isinstance(value, dict):
        if dataclasses.is_dataclass(arguments[1]):
            return {key: _decode(arguments[1], item) for key, item in value.items()}
        return value
    if dataclasses.is_dataclass(hint):
        return _decode(hint, value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise RecordError(f"{name!r} is {value!r:.40}")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _finite(value: Any) -> Any:
    """`value` with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class RecordReader:
    """Reads records. Invalid files are collected in `problems`: path -> message of one line."""

    def __init__(self) -> None:
        self.problems: dict[Path, str] = {}

    def read(self, path: Path, kind: type[Record]) -> Record | None:
        """The record at `path`; None if there is no file, or an invalid one (see `problems`)."""
        try:
            return decode(kind, json.loads(atomic.read_bytes(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.problems[path] = f"{path}: cannot be read: {error.strerror}"
        except (ValueError, RecursionError) as error:  # RecordError, JSONDecodeError, UnicodeDecodeError
            reason = str(error) if isinstance(error, RecordError) else "not a whole JSON file"
            self.problems[path] = f"{path}: {reason}; move it away to remove this message"
        return None


def names_in(folder: Path) -> list[str]:
    """Names in a folder; empty if it is missing or not readable."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def numbers_in(folder: Path) -> list[int]:
    """Numbers of the files `<n>.json` in a folder, ascending."""
    return sorted(int(match[1]) for match in map(NUMBERED.fullmatch, names_in(folder)) if match)
