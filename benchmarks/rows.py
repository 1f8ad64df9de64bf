"""What benchmarks write into the documentation: a section, or rows of a table, of which the others stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "slurm.md"


def spliced(text: str, script: str, section: str) -> str:
    """`text` with `section` in the place of `script`, between the lines that mark it. Raises `ValueError` where they
    are missing."""
    begin, end = f"<!-- written by benchmarks/{script}: -->", "<!-- up to here -->"
    before, _, after = _parts(text, begin, end)
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


def recorded(text: str, table: str, order: Sequence[str], rows: Mapping[str, str]) -> str:
    """`text` with `rows` (first cell -> the whole line) in its table between `<!-- TABLE -->` and `<!-- end -->`.

    order: of first cells; a row that is not among them goes. Raises `ValueError` where the table is not there.
    """
    begin, end = f"<!-- {table} -->", "<!-- end -->"
    before, body, after = _parts(text, begin, end)
    head, found = body.splitlines()[:2], body.splitlines()[2:]
    if len(head) != 2:
        raise ValueError(f"a table is expected between {begin} and {end}; restore it")
    kept = {line.split("|")[1].strip(): line for line in found} | dict(rows)
    lines = [*head, *(kept[name] for name in order if name in kept)]
    return f"{before}{begin}\n{chr(10).join(lines)}\n{end}{after}"


def _parts(text: str, begin: str, end: str) -> tuple[str, str, str]:
    """What stands before, between and after two lines."""
    before, found, rest = text.partition(f"{begin}\n")
    between, last, after = rest.partition(end)
    if not found or not last:
        raise ValueError(f"the lines {begin} and {end} are expected; restore them")
    return before, between, after


def code() -> str:
    """Hash of the packages that are measured, as attempts record it."""
    from jobs import source

    return source.digest(ROOT)[:8]


def record(table: str, order: Sequence[str], rows: Mapping[str, str], page: Path = PAGE) -> None:
    """The same in a page of the documentation."""
    page.write_text(recorded(page.read_text(encoding="utf-8"), table, order, rows), encoding="utf-8")
