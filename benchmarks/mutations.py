"""Values and damaged files that `fuzz.py` draws."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_SPECIAL = ["", "\0", "\x1b]0;x\x07", "..", "/", "../../x", "=1+1", "-1", "9" * 400, "9" * 5000, "1e999", "nan", "-inf",
            "null", "true", "[" * 200, "{", "*a", "&a [*a]", "\u202e", "\ud800", "é", "\r\n", "%s{}$(x)`x`", "'", '"',
            "a" * 300, "1-999999999", "0", "1.5", "seed-1", "0123456789", "0123456789/seed-1",
            "/dev/zero", "~", " "]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(_SPECIAL), st.text(max_size=20))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(10**17, 10**400), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """`data` with a few bytes changed, put in, taken out or repeated, or cut off."""
    place = st.integers(0, max(0, len(data) - 1))
    edit = st.tuples(st.sampled_from("xxidrc"), place, st.integers(1, 64), st.binary(min_size=1, max_size=4))
    return st.lists(edit, min_size=0, max_size=3).map(lambda edits: functools.reduce(_edited, edits, data))


def _edited(data: bytes, edit: tuple[str, int, int, bytes]) -> bytes:
    kind, place, size, new = edit
    after = {"x": new + data[place + len(new) :], "i": new + data[place:], "d": data[place + size :], "c": b"",
             "r": data[place : place + size] + data[place:]}  # fmt: skip
    return data[:place] + after[kind]


def replaced(value: Any) -> st.SearchStrategy[Any]:
    """A JSON value with one of its parts replaced, or left out."""
    paths = list(_paths(value))
    return st.tuples(st.sampled_from(paths), VALUES, st.booleans()).map(lambda drawn: _replaced(value, *drawn))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _paths(child, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], new: Any, leave_out: bool) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and leave_out:
        del copy[path[0]]
    else:
        copy[path[0]] = _replaced(value[path[0]], path[1:], new, leave_out)
    return copy


def json_files(value: Any) -> st.SearchStrategy[bytes]:
    """The file of a JSON value, damaged in its structure or in its bytes."""
    whole = json.dumps(value).encode()
    return st.one_of(mutated(whole), replaced(value).map(lambda other: json.dumps(other).encode("utf-8", "replace")))
