"""CSV, TSV, JSON, JSON lines and Parquet as rows of requested columns, each with its place in the file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aggregate.importers.faults import CurveImportError, Faults
from sweepwise.core import atomic

Rows = Iterator[tuple[int, Sequence[Any]]]
COMPRESSED = ".gz"


@dataclass(frozen=True)
class InputTable:
    """columns: all of the file. rows: requested columns -> (line or row number from 1, cells in that order)."""

    path: Path
    unit: str  # of the number: "line" or "row"
    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], Rows]


def kind_of(path: Path) -> str:
    """The suffix in lower case, without .gz."""
    name = Path(path.name.lower())
    return name.with_suffix("").suffix if name.suffix == COMPRESSED else name.suffix


def stem_of(path: Path) -> Path:
    """The path without its suffix, and without .gz."""
    return path.with_suffix("").with_suffix("") if path.suffix.lower() == COMPRESSED else path.with_suffix("")


def open_table(path: Path, faults: Faults, read: Callable[[Path, Faults], InputTable] | None = None) -> InputTable:
    """The table of a file, by its suffix or by `read`. Raises `CurveImportError` with file and place, here or while
    rows are read."""
    try:
        return (read or READERS[kind_of(path)])(path, faults)
    except UnicodeDecodeError as error:
        raise CurveImportError(f"{path}: not text in UTF-8; save it so, or name another file") from error
    except OSError as error:
        raise CurveImportError(f"{path}: cannot be read: {error.strerror or error}") from error


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked where it is compressed. Raises `CurveImportError` for a damaged one."""
    data = atomic.read_bytes(path)
    if path.suffix.lower() != COMPRESSED:
        return data
    try:
        with gzip.open(io.BytesIO(data)) as packed:
            unpacked = packed.read(atomic.LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CurveImportError(f"{path}: no whole gzip file: {error}; fetch or pack it again") from error
    if len(unpacked) > atomic.LARGEST:
        raise CurveImportError(f"{path}: more than {atomic.LARGEST >> 20} MiB when unpacked; split it")
    return unpacked


def text_of(path: Path) -> str:
    return content(path).decode("utf-8-sig")


def read_csv(
    path: Path, faults: Faults, *, delimiter: str = ",", skip: int = 0, ends_lines: bool = False
) -> InputTable:
    """skip: lines before the header. ends_lines: its writer ends every line, so that a last line without an end is
    incomplete."""
    text = text_of(path)
    whole = text.endswith(("\n", "\r")) or not text
    lines_before = "".join(text.splitlines(keepends=True)[:skip])
    reader = csv.reader(io.StringIO(text[len(lines_before) :], newline=""), delimiter=delimiter, strict=True)
    last = text.count("\n") + 1  # where the file does not end with a line
    header = tuple(name.strip() for name in next(_lines(path, reader, skip), (0, []))[1])
    if not header:
        raise CurveImportError(f"{path}: empty; a first line with the names of the columns is expected")

    def rows(names: Sequence[str]) -> Rows:
        for name in names:
            if header.count(name) > 1:
                raise CurveImportError(f"{path}: two columns are called {name!r}; rename one")
        places = [header.index(name) for name in names]
        lines = _lines(path, reader, skip, None if whole else faults)
        for line, cells in lines:
            wrong = len(cells) != len(header)
            is_last = line == last and not whole
            if is_last and (ends_lines or len(cells) < len(header)):
                _meet_cut(
                    faults, path, line, f"{len(cells)} cells, the first line names {len(header)}" if wrong else ""
                )
                return
            if wrong:
                raise CurveImportError(f"{path}, line {line}: {len(cells)} cells, the first line names {len(header)}")
            yield line, [cells[place] for place in places]

    return InputTable(path, "line", header, rows)


def _meet_cut(faults: Faults, path: Path, line: int, detail: str) -> None:
    what = f"{detail}{': ' if detail else ''}the file ends in mid-line"
    faults.meet("cut", f"{path}, line {line}", what, "ends in mid-line, left out")


def _lines(path: Path, reader: Any, skip: int, cut: Faults | None = None) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not empty. cut: for a file that ends in mid-line."""
    try:
        for cells in reader:
            if cells:
                yield skip + reader.line_num, cells
    except csv.Error as error:
        if cut is None or "unexpected end of data" not in str(error):
            raise CurveImportError(f"{path}, line {skip + reader.line_num}: {error}") from error
        _meet_cut(cut, path, skip + reader.line_num, str(error))


def parse_json(path: Path) -> Any:
    """The content of a JSON file. Raises `CurveImportError`."""
    try:
        return json.loads(content(path))
    except (ValueError, RecursionError) as error:
        raise CurveImportError(f"{path}: not a whole JSON file: {error}") from error


def _json(path: Path, faults: Faults) -> InputTable:
    parsed = parse_json(path)
    return records_table(path, "row", list(enumerate(parsed if isinstance(parsed, list) else [parsed], 1)))


def read_json_lines(path: Path, faults: Faults) -> InputTable:
    """Objects, one to a line; what is nested in them is named by a path, as in a/b."""
    records = []
    text = text_of(path)
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if number < len(lines) or text.endswith("\n"):
                raise CurveImportError(f"{path}, line {number}: not JSON: {error}") from error
            _meet_cut(faults, path, number, f"not JSON: {error}")
    nested = [(number, flat(record) if isinstance(record, dict) else record) for number, record in records]
    return records_table(path, "line", nested)


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one: {"a": {"b": 1}} -> {"a/b": 1}."""
    out: dict[str, Any] = {}
    for name, value in record.items():
        out |= flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def records_table(path: Path, unit: str, records: Sequence[tuple[int, Any]]) -> InputTable:
    """Objects with their numbers as a table. Raises `CurveImportError` where one is no object."""
    for number, record in records:
        if not isinstance(record, dict):
            raise CurveImportError(f"{path}, {unit} {number}: an object is expected, with a value per column")
    columns = tuple(dict.fromkeys(name for _, record in records for name in record))

    def rows(names: Sequence[str]) -> Rows:
        for number, record in records:
            yield number, [record.get(name) for name in names]

    return InputTable(path, unit, columns, rows)


def _parquet(path: Path, faults: Faults) -> InputTable:
    try:
        atomic.check_plain(path)
        file = pq.ParquetFile(io.BytesIO(content(path)) if path.suffix.lower() == COMPRESSED else path)
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


def _tsv(path: Path, faults: Faults) -> InputTable:
    return read_csv(path, faults, delimiter="\t")


READERS: dict[str, Callable[[Path, Faults], InputTable]] = {
    ".csv": read_csv, ".tsv": _tsv, ".json": _json, ".jsonl": read_json_lines, ".ndjson": read_json_lines,
    ".parquet": _parquet,
}  # fmt: skip
