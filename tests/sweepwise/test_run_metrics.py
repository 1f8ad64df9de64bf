"""`sweepwise.log`: JSON lines in a run's folder, and nothing anywhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import sweepwise


class Tensor:
    """As those of torch: a number where it has one element."""

    def __init__(self, *values: float) -> None:
        self.values, self.ndim = values, int(len(values) > 1)

    def __float__(self) -> float:
        (value,) = self.values
        return value

    def __iter__(self) -> object:
        return iter(self.values)


def test_it_appends_lines_to_the_runs_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_RUN", str(tmp_path))
    sweepwise.log({"eval/return": Tensor(2.5), "per_dim": Tensor(1.0, 2.0)}, step=10, loss=float("nan"))
    if os.fork() == 0:  # a data loader
        sweepwise.log(step=11, worker=1)
        os._exit(0)
    os.wait()
    sweepwise.log(step=12, text="left out", done=True)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[0] == '{"step": 10, "eval/return": 2.5, "per_dim": [1.0, 2.0], "loss": NaN}'
    assert [json.loads(line) for line in lines[1:]] == [{"step": 11, "worker": 1}, {"step": 12, "done": True}]


def test_outside_a_run_it_does_nothing_and_it_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEPS_RUN", raising=False)
    sweepwise.log(step=1, loss=1.0)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("SWEEPS_RUN", str(tmp_path / "gone"))
    sweepwise.log(step=1, loss=1.0)
    sweepwise.log({"loss": object()}, step="no")  # type: ignore[arg-type]
