"""Slurm starts a task again whose first process still runs: two real processes train one run at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import PATIENCE_S
from slurm_cluster import wait_until

from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource, load
from jobs.results.attempts import RunRef
from jobs.results.records import Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from tdmpc.config import TrainConfig, config_id
from tdmpc.description import DESCRIPTION, SCHEMA

CONFIG = TrainConfig().with_overrides({
    "task": "pendulum-swingup", "action_repeat": 100, "steps": 400, "seed_steps": 20, "utd_ratio": 1, "batch_size": 8,
    "mlp_dim": 32, "latent_dim": 32, "enc_dim": 32, "num_samples": 8, "num_pi_trajs": 4, "num_elites": 4,
    "iterations": 1, "num_rollouts": 1, "log_freq": 5, "eval_freq": 100, "eval_episodes": 1, "final_eval_episodes": 1,
})  # fmt: skip
RUN = RunRef(config_id(CONFIG), 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A submission of one task."""
    store = ResultsFolder(tmp_path / "results")
    store.prepare()
    store.write_config(SCHEMA.resolve(vars(CONFIG)))
    name = store.submissions.create("s")
    tasks = [TaskRuns(RUN.config_id, [RUN.seed])]
    store.submissions.write(Submission(name, "s", "slurm", "h", "u", 1.0, tasks, 0, 1, "n", {}))
    return store.submissions.folder(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the task, the same Slurm job every time."""
    started = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "jobs.entry", str(folder), "0"]
        environment = {**os.environ, "SLURM_JOB_ID": "5", "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, env=environment, cwd=folder))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_older_of_two_attempts_stops_and_the_newer_is_undisturbed(
    folder: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    store = ResultsFolder(folder.parents[1])
    run = store.attempts.folder(RUN)

    def read(name: str) -> Any:
        path = run / name
        return json.loads(path.read_text()) if path.exists() else None

    def beating() -> int:
        status = store.attempts.load(RUN, CONFIG.steps).status
        return status.attempt if status is not None else 0

    older = start()
    wait_until("the first heartbeat", lambda: beating() == 1, PATIENCE_S)
    os.kill(older.pid, signal.SIGSTOP)  # its node was given up for dead
    assert read("outcome/001.json") is None
    newer = start()
    wait_until("the second's heartbeat", lambda: beating() == 2, PATIENCE_S)
    os.kill(older.pid, signal.SIGCONT)
    beats = []
    while older.poll() is None or newer.poll() is None:
        beats.append(beating())
        time.sleep(0.01)
    assert set(beats) == {2}
    assert (older.returncode, newer.returncode) == (0, 0)
    assert read("outcome/001.json")["state"] == "superseded"
    assert read("outcome/002.json")["state"] == "finished"
    assert sorted(path.name for path in (run / "attempts").iterdir()) == ["001.json", "002.json"]
    assert {path.name.split("-")[3][:4] for path in (run / "checkpoints").glob("*.pt")} == {"a002"}
    source = RunSource(RUN.config_id, RUN.seed, run, "done", 2)
    config = ConfigSource(RUN.config_id, "", {}, True, {}, CONFIG.steps, (source,))
    rows = load([SweepSource("s", "", (), (), (config,), DESCRIPTION)]).rows
    training = rows.loc[rows["kind"] == "train", "step"].tolist()
    assert training == list(range(20, CONFIG.steps + 1, CONFIG.log_freq))  # no gap, nothing twice
