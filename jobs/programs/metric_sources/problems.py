"""What in a file could not be read, counted, in words for the user."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A kind of problem. one, many: what follows the count. place: what the place of the first is counted in, "" where
    it is not said."""

    one: str
    many: str
    place: str = "line"


NO_JSON = Fault("line is not JSON", "lines are not JSON")
NO_OBJECT = Fault("line is not a JSON object", "lines are not JSON objects")
NO_CSV = Fault("row is not CSV", "rows are not CSV")
TOO_WIDE = Fault("row has more cells than the header", "rows have more cells than the header")
NO_END = Fault("row has no line end and is left out", "rows have no line end and are left out")
DAMAGED = Fault("damaged record", "damaged records", "byte")


def without_step(unit: str, column: str) -> Fault:
    """unit: "line" or "row"."""
    what = "the column " if unit == "row" else ""
    return Fault(f"{unit} without {what}{column!r}", f"{unit}s without {what}{column!r}")


def no_step(unit: str, column: str, place: str = "line") -> Fault:
    text = f"whose {column!r} is not a whole number of at least 0"
    return Fault(f"{unit} {text}", f"{unit}s {text}", place)


def no_number(group: str) -> Fault:
    text = f"whose {group!r} is not a number"
    return Fault(f"line {text}", f"lines {text}", "")


class Problems:
    """Those of one file. label: the file's name for the user."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._counts: dict[Fault, tuple[int, int]] = {}  # how many, place of the first
        self._ends: list[str] = []

    def add(self, fault: Fault, place: int) -> None:
        count, first = self._counts.get(fault, (0, place))
        self._counts[fault] = (count + 1, first)

    def end(self, text: str) -> None:
        """Why nothing more of the file is read."""
        self._ends.append(text)

    def clear(self) -> None:
        """The file is read again from its start."""
        self._counts.clear()
        self._ends.clear()

    @property
    def lines(self) -> list[str]:
        return [*map(self._line, self._counts), *(f"{self._label}: {text}" for text in self._ends)]

    def _line(self, fault: Fault) -> str:
        count, first = self._counts[fault]
        text = f"{self._label}: {count:,} {fault.one if count == 1 else fault.many}"
        if not fault.place:
            return text
        return f"{text}, {'at' if count == 1 else 'the first is'} {fault.place} {first}"
