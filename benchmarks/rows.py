"""Rows of a table in the documentation, each written by the benchmark that measured it; the others stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "slurm.md"


def recorded(text: str, table: str, order: Sequence[str], rows: Mapping[str, str]) -> str:
    """`text` with `rows` (first cell -> the whole line) in its table between `<!-- TABLE -->` and `<!-- end -->`.

    order: of first cells; a row that is not among them goes. Raises `ValueError` where the table is not there.
    """
    before, begin, rest = text.partition(f"<!-- {table} -->\n")
    body, end, after = rest.partition("<!-- end -->")
    head, found = body.splitlines()[:2], body.splitlines()[2:]
    if not begin or not end or len(head) != 2:
        raise ValueError(f"a table is expected between <!-- {table} --> and <!-- end -->; restore it")
    kept = {line.split("|")[1].strip(): line for line in found} | dict(rows)
    lines = [*head, *(kept[name] for name in order if name in kept)]
    return f"{before}{begin}{chr(10).join(lines)}\n{end}{after}"


def code() -> str:
    """Hash of the packages that are measured, as attempts record it."""
    from jobs import source

    return source.digest(ROOT)[:8]


def record(table: str, order: Sequence[str], rows: Mapping[str, str], page: Path = PAGE) -> None:
    """The same in a page of the documentation."""
    page.write_text(recorded(page.read_text(encoding="utf-8"), table, order, rows), encoding="utf-8")
