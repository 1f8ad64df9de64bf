"""Trains the example programs of benchmarks/programs with sweeps, kills them, and compares all that is logged.

    python benchmarks/real_programs.py --folder FOLDER [--only NAME ...] [--backend local|slurm]
        [--proctrack linuxproc|pgid] [--minutes N]

Makes the environments of the programs in FOLDER/environments, once (wants a network; PIP_FIND_LINKS may name a folder
with a torch without CUDA), and a fresh copy of each program in FOLDER/NAME. On this machine: a sweep of three
configurations with three seeds; then three long runs, of which the program, the worker and the guard are killed in the
middle, and which are run again. On Slurm (Linux, root; a throw-away one) a time limit is reached, with and without
`resume:`. What a program wrote is read here by other means than sweeps has. Prints a table; exit code 1 where something
is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from example_programs import EXAMPLES, Program, make_environment

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

from slurm_cluster import Settings, start, stop, wait_until  # noqa: E402 - found on the path that was set above

from sweepwise import load  # noqa: E402

PROGRAMS = Path(__file__).resolve().parent / "programs"
PATIENCE_S = 900.0
VICTIMS = ("program", "worker", "guard")
FLOAT32 = 1e-6  # relative error of a number in an event file
INDEX = ("config_id", "seed", "attempt", "kind", "step", "frames", "update", "time", "event", "nonfinite",
         "eval_is_final")  # fmt: skip


class WrongError(Exception):
    """What is not as it must be."""


def check(true: bool, wrong: object) -> None:
    if not true:
        raise WrongError(str(wrong))


# --- the command line ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweeps:
    """The command line in a folder with a fresh copy of a program. conf: slurm.conf of a cluster."""

    program: Program
    folder: Path
    conf: Path | None = None

    @classmethod
    def fresh(cls, program: Program, root: Path, name: str, conf: Path | None = None) -> Sweeps:
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PROGRAMS / program.name, folder)
        plan = folder / "plan.yaml"
        plan.write_text(plan.read_text().replace("~/environments/", f"{root}/environments/"))
        return cls(program, folder, conf)

    def __call__(self, *words: str, code: int = 0) -> str:
        hidden = ("SLURM", "SBATCH", "SWEEPS")
        env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        env |= {"SLURM_CONF": str(self.conf)} if self.conf else {}
        done = subprocess.run([sys.executable, "-P", "-m", "jobs.cli", *words], cwd=self.folder, env=env,
                              capture_output=True, text=True, check=False)  # fmt: skip
        check(done.returncode == code, f"sweeps {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, *more: str) -> str:
        return self("submit", self.program.sweep, "--plan", "plan.yaml", *more)

    def runs(self) -> list[dict[str, object]]:
        found = json.loads(self("status", "--json"))["sweeps"]
        return [run for sweep in found for c in sweep["configurations"] for run in c["runs"]]

    def folders(self) -> list[Path]:
        """Of all runs, in the order of their names."""
        return sorted(self.folder.glob("results/runs/*/seed-*"))

    def processes(self) -> list[int]:
        """Of programs of its runs."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"SWEEPS_RUN={self.folder}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


def attempts(run: Path) -> list[Path]:
    return sorted((run / "attempts").glob("*.json"))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pids(run: Path) -> dict[str, int]:
    """The processes of the newest attempt of a run."""
    worker = int(json.loads(attempts(run)[-1].read_text())["pid"])
    (guard,) = children(worker)
    program = min(children(guard))
    if Path(f"/proc/{program}/cmdline").read_bytes() == Path(f"/proc/{guard}/cmdline").read_bytes():
        raise ValueError("the program has not started yet")
    return {"worker": worker, "guard": guard, "program": program}


# --- what must be true --------------------------------------------------------------------------------------


def compare(sweeps: Sweeps, steps: dict[Path, int]) -> int:
    """That the merged rows hold what the programs wrote, each value once; their number. steps: of each run."""
    program = sweeps.program
    table = load(sweeps.folder / "results").rows
    count = 0
    for run, last in steps.items():
        config, seed = run.parent.name, int(run.name.removeprefix("seed-"))
        own = table[(table["config_id"] == config) & (table["seed"] == seed)]
        double = own[own.duplicated(["kind", "step"])]
        check(double.empty, f"{run}: double steps {double['step'].tolist()}")
        merged = {
            (int(step), name): float(value)
            for name in own.columns if name not in INDEX
            for step, value in own.loc[own[name].notna(), ["step", name]].itertuples(index=False)
        }  # fmt: skip
        expected = program.written(run)
        evaluated = sorted(step for step, name in merged if name == program.primary)
        wanted = list(range(program.every, last + 1, program.every))
        check(evaluated == wanted, f"{run}: missing {sorted({*wanted} - {*evaluated})}, also {evaluated[-3:]}")
        for key in sorted(merged.keys() | expected.keys()):
            same = key in merged and key in expected and math.isclose(merged[key], expected[key], rel_tol=FLOAT32)
            check(same, f"{run}: {key} is {merged.get(key)}, the program wrote {expected.get(key)}")
        count += len(merged)
    return count


def until_ended(sweeps: Sweeps, state: str) -> None:
    """Until each of three runs is in `state`."""
    wait_until("their end", lambda: [run["state"] for run in sweeps.runs()] == [state] * 3, PATIENCE_S, pause=0.5)


def kill_all_kinds(sweeps: Sweeps, before: set[Path]) -> dict[Path, str]:
    """Kill a process of each of three runs in the middle; the victim of each run, as soon as it is far enough."""
    program = sweeps.program
    waiting = list(VICTIMS)
    killed: dict[Path, str] = {}

    def all_killed() -> bool:
        for run in sorted({*sweeps.folders()} - before - killed.keys()):
            if waiting and program.step(run) >= program.long // 2:
                victim = waiting.pop(0)
                os.kill(pids(run)[victim], signal.SIGKILL)
                killed[run] = victim
        return not waiting

    wait_until("the middle of three runs", all_killed, PATIENCE_S, pause=0.05)
    return killed


def on_this_machine(program: Program, root: Path) -> str:
    """The row of the table."""
    began = time.monotonic()
    sweeps = Sweeps.fresh(program, root, program.name)
    sweeps("plan", "--plan", "plan.yaml")
    sweeps.submit("--cluster", "local", "--wait")
    short = sweeps.folders()
    check(len(short) == 9, f"{len(short)} runs")
    check("0 to submit" in sweeps.submit("--cluster", "local"), "a second submit trains again")
    values = compare(sweeps, {run: steps_of(program, run) for run in short})
    (sweeps.folder / "answer.txt").write_text(sweeps("aggregate", "--out", "report.html"))
    check((sweeps.folder / "report.html").stat().st_size > 10_000, "no report")
    # Three more runs, which take the place of the nine in the sweep.
    longer = ("--cluster", "local", "--seeds", "1", "--set", f"{program.steps}={program.long}")
    sweeps.submit(*longer, "--max-parallel", "3")
    killed = kill_all_kinds(sweeps, {*short})
    until_ended(sweeps, "failed")
    wait_until("the end of all processes", lambda: not sweeps.processes(), 10)
    check("0 to submit" in sweeps.submit(*longer), "a second submit trains what failed")
    reasons = {run: said(run) for run in killed}
    sweeps("rerun", program.sweep, "--failed", "--wait")
    check("0 to submit" in sweeps.submit(*longer), "a second submit trains again")
    left = sweeps.processes()
    check(not left, f"left: {left}")
    went_on = {}
    for run, victim in killed.items():
        check(len(attempts(run)) == 2, f"{run}: {len(attempts(run))} attempts")
        went_on[victim] = second_attempt(program, run)
    twice = [run for run in short if len(attempts(run)) != 1]
    check(not twice, f"trained twice: {twice}")
    values += compare(sweeps, dict.fromkeys(killed, program.long))
    for run, reason in reasons.items():
        print(f"  {program.name}: {killed[run]} killed: {reason}", flush=True)
    cells = [program.name, f"{len(short) + len(killed)}", ", ".join(went_on[victim] for victim in VICTIMS), "0", "0",
             f"{values:,} values", f"{time.monotonic() - began:.0f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def said(run: Path) -> str:
    found = sorted((run / "outcome").glob("*.json"))
    return str(json.loads(found[-1].read_text())["message"]) if found else "(no outcome was written)"


def second_attempt(program: Program, run: Path) -> str:
    """Where it began."""
    if not program.resumes:
        first = min(step for step, _ in program.rows(run / "work" / "002"))
        check(first <= program.every, f"{run}: the second attempt began at {first}")
        return "restarted"
    steps = [step for step, _ in program.rows(run / "work")]
    back = [b for a, b in itertools.pairwise(steps) if b < a]
    if not back:
        return "resumed behind its last row"
    check(min(back) > program.every, f"{run}: the second attempt began at {min(back)}")
    return f"resumed at {min(back):,}"


def steps_of(program: Program, run: Path) -> int:
    config = json.loads((run.parent / "config.json").read_text())
    return int(config["config"][program.steps])


# --- time limits on Slurm -----------------------------------------------------------------------------------


def on_slurm(program: Program, root: Path, resumes: bool, conf: Path, minutes: int) -> str:
    """Runs that reach their time limit, with or without `resume:`; the row of the table."""
    began = time.monotonic()
    sweeps = Sweeps.fresh(program, root, f"slurm-{program.name}-{'with' if resumes else 'without'}", conf)
    plan = sweeps.folder / "plan.yaml"
    if program.resumes and not resumes:
        plan.write_text(re.sub(r"^  resume:.*\n(    .*\n)*", "", plan.read_text(), flags=re.M))
    limit = ("--option", f"time={minutes}", "--option", "checkpoint_signal_s=45")
    sweeps.submit("--cluster", "slurm", "--profile", "cpu", "--seeds", "1", "--set",
                  f"{program.steps}={program.long}", *limit)  # fmt: skip
    wait_until("a start", lambda: len(sweeps.folders()) == 3 and all(map(attempts, sweeps.folders())), PATIENCE_S)
    # All three are stopped in the middle, so that none is done before its limit, and go on when they are warned.
    held: dict[Path, int] = {}

    def all_held() -> bool:
        for run in {*sweeps.folders()} - held.keys():
            with contextlib.suppress(OSError, ValueError):
                step = program.step(run) if resumes or not program.resumes else program.every
                if step >= program.every:
                    held[run] = pids(run)["program"]
                    os.kill(held[run], signal.SIGSTOP)
        return len(held) == 3

    wait_until("a first step", all_held, 60 * minutes - 50, pause=0.02)
    waiting = set(held.values())

    def all_warned() -> bool:
        for pid in [pid for pid in waiting if is_terminating(pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            waiting.discard(pid)
        return not waiting

    wait_until("the warning", all_warned, PATIENCE_S, pause=0.05)
    until_ended(sweeps, "done" if resumes else "failed")
    wait_until("the end of all processes", lambda: not sweeps.processes(), 20)
    for run in sweeps.folders():
        check((len(attempts(run)) > 1) == resumes, f"{run}: {len(attempts(run))} attempts")
    if resumes:
        equal = f"{compare(sweeps, dict.fromkeys(sweeps.folders(), program.long)):,} values"
    else:
        causes = {str(run["cause"]) for run in sweeps.runs()}
        check(causes == {"timeout"}, causes)
        equal = "-"
    what = "requeued, resumed, done" if resumes else "failed (timeout)"
    return f"| {program.name} | {'yes' if resumes else 'no'} | {what} | {equal} | {time.monotonic() - began:.0f} |"


def is_terminating(pid: int) -> bool:
    """Whether it has ended, or SIGTERM waits for it."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    pending = re.search(r"^ShdPnd:\s*(\w+)$", text, re.M)
    return "\nState:\tZ" in text or (pending is not None and bool(int(pending[1], 16) >> (signal.SIGTERM - 1) & 1))


# --- the table ----------------------------------------------------------------------------------------------


def print_head(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |\n{'|---' * len(cells)}|", flush=True)


def rows_of(options: argparse.Namespace) -> Iterator[Callable[[], str]]:
    root = options.folder.resolve()
    chosen = [EXAMPLES[name] for name in options.only]
    for program in chosen:
        if program.environment:
            make_environment(program, root / "environments" / program.environment)
    if options.backend == "local":
        print_head("program", "runs", "killed program, worker, guard", "left processes", "trained twice", "rows equal",
                   "seconds")  # fmt: skip
        for program in chosen:
            yield partial(on_this_machine, program, root)
        return
    print_head("program", "resume", "at the time limit", "rows equal", "seconds")
    conf = start(settings=Settings(proctrack=options.proctrack))
    try:
        for program in chosen:
            for resumes in (True, False) if program.resumes else (False,):
                yield partial(on_slurm, program, root, resumes, conf, options.minutes)
    finally:
        stop(conf.parent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the environments and the copies")
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, metavar="NAME", help=f"of {', '.join(EXAMPLES)}")
    parser.add_argument("--backend", choices=("local", "slurm"), default="local")
    parser.add_argument("--proctrack", choices=("linuxproc", "pgid"), default="linuxproc", help="of the Slurm")
    parser.add_argument("--minutes", type=int, default=2, help="of the time limit; more where a program starts slowly")
    options = parser.parse_args()
    options.only = options.only or (list(EXAMPLES) if options.backend == "local" else list(EXAMPLES)[:3])
    failed = 0
    for attempt in rows_of(options):
        try:
            print(attempt(), flush=True)
        except Exception:  # noqa: BLE001 - the others are tried too
            traceback.print_exc()
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
