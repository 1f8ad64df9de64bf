"""`sweeps evaluate SWEEP` on a real Slurm: an array, of which one task is killed and submitted again."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import PATIENCE_S, Sweeps
from slurm_cluster import Settings, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)

EPISODES = 60  # a task is killed while it loads the agent or plays


@pytest.fixture
def sweeps(tmp_path: Path, cluster: Callable[[Settings], Path]) -> Sweeps:
    return Sweeps(tmp_path, cluster(Settings(max_array_size=4)))


def states(sweeps: Sweeps) -> list[str]:
    (evaluation,) = json.loads(sweeps.here("status", "--json"))["evaluations"]
    return sorted(run["state"] for run in evaluation["runs"])


def returns(sweeps: Sweeps) -> dict[str, Any]:
    """Run -> what was recorded of it."""
    paths = sweeps.results("runs/*/seed-1/evaluations/*/returns.json")
    return {f"{path.parents[3].name}/{path.parents[2].name}": json.loads(path.read_text()) for path in paths}


def test_a_killed_task_of_an_array_is_evaluated_by_the_same_command(sweeps: Sweeps) -> None:
    sweeps.submit("pair", "--steps", "60", "--wait")
    evaluate = ("evaluate", "pair", "--episodes", str(EPISODES))
    assert "submitted 2 tasks to slurm" in sweeps(*evaluate)
    scripts = [path.read_text() for path in sweeps.results("submissions/*/*.sh")]
    assert all("#SBATCH --array=0-1%" in script for script in scripts)
    assert len(scripts) == 2
    claims = "runs/*/seed-1/evaluations/*/status/001.json"
    wait_until("a start", lambda: bool(sweeps.results(claims)), PATIENCE_S, pause=0.02)
    victim = sweeps.results(claims)[0].parents[1]
    os.kill(int(json.loads((victim / "attempts" / "001.json").read_text())["pid"]), signal.SIGKILL)
    wait_until("the end of both", lambda: states(sweeps) == ["done", "failed"], PATIENCE_S, pause=0.3)
    assert sweeps.states() == ["done", "done"], "what was trained stays as it is"
    assert len(returns(sweeps)) == 1
    assert not (victim / "returns.json").exists()

    told = sweeps(*evaluate, "--wait")
    assert "2 runs requested: 1 done, 1 failed; 1 to submit" in told
    assert states(sweeps) == ["done", "done"]
    assert len(sweeps.results("runs/*/seed-1/evaluations/*/attempts/*.json")) == 3
    played = returns(sweeps)
    assert {len(record["returns"]) for record in played.values()} == {EPISODES}
    run = f"{victim.parents[2].name}/{victim.parents[1].name}"
    assert played[run]["attempt"] == 2
    there = json.loads(sweeps.here("evaluate", run, "--planner", "eval", "--episodes", str(EPISODES), "--json"))
    (here,) = there["evaluations"]
    assert here["returns"] == pytest.approx(played[run]["returns"], abs=1e-3)
    assert "2 done; 0 to submit" in sweeps(*evaluate)


def test_a_cancel_ends_it(sweeps: Sweeps) -> None:
    sweeps.submit("one", "--steps", "60", "--wait")
    sweeps("evaluate", "one", "--episodes", "100000")
    wait_until(
        "a start", lambda: bool(sweeps.results("runs/*/*/evaluations/*/status/001.json")), PATIENCE_S, pause=0.05
    )
    assert "1 runs cancelled" in sweeps.here("cancel", "one")
    wait_until("its end", lambda: states(sweeps) == ["interrupted"], PATIENCE_S, pause=0.3)
    assert sweeps.states() == ["done"]
    assert not returns(sweeps)
