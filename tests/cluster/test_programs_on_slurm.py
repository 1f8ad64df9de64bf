"""Any program on a real Slurm: warned before its time limit, requeued or failed, preempted, cancelled."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import PATIENCE_S, Sweeps, rows
from slurm_cluster import Settings, ask, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)

WALKER = Path(__file__).parents[1] / "jobs" / "programs" / "walker.py"
PLAN = """
plan: mine
program:
  name: walker
  command: {python} walker.py --out {{run}} {{overrides}}
  hyperparameters: {{lr: 1e-3, steps: 40, pause: 0.2, trouble: ""}}
  seed: seed
  steps: steps
  {resume}
  metrics: {{primary: eval/return}}
seeds: 1
sweeps:
  one: {{goal: see that it survives, grid: {{lr: [1e-3]}}}}
"""
SHOW = """
import json, os, pathlib
seen = {**os.environ, "working folder": os.getcwd()}
pathlib.Path(os.environ["SWEEPS_RUN"], "environment").write_text(json.dumps(seen))
import walker
"""
RESUME = 'resume: {when: "{run}/checkpoint.json", add: --resume, grace: 10}'


@pytest.fixture
def sweeps(tmp_path: Path, cluster: Callable[[Settings], Path]) -> Sweeps:
    return prepared(tmp_path, cluster(Settings(max_array_size=4)))


def prepared(folder: Path, conf: Path) -> Sweeps:
    made = Sweeps(folder, conf)
    shutil.copy(WALKER, folder)
    write_plan(made)
    return made


def write_plan(sweeps: Sweeps, resume: str = RESUME) -> None:
    (sweeps.folder / "plan.yaml").write_text(PLAN.format(python=sys.executable, resume=resume))


def started(sweeps: Sweeps, *more: str) -> str:
    """The Slurm job of a run that trains."""
    sweeps.submit("one", *more)
    wait_until("logged metrics", lambda: "\n" in log(sweeps), PATIENCE_S, pause=0.1)
    return sweeps.job()


def log(sweeps: Sweeps) -> str:
    return "".join(path.read_text() for path in sweeps.results("runs/*/seed-1/work/**/metrics.jsonl"))


def outcome(sweeps: Sweeps, attempt: int) -> dict[str, str]:
    (path,) = sweeps.results(f"runs/*/seed-1/outcome/{attempt:03d}.json")
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("proctrack", ["linuxproc", "pgid"])
def test_warned_it_saves_its_state_and_is_queued_again(
    tmp_path: Path, cluster: Callable[[Settings], Path], proctrack: str
) -> None:
    """The warning is what Slurm sends before the time limit, to every process of the job."""
    sweeps = prepared(tmp_path, cluster(Settings(max_array_size=4, proctrack=proctrack)))
    job = started(sweeps, "--set", "trouble=loaders")
    ask(sweeps.cluster, "scancel", "--signal=USR2", job)
    sweeps.until("done")
    assert sweeps.attempts() == 2
    assert outcome(sweeps, 1)["state"] == "interrupted"
    trained = rows(sweeps.folder / "results").query("kind == 'train'")["step"].tolist()
    assert trained == list(range(1, 41))
    assert not sweeps.processes()


def test_a_program_is_checked_in_a_job(sweeps: Sweeps) -> None:
    """The cost first; then what the same run says on this machine. Nothing is left in the queue or on disk."""
    said = sweeps("check", "--plan", "plan.yaml", "--sweep", "one", "--cluster", "slurm", "--profile", "cpu")
    lines = [line.split() for line in said.splitlines()]
    assert lines[0][:8] == ["cost", "one", "job", "of", "at", "most", "11", "min"]
    job = next(words[1] for words in lines if words[0] == "job")
    assert f"job {job} ended" in " ".join(said.split())
    assert {"argv", "passed", "metric", "checkpoint"} <= {words[0] for words in lines}
    assert said.endswith("\nok\n")
    assert not ask(sweeps.cluster, "squeue", "-h").strip()
    assert not sweeps.processes()
    assert not [*sweeps.folder.glob(".sweeps-check*"), *sweeps.folder.glob("results*")]


def test_without_resume_a_time_limit_is_a_failure_and_a_cancel_is_not(sweeps: Sweeps) -> None:
    write_plan(sweeps, resume="")
    job = started(sweeps)
    ask(sweeps.cluster, "scancel", "--signal=USR2", job)
    sweeps.until("failed")
    (run,) = sweeps.runs()
    assert run["cause"] == "timeout"
    assert "cannot resume" in run["reason"]
    assert sweeps.attempts() == 1
    sweeps("rerun", "one", "--timeout")
    wait_until(
        "its second attempt", lambda: len(sweeps.results("runs/*/seed-1/work/002/metrics.jsonl")) == 1, PATIENCE_S
    )
    sweeps("cancel", "one")
    sweeps.until("interrupted")
    assert not sweeps.processes()


def test_the_program_sees_the_submitters_environment_and_its_deadline(sweeps: Sweeps) -> None:
    (sweeps.folder / "show.py").write_text(SHOW)
    text = (
        (sweeps.folder / "plan.yaml").read_text().replace("} walker.py", "} show.py").replace(" walker.py", " show.py")
    )
    (sweeps.folder / "plan.yaml").write_text(text)
    sweeps.environment |= {"MY_TOKEN": "tok-3141592653", "OMP_NUM_THREADS": "7"}
    sweeps.submit("one", "--set", "pause=0", "--option", "activate=export PATH=/elsewhere:$PATH", "--wait")
    (path,) = sweeps.results("runs/*/seed-1/work/environment")
    seen = json.loads(path.read_text())
    assert seen["MY_TOKEN"] == "tok-3141592653"
    assert seen["OMP_NUM_THREADS"] == "7"
    assert "PYTHONSAFEPATH" not in seen
    assert "/elsewhere" not in seen["PATH"]
    assert not [name for name in seen if name.startswith(("SLURM_", "SWEEPS_SUBMITTER"))]
    assert (
        seen["PYTHONPATH"].split(":")[0] == str(path.parents[4] / "code" / Path(seen["PWD"]).name)
        or "code" in seen["PYTHONPATH"]
    )
    assert float(seen["SWEEPS_DEADLINE"]) > path.stat().st_mtime + 3600
    holding = [path for path in sweeps.results("**/*") if path.is_file() and b"tok-3141592653" in path.read_bytes()]
    assert [path.name for path in holding] == ["environment"]
