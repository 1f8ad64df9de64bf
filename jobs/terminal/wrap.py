"""Text of a width: lines break at blanks, and a word that is too long for a line is shortened, never split."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size

ELLIPSIS = "…"
_WORD = re.compile(r"(\s*)(\S+)")  # with the blanks before it
_SEPARATORS = "./"  # of the parts of a key or a path


def wrap(text: str, width: int, indent: str = "", hanging: str = "  ") -> list[str]:
    """The lines of `text`, at most `width` columns each. indent: of the first line. hanging: of the others."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += _lines(paragraph, width, hanging if lines else indent, hanging)
    return lines


def _lines(text: str, width: int, start: str, hanging: str) -> Iterator[str]:
    line, is_empty = start, True
    for gap, long_word in _WORD.findall(text):
        word = shortened_word(long_word, width - cell_len(hanging))
        if not is_empty and cell_len(line) + cell_len(gap) + cell_len(word) > width:
            yield line
            line, gap = hanging, ""
        line, is_empty = f"{line}{gap}{word}", False
    yield line


def shortened_word(word: str, width: int) -> str:
    """`word`, or its end after an ellipsis: the names and values that differ stand at the end of a key or a path. The
    end begins with a whole part of the key if that is not much shorter."""
    if cell_len(word) <= width:
        return word
    end = word[-(width - 1) :] if width > 1 else ""
    while cell_len(end) > width - 1:
        end = end[1:]
    is_part = bool(end) and word[-len(end) - 1] in _SEPARATORS
    starts = [place + 1 for place in range(len(end) // 2) if end[place] in _SEPARATORS]
    return ELLIPSIS + (end if is_part or not starts else end[starts[0] :])


def longest_word(text: str) -> int:
    """Its width in columns."""
    return max(map(cell_len, text.split()), default=0)


def split(text: str, width: int) -> list[str]:
    """`text` cut every `width` columns, for IDs on the narrowest of terminals."""
    parts = []
    while cell_len(text) > width:
        part = set_cell_size(text, width).rstrip() or text[:1]
        parts.append(part)
        text = text[len(part) :]
    return [*parts, text]
