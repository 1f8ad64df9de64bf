"""Measures what sweeps costs a program: many logged lines, many short programs, much output, and a full disk.

    python benchmarks/program_overhead.py [--only lines short output disk] [--seconds 60] [--programs 200]

Everything runs on this machine, in temporary folders. `disk` mounts a small file system, which takes root. Prints a
Markdown table, and what the user sees when the disk is full. Exit code 1 where a row that was logged is lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jobs import process  # noqa: E402 - found on the path that was set above
from sweepwise import load  # noqa: E402

PLAN = """\
plan: overhead
program:
  name: overhead
  command: {python} program.py {{overrides}}
  hyperparameters: {{job: 0, seconds: 1.0}}
  seed: seed
  metrics:
    read: [{{jsonl: metrics.jsonl}}]
    primary: value
seeds: 1
sweeps:
  one: {{goal: measure, grid: {{job: [1]}}}}
  many: {{goal: measure, grid: {{job: [{jobs}]}}}}
"""
HEAD = """\
import json, os, sys, time
options = dict(word.removeprefix("--").split("=") for word in sys.argv[1:])
end = time.time() + float(options["seconds"])
log = open(os.environ["SWEEPS_RUN"] + "/metrics.jsonl", "a", buffering=1)
"""
LINES = (
    HEAD
    + """
step, begun = 0, time.time()
while time.time() < end:
    while step < 1000 * (time.time() - begun):
        step += 1
        log.write(json.dumps({"step": step, "value": step / 3, "loss": 1 / step, "other": step % 7}) + "\\n")
    time.sleep(0.01)
"""
)
SHORT = (
    HEAD
    + """
log.write('{"step": 1, "value": 1}\\n')
time.sleep(max(0, end - time.time()))
"""
)
OUTPUT = (
    HEAD
    + """
written, begun = 0, time.time()
log.write('{"step": 1, "value": 1}\\n')
while time.time() < end:
    while written < 100e6 / 60 * (time.time() - begun):
        print("x" * 999)
        written += 1000
    time.sleep(0.01)
log.write('{"step": 2, "value": 1}\\n')
"""
)
# The first writes its own files there; of the second, only what it logs.
CHECKPOINTS = (
    HEAD
    + """
for step in range(1, 1000):
    log.write(json.dumps({"step": step, "value": step}) + "\\n")
    with open(f"{os.environ['SWEEPS_RUN']}/checkpoint-{step}", "wb") as file:
        file.write(bytes(1 << 20))
    time.sleep(0.1)
"""
)
LOGS = (
    HEAD
    + """
with open(os.environ["SWEEPS_RUN"] + "/../../../../ballast", "wb", buffering=0) as file:
    try:
        while file.write(bytes(1 << 16)):
            pass
    except OSError:
        pass
for step in range(1, 100):
    try:
        log.write(json.dumps({"step": step, "value": step, "text": "x" * 1000}) + "\\n")
    except OSError:
        pass
    time.sleep(0.1)
os._exit(0)
"""
)


class Sweeps:
    """The command line in `folder`, with a program."""

    def __init__(self, folder: Path, program: str, jobs: int = 1) -> None:
        self.folder, self.results = folder, folder / "results"
        (folder / "program.py").write_text(program)
        text = PLAN.format(python=sys.executable, jobs=", ".join(map(str, range(1, jobs + 1))))
        (folder / "plan.yaml").write_text(text)

    def __call__(self, *words: str) -> str:
        """What it says, to both streams."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("SWEEPS")}
        env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
        done = subprocess.run([sys.executable, "-P", "-m", "jobs.cli", *words], cwd=self.folder, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip
        return done.stdout

    def submit(self, sweep: str, seconds: float, *more: str) -> str:
        return self("submit", sweep, "--plan", "plan.yaml", "--cluster", "local", "--set", f"seconds={seconds}", *more)

    def found(self, pattern: str) -> list[Path]:
        return sorted(self.results.glob(pattern))

    def has_ended(self) -> bool:
        """Whether its task has: it writes until then."""
        records = [json.loads(path.read_text()) for path in self.found("submissions/*/tasks/*.json")]
        return any(record["exit_code"] is not None for record in records)

    def trained(self, seconds: float) -> dict[str, float]:
        """Train one run to its end; the processor seconds of its worker and its guard."""
        self.submit("one", seconds)
        used: dict[str, float] = {}
        give_up = time.monotonic() + seconds + 120
        while not self.has_ended() and time.monotonic() < give_up:
            for path in self.found("runs/*/seed-1/attempts/*.json"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    worker = int(json.loads(path.read_text())["pid"])
                    used["worker"] = processor_seconds(worker)
                    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
                    used["guard"] = processor_seconds(int(children[0]))
            time.sleep(0.2)
        return used


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shares(used: dict[str, float], seconds: float) -> str:
    return ", ".join(f"{name} {100 * value / seconds:.1f} %" for name, value in sorted(used.items()))


def lines(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    sweeps = Sweeps(folder, LINES)
    used = sweeps.trained(options.seconds)
    (log,) = sweeps.found("runs/*/seed-1/work/*/metrics.jsonl")
    logged = len(log.read_text().splitlines())
    rows = load(sweeps.results).rows
    lost = logged - int(rows["value"].notna().sum())
    shards = len(sweeps.found("runs/*/seed-1/metrics/*.parquet"))
    cells = (
        f"{logged:,} lines in {options.seconds:.0f} s: {lost} lost, {shards} shards, {shares(used, options.seconds)}"
    )
    return cells, lost == 0


def short(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    sweeps = Sweeps(folder, SHORT, options.programs)
    slots = process.cores()
    begun = time.monotonic()
    sweeps.submit("many", 1, "--max-parallel", str(slots), "--wait")
    took = time.monotonic() - begun
    done = len(sweeps.found("runs/*/seed-1/outcome/*.json"))
    each = took * slots / options.programs - 1
    return f"{done} programs of 1 s, {slots} at a time: {took:.0f} s, {each:.2f} s more each", done == options.programs


def output(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    sweeps = Sweeps(folder, OUTPUT)
    used = sweeps.trained(options.seconds)
    kept = sum(path.stat().st_size for path in sweeps.found("runs/*/seed-1/work/*/sweeps-output/*"))
    written = 100 * options.seconds / 60
    return f"{written:.0f} MB written: {kept / 1e6:.0f} MB kept, {shares(used, options.seconds)}", kept <= 50e6


def disk(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    said = []
    for name, program in (("checkpoints", CHECKPOINTS), ("logs", LOGS)):
        (folder / name).mkdir()
        sweeps = Sweeps(folder / name, program)
        with small_disk(sweeps.results):
            submitted = sweeps.submit("one", 10, "--wait")
            (run,) = runs(sweeps)
            (folder_of_run,) = sweeps.found("runs/*/seed-1")
            shown = sweeps("logs", f"{folder_of_run.parent.name}/seed-1")
            print(f"--- {name}: submit --wait\n{submitted}\n--- logs\n{shown}", flush=True)
            said.append(f"{name}: {str(run['reason']).partition(';')[0]}")
            for path in (*sweeps.found("ballast"), *sweeps.found("runs/*/seed-1/work/*/checkpoint-*")):
                path.unlink()
    return "; ".join(said), True


def runs(sweeps: Sweeps) -> list[dict[str, object]]:
    found = json.loads(sweeps("status", "--json"))["sweeps"]
    return [run for sweep in found for c in sweep["configurations"] for run in c["runs"]]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


MEASURED = {"lines": lines, "short": short, "output": output, "disk": disk}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=list(MEASURED), metavar="NAME",
                        help=f"of {', '.join(MEASURED)}")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=60.0, help="of a program")
    parser.add_argument("--programs", type=int, default=200, help="how many short ones")
    options = parser.parse_args()
    failed = 0
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="sweeps-overhead-") as folder:
            cell, right = MEASURED[name](Path(folder), options)
        print(f"| {name} | {cell} |", flush=True)
        failed += not right
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
