"""Checkpoints: whole or passed over, rows written once, two attempts at once, a full disk."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess

import pytest
import torch

from sweepwise.core.atomic import Superseded
from sweepwise.core.shards import ShardWriter
from tdmpc.metrics import CATALOGUE
from tdmpc.training.append_only_file import JournalError, read_rows
from tdmpc.training.checkpoint import Checkpoints, load_newest, save_weights


def rows_to(n):
    """(n, 2) rows that are all different."""
    return torch.arange(2.0 * n).reshape(n, 2)


class Writer:
    """Saves states with one growing buffer, as the trainer does."""

    def __init__(self, folder, tag="a001", guard=lambda: True):
        self.checkpoints = Checkpoints(folder, tag, guard, ["replay"])

    def save(self, step, **more):
        rows = rows_to(step)[self.checkpoints.on_disk("replay") :]
        self.checkpoints.save({"step": step, "buffers": {"replay": {"rows": rows}}, **more}, step, step)


def names(folder, pattern="*"):
    return sorted(path.name for path in (folder / "checkpoints").glob(pattern))


def test_the_newest_two_are_kept_and_code_is_refused(tmp_path):
    w, messages = Writer(tmp_path), []
    for step in (1, 2, 3):
        w.save(step)
    assert len(names(tmp_path, "*.pt")) == 2
    assert load_newest(tmp_path, messages.append)["step"] == 3
    max((tmp_path / "checkpoints").glob("*.json")).unlink()  # killed between the state and its marker
    assert load_newest(tmp_path, messages.append)["step"] == 2
    assert messages == ["checkpoint step-000000003-u000000003-a001.pt is skipped: it was never finished"]
    w.save(4, code=print)
    assert [name[5:14] for name in names(tmp_path, "*.pt")] == ["000000002", "000000004"]
    assert load_newest(tmp_path)["step"] == 2
    assert load_newest(tmp_path / "nothing", messages.append) is None
    assert len(messages) == 1


def test_every_row_is_written_once_and_comes_back_through_attempts(tmp_path):
    for tag, steps in (("a001", (5, 9)), ("a999", (20,)), ("a1000", (21, 40))):
        w = Writer(tmp_path, tag)
        state = load_newest(tmp_path)
        if state is not None:
            w.checkpoints.resume(state)
        for step in steps:
            w.save(step)
    assert torch.equal(load_newest(tmp_path)["buffers"]["replay"]["rows"], rows_to(40))
    sizes = {p.name: p.stat().st_size // 8 for p in (tmp_path / "checkpoints").glob("*.rows")}
    # the last row may still change, so it goes into the checkpoint itself
    assert sizes == {"replay-a001-000.rows": 8, "replay-a999-000.rows": 11, "replay-a1000-000.rows": 20}
    w.checkpoints.prune(keep=1)
    assert torch.equal(load_newest(tmp_path)["buffers"]["replay"]["rows"], rows_to(40))


def test_what_no_checkpoint_names_any_more_is_removed(tmp_path):
    Writer(tmp_path).save(9)
    folder = tmp_path / "checkpoints"
    (folder / ".step-000000010-u000000010-a001.pt.77.part").write_bytes(b"half")  # killed in mid-write
    (folder / "notes.txt").touch()
    Writer(tmp_path, "a002").save(5)  # begun anew, as where nothing could be read
    assert "replay-a001-000.rows" in names(tmp_path)
    Writer(tmp_path, "a003").save(6)
    assert names(tmp_path) == [
        "notes.txt", "replay-a002-000.rows", "replay-a003-000.rows",
        "step-000000005-u000000005-a002.json", "step-000000005-u000000005-a002.pt",
        "step-000000006-u000000006-a003.json", "step-000000006-u000000006-a003.pt",
    ]  # fmt: skip


def test_rows_cannot_be_read_from_elsewhere(tmp_path):
    (tmp_path / "secret").write_bytes(b"12345678")
    with pytest.raises(JournalError, match="is not the name"):
        read_rows(tmp_path / "checkpoints", [{"file": "../secret", "rows": 1, "sha256": ""}], 2)


# --- two attempts at once -----------------------------------------------------------------------------


def test_an_old_attempt_publishes_nothing_and_removes_nothing_of_the_new(tmp_path):
    new = Writer(tmp_path, "a002")
    new.save(9)
    there = names(tmp_path)
    with pytest.raises(Superseded):
        Writer(tmp_path, guard=lambda: False).save(5)
    assert names(tmp_path) == there
    Writer(tmp_path).checkpoints.prune(keep=0)  # it was stopped behind its check, and goes on
    assert names(tmp_path) == there


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_superseded_at_any_moment_of_a_save_the_new_attempt_reads_what_was_there(tmp_path, asked):
    Writer(tmp_path).save(5)
    counted = itertools.count(1)
    old = Writer(tmp_path, guard=lambda: next(counted) < asked)
    old.checkpoints.resume(load_newest(tmp_path))
    with pytest.raises(Superseded):
        old.save(9)
    new = Writer(tmp_path, "a002")
    state = load_newest(tmp_path)
    assert state["step"] == 5
    new.checkpoints.resume(state)
    new.save(7)
    assert torch.equal(load_newest(tmp_path)["buffers"]["replay"]["rows"], rows_to(7))


# --- a full disk --------------------------------------------------------------------------------------


def test_an_append_that_failed_half_way_is_tried_again_in_its_place(tmp_path, monkeypatch):
    w = Writer(tmp_path)
    w.save(5)
    synced = os.fsync

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        w.save(9)  # its rows are in the file, torn for all that is known
    assert load_newest(tmp_path)["step"] == 5
    monkeypatch.setattr(os, "fsync", synced)
    w.save(9)
    assert torch.equal(load_newest(tmp_path)["buffers"]["replay"]["rows"], rows_to(9))
    assert (tmp_path / "checkpoints" / "replay-a001-000.rows").stat().st_size == 8 * 8


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("a small file system needs Linux, root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk, but=0):
    """A file that takes all the room but the last bytes."""
    with (disk / "filler").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - but)
    return disk / "filler"


@pytest.mark.parametrize("room", [0, 8192, 65536])
def test_on_a_full_disk_a_save_fails_by_its_name_and_can_be_done_when_there_is_room(small_disk, room):
    """Full at the rows, at the state, at the state's end."""
    w, state = Writer(small_disk), {"agent": torch.zeros(16384)}
    w.save(5, **state)
    filler = fill(small_disk, room)
    with pytest.raises(OSError, match="No space left") as caught:
        w.save(2000, **state)
    assert caught.value.errno == errno.ENOSPC
    assert load_newest(small_disk)["step"] == 5
    assert not [name for name in names(small_disk) if name.endswith(".part")]
    filler.unlink()
    w.save(2001, **state)
    assert torch.equal(load_newest(small_disk)["buffers"]["replay"]["rows"], rows_to(2001))


def test_on_a_full_disk_shards_and_snapshots_fail_by_their_name_and_leave_nothing(small_disk):
    w = ShardWriter(small_disk, "a001", {}, lambda: True, CATALOGUE)
    w.log("episode", 1, 2, 0, {"episode_return": 1.0})
    filler = fill(small_disk)
    for publish in (w.flush, lambda: save_weights(small_disk, {"m": {"w": torch.zeros(9999)}}, 1, lambda: True)):
        with pytest.raises(OSError, match="No space left") as caught:
            publish()
        assert caught.value.errno == errno.ENOSPC
    filler.unlink()
    assert list((small_disk / "metrics").iterdir()) == []
    w.flush()  # nothing of what was logged is lost
    assert len(list((small_disk / "metrics").iterdir())) == 1
