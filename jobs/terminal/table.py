"""A terminal table for thousands of rows; rich's own table takes 3 ms per row, mostly to measure cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from jobs.terminal.wrap import longest_word, split, wrap
from sweepwise.core.value_format import shown

Cell = str | Text

_GAP = "  "
# In characters. Before columns are left out, text is folded to _TEXT, and names to their longest word, but to no more
# than _NAME. Then words are shortened down to _MIN_WIDTH.
_TEXT, _NAME, _MIN_WIDTH = 24, 32, 12


@dataclass(frozen=True)
class _Column:
    """place: in a row. natural, cells, word: width of the column, its widest cell and its longest word."""

    place: int
    name: str
    natural: int
    cells: int
    word: int
    is_right: bool
    is_kept: bool
    has_names: bool

    @property
    def least(self) -> tuple[int, int, int, int]:
        """How narrow it may get: before columns are left out; with numbers on several lines; with words shortened; at
        last."""
        if self.is_kept:
            return self.natural, self.natural, self.natural, 1
        if self.is_right:
            return max(self.cells, self.word), self.word, self.word, 1
        name = min(self.word, _NAME) if self.has_names else 0
        folded = min(self.natural, max(_TEXT, name))
        return folded, folded, min(self.natural, _MIN_WIDTH), 1


class Table:
    """Columns as wide as their cells. On a narrower terminal they give way in this order: text takes several lines,
    broken at blanks; empty columns and those of `drop`, in that order, are left out; words are shortened. Columns of
    `keep`, such as IDs, stay whole on all but the narrowest terminals.

    names: columns of names, such as `key=value`, which are shortened late. Strings are shown verbatim, not parsed as
    markup. Control characters, as in error messages, are shown as escapes.
    """

    def __init__(
        self, columns: Sequence[str], right: Collection[str] = (), keep: Collection[str] = (), title: str | None = None,
        *, names: Collection[str] = (), drop: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.rows: list[tuple[Cell, ...]] = [tuple(Text(name, style="bold") for name in columns)]
        self._columns, self._right, self._keep = columns, right, keep
        self._of_names, self._drop, self._title = names, drop, title

    def add_row(self, *cells: Cell) -> None:
        """Raises `ValueError` if the number of cells is not the number of columns."""
        if len(cells) != len(self._columns):
            raise ValueError(f"{len(cells)} cells for {len(self._columns)} columns")
        self.rows.append(tuple(shown(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title is not None:
            yield from (Text(line, style="bold") for line in wrap(self._title, options.max_width))
        columns, widths, left_out = self._layout(options.max_width)
        for row in self.rows:
            folded = [_fold(row[column.place], width, column) for column, width in zip(columns, widths, strict=True)]
            for line in zip_longest(*folded, fillvalue=""):
                yield from self._line(console, line, widths, columns)
        if left_out:
            note = f"not shown on {options.max_width} columns: {', '.join(dict.fromkeys(map(str.strip, left_out)))}"
            yield from (Text(line, style="dim") for line in wrap(note, options.max_width))

    def _layout(self, available: int) -> tuple[list[_Column], list[int], list[str]]:
        """The columns to show, their widths, and the names of those that are left out though they have text."""
        columns = [self._measured(place) for place in range(len(self._columns))]
        empty = [c.name for c in columns if c.cells == 0 and len(self.rows) > 1]
        left_out: list[str] = []
        widths = _shrunk(columns, available, 0)
        for name in (*empty, *(name for name in self._drop if name not in empty)):
            if _width(widths) <= available or len(columns) == 1:
                break
            left_out += [name] if name not in empty else []
            columns = [column for column in columns if column.name != name]
            widths = _shrunk(columns, available, 0)
        for stage in (1, 2, 3):
            if _width(widths) > available:
                widths = _shrunk(columns, available, stage)
        return columns, widths, left_out

    def _measured(self, place: int) -> _Column:
        name, cells = self._columns[place], [_plain(row[place]) for row in self.rows[1:]]
        widest = max(map(cell_len, cells), default=0)
        word = max(map(longest_word, (*cells, name)))
        is_right, has_names = name in self._right, name in self._of_names
        return _Column(place, name, max(widest, cell_len(name)), widest, word, is_right, name in self._keep, has_names)

    def _line(
        self, console: Console, cells: Sequence[Cell], widths: Sequence[int], columns: Sequence[_Column]
    ) -> Iterator[Segment]:
        blank = ""  # pending blanks, written before the next cell only: lines have no trailing blanks
        for cell, width, column in zip(cells, widths, columns, strict=True):
            used = cell_len(_plain(cell))
            if used:
                yield Segment(blank + " " * (width - used) if column.is_right else blank)
                yield from [Segment(cell)] if isinstance(cell, str) else cell.render(console)
                blank = _GAP if column.is_right else " " * (width - used) + _GAP
            else:
                blank += " " * width + _GAP
        yield Segment.line()


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _shrunk(columns: Sequence[_Column], available: int, stage: int) -> list[int]:
    """The widths of the columns, the widest ones narrowed first until they fit, or as far as they may be."""
    widths = [column.natural for column in columns]
    excess = _width(widths) - available
    open_places = [place for place, column in enumerate(columns) if widths[place] > column.least[stage]]
    while excess > 0 and open_places:
        widest = max(open_places, key=widths.__getitem__)
        widths[widest] -= 1
        excess -= 1
        if widths[widest] <= columns[widest].least[stage]:
            open_places.remove(widest)
    return widths


def _plain(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.plain


def _fold(cell: Cell, width: int, column: _Column) -> list[Cell]:
    """The cell as lines of at most `width` characters. Numbers and IDs are split where they must be, not shortened."""
    text = _plain(cell)
    if cell_len(text) <= width:
        return [cell]
    if column.is_kept or column.is_right:
        lines = [part for line in wrap(text, max(width, column.word), hanging="") for part in split(line, width)]
    else:
        lines = wrap(text, width, hanging="")
    return [*lines] if isinstance(cell, str) else _styled(cell, lines)


def _styled(cell: Text, lines: Sequence[str]) -> list[Cell]:
    """The lines of a cell with its styles, which are lost where a word was shortened."""
    styled: list[Cell] = []
    start = 0
    for line in lines:
        at = cell.plain.find(line, start)
        styled.append(cell[at : at + len(line)] if at >= 0 else Text(line, style=cell.style))
        start = max(start, at + len(line) if at >= 0 else start)
    return styled
