"""`sweeps` from submit to report on this machine, with the real agent: in the background, killed, run again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import plan_walk
import pyarrow.parquet as pq
import pytest
from driver import PLAN, Sweeps, as_uninterrupted
from PIL import Image

from jobs.worker import video
from sweepwise.core.errors import JobsError

# When the `count`th file whose path holds `word` is about to be moved to its name, only half of it is there, and
# SIGKILL: nothing of Python runs after that.
KILLED_IN_MID_WRITE = """
import os, signal
word, left, replace = {word!r}, {count}, os.replace
def half(part, path):
    global left
    left -= word in str(path)
    if left:
        return replace(part, path)
    os.truncate(part, os.path.getsize(part) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = half
from jobs.cli import main
main()
"""
TWO_STAGES = """
sweeps:
  first: {goal: decide, questions: ["Do two heads pay?"], grid: {num_q: [1, 2]}}
  second: {goal: build on it, questions: ["Which rate?"], grid: {pi_lr_scale: [0.5, 1.0]}}
"""
CLOCKED = ("time", "steps_per_s", "updates_per_s")


def killed(sweeps: Sweeps, word: str, count: int, *arguments: str) -> None:
    """The command, killed when it has written half of the `count`th file whose path holds `word`."""
    script = KILLED_IN_MID_WRITE.format(word=word, count=count)
    assert sweeps.python_with("-c", script, *arguments).returncode == -signal.SIGKILL


def rows(sweeps: Sweeps, attempt: str = "a*") -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of the only run, of one attempt or of each row the last; nothing left out but what a clock says."""
    found = {}
    for path in sorted(sweeps.folder.glob(f"results/runs/*/seed-1/metrics/{attempt}-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            kept = {name: value for name, value in row.items() if name not in CLOCKED and value is not None}
            found[row["kind"], row["step"], row["event"]] = kept
    return found


SHORT = ("--plan", "plan.yaml", "--profile", "cpu", "--steps", "40", "--set", "eval_freq=10")  # most of it imports
ONE = ("submit", "one", *SHORT)


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """The one run of sweep `one`, which nothing interrupted."""
    made = Sweeps(tmp_path_factory.mktemp("whole"))
    made.here(*ONE, "--cluster", "debug")
    return made


def test_a_sweep_from_submit_to_report(sweeps: Sweeps) -> None:
    sweeps("submit", "pair", *SHORT, "--cluster", "local", "--seeds", "2", "--seeds-per-job", "2", "--wait")
    assert sweeps.states() == ["done"] * 4
    again = sweeps.here("submit", "pair", *SHORT, "--cluster", "local", "--seeds", "3", "--wait")
    assert "4 done, 2 new; 2 to submit" in again
    assert sweeps.states() == ["done"] * 6
    sweeps.here("aggregate", "--out", "report.html")
    first = (sweeps.folder / "report.html").read_bytes()
    assert b"num_q=1" in first
    assert b"num_q=2" in first
    run = next(path.parent.name for path in sweeps.folder.glob("results/runs/*/seed-1"))
    played = json.loads(sweeps("evaluate", f"{run}/seed-1", "--at", "20", "--episodes", "2", "--json"))["evaluations"]
    assert [(p["step"], p["planner"], len(p["returns"])) for p in played] == [
        (20, "eval", 2), (20, "train", 2), (20, "policy", 2),
    ]  # fmt: skip
    assert "5 % CI" in sweeps.here("evaluate", run, "--planner", "policy", "--episodes", "3")
    assert "there are 10, 20, 30, 40" in sweeps.refusal("evaluate", run, "--at", "25")
    sweeps("aggregate", "--out", "again.html")
    assert (sweeps.folder / "again.html").read_bytes() == first


def test_a_sweep_is_evaluated_with_its_last_snapshots(sweeps: Sweeps) -> None:
    sweeps.here("submit", "pair", *SHORT, "--cluster", "debug", "--seeds", "1")
    told = sweeps("evaluate", "pair", "--episodes", "4", "--last-snapshots", "2", "--cluster", "local", "--wait")
    assert "snapshots of steps 30 and 40: the mean is over the last 25 % of training" in told
    files = list(sweeps.folder.glob("results/runs/*/seed-1/evaluations/eval-4-step-000000040-last-2/returns.json"))
    assert len(files) == 2
    for path in files:
        record, run = json.loads(path.read_text()), path.parents[3].name
        assert (record["step"], record["snapshots"], len(record["returns"])) == (40, [30, 40], 4)
        alone: list[float] = []
        for at in ("30", "40"):
            shown = sweeps("evaluate", f"{run}/seed-1", "--at", at, "--episodes", "2", "--planner", "eval", "--json")
            (played,) = json.loads(shown)["evaluations"]
            alone += played["returns"]
        assert record["returns"] == pytest.approx(alone)
    refused = sweeps.refusal("evaluate", "pair", "--last-snapshots", "5", "--cluster", "debug")
    assert "5 snapshots up to step 40 are needed, it has kept 10, 20, 30, 40" in refused


def test_killed_in_mid_write_it_goes_on_from_the_last_checkpoint_to_the_very_same_rows(
    sweeps: Sweeps, whole: Sweeps
) -> None:
    """Twice: publishing a shard, and publishing a checkpoint. One is taken at every update."""
    killed(sweeps, "/metrics/", 2, *ONE, "--cluster", "debug", "--checkpoint-minutes", "0")
    (run,) = sweeps.folder.glob("results/runs/*/seed-1")
    assert [len(list((run / "metrics").glob(name))) for name in (".*.part", "*.parquet")] == [1, 1]
    assert sweeps.states() == ["failed"]
    sweeps.here("aggregate", "--out", "report.html")  # what there is can be read
    killed(sweeps, "step-000000030-u000000030-a002.pt", 1, "rerun", "one", "--failed")
    assert max((run / "checkpoints").glob("*.json")).name == "step-000000030-u000000029-a002.json"
    sweeps.here("rerun", "one", "--failed", "--cluster", "debug")
    assert sweeps.states() == ["done"]
    first, second, third = (rows(sweeps, f"a00{n}") for n in (1, 2, 3))
    assert first.keys() & second.keys() == set()  # what is published with a checkpoint is never computed again
    again = second.keys() & third.keys()
    assert {(kind, step) for kind, step, _ in again} == {("train", 30), ("eval", 30), ("validation", 30)}
    assert [second[key] for key in again] == [third[key] for key in again]
    assert rows(sweeps) == rows(whole)
    sweeps.here("aggregate", "--out", "report.html")
    assert "3 attempts" in (sweeps.folder / "report.html").read_text()


def test_an_episode_is_filmed_without_a_display(whole: Sweeps) -> None:
    try:
        video.renderer()
    except JobsError as error:
        pytest.skip(str(error))
    (run,) = whole.folder.glob("results/runs/*/seed-1")
    told = whole("evaluate", f"{run.parent.name}/seed-1", "--video", "film.gif")
    assert told.splitlines()[-1] == f"wrote {whole.folder / 'film.gif'}"
    with Image.open(whole.folder / "film.gif") as found:
        assert (found.size, found.n_frames) == ((video.WIDTH, video.HEIGHT), 11)  # ten steps and where they began
        assert len(found.convert("RGB").getcolors(1 << 17) or []) > 100  # a scene, not an empty picture


def test_an_edit_after_submit_does_not_leak_into_what_runs(sweeps: Sweeps, repository: Path) -> None:
    live = sweeps.folder / "live"
    fleeting = shutil.ignore_patterns("__pycache__")  # written while others import
    for package in ("tdmpc", "jobs", "aggregate", "plots", "slurm_templates", "sweepwise"):
        shutil.copytree(repository / package, live / package, ignore=fleeting)
    sweeps.environment["PYTHONPATH"] = str(live)
    sweeps(*ONE, "--cluster", "local")
    for name in ("jobs/backends/local.py", "jobs/worker/train_job.py", "tdmpc/agent/agent.py"):
        (live / name).write_text("raise SystemExit('the edit leaked')\n")
    sweeps.environment["PYTHONPATH"] = str(repository)
    sweeps.until("done")
    (attempt,) = sweeps.folder.glob("results/runs/*/seed-1/attempts/001.json")
    code = json.loads(attempt.read_text())["code"]
    assert (sweeps.folder / "results" / "code" / code / "tdmpc" / "agent" / "agent.py").is_file()
    shard = next(sweeps.folder.glob("results/runs/*/seed-1/metrics/*.parquet"))
    assert len(pq.read_schema(shard).metadata[b"code"]) == 16


def test_told_to_stop_it_saves_and_the_next_submit_ends_as_if_it_had_not_been(sweeps: Sweeps) -> None:
    submit = ("submit", "one", "--plan", "plan.yaml", "--cluster", "local", "--profile", "cpu")
    sweeps.here(*submit)
    pid = sweeps.hold_at(30)
    for number in (signal.SIGTERM, signal.SIGCONT):
        os.kill(pid, number)
    sweeps.until("interrupted")  # first its attempt ends, then its process
    sweeps.here(*submit, "--wait")
    assert (sweeps.states(), sweeps.attempts()) == (["done"], 2)
    as_uninterrupted(sweeps)


def test_a_plan_is_walked_as_next_leads(sweeps: Sweeps) -> None:
    """Two sweeps: what the first decides is the base of the second. `benchmarks/walk.py` walks the packaged plan."""
    file = sweeps.folder / "plan.yaml"
    file.write_text(f"{PLAN.partition('sweeps:')[0]}{TWO_STAGES}")
    asked = ("--cluster", "local", "--profile", "cpu", "--seeds-per-job", "2")
    plan_walk.walk(sweeps, ("--seeds", "2", "--steps", "40"), asked, file)
    assert plan_walk.check(sweeps, file).startswith("2 sweeps in 2 stages, 8 runs done once in 4 tasks; ")
