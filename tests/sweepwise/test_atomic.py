"""What is read and replaced: plain files only, and of these only one's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweepwise.core import atomic
from sweepwise.core.atomic import OutputError, begins_with, output, read_bytes, read_text

OWN = begins_with(b"own")


def _fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_a_plain_file_is_read_and_nothing_else(tmp_path: Path) -> None:
    """A FIFO without a writer must not be waited for, and a device has no end."""
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(tmp_path / "text", "utf-8-sig") == "a\nb"
    (tmp_path / "link").symlink_to(tmp_path / "text")
    assert read_bytes(tmp_path / "link", largest=7) == b"\xef\xbb\xbfa\r\nb"
    for path, words in [
        (_fifo(tmp_path / "fifo"), "a FIFO, not a plain file"),
        (Path("/dev/zero"), "a device, not a plain file"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(OSError, match=words):
            read_bytes(path)
        with pytest.raises(OSError, match=words):
            atomic.check_plain(path)
    with pytest.raises(OSError, match="larger than 0 MB"):
        read_bytes(tmp_path / "text", largest=6)


def test_new_files_own_files_and_what_links_lead_to_are_written(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert output(own, OWN) == own
    own.write_bytes(b"own content")
    assert output(own, OWN) == own
    (tmp_path / "empty").touch()
    assert output(tmp_path / "empty", OWN) == tmp_path / "empty"
    (tmp_path / "link").symlink_to("own")
    (tmp_path / "dangling").symlink_to("new")
    assert output(tmp_path / "link", OWN) == own
    assert output(tmp_path / "dangling", OWN) == tmp_path / "new"
    assert output(tmp_path / "no folder" / "new", OWN) == tmp_path / "no folder" / "new"


def test_what_is_not_ones_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.html").write_bytes(b"of somebody")
    (tmp_path / "to a thesis").symlink_to("thesis.html")
    (tmp_path / "to null").symlink_to("/dev/null")
    (tmp_path / "ring").symlink_to("ring")
    for path, words in [
        (tmp_path / "thesis.html", "was not written by this command"),
        (tmp_path / "to a thesis", "was not written by this command"),
        (_fifo(tmp_path / "fifo"), "is a FIFO"),
        (Path("/dev/null"), "is a device"),
        (tmp_path / "to null", "is a device"),
        (tmp_path, "this is a folder; name a file"),
        (tmp_path / "ring", "ring|Symlink loop"),
        (Path("nul\0"), "null"),
    ]:
        with pytest.raises(OutputError, match=words):
            output(path, OWN)
    assert (tmp_path / "thesis.html").read_bytes() == b"of somebody"


@pytest.mark.parametrize(
    "inside", ["sweeps/a.json", "runs/x/seed-1/metrics/a", "decisions.json", "code", "queue.json", "agents/new.json"]
)
def test_records_of_any_results_folder_are_refused_and_reports_are_not(inside: str, tmp_path: Path) -> None:
    for name in ("runs", "submissions", "locks"):
        (tmp_path / "r" / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("r", target_is_directory=True)
    for root in ("r", "link"):
        with pytest.raises(OutputError, match="inside the records of the results folder"):
            output(tmp_path / root / inside, lambda head: True)
    for free in ("reports/a.html", "a.html"):
        assert output(tmp_path / "r" / free, OWN) == tmp_path / "r" / free
    assert output(tmp_path / inside, OWN) == tmp_path / inside  # no results folder
