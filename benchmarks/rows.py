"""What benchmarks write into the documentation: a section, or rows of a table, of which the others stay."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "slurm.md"


def spliced(text: str, script: str, section: str) -> str:
    """`text` with `section` in the place of `script`, between the lines that mark it. Raises `ValueError` where they
    are missing."""
    begin, end = f"<!-- written by benchmarks/{script}: -->", "<!-- up to here -->"
    before, _, after = _parts(text, begin, end)
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


def write_page(name: str, script: str, section: Callable[[], str], out: Path) -> int:
    """Write docs/NAME.md below `out` with `section` in the place of `script`; the exit code. The rest is that of the
    page there, of the checkout where there is none."""
    from sweepwise.core.atomic import write_bytes
    from sweepwise.core.errors import JobsError

    page = out / "docs" / f"{name}.md"
    try:
        text = (page if page.exists() else ROOT / "docs" / page.name).read_text(encoding="utf-8")
        spliced(text, script, "")  # before the work, not after it
        write_bytes(page, spliced(text, script, section()).encode())
    except (OSError, JobsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {page}")
    return 0


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
    from jobs.results import code_snapshot

    return code_snapshot.digest(ROOT)[:8]


def record(table: str, order: Sequence[str], rows: Mapping[str, str], page: Path = PAGE) -> None:
    """The same in a page of the documentation."""
    page.write_text(recorded(page.read_text(encoding="utf-8"), table, order, rows), encoding="utf-8")


def chosen(parser: argparse.ArgumentParser, order: Iterable[str]) -> argparse.Namespace:
    """What was typed, with `names` of `order`, all where none was; ends the program at another one."""
    legal = list(order)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(legal)}; all otherwise")
    options = parser.parse_args()
    if unknown := set(options.names) - set(legal):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(legal)}")
    options.names = options.names or legal
    return options


def try_each(
    names: Sequence[str], attempt: Callable[[str], str], table: str, order: Iterable[str], page: Path = PAGE,
    about: Mapping[str, str] | None = None,
) -> int:  # fmt: skip
    """Record what `attempt` says of each name, how long it took and of which code; the exit code, 1 if any failed.

    about: by name, a cell before that.
    """
    failed = 0
    for name in names:
        begun = time.monotonic()
        try:
            came = attempt(name)
        except Exception:  # noqa: BLE001 - the table tells it, and the others are tried too
            traceback.print_exc()
            came, failed = "NOT AS IT MUST BE, see above", failed + 1
        cells = [name, *([about[name]] if about else []), came, f"{time.monotonic() - begun:.0f} s", code()]
        line = f"| {' | '.join(cells)} |"
        print(line, flush=True)
        record(table, list(order), {name: line}, page)
    return 1 if failed else 0
