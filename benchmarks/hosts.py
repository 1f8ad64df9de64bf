"""Two hosts on one results folder, one of which is suspended or dies: tries it, and writes what came of it to
docs/verification.md.

    python benchmarks/hosts.py [NAME ...]

Needs Linux and root. Each host is a namespace of this machine with a host name, processes and mounts of its own, and is
suspended by SIGSTOP to all of them. Half an hour, most of it waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import rows  # noqa: E402 - found on the path that was set above
from slurm_cluster import has_ended, wait_until  # noqa: E402

from jobs.backends.local import SILENT_S  # noqa: E402
from sweepwise import load  # noqa: E402

WALKER = ROOT / "tests" / "jobs" / "programs" / "walker.py"
PLAN = """
plan: walks
program:
  name: walker
  command: {python} walker.py --out {{run}} {{overrides}}
  hyperparameters: {{lr: 1e-3, steps: 40, pause: 0.2, trouble: ""}}
  seed: seed
  ignore: pause
  steps: steps
  resume: {{when: "{{run}}/checkpoint.json", add: --resume, grace: 5}}
  metrics: {{primary: eval/return}}
seeds: 1
sweeps:
  left: {{goal: see that each run is trained once, grid: {{lr: [1e-3, 2e-3, 3e-3]}}}}
  right: {{goal: the same with one run in common, grid: {{lr: [3e-3, 4e-3, 5e-3]}}}}
"""
STEPS = 40
NAP_S = 180.0
PATIENCE_S = 600.0


class Host:
    """A host: a process that holds its namespaces, and the command line in `folder` there."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        held = f"hostname {name}; exec sleep infinity"
        options = ["--uts", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        self._outer = subprocess.Popen(["unshare", *options, "sh", "-c", held], stderr=subprocess.DEVNULL)
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        wait_until(name, lambda: bool(children.read_text().strip()), 10)
        self._first = int(children.read_text())
        wait_until(name, lambda: Path(f"/proc/{self._first}/comm").read_text().strip() == "sleep", 10)

    def start(self, *words: str) -> subprocess.Popen[str]:
        hidden = ("SLURM", "SBATCH", "SWEEPS")
        env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        inside = ["nsenter", f"--target={self._first}", "--uts", "--pid", "--mount", f"--wd={self.folder}"]
        return subprocess.Popen([*inside, sys.executable, "-P", "-m", "jobs.cli", *words], env=env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip

    def __call__(self, *words: str) -> str:
        return finished(self.start(*words))

    def submit(self, sweep: str, *more: str) -> list[str]:
        return ["submit", sweep, "--plan", "plan.yaml", "--cluster", "local", "--max-parallel", "2", *more]

    def states(self) -> dict[str, int]:
        """Of all runs, as seen from here."""
        found = json.loads(self("status", "--json"))["sweeps"]
        states = [run["state"] for sweep in found for c in sweep["configurations"] for run in c["runs"]]
        return {state: states.count(state) for state in sorted(set(states))}

    def processes(self) -> list[int]:
        """All but the one that holds the namespaces."""
        space = os.readlink(f"/proc/{self._first}/ns/pid")  # noqa: PTH115 - names a namespace, not a path
        found = []
        for path in Path("/proc").glob("[0-9]*/ns/pid"):
            pid = int(path.parts[2])
            with contextlib.suppress(OSError):
                if str(path.readlink()) == space and pid != self._first and not has_ended(pid):
                    found.append(pid)
        return found

    def signal(self, number: signal.Signals) -> int:
        """To all of its processes; how many."""
        found = self.processes()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(found)

    def die(self) -> None:
        """All of its processes are killed with the first."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._first, signal.SIGKILL)
        self._outer.wait(30)


def finished(command: subprocess.Popen[str]) -> str:
    said = command.communicate(timeout=PATIENCE_S)[0]
    assert command.returncode == 0, said
    return said


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    with tempfile.TemporaryDirectory(prefix="sweeps-hosts-") as name:
        folder = Path(name)
        shutil.copy(WALKER, folder)
        (folder / "plan.yaml").write_text(PLAN.format(python=sys.executable))
        hosts = Host("left-host", folder), Host("right-host", folder)
        try:
            yield hosts
        finally:
            for host in hosts:
                host.die()


def check(folder: Path, runs: int) -> str:
    """That each run ended once and has each step once; which hosts trained them, in how many attempts."""
    outcomes = [json.loads(path.read_text())["state"] for path in folder.glob("results/runs/*/*/outcome/*.json")]
    assert outcomes.count("finished") == runs, outcomes
    table = load(folder / "results").rows
    for run, steps in table[table["kind"] == "train"].groupby(["config_id", "seed"], observed=True)["step"]:
        assert steps.tolist() == list(range(1, STEPS + 1)), (run, steps.tolist())
    made = [json.loads(path.read_text())["host"] for path in folder.glob("results/runs/*/*/attempts/*.json")]
    return " and ".join(f"{made.count(host)} attempts on {host}" for host in sorted(set(made)))


def together() -> str:
    """Both submit at once, with a run in common."""
    with two_hosts() as (left, right):
        commands = [host.start(*host.submit(host.name.partition("-")[0], "--wait")) for host in (left, right)]
        for command in commands:
            finished(command)
        assert left.states() == {"done": 6}, left.states()  # the one in common is in both sweeps
        made = check(left.folder, 5)
        assert made.count("attempts on") == 2, made
        assert len([*left.folder.glob("results/runs/*/*/attempts/*.json")]) == 5
        return f"5 runs done once, {made}"


def begun(left: Host, right: Host) -> None:
    """The left host trains two runs for a minute, and one waits."""
    left(*left.submit("left", "--set", "pause=1.5"))
    checkpoints = "results/runs/**/checkpoint.json"
    wait_until("two checkpoints", lambda: len([*left.folder.glob(checkpoints)]) == 2, PATIENCE_S, pause=0.05)


def napped() -> str:
    """Suspended for three minutes while the other host looks and submits."""
    with two_hosts() as (left, right):
        begun(left, right)
        count = left.signal(signal.SIGSTOP)
        ends, seen = time.monotonic() + NAP_S, set()
        while time.monotonic() < ends:
            seen |= right.states().keys()
            assert "0 to submit" in right(*right.submit("left", "--set", "pause=1.5"))
            time.sleep(10)
        left.signal(signal.SIGCONT)
        wait_until("the end", lambda: left.states() == {"done": 3}, PATIENCE_S, pause=2)
        assert len([*left.folder.glob("results/runs/*/*/attempts/*.json")]) == 3
        shown = ", ".join(sorted(seen))
        return f"{count} processes stopped; {shown} for the other, 0 to submit; then done, {check(left.folder, 3)}"


def taken_over(wakes: bool) -> str:
    """Silent for so long that the other host trains all; then it wakes, or it never does."""
    with two_hosts() as (left, right):
        begun(left, right)
        if wakes:
            left.signal(signal.SIGSTOP)
        else:
            left.die()
        assert "0 to submit" in right(*right.submit("left", "--set", "pause=1.5"))
        wait_until(
            "what can be taken over", lambda: right.states() == {"failed": 2, "lost": 1}, SILENT_S + 120, pause=5
        )
        again = right.start("rerun", "left", "--all", "--wait")
        if wakes:
            seconds = "results/runs/*/*/attempts/002.json"
            wait_until("both taken over", lambda: len([*left.folder.glob(seconds)]) == 2, PATIENCE_S, pause=0.5)
            left.signal(signal.SIGCONT)
        finished(again)
        assert right.states() == {"done": 3}, right.states()
        wait_until("the end of the other's", lambda: not wakes or not left.processes(), PATIENCE_S, pause=1)
        return f"2 failed and 1 lost after {SILENT_S / 60:.0f} min, done after `rerun --all`: {check(right.folder, 3)}"


TRIALS: dict[str, tuple[str, Callable[[], str]]] = {
    "together": ("two hosts submit at once, with one run in common", together),
    "suspended": ("a host is suspended for 3 minutes, the other looks and submits", napped),
    "overslept": ("it is suspended for longer, the other takes its runs over, then it wakes", lambda: taken_over(True)),
    "dead": ("it dies with all its processes, the other takes its runs over", lambda: taken_over(False)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = rows.chosen(parser, TRIALS)
    about = {name: what for name, (what, _) in TRIALS.items()}
    page = ROOT / "docs" / "verification.md"
    return rows.try_each(options.names, lambda name: TRIALS[name][1](), "hosts", TRIALS, page, about)


if __name__ == "__main__":
    sys.exit(main())
