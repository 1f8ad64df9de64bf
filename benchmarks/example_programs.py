"""The example programs of benchmarks/programs: their environments, and what they wrote, read by other means than sweeps
has."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TORCH = ("torch", "stable-baselines3", "tensorboard", "wandb")

Row = tuple[int, dict[str, float]]  # step, metrics


@dataclass(frozen=True)
class Program:
    """environment: its name, "" for none; packages: of it. every: steps between two evaluations, of the metric
    `primary`. long: steps of a run that is killed. rows: of a run's folder, as the program wrote them, in order.
    resumes: whether its plan has `resume:`. steps: its hyperparameter with their number. old_python: whether it runs
    with the oldest Python on this machine instead of this one."""

    name: str
    sweep: str
    primary: str
    every: int
    long: int
    rows: Callable[[Path], Iterable[Row]]
    steps: str = "steps"
    environment: str = ""
    packages: tuple[str, ...] = ()
    resumes: bool = True
    old_python: bool = False

    def written(self, run: Path) -> dict[tuple[int, str], float]:
        """What counts of the rows: those that a program wrote again when it went on replace the ones before."""
        work = run / "work"
        found: dict[tuple[int, str], float] = {}
        before = 0
        for step, metrics in self.rows(work if self.resumes else max(work.iterdir())):
            if step < before:
                found = {key: value for key, value in found.items() if key[0] < step}
            before = step
            found |= {(step, name): value for name, value in metrics.items()}
        return found

    def step(self, run: Path) -> int:
        """How far a run is. A row may be half-written."""
        with contextlib.suppress(OSError, ValueError):
            return max((step for step, _ in self.written(run)), default=0)
        return 0


def numbers(cells: dict[str, str], step: str) -> Row:
    return int(cells[step]), {name: float(cell) for name, cell in cells.items() if name != step and cell}


def csv_rows(path: Path, step: str) -> Iterator[Row]:
    with path.open(newline="") as file:
        for cells in csv.DictReader(file):
            yield numbers(cells, step)


def json_rows(work: Path) -> Iterator[Row]:
    for line in (work / "metrics.jsonl").read_text().splitlines():
        item = json.loads(line)
        step = item.pop("step")
        inner = {f"{a}/{b}": x for a, value in item.items() if isinstance(value, dict) for b, x in value.items()}
        yield step, {name: value for name, value in item.items() if not isinstance(value, dict)} | inner


def sb3_rows(work: Path) -> Iterator[Row]:
    for folder in sorted((work / "logs").iterdir()):
        yield from csv_rows(folder / "progress.csv", "time/total_timesteps")


def printed_rows(work: Path) -> Iterator[Row]:
    """Of lines such as `epoch 3 train/loss 0.5`."""
    for path in sorted((work / "sweeps-output").iterdir()):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == ["epoch"]:
                metrics = {name: float(value) for name, value in zip(words[2::2], words[3::2], strict=True)}
                yield int(words[1]), metrics


EXAMPLES = {
    program.name: program for program in (
        Program("sb3", "rate", "eval/mean_reward", 200, 3_400, sb3_rows, environment="torch", packages=TORCH),
        Program("hydra", "optimizer", "eval/loss", 50, 6_000, lambda work: csv_rows(work / "metrics.csv", "step"),
                environment="hydra", packages=("hydra-core", "numpy"), resumes=False),
        Program("wandb_torch", "rate", "val/accuracy", 1, 60, printed_rows, "epochs", "torch", TORCH),
        Program("shell", "rate", "loss", 1, 250, json_rows),
        Program("other_python", "sigma", "value", 1, 250, json_rows, environment="old_python", resumes=False,
                old_python=True),
    )
}  # fmt: skip


def old_python() -> str:
    """The oldest Python 3 on this machine, such as those of pyenv; one of uv where only new ones are here."""
    found = {sys.executable}
    for folder in (Path.home() / ".pyenv" / "versions").glob("3.*"):
        found.add(str(folder / "bin" / "python3"))
    found.update(path for name in ("python3", *(f"python3.{minor}" for minor in range(6, 11)))
                 if (path := shutil.which(name)))  # fmt: skip
    ages = {age: path for path in sorted(found) if (age := version(path))}
    if min(ages) >= (3, 11):
        subprocess.run(["uv", "python", "install", "3.9"], check=True)
        where = subprocess.run(["uv", "python", "find", "3.9"], check=True, capture_output=True, text=True)
        return where.stdout.strip()
    return ages[min(ages)]


def version(python: str) -> tuple[int, int] | None:
    """Of an interpreter; None where it does not start, such as a shim of pyenv."""
    try:
        said = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = said.split()[1].split(".")[:2]
    return int(major), int(minor)


def make_environment(program: Program, folder: Path) -> None:
    """The virtual environment of a program, which is made where it is absent."""
    python = folder / "bin" / "python"
    if program.old_python:
        if not python.exists():
            subprocess.run([old_python(), "-m", "venv", "--without-pip", str(folder)], check=True)
        return
    if not python.exists():
        venv.create(folder, with_pip=True)
    have = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    if not set(program.packages) <= {entry["name"].replace("_", "-") for entry in json.loads(have.stdout)}:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *program.packages], check=True)
