"""A stand-in for the agent: `tdmpc.trainable` that trains nothing and ends as it is told."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_slurm import FakeSlurm

from jobs.cli import cli
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.agent import AgentDescription
from sweepwise.core.trainable import Outcome, Progress, RunHandle, Settings
from tdmpc.description import DESCRIPTION


@dataclass
class FakeAgent:
    """Records its calls. ends: seed -> outcome, "finished" otherwise. before: called with the handles first."""

    ends: dict[int, Outcome | Exception] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    before: Callable[[Sequence[RunHandle], Callable[[], bool]], None] = lambda handles, stop: None
    description: AgentDescription = DESCRIPTION

    def train(
        self,
        handles: Sequence[RunHandle],
        *,
        device: str,
        threads: int,
        settings: Settings,
        should_stop: Callable[[], bool],
    ) -> list[Outcome]:
        tags = [(h.seed, h.tag) for h in handles]
        call = {"runs": tags, "device": device, "threads": threads, **dataclasses.asdict(settings)}
        self.calls.append({**call, "steps": handles[0].config["steps"]})
        self.before(handles, should_stop)
        outcomes = []
        for handle in handles:
            end = self.ends.get(handle.seed, Outcome("finished", handle.config["steps"], ""))
            if isinstance(end, Exception):
                raise end
            handle.on_progress(Progress(end.step, handle.config["steps"], 12.5, 100.0))
            outcomes.append(end)
        return outcomes


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> FakeAgent:
    """Stands where the packaged agent stands, in this process."""
    fake = FakeAgent()
    module = types.ModuleType("tdmpc.trainable")
    vars(module).update(AGENT=fake)
    monkeypatch.setitem(sys.modules, "tdmpc.trainable", module)
    return fake


@pytest.fixture
def store(tmp_path: Path) -> ResultsFolder:
    made = ResultsFolder(tmp_path / "results")
    made.prepare()
    return made


@pytest.fixture
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A pretended Slurm that is all of PATH."""
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.bin))
    return fake


@pytest.fixture
def line(tmp_path: Path) -> Callable[..., list[str]]:
    """The words of `sweeps ...` with a results folder; submits are of mine.yaml, to Slurm."""

    def line(*words: str) -> list[str]:
        whole = ["--results", str(tmp_path / "results"), *words]
        if words[0] == "submit":
            whole += ["--plan", str(tmp_path / "mine.yaml"), "--cluster", "slurm"]
            whole += [] if "--profile" in words else ["--profile", "cpu"]
        return whole

    return line


@pytest.fixture
def typed(tmp_path: Path, slurm: FakeSlurm, line: Callable[..., list[str]]) -> Callable[[str], Callable[..., Result]]:
    """Given a plan, `sweeps ...` in this process, with its exit code checked; submits go to the pretended Slurm."""

    def with_plan(plan: str) -> Callable[..., Result]:
        (tmp_path / "mine.yaml").write_text(plan)
        return invoke

    def invoke(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, line(*words))
        assert result.exit_code == code, result.output
        return result

    return with_plan


@pytest.fixture
def six_runs(typed: Callable[[str], Callable[..., Result]]) -> Callable[..., Result]:
    """The same with a plan of one sweep: two configurations, three seeds each."""
    return typed("""
plan: mine
base: {steps: 5000}
seeds: 3
sweeps:
  q: {grid: {num_q: [1, 2]}}
""")


@pytest.fixture
def typed_in_store(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`sweeps ...` in this process on the results folder of the test's `store`, with its exit code checked."""
    monkeypatch.setattr("jobs.process.gpus", lambda: [])

    def invoke(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--results", str(store.root), *words])
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def at_once() -> Iterator[Callable[..., list[int]]]:
    """Carries out command lines at once, each in a process of its own; their exit codes. `forking.py`."""
    forking = Path(__file__).with_name("forking.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(forking)], text=True, **pipes) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None

        def at_once(*lines: list[str], effects: Iterable[tuple[str, str]] = (), step: int = 0) -> list[int]:
            shared = {"environment": {**os.environ}, "effects": list(effects), "step": step}
            print(json.dumps([{"words": words, **shared} for words in lines]), file=parent.stdin, flush=True)
            codes: list[int] = json.loads(parent.stdout.readline())
            return codes

        yield at_once
        parent.stdin.close()


@pytest.fixture
def killed(at_once: Callable[..., list[int]]) -> Callable[[list[str], int, Iterable[tuple[str, str]]], bool]:
    """Carries out a command line in a process that is killed before its n-th effect; whether it was. Effects: (module,
    function)."""

    def killed(words: list[str], step: int, effects: Iterable[tuple[str, str]]) -> bool:
        (code,) = at_once(words, effects=effects, step=step)
        assert code in (0, -signal.SIGKILL)
        return code != 0

    return killed
