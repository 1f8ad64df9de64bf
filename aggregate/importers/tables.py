"""CSV, TSV, JSON, JSON lines and Parquet as rows of requested columns, each with its place in the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aggregate.importers.import_options import CurveImportError
from sweepwise.core import atomic

Rows = Iterator[tuple[int, Sequence[Any]]]


@dataclass(frozen=True)
class InputTable:
    """columns: all of the file. rows: requested columns -> (line or row number from 1, cells in that order)."""

    path: Path
    unit: str  # of the number: "line" or "row"
    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], Rows]


def open_table(path: Path) -> InputTable:
    """Raises `CurveImportError` with file and place, here or while rows are read."""
    try:
        return READERS[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise CurveImportError(f"{path}: not text in UTF-8; save it so, or name another file") from error
    except OSError as error:
        raise CurveImportError(f"{path}: cannot be read: {error.strerror or error}") from error


def _csv(path: Path) -> InputTable:
    text = atomic.read_text(path, "utf-8-sig")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines = _lines(path, reader)
    header = tuple(name.strip() for name in next(lines, (0, []))[1])
    if not header:
        raise CurveImportError(f"{path}: empty; a first line with the names of the columns is expected")

    def rows(names: Sequence[str]) -> Rows:
        for name in names:
            if header.count(name) > 1:
                raise CurveImportError(f"{path}: two columns are called {name!r}; rename one")
        places = [header.index(name) for name in names]
        for line, cells in lines:
            if len(cells) != len(header):
                raise CurveImportError(f"{path}, line {line}: {len(cells)} cells, the first line names {len(header)}")
            yield line, [cells[place] for place in places]

    return InputTable(path, "line", header, rows)


def _lines(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not empty."""
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise CurveImportError(f"{path}, line {reader.line_num}: {error}") from error


def _json(path: Path) -> InputTable:
    try:
        content = json.loads(atomic.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CurveImportError(f"{path}: not a whole JSON file: {error}") from error
    return _records(path, "row", list(enumerate(content if isinstance(content, list) else [content], 1)))


def _json_lines(path: Path) -> InputTable:
    records = []
    for number, line in enumerate(atomic.read_text(path, "utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                records.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise CurveImportError(f"{path}, line {number}: not JSON: {error}") from error
    return _records(path, "line", records)


def _records(path: Path, unit: str, records: Sequence[tuple[int, Any]]) -> InputTable:
    for number, record in records:
        if not isinstance(record, dict):
            raise CurveImportError(f"{path}, {unit} {number}: an object is expected, with a value per column")
    columns = tuple(dict.fromkeys(name for _, record in records for name in record))

    def rows(names: Sequence[str]) -> Rows:
        for number, record in records:
            yield number, [record.get(name) for name in names]

    return InputTable(path, unit, columns, rows)


def _parquet(path: Path) -> InputTable:
    try:
        atomic.check_plain(path)
        file = pq.ParquetFile(path)
        columns = tuple(file.schema_arrow.names)
    except pa.ArrowException as error:
        raise CurveImportError(f"{path}: no Parquet file: {str(error).splitlines()[0]}") from error

    def rows(names: Sequence[str]) -> Rows:
        for name in names:
            if columns.count(name) > 1:
                raise CurveImportError(f"{path}: two columns are called {name!r}; rename one")
        number = 0
        try:
            for batch in file.iter_batches(columns=list(names)):
                cells = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in names]
                for values in zip(*cells, strict=True):
                    number += 1
                    yield number, values
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CurveImportError(f"{path}: damaged after row {number}: {reason}; fetch or write it again") from error

    return InputTable(path, "row", columns, rows)


READERS: dict[str, Callable[[Path], InputTable]] = {
    ".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet,
}  # fmt: skip
