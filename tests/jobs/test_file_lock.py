"""Locks on file systems that have them and on those that have not."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import process
from jobs.results import file_lock
from jobs.results.file_lock import share_lock, try_lock
from jobs.results.results_folder import ResultsFolder


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_many_share_a_lock_or_one_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    shared = [share_lock(path), share_lock(path)]
    assert None not in shared
    assert try_lock(path) is None
    for handle in shared:
        os.close(handle or -1)
    held = try_lock(path)
    assert held is not None
    assert share_lock(path) is None
    held.release()


@pytest.mark.usefixtures("no_locks")
def test_where_there_are_no_locks_sharing_hinders_nobody(tmp_path: Path) -> None:
    handle = share_lock(tmp_path / "lock")
    assert handle is not None
    os.close(handle)


def test_held_and_broken_are_not_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    first.release()
    assert list(tmp_path.iterdir()) == [tmp_path / "lock"]  # no record where flock holds

    def broken(handle: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"):
        try_lock(tmp_path / "lock")


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_record_holds_until_the_end_or_the_death_of_the_holder(tmp_path: Path) -> None:
    for _ in range(4):
        held = try_lock(tmp_path / "lock")
        assert held is not None
        assert try_lock(tmp_path / "lock") is None
        held.renew()
        assert try_lock(tmp_path / "lock") is None
        held.release()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    held = try_lock(tmp_path / "lock")
    assert held is not None
    held.hand_over(child.pid)
    assert try_lock(tmp_path / "lock") is None
    child.kill()
    child.wait()
    assert try_lock(tmp_path / "lock") is not None
    assert len(list((tmp_path / "lock.holders").glob("*.json"))) == 2  # older ones are removed


@pytest.mark.usefixtures("no_locks")
def test_another_hosts_record_expires_by_the_clock_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of this host may jump, and a suspended machine renews nothing."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(process, "host", lambda: "elsewhere")
        held = try_lock(tmp_path / "lock")
    assert held is not None
    record = tmp_path / "lock.holders" / "001.json"
    now = record.stat().st_mtime
    for clock in (0.0, now + 1e9):
        monkeypatch.setattr(file_lock.time, "time", lambda clock=clock: clock)
        assert try_lock(tmp_path / "lock") is None
    os.utime(record, (now, now - file_lock.SILENT_S - 60))
    taken = try_lock(tmp_path / "lock")
    assert taken is not None
    assert taken.number == 2


@pytest.mark.usefixtures("no_locks")
def test_a_holder_that_was_killed_while_it_wrote_its_record_does_not_hold_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "lock.holders"
    folder.mkdir()
    record = folder / "001.json"
    record.touch()
    assert try_lock(tmp_path / "lock") is None
    os.utime(record, (1.0, 1.0))
    assert try_lock(tmp_path / "lock") is not None


def test_the_slots_of_two_hosts_are_not_the_same(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    own = try_lock(store.slot_path(0))
    assert own is not None
    monkeypatch.setattr(process, "host", lambda: "../else where")
    other = try_lock(store.slot_path(0))
    assert other is not None
    assert other.path.parent == own.path.parent
    assert store.older_slot_path(0).name == "000.lock"
