"""How long the report takes to make, how large it is, and how long Chromium takes to open it and to answer.

    python benchmarks/report.py                      1 run, 8 configurations x 6 seeds, 200 x 10
    python benchmarks/report.py --sizes 8x6 --keep /tmp/reports

The runs are made up (`tests/aggregate/synthetic.py`): 39 metrics, 200 rows of training, 40 evaluations. "judge" reads
and judges them, "write" draws the page. The page is opened in headless Chromium at 1280 x 900: "first paint" is when
something is seen, "opened" when the page with its script has loaded, "answers" is from a click on a configuration until
a figure is drawn without it, the first time, when the curves are unpacked. Medians of three. Writes them to
docs/report.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import rows  # noqa: E402 - found on the path that was set above
from playwright.sync_api import Browser, sync_playwright  # noqa: E402

from aggregate.analysis.summary import summarise  # noqa: E402
from plots.report import write_report  # noqa: E402

SIZES = ("1x1", "8x6", "200x10")
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
OVERVIEW = "#sweep-1-fig-eval_return_planner .wide .picture"
ANSWER = f"""async () => {{
  const picture = document.querySelector("{OVERVIEW}");
  picture.scrollIntoView();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const start = performance.now();
  document.querySelector('.legend button').click();
  while (!picture.querySelector('.drawn')) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}}"""


def make(folder: Path, configurations: int, seeds: int) -> Any:
    """A sweep of so many configurations, every tenth of which collapses."""
    path = ROOT / "tests" / "aggregate" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic", path)
    assert spec is not None
    assert spec.loader is not None
    synthetic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    finals = [400.0 + 300.0 * (7 * i % configurations) / configurations for i in range(configurations)]
    special = {i: {"collapse": True, "oscillate": i % 20 == 9} for i in range(9, configurations, 10)}
    return synthetic.make_sweep(folder, finals, seeds, total=100_000, points=200, evaluations=40, special=special)


def opened(browser: Browser, page_file: Path) -> tuple[float, float, float]:
    """Seconds until the first paint, until loaded, and until the page answers."""
    # the page's policy would not let what is waited for be evaluated
    page = browser.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    page.goto(page_file.as_uri(), wait_until="load")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    taken = tuple(float(page.evaluate(what)) / 1000 for what in (PAINT, LOADED, ANSWER))
    page.close()
    return taken[0], taken[1], taken[2]


def written(size: str, out: Path) -> tuple[float, float]:
    """Makes the report of a size such as 8x6; seconds to judge and to write."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = make(Path(folder), *map(int, size.split("x")))
        started = time.perf_counter()
        summary = summarise([sweep])
        judged = time.perf_counter()
        write_report(summary, out)
        return judged - started, time.perf_counter() - judged


def measured(chromium: str, size: str, out: Path, taken: tuple[float, float]) -> str:
    """The table's line."""
    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        times = [opened(browser, out) for _ in range(3)]
        browser.close()
    seconds = [*taken, *(statistics.median(column) for column in zip(*times, strict=True))]
    cells = [size, f"{out.stat().st_size / 1e6:.2f} MB", *(f"{s:.2f} s" for s in seconds), rows.code()]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="CxS", help="configurations x seeds")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the reports there")
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no Chromium here: Debian's package chromium")
    lines: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            out = Path(folder) / f"{size}.html"
            taken = written(size, out)  # while no browser's thread keeps runs from being judged in processes
            lines[size] = measured(chromium, size, out, taken)
            print(lines[size], flush=True)
            if args.keep:
                args.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(out, args.keep)
    rows.record("sizes", SIZES, lines, rows.ROOT / "docs" / "report.md")


if __name__ == "__main__":
    main()
