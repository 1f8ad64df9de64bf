"""Read YAML files with line numbers, so that every error can name file and line.

Scalars stay text; the caller parses them by the declared type. That avoids YAML 1.1's implicit types (`3e-4` a string,
`no` a boolean, `12:00:00` a number). Duplicate keys are errors. Size, depth and what aliases repeat are limited, so
that a small file cannot stand for values without end.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from sweepwise.core import atomic
from sweepwise.core.errors import JobsError, near
from sweepwise.core.value_format import shown
from sweepwise.core.yaml_scalars import PlainText

_WHOLE = re.compile(r"\s*[-+]?[0-9]{1,15}\s*")
_NULL = "tag:yaml.org,2002:null"
_MAX_DEPTH = 3  # the deepest legal value is a list of lists
_MAX_BYTES = 1_000_000  # of a file; PyYAML reads about 100,000 in a second
_MAX_VALUES = 100_000  # of a file, with what aliases repeat
_MAX_NESTING = 50  # levels of lists and mappings, through aliases too


@functools.cache
def _note(line: str) -> None:
    """Prints a note once: commands read a plan several times."""
    print(f"note: {shown(line)}", file=sys.stderr)


@dataclass(frozen=True)
class Entry:
    """One value of a YAML file."""

    node: yaml.Node
    file: str
    name: str  # name in messages: "sweeps.ensemble.grid"

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def error(self, message: str) -> JobsError:
        """An error whose message begins with file and line."""
        return JobsError(f"{self.file}:{self.line}: {message}")

    def text(self) -> str:
        """A scalar as it is written. Raises `JobsError` for a list, a mapping or an empty value."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag == _NULL:
            raise self.error(f"{self.name}: give one value here")
        return str(self.node.value)

    def whole(self) -> int:
        if not _WHOLE.fullmatch(self.text()):
            raise self.error(f"{self.name}: {self.text()!r} is not a whole number of at most 15 digits")
        return int(self.text())

    def flag(self) -> bool:
        words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        if self.text().lower() not in words:
            raise self.error(f"{self.name}: {self.text()!r} is neither true nor false")
        return words[self.text().lower()]

    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def items(self) -> list[Entry]:
        """The elements of a list."""
        if not self.is_list():
            raise self.error(f"{self.name}: give a list here, such as [1, 2]")
        return [Entry(child, self.file, self.name) for child in self.node.value]

    def texts(self) -> tuple[str, ...]:
        """One text or a list of texts, as a tuple."""
        if isinstance(self.node, yaml.ScalarNode):
            return (self.text(),)
        return tuple(item.text() for item in self.items())

    def mapping(
        self, legal: Iterable[str] | None = None, former: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Entry]:
        """The entries of a mapping. former: former name of a key -> its name, under which it is returned, with a note
        on stderr. Raises `JobsError` for keys outside `legal` and for duplicate keys."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"{self.name}: give `key: value` lines here")
        allowed = None if legal is None else list(legal)
        entries: dict[str, Entry] = {}
        for key_node, value_node in self.node.value:
            key = Entry(key_node, self.file, self.name).text()
            if key in former:
                _note(f"{self.file}:{key_node.start_mark.line + 1}: {key!r} is called {former[key]!r} now; rename it")
                key = former[key]
            if key in entries:
                raise Entry(key_node, self.file, key).error(f"{key!r} occurs twice in {self.name}")
            if allowed is not None and key not in allowed:
                hint = near(key, allowed)
                legal = f" Legal: {', '.join(allowed)}" if hint.endswith("?") else ""
                raise Entry(key_node, self.file, key).error(f"unknown {key!r} in {self.name}; {hint}{legal}")
            entries[key] = Entry(value_node, self.file, key if self.name in ("plan", "file") else f"{self.name}.{key}")
        return entries

    def raw(self, depth: int = 0) -> Any:
        """Text, None or a nested list of these, for `Schema.parse_value`. Text without quotes is `PlainText`."""
        if depth >= _MAX_DEPTH or isinstance(self.node, yaml.MappingNode):
            raise self.error(f"{self.name}: give a value or a list of values here")
        if isinstance(self.node, yaml.SequenceNode):
            return [item.raw(depth + 1) for item in self.items()]
        if self.node.tag == _NULL:
            return None
        return str(self.node.value) if self.node.style else PlainText(self.node.value)


def parse(text: str, file: str, name: str = "file") -> Entry:
    """The root of a YAML text. Raises `JobsError` with line and reason if it is invalid or empty."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise JobsError(f"{file}{line}: broken YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise JobsError(f"{file}: not a YAML text: {str(error).splitlines()[0]}") from error
    except RecursionError:
        raise JobsError(f"{file}: nested too deeply") from None
    if node is None:
        raise JobsError(f"{file}: empty; see `sweeps plan --example` for a complete plan")
    _check_size(node, file, {})
    return Entry(node, file, name)


def _check_size(node: yaml.Node, file: str, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(number of values below `node`, itself included and each as often as aliases repeat it; levels).

    sizes: of nodes that were counted before; (0, 0) while one is. Raises `JobsError` above the limits, and for an alias
    to what holds it.
    """
    where = f"{file}:{node.start_mark.line + 1}"
    if id(node) in sizes:
        if sizes[id(node)] == (0, 0):
            raise JobsError(f"{where}: an alias is inside the value that it repeats; write the values out")
        return sizes[id(node)]
    sizes[id(node)] = (0, 0)
    children = () if isinstance(node, yaml.ScalarNode) else node.value
    pairs = (child if isinstance(child, tuple) else (child,) for child in children)
    below = [_check_size(child, file, sizes) for pair in pairs for child in pair]
    size, levels = 1 + sum(size for size, _ in below), 1 + max((levels for _, levels in below), default=0)
    if size > _MAX_VALUES:
        raise JobsError(f"{where}: more than {_MAX_VALUES:,} values, with those that aliases repeat; write fewer")
    if levels > _MAX_NESTING:
        raise JobsError(f"{where}: nested too deeply: more than {_MAX_NESTING} levels")
    sizes[id(node)] = size, levels
    return size, levels


def read(path: Path, name: str = "file") -> Entry:
    """The root of a YAML file. Raises `JobsError` if it cannot be read or parsed."""
    try:
        text = atomic.read_text(path, largest=_MAX_BYTES)
    except OSError as error:
        raise JobsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise JobsError(f"{path}: not a text file in UTF-8") from None
    return parse(text, str(path), name)
