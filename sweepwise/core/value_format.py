"""Text for output: values of hyperparameters, and text of unknown origin for terminals and spreadsheets."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

LONGEST = 2_000  # characters of a message
_SMALL = 1e-3  # up to this size a number is written with an exponent


def format_value(value: Any) -> str:
    """As a researcher writes it: 1e-4, 0.05, true, [0.9, 0.95]; None, which lets the program choose, as auto."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, float) and 0 < abs(value) <= _SMALL:
        mantissa, exponent = f"{value:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(text: str) -> str:
    """`text` for a terminal: what it would obey, or not show, stands as an escape such as \\x1b. Line ends, tabs and
    blanks of any width stay."""
    return text if text.isprintable() else "".join(map(_shown_character, text))


def _shown_character(character: str) -> str:
    if character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # full width in the last four


def cell(text: str) -> str:
    """`text` for a CSV, on one line, that no spreadsheet takes for a formula: a quote comes first. Numbers stay."""
    line = " ".join(text.splitlines()) if "\n" in text or "\r" in text else text
    if not text.lstrip(" \n").startswith(_FORMULA) or _is_number(text):
        return line
    return f"'{line}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{separator.join(names[:most])}{more}"


def percent(share: float) -> str:
    """A share of 1 as in "22 %"."""
    return f"{100 * share:.0f} %"


def shortened(text: str, most: int) -> str:
    """`text` with its middle left out where it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters) ... {text[-half:]}"
