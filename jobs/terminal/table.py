"""A table for the terminal that takes thousands of rows: rich's own needs 3 ms for each, mostly to measure cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

Cell = str | Text

_GAP = "  "
_LEAST = 12  # characters; a column is made no narrower than this while others can still give


class Table:
    """Columns as wide as their cells; where the terminal is narrower, the widest fold, those of `keep` last.

    Strings are shown as they are, never read as markup; a control character, from an error's message, is a blank.
    """

    def __init__(
        self, columns: Sequence[str], right: Collection[str] = (), keep: Collection[str] = (), title: str | None = None
    ) -> None:
        self.rows: list[tuple[Cell, ...]] = [tuple(Text(name, style="bold") for name in columns)]
        self._right = [name in right for name in columns]
        self._keep = [name in keep for name in columns]
        self._title = title

    def add_row(self, *cells: Cell) -> None:
        """Raises `ValueError` where there is not one cell for each column."""
        if len(cells) != len(self._right):
            raise ValueError(f"{len(cells)} cells for {len(self._right)} columns")
        self.rows.append(tuple(_printable(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title is not None:
            yield Text(self._title, style="bold")
        widths = self._widths(options.max_width)
        for row in self.rows:
            folded = [_fold(console, cell, width) for cell, width in zip(row, widths, strict=True)]
            for line in zip_longest(*folded, fillvalue=""):
                yield from self._line(console, line, widths)

    def _widths(self, available: int) -> list[int]:
        """Of the columns; together with the gaps at most `available` characters, where that is possible."""
        widths = [max(map(_width, cells)) for cells in zip(*self.rows, strict=True)]
        over = sum(widths) + len(_GAP) * (len(widths) - 1) - available
        giving = [place for place, keep in enumerate(self._keep) if not keep]
        for places, least in ((giving, _LEAST), (list(range(len(widths))), 1)):
            while over > 0 and places:
                widest = max(places, key=widths.__getitem__)
                if widths[widest] <= least:
                    break
                widths[widest] -= 1
                over -= 1
        return widths

    def _line(self, console: Console, cells: Sequence[Cell], widths: Sequence[int]) -> Iterator[Segment]:
        blank = ""  # what is not written yet, so that no line ends in blanks
        for cell, width, right in zip(cells, widths, self._right, strict=True):
            used = _width(cell)
            if used:
                yield Segment(blank + " " * (width - used) if right else blank)
                yield from [Segment(cell)] if isinstance(cell, str) else cell.render(console)
                blank = _GAP if right else " " * (width - used) + _GAP
            else:
                blank += " " * width + _GAP
        yield Segment.line()


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _width(cell: Cell) -> int:
    return cell_len(cell if isinstance(cell, str) else cell.plain)


def _fold(console: Console, cell: Cell, width: int) -> list[Cell]:
    """The cell in lines of at most `width` characters."""
    if _width(cell) <= width:
        return [cell]
    text = Text(cell) if isinstance(cell, str) else cell
    return list(text.wrap(console, width, overflow="fold"))
