"""When a program counts as silent: by its rows, the growth of its files, and its processor time where that is all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from jobs.worker.activity import Activity

MINUTE = 60.0


@dataclass
class Program:
    """now: unix seconds. size: of its files. cpu: seconds of processor time, None where that cannot be known."""

    now: float = 1e9
    size: int = 0
    cpu: float | None = 0.0

    def silent(self, activity: Activity, minutes: int, busy: float = 0.0, grows: int = 0) -> float:
        """Minutes of silence after so many more, in which it uses `busy` of a core and its files grow."""
        for _ in range(int(minutes * MINUTE / 20)):
            self.now += 20.0
            self.size += grows
            self.cpu = None if self.cpu is None else self.cpu + 20.0 * busy
            activity.last()
        return (self.now - activity.last()) / MINUTE

    def activity(self, in_blocks: bool = False) -> Activity:
        return Activity(lambda: self.size, lambda: self.cpu, in_blocks, lambda: self.now)


@pytest.mark.parametrize(
    ("in_blocks", "has_rows", "busy", "grows", "silent"),
    [
        (False, True, 1.0, 0, 30),  # rows are written at once, so none came
        (False, True, 0.0, 1, 0),  # it prints
        (True, True, 0.2, 0, 0),  # rows wait until a block is full
        (True, True, 0.01, 0, 30),  # only its logger works
        (False, False, 0.2, 0, 0),  # it loads data
        (False, False, 0.0, 0, 30),  # it hangs before its first row
    ],
)
def test_the_last_sign_of_life(in_blocks: bool, has_rows: bool, busy: float, grows: int, silent: float) -> None:
    program = Program()
    activity = program.activity(in_blocks)
    if has_rows:
        activity.note_rows()
    assert program.silent(activity, 30, busy, grows) == pytest.approx(silent)


def test_where_processor_time_cannot_be_known_a_program_without_rows_is_not_silent() -> None:
    program = Program(cpu=None)
    activity = program.activity()
    assert program.silent(activity, 30) == 0
    activity.note_rows()
    program.silent(activity, 1)
    activity.note_rows()
    assert program.silent(activity, 90) == 90


def test_a_program_that_logs_rarely_is_silent_after_twice_its_longest_pause() -> None:
    program = Program()
    activity = program.activity()
    program.silent(activity, 40)
    activity.note_rows()
    assert program.silent(activity, 80) == 0
    assert program.silent(activity, 1) == 81
