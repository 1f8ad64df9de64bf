"""Values of hyperparameters as elements of a program's command line, in the way of one command-line library.

Each element is literal: it goes to the program as it is, and no shell reads it. What a style cannot carry exactly is
refused. `benchmarks/override_styles.py` makes the round trip through the real libraries. Standard library only.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.programs import override_notations as notations
from jobs.programs.override_notations import CannotWriteError, Notation
from sweepwise.core.errors import JobsError, near

# Tuples nest. A mapping from text to values may occur in place of a value.
Value = None | bool | int | float | str | tuple[Any, ...]

SWITCHES = ("", "flag", "pair", "value")
SPLITS = ("", "words", "repeat", "comma")
_FLAG = re.compile(r"\w[\w./-]*")
_HYDRA_KEY = re.compile(r"(\+{1,2}|~)?[A-Za-z_$][A-Za-z0-9_$./@-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEGATIVE_DECIMAL = re.compile(r"-\d+|-\d*\.\d+")  # what argparse takes for a number and not for a flag
_LONGEST = 80  # characters of a value in an error


class StyleError(JobsError):
    """A value that a style cannot carry. One line: the key, the value, the style, what to do instead."""


@dataclass(frozen=True)
class KeyRule:
    """The exceptions for one key; "" for what the style does.

    switch: how a boolean is written: flag (`--k`, and nothing for false), pair (`--k` and `--no-k`, as argparse, click
    and tyro do), value (`--k=True`, as the others do). split: how a list is written: words (`--k 1 2`, as argparse and
    tyro do), repeat (`--k=1 --k=2`, as click does), comma (`--k=1,2`, as absl does). env: the environment variable that
    carries the value instead of the command line. omit_if_null: whether None is left out. name: the flag's name where
    it is not the key.
    """

    switch: str = ""
    split: str = ""
    env: str = ""
    omit_if_null: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        for field, word, legal in (("switch", self.switch, SWITCHES), ("split", self.split, SPLITS)):
            if word not in legal:
                raise StyleError(f"{field}: {word!r}: {near(str(word), legal[1:])}")
        if self.env and not _VARIABLE.fullmatch(self.env):
            raise StyleError(f"env: {self.env!r}: use letters, digits and _, such as LEARNING_RATE")


@dataclass(frozen=True)
class Overrides:
    """argv: literal elements. environment: the texts of the keys with `env`, by variable. config: the values by key of
    the style `file`, for `config_text`."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class _Style:
    """notation: what stands after `=`. flags: whether a key is `--key`. switch, split: as in `KeyRule`; split "" for
    one literal. no: the flag of a false switch of a pair, from the parts of the name before and after its last dot; ""
    where the library has none. dots: whether a mapping is a flag for each of its keys. dashes: whether a word of a list
    may begin with `-`. forbidden: the beginning of a text that the library takes for something else.
    """

    notation: Notation
    flags: bool = True
    switch: str = "value"
    split: str = ""
    no: str = "--no-{0}{1}"
    dots: bool = False
    dashes: bool = False
    forbidden: str = ""


_STYLES: dict[str, _Style] = {
    "argparse": _Style(notations.ARGPARSE, switch="pair", split="words"),
    "hydra": _Style(notations.HYDRA, flags=False),
    "click": _Style(notations.PLAIN, switch="pair", split="repeat", dashes=True),
    "tyro": _Style(notations.TYRO, switch="pair", split="words", no="--{0}no-{1}", dots=True),
    "absl": _Style(notations.ABSL, split="comma", no="--no{0}{1}"),
    "fire": _Style(notations.PYTHON, no="--no{0}{1}"),
    "pyrallis": _Style(notations.YAML, no=""),
    "draccus": _Style(notations.YAML, no="", forbidden="include"),
    "jsonargparse": _Style(notations.JSONARGPARSE, no="--no_{0}{1}"),
    "omegaconf": _Style(notations.OMEGACONF, flags=False),
    "file": _Style(notations.YAML, flags=False),
}
STYLES: tuple[str, ...] = tuple(_STYLES)


# ---- The command line.


def overrides(style: str, values: Mapping[str, Any], rules: Mapping[str, KeyRule] = {}) -> Overrides:
    """`values` in the way of `style`, in their order. rules: exceptions by key. Raises `StyleError`.

    argparse, click and absl have no null: it is left out and the program's default stands. So does an empty list of
    repeated flags, as in click. A list of words ends where the next flag begins: no positional argument may follow it.
    Hydra, OmegaConf and tyro merge a mapping into the default. argparse, click, tyro, absl and jsonargparse take a text
    as the type that the program declares: jsonargparse reads "12" as a number for `Any`, and as text for `str`.
    """
    _known(style)
    argv: list[str] = []
    environment: dict[str, str] = {}
    config: dict[str, Any] = {}
    taken: dict[tuple[bool, str], str] = {}
    for key, value in values.items():
        rule = rules.get(key, KeyRule())
        name = rule.env or rule.name or key
        try:
            if (other := taken.setdefault((bool(rule.env), name), key)) != key:
                raise CannotWriteError(f"{other} is written as {name} too: give one of them another name")
            if value is None and rule.omit_if_null:
                continue
            if rule.env:
                environment[name] = _variable(value, rule)
            elif style == "file":
                _check_name(style, name)
                _json(value)
                config[name] = value
                _nested(config)
            else:
                argv += _elements(style, name, value, rule)
        except CannotWriteError as error:
            raise StyleError(f"{key}={_short(value)}: {error} (style {style})") from None
    return Overrides(tuple(argv), environment, config)


def quote_path(style: str, text: str) -> str:
    """`text` as the right-hand side of `key=...` in a word of the command, quoted where the style cannot carry it bare.

    All of it is literal, also `${...}`. Raises `StyleError`.
    """
    known = _known(style)
    if style == "file":
        return text
    try:
        _check_texts(known, text)
        return known.notation.quoted(text, True)
    except CannotWriteError as error:
        raise StyleError(f"{_short(text)}: {error} (style {style})") from None


def _known(style: str) -> _Style:
    if style not in _STYLES:
        raise StyleError(f"overrides: {style!r}: {near(str(style), STYLES)}")
    return _STYLES[style]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _check_name(style: str, name: str) -> None:
    legal = _HYDRA_KEY if style == "hydra" else _FLAG
    if not isinstance(name, str) or not legal.fullmatch(name):
        raise CannotWriteError(f"{name!r} cannot be the name of a key: use letters, digits, _ and -, or set `name`")


def _check_texts(style: _Style, value: Any) -> None:
    """Raise where a text in `value` cannot stand in a command line."""
    if style.forbidden and isinstance(value, str) and value.startswith(style.forbidden):
        raise CannotWriteError(
            f"the library opens a file for a text that begins with {style.forbidden}: use another one"
        )
    for text in _texts(value):
        written = style.notation.text(text, False)
        if "\0" in written:
            raise CannotWriteError("a command line cannot contain NUL: use style file")
        if any("\ud800" <= character <= "\udfff" for character in written):
            raise CannotWriteError("the text has an invalid character: use another text")


def _elements(style: str, name: str, value: Any, rule: KeyRule) -> list[str]:
    """The elements of one key."""
    _check_name(style, name)
    known = _STYLES[style]
    _check_texts(known, value)
    if not known.flags:
        if rule.switch or rule.split:
            raise CannotWriteError("switch and split are for flags: this style writes key=value, remove them")
        return [f"{name}={known.notation.literal(value)}"]
    if value is None and not known.notation.null:
        return []
    if isinstance(value, bool):
        return _switch(known, name, value, rule.switch or known.switch)
    split = rule.split or known.split
    if split and isinstance(value, (tuple, list)):
        return _list(known, name, value, split, rule.switch or known.switch)
    if known.dots and isinstance(value, Mapping):
        if not value:
            raise CannotWriteError("an empty mapping cannot be written in this style: leave the key out")
        inner = KeyRule(rule.switch, rule.split)
        return [part for key, item in value.items() for part in _elements(style, f"{name}.{key}", item, inner)]
    return [f"--{name}={known.notation.literal(value)}"]


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*_texts(key), *_texts(item))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _texts(item)


def _switch(style: _Style, name: str, value: bool, way: str) -> list[str]:
    if way == "value":
        return [f"--{name}={style.notation.scalar(value)}"]
    if way == "pair" and not style.no:
        raise CannotWriteError("the library has no --no-flags: remove `switch`")
    if value:
        return [f"--{name}"]
    first, dot, last = name.rpartition(".")
    return [style.no.format(first + dot, last)] if way == "pair" else []


def _list(style: _Style, name: str, value: Iterable[Any], way: str, switch: str) -> list[str]:
    """A list as words, repeated flags or one element with commas."""
    parts = []
    for item in value:
        if isinstance(item, (tuple, list, Mapping)):
            raise CannotWriteError("a list within a list cannot be written in this style: use style file")
        if isinstance(item, bool) and style.notation is notations.ARGPARSE and switch != "value":
            raise CannotWriteError(
                "programs read a list of switches in different ways: set `switch: value` to write True"
            )
        parts.append(style.notation.scalar(item))
    if way == "repeat":
        return [f"--{name}={part}" for part in parts]
    if way == "comma":
        return [f"--{name}={_comma(style, parts)}"]
    for part in parts:
        if part.startswith("-") and not style.dashes and not _NEGATIVE_DECIMAL.fullmatch(part):
            raise CannotWriteError(f"{part!r} would be read as a flag: use `split: repeat` if the program can, or env")
    return [f"--{name}", *parts]


def _comma(style: _Style, parts: list[str]) -> str:
    """One text for a list. absl reads it as a line of a CSV file and strips its elements; others split it."""
    if style.notation is not notations.ABSL:
        if parts == [""] or any("," in part for part in parts):
            raise CannotWriteError("an element that is empty or has a comma cannot be joined by commas: use `repeat`")
        return ",".join(parts)
    if any(part != part.strip() for part in parts):
        raise CannotWriteError("absl strips the elements of a list: remove the spaces, or set `split: repeat`")
    line = io.StringIO()
    csv.writer(line).writerow(parts)  # puts elements with a line end in quotes
    return line.getvalue().removesuffix("\r\n")


def _variable(value: Any, rule: KeyRule) -> str:
    """The text of an environment variable: a text as it is, true or false, a number, else JSON."""
    if value is None:
        raise CannotWriteError("an environment variable cannot be null: set `omit_if_null`")
    if isinstance(value, str):
        if "\0" in value:
            raise CannotWriteError("an environment variable cannot contain NUL: use another text")
        return value
    if rule.split == "comma" and isinstance(value, (tuple, list)):
        return _comma(_Style(notations.PLAIN), [item if isinstance(item, str) else _json(item) for item in value])
    return _json(value)


# ---- The file of the style `file`.


def config_text(config: Mapping[str, Any]) -> str:
    """The content of {config_file}: JSON, with the keys nested by their dots. JSON, PyYAML and OmegaConf read the same
    values, except that OmegaConf resolves `${...}` in texts. Raises `StyleError`."""
    try:
        return _json(_nested(config), "") + "\n"
    except CannotWriteError as error:
        raise StyleError(f"config file: {error} (style file)") from None


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    leaves: set[str] = set()
    for key, value in config.items():
        parts = key.split(".")
        at = tree
        for end, part in enumerate(parts[:-1], 1):
            if ".".join(parts[:end]) in leaves:
                raise CannotWriteError(f"{'.'.join(parts[:end])} is a value and {key} a part of it: remove one")
            at = at.setdefault(part, {})
        if parts[-1] in at:
            raise CannotWriteError(f"{key} is a value and has parts: remove one")
        at[parts[-1]] = value
        leaves.add(key)
    return tree


def _json(value: Any, indent: str | None = None) -> str:
    """`value` as JSON that YAML reads the same; a mapping on lines of its own from `indent` on."""
    if isinstance(value, Mapping):
        names = [notations.json_text(name) if isinstance(name, str) else notations.YAML.key(name) for name in value]
        deeper = None if indent is None else f"{indent}  "
        pairs = [f"{name}: {_json(item, deeper)}" for name, item in zip(names, value.values(), strict=True)]
        if indent is None or not pairs:
            return f"{{{', '.join(pairs)}}}"
        return "{\n" + ",\n".join(f"{deeper}{pair}" for pair in pairs) + f"\n{indent}}}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, float):
        return notations.number(value)
    return notations.json_text(value) if isinstance(value, str) else notations.YAML.scalar(value)
