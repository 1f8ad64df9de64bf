"""What the documentation says of programs: the README's lines are typed, every plan of docs/programs.md is read."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from driver import Sweeps

from jobs.planning import plan as plans
from jobs.planning import program
from jobs.programs.command import PLACEHOLDERS, ProgramSource

# As the README describes it.
TRAIN = """
import argparse, csv, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--steps", type=int)
parser.add_argument("--seed", type=int)
parser.add_argument("--out", type=pathlib.Path)
options = parser.parse_args()
with (options.out / "progress.csv").open("w", newline="") as file:
    log = csv.writer(file)
    log.writerow(["step", "eval/return"])
    for step in range(1000, options.steps + 1, 1000):
        log.writerow([step, 1e4 * options.lr + options.seed % 3])
"""
# What the Hydra program of the example prints.
CONFIG = "num_q: 1\\nsteps: 10\\nseed: 1\\nnum_workers: 2\\nwandb:\\n  mode: offline\\n"


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("page", "title"), [("README.md", "Your own program"), ("docs/programs.md", "The shortest plan")]
)
def test_the_lines_work(repository: Path, tmp_path: Path, page: str, title: str) -> None:
    text = section((repository / page).read_text(), title)
    (plan,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (lines,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    sweeps = Sweeps(tmp_path)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "plan.yaml").write_text(plan)
    assert shutil.which("python"), "as the plan calls it"
    for line in lines.splitlines():
        words = shlex.split(line, comments=True)[1:]
        said = sweeps(*words, *(["--cluster", "local", "--wait"] if words[0] == "submit" else []))
        assert words[0] != "check" or "\nok" in said
    assert len(sweeps.runs()) == 18
    assert set(sweeps.states()) == {"done"}
    assert "lr=1e-3 is best, with a final return of 11" in said


@pytest.mark.parametrize("name", ["mine", "argparse", "hydra", "sb3", "wandb", "apptainer"])
def test_the_plans_of_the_page_are_read(repository: Path, tmp_path: Path, name: str) -> None:
    text = (repository / "docs" / "programs.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (plan,) = (block for block in blocks if block.startswith(f"plan: {name}\n"))
    (tmp_path / "train.py").write_text(f'print("{CONFIG}")\n')
    (tmp_path / "plan.yaml").write_text(plan.replace("config_command: python", f"config_command: {sys.executable}"))
    source = plans.load(tmp_path / "plan.yaml").source
    assert isinstance(source, ProgramSource)
    assert "primary" in source.description.catalogue.roles


def test_the_page_lists_every_field_and_placeholder(repository: Path) -> None:
    text = section((repository / "docs" / "programs.md").read_text(), "All fields of `program`")
    listed = {
        word
        for row in text.splitlines()
        if row.startswith("| `")
        for word in re.findall(r"`(\{?\w+\}?)`", row.split("|")[1])
    }
    assert listed == {*program.KEYS, *(f"{{{name}}}" for name in PLACEHOLDERS)}
