"""How command-line libraries read the text of a value: numbers, texts in quotes, lists and mappings.

For `override_styles`. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_PATH = re.compile(r"(\.{0,2}/)?[A-Za-z_][A-Za-z0-9_./-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")  # PyYAML reads them only as \uXXXX
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan"}
_NOTHING = "an empty list, before Python 3.13"
_HYDRA_WORDS = {"true", "false", "null", "inf", "nan"}


class CannotWriteError(ValueError):
    """Why a value cannot be written, and what to do instead."""


def number(value: int | float, special: Callable[[float], str] | None = None) -> str:
    """The exact number. A negative fraction is in decimals: argparse takes `-1e-3` for a flag. A power of ten has a
    point: PyYAML takes `1e-05` for text. special: how NaN and infinity are written."""
    if isinstance(value, int):
        return int.__repr__(value)
    if not math.isfinite(value):
        if special is None:
            raise CannotWriteError("NaN and infinity cannot be written in this style: use a finite number")
        return special(value)
    text = float.__repr__(value)
    if "e" not in text:
        return text
    if value < 0:
        plain = format(Decimal(text), "f")
        return plain if "." in plain else f"{plain}.0"
    digits, _, power = text.partition("e")
    return text if "." in digits else f"{digits}.0e{power}"


def _bare(text: str, path: bool, words: set[str]) -> bool:
    """Whether it needs no quotes: a plain word that the library takes for no other value. words: these."""
    return bool((_PATH if path else _WORD).fullmatch(text)) and text.lower() not in words


def _yaml_special(value: float) -> str:
    return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"


def json_text(text: str) -> str:
    """`text` in double quotes, as JSON and YAML read it alike."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def _without_interpolation(text: str) -> str:
    """`text` with `${` escaped for OmegaConf, which halves the backslashes before it."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def _yaml_text(text: str, path: bool = False) -> str:
    return text if _bare(text, path, _YAML_WORDS) else json_text(text)


def _omegaconf_text(text: str, path: bool = False) -> str:
    return _yaml_text(_without_interpolation(text), path)


def _hydra_text(text: str, path: bool = False) -> str:
    """In single quotes, unless it is a plain word. Hydra halves backslashes only before a quote."""
    if _bare(text, path, _HYDRA_WORDS):
        return text
    if path and "${" in text:
        raise CannotWriteError("Hydra resolves ${ in the name of a folder twice: use another name")
    literal = _without_interpolation(text)
    return "'{}'".format(re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + match[2].replace("'", r"\'"), literal))


def _python_text(text: str, path: bool = False) -> str:
    bare = (_PATH if path else _NAME).fullmatch(text) and text not in ("True", "False", "None")
    return text if bare else repr(text)


def _plain_text(text: str, path: bool = False) -> str:
    return text


@dataclass(frozen=True)
class Notation:
    """How a library reads what stands after `=`.

    text: a text, quoted where it must be. Its second argument is whether it is a path, which may begin with `/`. true,
    false, null: these values; null "" where there is none. special: NaN and infinity; None where there are none.
    containers: whether lists and mappings can be written. reserved: texts that the library takes for another value,
    with that value.
    """

    text: Callable[[str, bool], str]
    true: str = "true"
    false: str = "false"
    null: str = "null"
    special: Callable[[float], str] | None = None
    containers: bool = True
    reserved: Mapping[str, str] = field(default_factory=dict)

    def scalar(self, value: Any) -> str:
        if value is None:
            if not self.null:
                raise CannotWriteError("null cannot be written inside a list in this style: leave the element out")
            return self.null
        if isinstance(value, bool):
            return self.true if value else self.false
        if isinstance(value, (int, float)):
            return number(value, self.special)
        if not isinstance(value, str):
            raise CannotWriteError(
                f"a {type(value).__name__} is not a legal value: use a number, a switch, a text or a list"
            )
        return self.quoted(value)

    def quoted(self, text: str, path: bool = False) -> str:
        """A text, or a path, after `=`."""
        if text in self.reserved:
            raise CannotWriteError(f"the library reads this text as {self.reserved[text]}: use another text")
        return self.text(text, path)

    def literal(self, value: Any) -> str:
        """`value` after `=`, with lists and mappings."""
        if not isinstance(value, (tuple, list, Mapping)):
            return self.scalar(value)
        if not self.containers:
            raise CannotWriteError("the style has no nested values: give each of its keys alone, or use style file")
        within = self if self.text is not _plain_text else YAML
        if isinstance(value, Mapping):
            pairs = (f"{within.key(name)}: {within.literal(item)}" for name, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        return f"[{','.join(map(within.literal, value))}]"

    def key(self, name: Any) -> str:
        """The name of an element of a mapping."""
        if not isinstance(name, str):
            raise CannotWriteError(f"the key {name!r} is not a text: put it in quotes")
        if self.text is not _hydra_text:
            return _yaml_text(name) if self.text is _omegaconf_text else self.text(name, False)
        if not _WORD.fullmatch(name) or name.lower() in _HYDRA_WORDS:
            raise CannotWriteError(f"Hydra cannot read the key {name!r} of a mapping: use letters, digits and _")
        return name


YAML = Notation(_yaml_text, special=_yaml_special)
PLAIN = Notation(_plain_text, "True", "False", "", str, containers=False)
ARGPARSE = replace(PLAIN, reserved={"--": _NOTHING})
TYRO = Notation(_plain_text, "True", "False", "None", str, containers=False, reserved={"None": "null"})
ABSL = Notation(_plain_text, "true", "false", "", str, containers=False)
JSONARGPARSE = Notation(_plain_text, special=_yaml_special, reserved={"null": "null", "--": _NOTHING})
PYTHON = Notation(_python_text, "True", "False", "None")
HYDRA = Notation(_hydra_text, special=str)
OMEGACONF = Notation(_omegaconf_text, special=_yaml_special)
