"""Follows a CSV file with a header.

Many loggers write the whole file again when a column is added. It is then read again, and a row is given again only
where it changed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from jobs.programs.metric_sources.followed import LONGEST, FollowedFile
from jobs.programs.metric_sources.problems import NO_CSV, NO_END, TOO_WIDE, no_step, without_step
from jobs.programs.metric_sources.values import Row, Value, metric_name, parse_number, parse_step

_QUOTED = 64 << 10  # bytes after which an open quote is taken for a stray one


class CsvRows(FollowedFile):
    """Rows that are whole; a half-written last row waits. Empty cells and text are absent."""

    head = 64 << 10  # a header may be long, and a new column stands at its end
    patient = True

    def __init__(self, path: Path, folder: Path, step: str) -> None:
        self._given: dict[int, int] = {}  # step -> hash of the row's cells, as last given
        super().__init__(path, folder, step)

    def _restart(self) -> None:
        self._pending = b""
        self._line = 0  # lines read so far
        self._columns: list[str] = []
        self._at: int | None = None  # position of the column with the step

    def _take(self, data: bytes) -> list[Row]:
        data = self._pending + data
        end = _whole_rows(data)
        self._pending = data[end:][:LONGEST]
        return list(self._rows_of(data[:end].decode(errors="replace")))

    def _end(self) -> list[Row]:
        """A row without its line end may be cut within its last number. Whole ones may be held back by a quote."""
        end = self._pending.rfind(b"\n") + 1
        rows = list(self._rows_of(self._pending[:end].decode(errors="replace")))
        if self._pending[end:].strip():
            self.problems.add(NO_END, self._line + 1)
        self._pending = b""
        return rows

    def _rows_of(self, text: str) -> Iterator[Row]:
        reader = csv.reader(io.StringIO(text, newline=""))
        before = self._line
        while True:
            first = before + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error:
                self.problems.add(NO_CSV, first)
                continue
            if cells and (row := self._row(cells, first)) is not None:
                yield row
        self._line = before + reader.line_num

    def _row(self, cells: list[str], line: int) -> Row | None:
        if not self._columns:
            self._read_header(cells)
            return None
        if self._at is None or len(cells) <= self._at or not cells[self._at]:
            self.problems.add(without_step("row", self._step), line)
            return None
        step = parse_step(cells[self._at])
        if step is None and self._step in map(str.strip, cells):
            self._read_header(cells)  # a program that goes on may write another
            return None
        if step is None or any(cells[len(self._columns) :]):
            self.problems.add(no_step("row", self._step) if step is None else TOO_WIDE, line)
            return None
        said = [(name, cell) for name, cell in zip(self._columns, cells, strict=False) if cell and name]
        if self._given.get(step) == (key := hash(tuple(said))):
            return None
        self._given[step] = key
        metrics: dict[str, Value] = {name: n for name, cell in said if (n := parse_number(cell)) is not None}
        return Row(step, metrics) if metrics else None

    def _read_header(self, cells: list[str]) -> None:
        names = [cell.strip() for cell in cells]
        names[0] = names[0].removeprefix("\ufeff")
        self._at = names.index(self._step) if self._step in names else None
        self._columns = [metric_name(name) for name in names]
        if self._at is not None:
            self._columns[self._at] = ""  # no metric


def _whole_rows(data: bytes) -> int:
    """Where the last row ends: after a line end with an even number of quotes before it."""
    end = last = data.rfind(b"\n") + 1
    quotes = data.count(b'"', 0, end)
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end if last - end <= _QUOTED else last
