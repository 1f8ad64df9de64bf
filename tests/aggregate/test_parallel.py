"""Work on many runs: the same in processes, threads and here."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from aggregate.analysis.summary import summarise
from aggregate.inputs import parallel
from sweepwise.core.errors import AggregateError


def where(number: int) -> tuple[int, int, str]:
    return number, os.getpid(), threading.current_thread().name


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_cores", lambda: 2)


needs_fork = pytest.mark.skipif(not parallel._may_fork(), reason="no Linux, or a thread runs")


@needs_fork
def test_many_runs_are_worked_on_in_processes_in_order(two_cores: None) -> None:
    with parallel.mapping(parallel.MANY, waits=True) as over:
        places = list(over(where, range(100)))
    assert [number for number, _, _ in places] == list(range(100))
    assert os.getpid() not in {process for _, process, _ in places}


def test_few_runs_are_worked_on_here(two_cores: None) -> None:
    with parallel.mapping(2, waits=False) as over:
        assert {(p, t) for _, p, t in over(where, range(9))} == {(os.getpid(), threading.current_thread().name)}
    with parallel.mapping(2, waits=True) as over:
        places = list(over(where, range(9)))
    assert [number for number, _, _ in places] == list(range(9))
    assert {process for _, process, _ in places} == {os.getpid()}
    assert threading.current_thread().name not in {thread for _, _, thread in places}


def test_no_process_is_forked_beside_a_thread(two_cores: None) -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        with parallel.mapping(parallel.MANY, waits=False) as over:
            assert {process for _, process, _ in over(where, range(9))} == {os.getpid()}
    finally:
        go.set()
        thread.join()


@needs_fork
def test_a_process_that_is_killed_is_one_line(two_cores: None) -> None:
    with (
        pytest.raises(AggregateError, match="a process that read runs was killed"),
        parallel.mapping(parallel.MANY, waits=False) as over,
    ):
        list(over(os._exit, [1]))


@needs_fork
def test_what_fails_in_a_process_fails_here(two_cores: None) -> None:
    with pytest.raises(ValueError, match="invalid literal"), parallel.mapping(parallel.MANY, waits=False) as over:
        list(over(int, ["1", "x", "2"]))


@needs_fork
def test_processes_judge_as_one_does(
    tmp_path: Path, synthetic: ModuleType, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0, 500.0), 2, lean=True, points=40)
    here = summarise([sweep]).sweeps[0]
    monkeypatch.setattr(parallel, "MANY", 2)
    forked = summarise([sweep]).sweeps[0]
    for name in ("runs", "curves", "scores", "ranking", "findings", "events", "variance"):
        pd.testing.assert_frame_equal(getattr(forked, name), getattr(here, name))
