"""The `sweeps` lines of the documentation are carried out and succeed: those of shell blocks page by page and in order,
those that stand in its prose each in a folder of its own.

They go to a pretended Slurm whose jobs come to made-up curves; `train` and `evaluate` are real. The tutorial's blocks,
which train for real, are run by tests/test_docs.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner
from fake_slurm import FakeSlurm

from jobs.backends import registry
from jobs.cli import cli
from jobs.doctor import probe
from jobs.reports import live
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import load_statuses

PAGES = (
    "README.md",
    "docs/decisions.md",
    "docs/exchange.md",
    "docs/howto.md",
    "docs/imports.md",
    "docs/json.md",
    "docs/plans.md",
)
REPOSITORY = Path(__file__).parents[1]
DOCS = runpy.run_path(str(REPOSITORY / "tests" / "test_docs.py"))
OWN_PROGRAM = runpy.run_path(str(REPOSITORY / "tests" / "test_own_program.py"))
PATH = os.environ["PATH"]  # as it is before a pretended Slurm takes its place
MAP = "step=step,eval_return=reward,seed=seed"
SUBMIT = "sweeps submit ensemble --seeds 6"
# Final returns of the configurations of `ensemble`: the last is tied with the baseline before it until there are more
# seeds, the first two are hopeless.
FINALS = (80.0, 120.0, 180.0, 250.0, 340.0, 450.0, 670.0, 665.0)
# What prose leaves open, and what it stands for; a run is one of those that are there.
LEFT_OPEN = {
    "<sweep>": "ensemble", "SWEEP": "ensemble", "A B": "ensemble:A ensemble:B", "FOLDER": "results",
    "FILE": "ensemble.sh", "...": "status", "NAME.TASK": "published.walker-walk",
}  # fmt: skip
# What a line that is carried out for real is given beside its own words, to take seconds instead of days.
SHORTER = {
    "train": ["--threads", "1", *(word for key, value in DOCS["TINY"].items() for word in ("--set", f"{key}={value}"))],
    "evaluate": ["--threads", "1", "--episodes", "1"],
}
SINFO = "cpu*|7-00:00:00|20|64|256000|(null)|up\ngpu|1-00:00:00|4|32|512000|gpu:a100:4|up\n"
FACTS = {"host": "n1", "cores": 4, "gpus": 1, "torch": "2.4", "cuda": "12.4", "mujoco": "3"}


@dataclass
class World:
    """A folder to type in, and a pretended Slurm. trained: a folder where `ensemble` is done; real: where something was
    trained for real, as soon as somebody wants it."""

    folder: Path
    trained: Path
    real: Path
    slurm: FakeSlurm
    synthetic: ModuleType

    @property
    def store(self) -> ResultsFolder:
        return ResultsFolder(self.folder / "results")

    def type(self, line: str) -> str:
        words = line.split()
        if words[1] == "train" or (words[1] == "evaluate" and words[2] != "ensemble"):
            return self.type_for_real(line)
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        return done.output

    def type_for_real(self, line: str) -> str:
        """In a process of its own, as what draws is chosen before the environment is imported. Made shorter."""
        words = [*shlex.split(line)[1:], *SHORTER[line.split()[1]]]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "jobs.cli", *words], cwd=self.folder, env={**os.environ, "PATH": PATH},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if "no renderer works here" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def carry_out(self, line: str) -> str:
        """With what its jobs come to."""
        said = self.type(line)
        if line.split()[1] in ("submit", "rerun", "more", "confirm") and "--dry-run" not in line:
            self.finish()
        return said

    def finish(self, fails: bool = True) -> None:
        """All that was submitted is done, but for the first run's first attempt, which fails where `fails`."""
        for run, index, steps in self.asked():
            if self.store.attempts.load(run, steps).done:
                continue
            number = self.store.attempts.claim(run, Attempt(0, "here", 1, "1", 0.0, "cpu")).number
            failed = fails and (index, run.seed, number) == (0, 1, 1)
            if not failed:
                self.log(run, index, steps)
            self.store.attempts.write_outcome(
                run, number, AttemptOutcome("failed" if failed else "finished", steps, "", 0.0)
            )
        for job in {task["job"] for task in self.slurm.tasks()}:
            self.slurm.set(job, state="COMPLETED")

    def asked(self) -> list[tuple[RunRef, int, int]]:
        """Run, place of its configuration in its sweep, steps."""
        return [
            (RunRef(c.config_id, seed), index, self.store.check_config(c.config_id).steps)
            for name in self.store.sweep_names()
            for index, c in enumerate(self.store.read_sweep(name).configs)
            for seed in c.seeds
        ]

    def first_task(self) -> tuple[RunRef, Submission, int]:
        """A run with the submission that holds it and its place there."""
        run, _, steps = self.asked()[0]
        (found,) = load_statuses(self.store, {run: steps}).values()
        assert found.submission is not None
        assert found.task is not None
        return run, found.submission, found.task

    def filled(self, line: str) -> str:
        """A line of prose with what it leaves open."""
        run = str(self.asked()[0][0]) if self.store.sweep_names() else ""
        for words, meant in {**LEFT_OPEN, "ID/seed-1": run, "<run>": run}.items():
            line = re.sub(rf"(?<!\S){re.escape(words)}(?!\S)", meant, line)
        return line

    def log(self, run: RunRef, index: int, steps: int, share: float = 1.0) -> None:
        self.synthetic.write_run(
            self.store.attempts.folder(run), run.seed, total=steps, final=FINALS[index], rng_key=index, stop_at=share,
            spread=0.09 if index > 5 else 0.06,
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
    (world.folder / "mine.yaml").write_text(plan_of("docs/plans.md"))


def plan_of(page: str) -> str:
    """The first plan of a page."""
    (first, *_) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / page).read_text(), re.S)
    return str(first)


def program_alone(world: World) -> None:
    """A program as the README describes it."""
    (world.folder / "train.py").write_text(OWN_PROGRAM["TRAIN"])


def program_with_plan(world: World) -> None:
    program_alone(world)
    (world.folder / "plan.yaml").write_text(
        plan_of("README.md").replace("command: python ", f"command: {sys.executable} ")
    )


def program_trained(world: World) -> None:
    program_with_plan(world)
    world.type("sweeps submit rate --plan plan.yaml --seeds 1 --cluster debug")


# Page -> line -> what happens before it.
BEFORE: dict[str, dict[str, Callable[[World], None]]] = {
    "docs/decisions.md": {
        "sweeps next": again,
        "sweeps adopt ensemble --from-verdict": told_apart,
        "sweeps adopt ensemble --config d317f0544e": taken_back,
        "sweeps adopt ensemble --set num_q=1": taken_back,
        "sweeps more ensemble --dry-run": again,
        "sweeps more ensemble --at-most 40": again,
        "sweeps evaluate ensemble --episodes 100 --dry-run": again,
        "sweeps confirm ensemble --dry-run": again,
        "sweeps prune ensemble --dry-run": training,
    },
    "docs/exchange.md": {"sweeps export ensemble": again},
    "docs/howto.md": {"sweeps submit ensemble --seeds 6 --profile mine --dry-run": profile_put_away},
    "docs/plans.md": {"sweeps plan --plan mine.yaml": plan_written},
    "docs/imports.md": {
        "sweeps import results/tdmpc2 results/sac --frames-per-step 2 --dry-run": published,
    },
}
# Line -> what it says: that it had something to do.
SAYS = {
    "sweeps status": "47 done, 1 failed",
    "sweeps rerun ensemble --failed": "1 to submit",
    "sweeps aggregate --out report.html": "different from the best configuration: num_q=2, reduce=mean, head=",
    "sweeps more ensemble": "submitted",
    "sweeps evaluate ensemble --episodes 100 --dry-run": "48 to submit",
    "sweeps evaluate ensemble --episodes 100": "submitted 48 tasks",
    "sweeps confirm ensemble --dry-run": "12 to submit",
    "sweeps confirm ensemble": "submitted",
    "sweeps aggregate ensemble-confirm": "on fresh seeds? Yes",
    "sweeps prune ensemble --dry-run": "runs would be stopped",
    "sweeps prune ensemble --after 0.7": "runs stopped",
    "sweeps rerun ensemble --stopped": "submitted",
    "sweeps submit ensemble --seeds 6 --profile mine --canary": "submitted",
    "sweeps --results elsewhere aggregate ensemble": "ensemble: ",
}


# --- what the lines in prose assume -----------------------------------------------------------------------------


def nothing(world: World) -> None:
    shutil.rmtree(world.folder / "results")


def held(world: World) -> None:
    """All but the first seeds wait for these."""
    nothing(world)
    world.type(f"{SUBMIT} --canary")


def failed(world: World) -> None:
    nothing(world)
    world.carry_out(SUBMIT)


def pruned(world: World) -> None:
    training(world)
    world.type("sweeps prune ensemble")


def diverged(world: World) -> None:
    training(world)
    run, submission, task = world.first_task()
    job = submission.job_of(task)
    assert job is not None
    world.slurm.set(job, state="FAILED")
    world.store.attempts.claim(run, Attempt(0, "here", 1, "1", 0.0, "cpu", submission.id, task, job))
    world.store.attempts.write_outcome(run, 1, AttemptOutcome("diverged", 0, "", 0.0))


def logged(world: World) -> None:
    """Slurm wrote the log of the first run's task."""
    _, submission, task = world.first_task()
    path, _ = registry.get(submission.backend).log_paths(world.store, submission, task)
    path.write_text("that is its log\n")


def evaluated(world: World) -> None:
    """Jobs evaluate `ensemble`, and Slurm writes the logs of all jobs."""
    world.type("sweeps evaluate ensemble --episodes 100")
    for submission in world.store.submissions.all():
        for task in range(len(submission.tasks)):
            path, _ = registry.get(submission.backend).log_paths(world.store, submission, task)
            path.write_text("that is its log\n")


def accounted(world: World) -> None:
    """Slurm's books know what a task used."""
    _, submission, task = world.first_task()
    job = submission.job_of(task)
    assert job is not None
    world.slurm.set(job, elapsed_raw=3600, total_cpu="01:00:00", max_rss="2G")


def decided(world: World) -> None:
    world.type("sweeps adopt ensemble --keep")


def archived(world: World) -> None:
    """An archive, and another machine."""
    world.type("sweeps archive ensemble --out ensemble.tar")
    nothing(world)


def imported(world: World) -> None:
    published(world)
    world.type(f"sweeps import results/tdmpc2 --name published --map {MAP}")


def tutorial(world: World) -> None:
    """The sweep of docs/tutorial.md, of which a run failed."""
    nothing(world)
    shutil.copy(REPOSITORY / "docs" / "tutorial" / "first.yaml", world.folder)
    world.carry_out("sweeps submit rates --plan first.yaml")


def tutorial_done(world: World) -> None:
    tutorial(world)
    world.carry_out("sweeps rerun rates --failed")
    logged(world)


def trained_for_real(world: World) -> None:
    """A run of few steps, of which the weights at step 20 pass for those at 50,000."""
    if not (world.real / "results").exists():
        replace(world, folder=world.real).type("sweeps train --preset small")
    nothing(world)
    shutil.copytree(world.real, world.folder, dirs_exist_ok=True)
    (kept,) = world.folder.glob("results/runs/*/seed-1/snapshots/step-000000020.pt")
    kept.rename(kept.with_name("step-000050000.pt"))


# Line of prose -> what happens before it, which is otherwise that `ensemble` is done; what it says.
PROSE: dict[str, tuple[Callable[[World], None], str]] = {
    "sweeps adopt --undo": (decided, "ensemble"),
    "sweeps adopt SWEEP --from-verdict": (told_apart, "verdict"),
    "sweeps aggregate NAME.TASK": (imported, "published"),
    "sweeps cancel ensemble": (training, "48 runs cancelled"),
    "sweeps cancel ensemble --diverged": (diverged, "5 runs cancelled"),
    "sweeps evaluate ensemble --episodes 100": (lambda world: None, "submitted 48 tasks"),
    "sweeps evaluate ID/seed-1 --at 50000": (trained_for_real, "50,000"),
    "sweeps evaluate ID/seed-1 --video walk.webp": (trained_for_real, "walk.webp"),
    "sweeps import": (imported, "published"),
    f"sweeps import results/tdmpc2 --name published --map {MAP}": (published, "tdmpc2"),
    "sweeps check --plan plan.yaml": (program_with_plan, "ok"),
    'sweeps init --command "python train.py"': (program_alone, "wrote plan.yaml"),
    "sweeps reread rate --plan plan.yaml": (program_trained, "read 3 of 3 runs again"),
    "sweeps logs ID/seed-1": (logged, "that is its log"),
    "sweeps logs ID/seed-1 --evaluation": (evaluated, "that is its log"),
    "sweeps logs ID/seed-1 -f": (logged, "that is its log"),
    "sweeps logs <run>": (logged, "that is its log"),
    "sweeps logs 5dfdab46ad/seed-1": (tutorial_done, "that is its log"),
    "sweeps prune ensemble": (training, "runs stopped"),
    "sweeps release <sweep>": (held, "released"),
    "sweeps rerun <sweep> --failed": (failed, "1 to submit"),
    "sweeps rerun rates --failed": (tutorial, "1 to submit"),
    "sweeps rerun SWEEP --stopped": (pruned, "submitted"),
    "sweeps submit ensemble --export FILE": (nothing, "ensemble.sh"),
    "sweeps submit ensemble --seeds 6 --dry-run": (nothing, "48 to submit"),
    "sweeps submit ensemble --seeds 6 --wait": (nothing, "48 done"),
    "sweeps train": (nothing, "done; runs are in"),
    "sweeps train --preset small": (nothing, "done; runs are in"),
    "sweeps unarchive ensemble.tar": (archived, "48 runs"),
    "sweeps usage": (accounted, "time=90"),
    "sweeps view": (lambda world: None, "ssh -N -L"),
}  # fmt: skip


def lines_of(text: str) -> list[str]:
    """The command lines of a page's prose."""
    found: list[str] = DOCS["in_prose"](text)
    return found


def carry_out_told(line: str, world: World) -> None:
    before, says = PROSE.get(line, (lambda world: None, ""))
    before(world)
    assert says in " ".join(world.type(world.filled(line)).split()), line


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
    world = World(folder, folder, folder, slurm, synthetic)
    world.carry_out(SUBMIT)
    world.carry_out("sweeps rerun ensemble --failed")
    world.type("sweeps more ensemble --dry-run")  # judges each run once: copies keep the results
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture
def world(slurm: FakeSlurm, trained: Path, real: Path, synthetic: ModuleType, tmp_path: Path) -> World:
    (tmp_path / "here").mkdir()
    return World(tmp_path / "here", trained, real, slurm, synthetic)


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
def documented() -> dict[str, list[str]]:
    """Page -> the lines of its blocks."""
    found = {
        page: [line for line in DOCS["typed"](text) if line.startswith("sweeps ")]
        for page, text in DOCS["pages"](REPOSITORY).items()
    }
    # Those about a program of one's own are typed by tests/test_own_program.py.
    found["README.md"] = [line for line in found["README.md"] if line not in found["docs/programs.md"]]
    elsewhere = ("docs/tutorial.md", "docs/programs.md")
    return {page: lines for page, lines in found.items() if lines and page not in elsewhere}


IN_PROSE = sorted({line for text in DOCS["pages"](REPOSITORY).values() for line in lines_of(text)})


def test_the_tables_are_of_lines_that_are_there(documented: dict[str, list[str]]) -> None:
    assert sorted(documented) == sorted(PAGES)
    assert set(SAYS) <= {line for lines in documented.values() for line in lines}
    assert [line for page, lines in BEFORE.items() for line in lines if line not in documented[page]] == []
    assert set(PROSE) <= set(IN_PROSE)


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


# --- prose --------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """`ensemble` is done; who waits sees to it that what was submitted is; `view` ends after the first report."""
    again(world)
    live_follow = live.follow
    monkeypatch.setattr(
        live, "follow", lambda *words: live_follow(*words[:-1], MagicMock(side_effect=KeyboardInterrupt))
    )
    waiting = SimpleNamespace(time=time.time, sleep=lambda seconds: world.finish(fails=False))
    monkeypatch.setattr("jobs.submit.watch.time", waiting)
    return world


@pytest.mark.parametrize("line", IN_PROSE)
def test_every_line_of_prose_succeeds(line: str, prepared: World) -> None:
    carry_out_told(line, prepared)


def test_a_new_line_of_prose_would_be_carried_out(prepared: World) -> None:
    page = (REPOSITORY / "docs" / "decisions.md").read_text()
    changed = page.replace("`sweeps plan gamma`", "`sweeps plan delta`")
    (line,) = set(lines_of(changed)) - set(lines_of(page))
    with pytest.raises(AssertionError, match="unknown sweep 'delta'"):
        carry_out_told(line, prepared)
