"""Values as YAML of a plan, and texts as one line of it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from jobs.programs import override_notations as notations
from sweepwise.core import yaml_scalars
from sweepwise.core.value_format import format_value

_PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9 ._/{}=*+-]*")


def value(given: Any) -> str:
    """A value as flow YAML. Numbers are written as people write them where that is exact."""
    if isinstance(given, (list, tuple)):
        return f"[{', '.join(map(value, given))}]"
    if isinstance(given, float) and yaml_scalars.scalar(format_value(given)) == given:
        short = format_value(given)
        return short if "." in short or "e" in short else f"{short}.0"
    return notations.YAML.literal(given)


def key(name: str) -> str:
    return notations.YAML.key(name)


def text(given: str) -> str:
    """A text after `key: `, without quotes where it is read the same without them."""
    if _PLAIN.fullmatch(given) and " #" not in given:
        try:
            node = yaml.compose(f"k: {given}", Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            return notations.json_text(given)
        read = node.value[0][1]
        if isinstance(read, yaml.ScalarNode) and read.value == given and read.tag == "tag:yaml.org,2002:str":
            return given
    return notations.json_text(given)


def comment(given: str) -> str:
    """A text for a comment, which ends with its line."""
    return "".join(c if c.isprintable() else " " for c in given).strip()


def mapping(pairs: dict[str, str]) -> str:
    """A flow mapping of names and YAML texts."""
    return f"{{{', '.join(f'{key(name)}: {written}' for name, written in pairs.items())}}}"
