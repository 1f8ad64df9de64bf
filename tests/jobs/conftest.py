"""A stand-in for the agent: `tdmpc.trainable` that trains nothing and ends as it is told."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterable, Sequence
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
def typed(tmp_path: Path, slurm: FakeSlurm) -> Callable[[str], Callable[..., Result]]:
    """Given a plan, `sweeps ...` in this process, with its exit code checked; submits go to the pretended Slurm."""

    def with_plan(plan: str) -> Callable[..., Result]:
        (tmp_path / "mine.yaml").write_text(plan)
        return invoke

    def invoke(*words: str, code: int = 0) -> Result:
        line = ["--results", str(tmp_path / "results"), *words]
        if words[0] == "submit":
            line += ["--plan", str(tmp_path / "mine.yaml"), "--cluster", "slurm"]
            line += [] if "--profile" in words else ["--profile", "cpu"]
        result = CliRunner().invoke(cli, line)
        assert result.exit_code == code, result.output
        return result

    return with_plan


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object], int, Iterable[tuple[Any, str]]], bool]:
    """Does an action in a process that dies before its n-th effect; whether it died. Effects: (place, its function)."""

    def killed(action: Callable[[], object], step: int, effects: Iterable[tuple[Any, str]]) -> bool:
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1] != 0
        steps = itertools.count()

        def dying(effect: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*arguments: Any, **named: Any) -> Any:
                if next(steps) == step:
                    os._exit(9)
                return effect(*arguments, **named)

            return wrapped

        for place, name in effects:
            monkeypatch.setattr(place, name, dying(getattr(place, name)))
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)

    return killed
