"""How soon an open page of `sweeps view` follows 48 runs that train at once, and what its server takes meanwhile.

    python benchmarks/live_view.py [--minutes 15]

The packaged plan's `ensemble` with six seeds trains on a throw-away Slurm, six seeds a task and all tasks at once;
Chromium keeps the page open. Every ten seconds the sweep gets a note with a number (as by `sweeps annotate`): "behind"
is the time until the page in the browser shows it, and with it every metric that was written before. The
processes that train have the lowest priority, as on a cluster they run on other machines. Writes the figures to
docs/report.md. Needs Linux, root and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import rows  # noqa: E402 - found on the path that was set above
import slurm_cluster  # noqa: E402
from driver import PLAN, Sweeps  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from jobs.results.results_folder import ResultsFolder  # noqa: E402
from jobs.runs.annotations import annotate  # noqa: E402
from jobs.worker import guard  # noqa: E402
from tdmpc.accel import processor  # noqa: E402

SWEEP, RUNS = "ensemble", 48
NOTE_S, LOOK_S = 10.0, 0.2  # between notes, and between two looks at the page
# Longer than it is looked at, with an evaluation every few seconds.
LONG = {"steps": 1_000_000, "eval_freq": 40, "log_freq": 20}
COUNT_UPDATES = """() => {
  window.updates = 0;
  new MutationObserver((changes) => {
    updates += changes.some((change) => [...change.addedNodes].some((node) => node.tagName === "MAIN"));
  }).observe(document.body, { childList: true });
}"""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Of the server and what it started, at `time`. cpu_s: of processors so far."""

    time: float
    cpu_s: float
    memory_mb: float


class Measured(NamedTuple):
    """behind: seconds from each note until the page showed it. updates: of the page. shards: files of metrics that runs
    wrote. usage: from the first look to the last. active: runs that still trained at the end."""

    behind: list[float]
    updates: int
    shards: int
    usage: list[Usage]
    active: int


def usage(server: int) -> Usage:
    """Sums over the process and its descendants, from /proc."""
    ticks = pages = 0
    for process in (server, *guard.descendants(server)):
        with contextlib.suppress(OSError):  # it has ended
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # with children that have ended
            pages += int(fields[21])
    return Usage(time.time(), ticks / CLOCK_TICKS, pages * PAGE_BYTES / 1e6)


def shards_of(folder: Path) -> list[Path]:
    return list(folder.glob("results/runs/*/seed-*/metrics/*.parquet"))


@contextlib.contextmanager
def served(sweeps: Sweeps) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`sweeps view` and its address."""
    words = [sweeps.python, "-P", "-m", "jobs.cli", "view", SWEEP]
    cwd, env = sweeps.folder, sweeps.environment
    with subprocess.Popen(words, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, next(word for word in server.stdout.readline().split() if word.startswith("http"))
        finally:
            server.terminate()


def give_way() -> None:
    """Lower the priority of the processes that train: on a cluster they run on other machines."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if b"jobs.entry" in (entry / "cmdline").read_bytes():
                os.setpriority(os.PRIO_PROCESS, int(entry.name), 19)
                (entry / "autogroup").write_text("19")


def measure(sweeps: Sweeps, minutes: float) -> Measured:
    """Look at the page for so long once all runs train."""
    small = [f"--set={key}={value}" for key, value in ({**yaml.safe_load(PLAN)["base"], **LONG}).items()]
    sweeps("submit", SWEEP, "--seeds", "6", "--seeds-per-job", "6", "--cluster", "slurm", "--profile", "cpu", *small)
    while len({path.parent for path in shards_of(sweeps.folder)}) < RUNS:
        time.sleep(1)
    give_way()
    with served(sweeps) as (server, url), sync_playwright() as play:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = browser.new_page(bypass_csp=True)
        page.goto(url)
        page.wait_for_selector("#sweep-1", timeout=300_000)
        page.evaluate(COUNT_UPDATES)
        measured = watch(sweeps, server.pid, page, time.monotonic() + 60 * minutes)
        browser.close()
    return measured


def watch(sweeps: Sweeps, server: int, page: Page, end: float) -> Measured:
    store = ResultsFolder(sweeps.folder / "results")
    behind: list[float] = []
    taken, before = [usage(server)], len(shards_of(sweeps.folder))
    while time.monotonic() < end:
        text = f"note {len(behind)} of the benchmark"
        written = time.monotonic()
        annotate(store, [SWEEP], [text], clear_notes=True)
        while text not in (page.text_content("main") or ""):
            page.wait_for_timeout(1000 * LOOK_S)  # the browser works meanwhile
        behind.append(time.monotonic() - written)
        taken.append(usage(server))
        page.wait_for_timeout(max(0.0, 1000 * (NOTE_S - behind[-1])))
    active = sum(run["state"] in ("running", "stalled") for run in sweeps.runs())
    shards = len(shards_of(sweeps.folder)) - before
    return Measured(behind, int(page.evaluate("updates")), shards, taken, active)


def table(measured: Measured) -> str:
    first, last = measured.usage[0], measured.usage[-1]
    seconds = last.time - first.time
    middle = measured.usage[len(measured.usage) // 2]
    behind = sorted(measured.behind)
    lines = {
        "runs that train at once, at the end": f"{measured.active}",
        "time": f"{seconds / 60:.0f} min",
        "files of metrics written meanwhile": f"{measured.shards:,}",
        "updates of the page": f"{measured.updates:,}, one every {seconds / max(measured.updates, 1):.1f} s",
        "behind: median, 95 %, most": f"{statistics.median(behind):.1f} s, {behind[int(0.95 * len(behind))]:.1f} s, "
                                      f"{behind[-1]:.1f} s",
        "processor of the server": f"{(last.cpu_s - first.cpu_s) / seconds:.0%} of one",
        "memory of the server: first, half-way, last": f"{first.memory_mb:.0f}, {middle.memory_mb:.0f}, "
                                                       f"{last.memory_mb:.0f} MB",
        "machine": f"{processor.name()}, {os.cpu_count()} cores",
        "code": rows.code(),
    }  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines.items())])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="to look at the page (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder for docs/report.md (default: the checkout)")
    args = parser.parse_args()

    def section() -> str:
        with tempfile.TemporaryDirectory(prefix="sweeps-view-", ignore_cleanup_errors=True) as folder:
            conf = slurm_cluster.start()
            try:
                return table(measure(Sweeps(Path(folder), conf), args.minutes))
            finally:
                slurm_cluster.stop(conf.parent)

    return rows.write_page("report", "live_view.py", section, args.out)


if __name__ == "__main__":
    sys.exit(main())
