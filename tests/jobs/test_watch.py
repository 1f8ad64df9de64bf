"""The progress that `--wait` shows: bars and the time left on a terminal, lines elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from jobs.results.attempts import RunRecord, RunRef
from jobs.results.records import Status
from jobs.results.run_state import RunState, State, TaskState
from jobs.runs.status import RunStatus
from jobs.submit import watch

RUNS = [RunRef("a" * 10, seed) for seed in (1, 2, 3, 4)]
LABELS = {run: f"lr=1e-3 seed {run.seed}" for run in RUNS}


def statuses(*runs: tuple[State, int]) -> dict[RunRef, RunStatus]:
    """(state, step) of each of RUNS, whose length is 12,000 steps."""
    records = [
        RunRecord(ref, 12_000, 1, None, None, Status(1, step, 12_000, 12.5, 431.0, 0.0), 0)
        for ref, (_, step) in zip(RUNS, runs, strict=True)
    ]
    return {record.ref: RunStatus(record, RunState(state)) for record, (state, _) in zip(records, runs, strict=True)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, for a test to move."""
    now = [0.0]
    monkeypatch.setattr(watch.time, "time", lambda: now[0])
    return now


def shown(clock: list[float], terminal: bool, *looks: tuple[float, dict[RunRef, RunStatus]]) -> str:
    """What stands on a screen of 80 columns, or what was written to a file, after looks at (time, statuses)."""
    console, screen = (Console(file=io.StringIO(), width=80, force_terminal=terminal) for _ in range(2))
    with watch._progress(console) as progress:
        view = watch._ProgressView(progress, LABELS, 48_000, "return")
        for clock[0], runs in looks:
            view.update(runs)
        screen.print(progress.get_renderable())
    file: Any = (screen if terminal else console).file
    return Text.from_ansi(file.getvalue()).plain


def test_a_terminal_of_80_columns_shows_the_share_and_the_time_left(clock: list[float]) -> None:
    lines = shown(
        clock, True,
        (0.0, statuses(*[("running", 0)] * 4)),
        (10.0, statuses(*[("running", 3_000)] * 4)),
        (40.0, statuses(("done", 12_000), ("running", 6_000), ("running", 6_000), ("running", 6_000))),
    ).splitlines()  # fmt: skip
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("all runs")
    assert lines[0].rstrip().endswith("62% 1 done, 3 running, about 30 s left")
    assert lines[1].startswith("lr=1e-3 seed 2")
    assert lines[1].rstrip().endswith("50% 12.5 steps/s, return 431")


def test_elsewhere_a_line_is_written_for_every_tenth(clock: list[float]) -> None:
    looks = [(0.0, statuses(*[("running", 0)] * 4)), (10.0, statuses(*[("running", 3_000)] * 4))]
    looks += [(70.0, statuses(*[("running", step)] * 4)) for step in (9_000, 9_010)]
    lines = [line for line in shown(clock, False, *looks).splitlines() if " steps, " in line]
    assert lines == ["12,000 of 48,000 steps, 4 running", "36,000 of 48,000 steps, 4 running, about 30 s left"]


def test_what_failed_takes_no_time(clock: list[float]) -> None:
    looks = [
        (now, statuses(("failed", 3_000), *[("running", step)] * 3))
        for now, step in ((0.0, 0), (10.0, 3_000), (40.0, 6_000))
    ]
    assert "about 60 s left" in shown(clock, True, *looks)


def test_the_time_left_counts_from_when_the_speed_has_settled() -> None:
    left = watch.TimeLeft()
    told = {}
    steps = {0: 0, 30: 0, 31: 90, 35: 100, 40: 100, 60: 120, 161: 500, 181: 700, 200: 1_000}
    for now, step in steps.items():
        told[now] = left.update(float(now), step, 1_000 - step)
    # Nothing trains until 30, what is faster until 35 acts randomly, until 40 it only updates, after a long pause it is
    # measured anew, and at the end there are no steps left.
    assert {now: seconds for now, seconds in told.items() if seconds is not None} == {60: 880.0, 181: 30.0}


def test_the_time_left_of_long_runs_is_told_after_two_minutes() -> None:
    left = watch.TimeLeft()
    told = [left.update(float(now), 10 * now, 1_000_000 - 10 * now) for now in range(0, 200, 5)]
    assert [value is None for value in told].index(False) == 27  # 120 s, then 15 s to measure it
    assert told[-1] == pytest.approx((1_000_000 - 1950) / 10)


def test_waiting_says_for_what_each_reason_once() -> None:
    tasks = [
        TaskState("s", *words) for words in (("pending", "no node is free"), ("running",), ("stuck", "held by x\x1b"))
    ]
    runs = [RunStatus(record, RunState("pending"), said=task) for record, task in zip(
        [status.record for status in statuses(*[("pending", 0)] * 4).values()], [*tasks, tasks[0]], strict=True
    )]  # fmt: skip
    assert watch._waited_for(runs) == ["waiting, pending: no node is free", "waiting, stuck: held by x\\x1b"]
