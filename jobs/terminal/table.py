"""A terminal table for thousands of rows; rich's own table takes 3 ms per row, mostly to measure cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from sweepwise.core.value_format import shown

Cell = str | Text

_GAP = "  "
_MIN_WIDTH = 12  # characters; no column gets narrower than this while a wider one can still shrink


class Table:
    """Columns as wide as their cells; on a narrower terminal the widest columns fold, those of `keep` last.

    Strings are shown verbatim, not parsed as markup. Control characters, as in error messages, are shown as escapes.
    """

    def __init__(
        self, columns: Sequence[str], right: Collection[str] = (), keep: Collection[str] = (), title: str | None = None
    ) -> None:
        self.rows: list[tuple[Cell, ...]] = [tuple(Text(name, style="bold") for name in columns)]
        self._right = [name in right for name in columns]
        self._keep = [name in keep for name in columns]
        self._title = title

    def add_row(self, *cells: Cell) -> None:
        """Raises `ValueError` if the number of cells is not the number of columns."""
        if len(cells) != len(self._right):
            raise ValueError(f"{len(cells)} cells for {len(self._right)} columns")
        self.rows.append(tuple(shown(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title is not None:
            yield Text(self._title, style="bold")
        widths = self._widths(options.max_width)
        for row in self.rows:
            folded = [_fold(console, cell, width) for cell, width in zip(row, widths, strict=True)]
            for line in zip_longest(*folded, fillvalue=""):
                yield from self._line(console, line, widths)

    def _widths(self, available: int) -> list[int]:
        """The column widths; with the gaps at most `available` characters, if that is possible."""
        widths = [max(map(_measure_width, cells)) for cells in zip(*self.rows, strict=True)]
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - available
        shrinkable = [position for position, keep in enumerate(self._keep) if not keep]
        for positions, min_width in ((shrinkable, _MIN_WIDTH), (list(range(len(widths))), 1)):
            while excess > 0 and positions:
                widest = max(positions, key=widths.__getitem__)
                if widths[widest] <= min_width:
                    break
                widths[widest] -= 1
                excess -= 1
        return widths

    def _line(self, console: Console, cells: Sequence[Cell], widths: Sequence[int]) -> Iterator[Segment]:
        blank = ""  # pending blanks, written before the next cell only: lines have no trailing blanks
        for cell, width, right in zip(cells, widths, self._right, strict=True):
            used = _measure_width(cell)
            if used:
                yield Segment(blank + " " * (width - used) if right else blank)
                yield from [Segment(cell)] if isinstance(cell, str) else cell.render(console)
                blank = _GAP if right else " " * (width - used) + _GAP
            else:
                blank += " " * width + _GAP
        yield Segment.line()


def _measure_width(cell: Cell) -> int:
    return cell_len(cell if isinstance(cell, str) else cell.plain)


def _fold(console: Console, cell: Cell, width: int) -> list[Cell]:
    """The cell split into lines of at most `width` characters."""
    if _measure_width(cell) <= width:
        return [cell]
    text = Text(cell) if isinstance(cell, str) else cell
    return list(text.wrap(console, width, overflow="fold"))
