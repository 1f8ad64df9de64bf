"""The `sweeps` lines of the documentation's shell blocks are carried out, page by page and in order, and succeed.

They go to a pretended Slurm whose jobs come to made-up curves. The tutorial, which trains for real, is run by
tests/test_docs.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner
from fake_slurm import FakeSlurm

from jobs import probe
from jobs.cli import cli
from jobs.records import Attempt, Outcome
from jobs.store import RunRef, Store

PAGES = ("README.md", "docs/decisions.md", "docs/exchange.md", "docs/howto.md", "docs/imports.md")
REPOSITORY = Path(__file__).parents[1]
MAP = "step=step,eval_return=reward,seed=seed"
SUBMIT = "sweeps submit ensemble --seeds 6"
# Final returns of the configurations of `ensemble`: the last is tied with the baseline before it until there are more
# seeds, the first two are hopeless.
FINALS = (100.0, 150.0, 300.0, 310.0, 320.0, 330.0, 600.0, 665.0)
SINFO = "cpu*|7-00:00:00|20|64|256000|(null)|up\ngpu|1-00:00:00|4|32|512000|gpu:a100:4|up\n"
FACTS = {"host": "n1", "cores": 4, "gpus": 1, "torch": "2.4", "cuda": "12.4", "mujoco": "3"}


@dataclass
class World:
    """A folder to type in, and a pretended Slurm. trained: a folder where `ensemble` is done."""

    folder: Path
    trained: Path
    slurm: FakeSlurm
    synthetic: ModuleType

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    def type(self, line: str) -> str:
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        return done.output

    def carry_out(self, line: str) -> str:
        """With what its jobs come to."""
        said = self.type(line)
        if line.split()[1] in ("submit", "rerun", "more") and "--dry-run" not in line:
            self.finish()
        return said

    def finish(self) -> None:
        """All that was submitted is done, but for the first run's first attempt, which fails."""
        for run, index, steps in self.asked():
            if self.store.load_run(run, steps).done:
                continue
            number = self.store.claim_attempt(run, Attempt(0, "here", 1, "1", 0.0, "cpu")).number
            failed = (index, run.seed, number) == (0, 1, 1)
            if not failed:
                self.log(run, index, steps)
            self.store.write_outcome(run, number, Outcome("failed" if failed else "finished", steps, "", 0.0))
        for job in {task["job"] for task in self.slurm.tasks()}:
            self.slurm.set(job, state="COMPLETED")

    def asked(self) -> list[tuple[RunRef, int, int]]:
        """Run, place of its configuration in the sweep, steps."""
        configs = self.store.read_view("ensemble").configs
        return [
            (RunRef(c.config_id, seed), index, self.store.check_config(c.config_id).steps)
            for index, c in enumerate(configs)
            for seed in c.seeds
        ]

    def log(self, run: RunRef, index: int, steps: int, share: float = 1.0) -> None:
        self.synthetic.write_run(
            self.store.run_folder(run), run.seed, total=steps, final=FINALS[index], rng_key=index, stop_at=share,
            points=20, evaluations=20, lean=True,
        )  # fmt: skip


# --- what the pages assume ------------------------------------------------------------------------------------


def again(world: World) -> None:
    """The line is another way to do what the line before did: what the page began with."""
    shutil.rmtree(world.folder)
    shutil.copytree(world.trained, world.folder)


def told_apart(world: World) -> None:
    world.carry_out("sweeps more ensemble")


def taken_back(world: World) -> None:
    world.type("sweeps adopt --undo")


def training(world: World) -> None:
    """Every run of the sweep stands at 80 % of its steps."""
    shutil.rmtree(world.folder / "results")
    world.type(SUBMIT)
    for run, index, steps in world.asked():
        world.log(run, index, steps, 0.8)


def published(world: World) -> None:
    """Two algorithms on two tasks as TD-MPC2 publishes them, in frames."""
    again(world)
    for algorithm in ("tdmpc2", "sac"):
        folder = world.folder / "results" / algorithm
        folder.mkdir(parents=True)
        rows = "".join(f"{step},{step / 500},{seed}\n" for seed in (1, 2, 3) for step in range(0, 200_001, 20_000))
        for task in ("quadruped-walk", "walker-walk"):
            (folder / f"{task}.csv").write_text(f"step,reward,seed\n{rows}")


def profile_put_away(world: World) -> None:
    (world.folder / "profiles").mkdir()
    (world.folder / "mine.yaml").rename(world.folder / "profiles" / "mine.yaml")


def plan_written(world: World) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    (world.folder / "mine.yaml").write_text(text)


# Page -> line -> what happens before it.
BEFORE: dict[str, dict[str, Callable[[World], None]]] = {
    "README.md": {"sweeps plan --plan mine.yaml": plan_written},
    "docs/decisions.md": {
        "sweeps next": again,
        "sweeps adopt ensemble --from-verdict": told_apart,
        "sweeps adopt ensemble --config 3dffecba6e": taken_back,
        "sweeps adopt ensemble --set num_q=1": taken_back,
        "sweeps more ensemble --dry-run": again,
        "sweeps more ensemble --at-most 12": again,
        "sweeps prune ensemble --dry-run": training,
    },
    "docs/exchange.md": {"sweeps export ensemble": again},
    "docs/howto.md": {
        "sweeps submit ensemble --seeds 6 --profile mine --dry-run": profile_put_away,
        "sweeps plan --plan mine.yaml": plan_written,
    },
    "docs/imports.md": {
        f"sweeps import results/tdmpc2 results/sac --name published --frames-per-step 2 --map {MAP}": published,
    },
}
# Line -> what it says: that it had something to do.
SAYS = {
    "sweeps status": "47 done, 1 failed",
    "sweeps rerun ensemble --failed": "1 to submit",
    "sweeps aggregate --out report.html": "Cannot be told apart from the leader: num_q=2, reduce=mean, head=joint",
    "sweeps more ensemble": "submitted",
    "sweeps prune ensemble --dry-run": "runs would be stopped",
    "sweeps prune ensemble --after 0.7": "runs stopped",
    "sweeps rerun ensemble --stopped": "submitted",
    "sweeps submit ensemble --seeds 6 --profile mine --canary": "submitted",
    "sweeps --results elsewhere aggregate ensemble": "ensemble: ",
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSlurm]:
    """A pretended Slurm, all of PATH."""
    fake = FakeSlurm(tmp_path_factory.mktemp("slurm"))
    fake.answer("sinfo", SINFO)
    with pytest.MonkeyPatch.context() as changed:
        for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "SWEEPS"))]:
            changed.delenv(name)
        changed.setenv("PATH", str(fake.bin))
        changed.setenv("SWEEPS_PROFILES", "profiles")
        yield fake


@pytest.fixture(scope="module")
def trained(slurm: FakeSlurm, synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    world = World(folder, folder, slurm, synthetic)
    world.carry_out(SUBMIT)
    world.carry_out("sweeps rerun ensemble --failed")
    return folder


@pytest.fixture
def world(slurm: FakeSlurm, trained: Path, synthetic: ModuleType, tmp_path: Path) -> World:
    (tmp_path / "here").mkdir()
    return World(tmp_path / "here", trained, slurm, synthetic)


@pytest.fixture
def probed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job that looks around is played while it is waited for, and this machine is one with a GPU."""

    def job(seconds: float) -> None:
        for folder in world.store.root.glob(".probe.*"):
            for name in (probe.FACTS, probe.TOLD, probe.AGAIN):
                (folder / name).write_text(json.dumps(FACTS))

    monkeypatch.setattr(probe, "facts", lambda: FACTS)
    monkeypatch.setattr(time, "sleep", job)


@pytest.fixture(scope="module")
def documented(load_script: Callable[[str], ModuleType]) -> dict[str, list[str]]:
    """Page -> its lines."""
    docs = load_script("tests/test_docs.py")
    found = {
        page: [line for line in docs.typed(text) if line.startswith("sweeps ")]
        for page, text in docs.pages(REPOSITORY).items()
    }
    return {page: lines for page, lines in found.items() if lines and page != "docs/tutorial.md"}


def test_the_tables_are_of_lines_that_are_there(documented: dict[str, list[str]]) -> None:
    assert sorted(documented) == sorted(PAGES)
    assert set(SAYS) <= {line for lines in documented.values() for line in lines}
    assert [line for page, lines in BEFORE.items() for line in lines if line not in documented[page]] == []


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of W&B's package, an extra: it takes whatever it is given."""
    monkeypatch.setitem(sys.modules, "wandb", MagicMock(Error=OSError))


@pytest.mark.usefixtures("probed", "wandb")
@pytest.mark.parametrize("page", PAGES)
def test_every_line_of_a_page_succeeds(page: str, documented: dict[str, list[str]], world: World) -> None:
    for line in documented[page]:
        BEFORE.get(page, {}).get(line, lambda world: None)(world)
        assert SAYS.get(line, "") in " ".join(world.carry_out(line).split()), line
