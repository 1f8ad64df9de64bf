"""Writes a first plan for a program of each command-line library with `sweeps init`, and starts the program with it.

    python benchmarks/init_programs.py [--folder FOLDER]

FOLDER holds the environment with the libraries, which is made where it is absent (wants a network). Prints a table;
exit code 1 where a program gave no hyperparameters, or did not start with those of the plan.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jobs.assist import first_plan  # noqa: E402 - found on the path that was set above
from jobs.planning import plan as plans  # noqa: E402
from jobs.programs.command import Places, ProgramSource, command_line  # noqa: E402

LIBRARIES = ("click", "typer", "tyro", "absl-py", "fire", "pyrallis", "draccus", "jsonargparse")
# Name -> (the words behind the script, the script). Each prints the values that it gets, and trains nothing.
PROGRAMS = {
    "click, a command": ("", """
import click
@click.command()
@click.option("--lr", default=3e-4, help="rate")
@click.option("--steps", type=int, default=100000)
@click.option("--seed", type=int, required=True)
@click.option("--amp/--no-amp", default=True)
@click.option("--verbose", is_flag=True)
@click.option("--layers", multiple=True, type=int, default=[64, 64])
@click.option("--betas", nargs=2, type=float, default=(0.9, 0.999))
@click.option("--opt", type=click.Choice(["adam", "sgd"]), default="adam")
@click.option("-n", "--batch-size", default=32)
@click.option("--out", type=click.Path())
@click.version_option("1")
def main(**k): print("TRAINED", k)
main()
"""),
    "click, a group": ("train", """
import click
@click.group()
@click.option("--device", default="cpu")
def cli(device): pass
@cli.command()
@click.option("--lr", default=3e-4)
@click.option("--seed", default=1)
def train(lr, seed): print("TRAINED", lr)
@cli.command()
def show(): pass
if __name__ == "__main__": cli()
"""),
    "Typer, an app": ("", """
import typer
from typing import List
from enum import Enum
class Opt(str, Enum):
    adam="adam"; sgd="sgd"
app = typer.Typer()
@app.command()
def main(
    lr: float = 3e-4, steps: int = 1000, seed: int = 1, amp: bool = False, layers: List[int] = [64, 64],
    opt: Opt = Opt.adam, name: str = typer.Option(...),
):
    print("TRAINED", lr, layers, opt)
app()
"""),
    "Typer, typer.run": ("", """
import typer
def main(lr: float = 3e-4, seed: int = 1): print("TRAINED", lr)
typer.run(main)
"""),
    "absl, flags": ("", """
from absl import app, flags
FLAGS = flags.FLAGS
flags.DEFINE_float("lr", 3e-4, "rate")
flags.DEFINE_integer("steps", 1000, "")
flags.DEFINE_integer("seed", 1, "")
flags.DEFINE_bool("amp", False, "")
flags.DEFINE_list("layers", ["64", "64"], "")
flags.DEFINE_multi_integer("sizes", [1, 2], "")
flags.DEFINE_enum("opt", "adam", ["adam", "sgd"], "")
flags.DEFINE_string("workdir", None, "")
def main(_): print("TRAINED", FLAGS.lr)
if __name__ == "__main__": app.run(main)
"""),
    "Fire, a function": ("", """
import fire
def train(lr=3e-4, steps=1000, seed=1, amp=False, layers=[64, 64], name="x", out=None):
    print("TRAINED")
if __name__ == "__main__": fire.Fire(train)
"""),
    "Fire, a class": ("fit", """
import fire
class T:
    def __init__(self, lr=3e-4): self.lr = lr
    def fit(self, steps=1000, seed=1): print("TRAINED")
if __name__ == "__main__": fire.Fire(T)
"""),
    "tyro, a dataclass": ("", """
import dataclasses, tyro, pathlib, enum
from typing import Literal, Optional
class K(enum.Enum):
    a = 1; b = 2
@dataclasses.dataclass
class Optim:
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
@dataclasses.dataclass
class Args:
    seed: int = 1
    total_timesteps: int = 1000
    amp: bool = True
    optim: Optim = dataclasses.field(default_factory=Optim)
    env: Literal["x", "y"] = "x"
    kind: K = K.a
    out_dir: Optional[pathlib.Path] = None
    name: str = dataclasses.field(default="q")
if __name__ == "__main__":
    args = tyro.cli(Args); print("TRAINED", args)
"""),
    "pyrallis, wrap": ("", """
from dataclasses import dataclass, field
import pyrallis
@dataclass
class Optim:
    lr: float = 3e-4
@dataclass
class Conf:
    seed: int = 1
    steps: int = 1000
    amp: bool = False
    layers: list[int] = field(default_factory=lambda: [64, 64])
    optim: Optim = field(default_factory=Optim)
@pyrallis.wrap()
def main(cfg: Conf): print("TRAINED", cfg)
main()
"""),
    "jsonargparse, CLI": ("", """
from dataclasses import dataclass
from jsonargparse import CLI
@dataclass
class Optim:
    lr: float = 3e-4
def main(
    seed: int = 1, steps: int = 1000, amp: bool = False, layers: list[int] = [64, 64], optim: Optim = Optim(),
    name: str = "x",
): print("TRAINED", seed, optim)
if __name__ == "__main__": CLI(main)
"""),
}  # fmt: skip
PROGRAMS["draccus, wrap"] = ("", PROGRAMS["pyrallis, wrap"][1].replace("pyrallis", "draccus"))


def environment(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, which is made where it is absent."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *LIBRARIES], check=True)
    return python


def row(name: str, python: Path, work: Path) -> tuple[int, str]:
    """How many hyperparameters were found, and what is wrong with the program's run, "" for nothing."""
    words, text = PROGRAMS[name]
    folder = work / name.replace(", ", "-").replace(" ", "-")
    folder.mkdir()
    (folder / "train.py").write_text(text)
    asked = first_plan.ProgramRequest(f"{python} train.py {words}".strip(), folder, folder / "plan.yaml")
    first_plan.write(asked)
    plan = plans.load(asked.out)
    assert isinstance(plan.source, ProgramSource)
    needed = {one.name: "x" for one in plan.schema.description.hyperparameters if one.name == "name"}
    values = plan.schema.resolve({**plan.base, **needed}).values
    line = command_line(plan.source.program, values, Places(folder, folder, seed=1))
    done = subprocess.run(line.argv, cwd=folder, capture_output=True, text=True, check=False)
    wrong = "" if done.returncode == 0 and "TRAINED" in done.stdout else f"{line.argv}: {done.stderr[-300:]}"
    return len(plan.schema.description.hyperparameters), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the environment")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        python = environment((options.folder or Path(temporary) / "env").absolute())
        print("| program | hyperparameters | started with them |\n|---|---|---|")
        for name in PROGRAMS:
            count, wrong = row(name, python, Path(temporary))
            failed += bool(wrong) or not count
            print(f"| {name} | {count} | {wrong or 'yes'} |", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
