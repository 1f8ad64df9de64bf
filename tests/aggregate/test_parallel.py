"""Work on many runs: the same in processes, threads and here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from aggregate.analysis.summary import summarise
from aggregate.inputs import parallel
from aggregate.inputs.mapping_process import MappingProcess
from sweepwise.core.errors import AggregateError

# What `eval` makes of it: a number, where it was worked on. A process imports no test.
WHERE = "({}, __import__('os').getpid(), __import__('threading').current_thread().name)"
# Without a guard: a process that imported it would print once more.
SCRIPT = """
from aggregate.inputs import parallel
parallel._cores = lambda: 2
print("begun")
with parallel.mapping(parallel.MANY) as over:
    print(sum(over(abs, range(-parallel.MANY, 0))))
"""


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_cores", lambda: 2)


def places(over: parallel.Map, count: int) -> list[tuple[int, int, str]]:
    return list(over(eval, [WHERE.format(number) for number in range(count)]))


def test_many_runs_are_worked_on_in_processes_in_order(two_cores: None) -> None:
    with parallel.keep_processes():
        with parallel.mapping(parallel.MANY, bytes) as over:
            found = places(over, 100)
        with parallel.mapping(parallel.MANY) as over:
            again = places(over, 100)
    assert [number for number, _, _ in found] == list(range(100))
    processes = {process for _, process, _ in found}
    assert os.getpid() not in processes
    assert processes & {process for _, process, _ in again}  # kept
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_few_runs_are_worked_on_here(two_cores: None) -> None:
    with parallel.mapping(2) as over:
        assert {(p, t) for _, p, t in places(over, 9)} == {(os.getpid(), threading.current_thread().name)}


def test_files_of_few_runs_are_read_ahead_in_threads_and_their_content_used_here(two_cores: None) -> None:
    read: list[int] = []

    def thread(item: int) -> str:
        read.append(item)
        return threading.current_thread().name

    def used(item: int, reader: str) -> tuple[int, int, str, str]:
        return item, len(read), reader, threading.current_thread().name

    with parallel.mapping(2, thread) as over:
        found = list(over(used, range(50)))
    assert [item for item, *_ in found] == list(range(50))
    assert all(item < count <= item + 1 + parallel.MOST for item, count, *_ in found)  # what waits is in memory
    here = threading.current_thread().name
    assert {user for *_, user in found} == {here}
    assert here not in {reader for *_, reader, _ in found}


def test_what_reading_ahead_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"), parallel.mapping(2, int) as over:
        list(over(print, ["1", "x"]))


def test_a_script_without_a_guard_is_not_begun_again(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"begun\n{sum(range(parallel.MANY + 1))}\n", "")


def test_what_is_printed_in_a_process_is_no_answer(two_cores: None, capfd: pytest.CaptureFixture[str]) -> None:
    with parallel.mapping(parallel.MANY) as over:
        assert list(over(print, ["so"])) == [None]
    assert capfd.readouterr() == ("", "so\n")


def test_a_process_that_is_killed_is_one_line_and_replaced(two_cores: None) -> None:
    with parallel.keep_processes():
        with (
            pytest.raises(AggregateError, match="a process that read runs was killed"),
            parallel.mapping(parallel.MANY) as over,
        ):
            list(over(os._exit, [1]))
        with parallel.mapping(parallel.MANY) as over:
            assert list(over(abs, [-1])) == [1]


def test_a_group_ends_with_the_processes_that_a_call_started(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = MappingProcess(with_group=True)
    ended: list[Exception] = []

    def call() -> None:
        try:
            process(subprocess.call, [["sh", "-c", f"exec sleep 3600 > {fifo}"]])
        except AggregateError as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    with fifo.open("rb") as written:  # once there is a process that may write
        process.close()
        assert written.read() == b""  # once there is none
    thread.join()
    assert len(ended) == 1


def test_a_call_fails_with_one_line_when_another_thread_closes_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    closed_before = MappingProcess()
    closed_before.close()
    with pytest.raises(AggregateError, match="a process that read runs was killed"):
        closed_before(abs, [-1])
    closed_between = MappingProcess()  # between the call and its answer
    send = closed_between._send

    def send_and_close(words: bytes) -> None:
        send(words)
        closed_between.close()

    monkeypatch.setattr(closed_between, "_send", send_and_close)
    with pytest.raises(AggregateError, match="a process that read runs was killed"):
        closed_between(abs, [-1])


def test_what_fails_in_a_process_fails_here(two_cores: None) -> None:
    with pytest.raises(ValueError, match="invalid literal"), parallel.mapping(parallel.MANY) as over:
        list(over(int, ["1", "x", "2"]))


@pytest.mark.slow
def test_processes_judge_as_one_does(
    tmp_path: Path, synthetic: ModuleType, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0, 500.0), 2, lean=True, points=40)
    here = summarise([sweep]).sweeps[0]
    monkeypatch.setattr(parallel, "MANY", 2)
    in_processes = summarise([sweep]).sweeps[0]
    for name in ("runs", "curves", "scores", "ranking", "findings", "events", "variance"):
        pd.testing.assert_frame_equal(getattr(in_processes, name), getattr(here, name))
