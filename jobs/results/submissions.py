"""Submissions on disk: their records, scripts, logs and processes."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from jobs import process
from jobs.results.record_files import CONFIG_ID, RecordReader, encode, names_in
from jobs.results.records import CircuitBreaker, Notification, Submission, Worker
from sweepwise.core.atomic import create_json, write_json
from sweepwise.core.errors import JobsError

_CANCELLED = re.compile(r"\d{3,9}\.cancelled")
_SUBMISSION = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{3}-[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class ExcludedNode:
    """tasks: that ended on the node before their runs began, for `reason`. time: unix seconds."""

    tasks: int
    reason: str
    time: float


@dataclass(frozen=True)
class ExcludedNodes:
    """submissions/<id>/excluded.json: nodes that the pending tasks are kept off, by name."""

    nodes: dict[str, ExcludedNode] = field(default_factory=dict)


class Submissions:
    """The submissions of a results folder."""

    def __init__(self, root: Path, reader: RecordReader) -> None:
        self._root, self._reader = root, reader

    def folder(self, name: str) -> Path:
        if not _SUBMISSION.fullmatch(name):
            raise JobsError(f"submission {name!r}: not a name of this program")
        return self._root / "submissions" / name

    def new_name(self, sweep: str) -> str:
        """A name that sorts by time (UTC, to the millisecond)."""
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        return f"{stamp}-{int(now * 1000) % 1000:03d}-{sweep}"

    def create(self, sweep: str) -> str:
        """The name of a new, empty submission, made by exclusive creation of its folder."""
        while True:
            name = self.new_name(sweep)
            try:
                self.folder(name).mkdir(mode=0o700)  # its scripts are executed, so nobody else may change them
            except FileExistsError:
                continue
            self.log_folder(name).mkdir()
            (self.folder(name) / "tasks").mkdir()
            return name

    def write(self, submission: Submission) -> None:
        write_json(self.folder(submission.id) / "submission.json", encode(submission))

    def read(self, name: str) -> Submission | None:
        submission = self._reader.read(self.folder(name) / "submission.json", Submission)
        if submission is not None and not all(CONFIG_ID.fullmatch(t.config_id) for t in submission.tasks):
            path = self.folder(name) / "submission.json"
            self._reader.problems[path] = f"{path}: not a submission of this program"
            return None
        return submission

    def all(self) -> list[Submission]:
        """All submissions that can be read, the oldest first."""
        names = sorted(n for n in names_in(self._root / "submissions") if _SUBMISSION.fullmatch(n))
        return [submission for submission in map(self.read, names) if submission is not None]

    def script_path(self, submission: str, chunk: int) -> Path:
        """The batch script of a chunk."""
        return self.folder(submission) / f"{chunk:03d}.sh"

    def _released_path(self, submission: str, config: str) -> Path:
        return self.folder(submission) / "released" / f"{config}.json"

    def mark_released(self, submission: str, config: str) -> None:
        """Record that the seeds of `config` no longer wait for their canary."""
        write_json(self._released_path(submission, config), {"time": time.time()})

    def released(self, submission: str) -> set[str]:
        """Configurations whose seeds no longer wait for their canary."""
        return {name.removesuffix(".json") for name in names_in(self.folder(submission) / "released")}

    def breaker_path(self, submission: str) -> Path:
        return self.folder(submission) / "trip.json"

    def claim_breaker(self, submission: str, breaker: CircuitBreaker) -> bool:
        """Record that pending tasks are held after repeated failures; False if that was recorded before."""
        return create_json(self.breaker_path(submission), encode(breaker))

    def write_breaker(self, submission: str, breaker: CircuitBreaker) -> None:
        write_json(self.breaker_path(submission), encode(breaker))

    def read_breaker(self, submission: str) -> CircuitBreaker | None:
        return self._reader.read(self.breaker_path(submission), CircuitBreaker)

    def read_excluded(self, submission: str) -> ExcludedNodes:
        return self._reader.read(self.folder(submission) / "excluded.json", ExcludedNodes) or ExcludedNodes()

    def write_excluded(self, submission: str, excluded: ExcludedNodes) -> None:
        write_json(self.folder(submission) / "excluded.json", encode(excluded))

    def log_folder(self, submission: str) -> Path:
        return self.folder(submission) / "logs"

    def log_path(self, submission: str, task: int) -> Path:
        """The log of a task of the local backend."""
        return self.log_folder(submission) / f"{task:03d}.log"

    def scheduler_log_path(self, submission: str) -> Path:
        return self.log_folder(submission) / "scheduler.log"

    def worker_path(self, submission: str, task: int | None) -> Path:
        folder = self.folder(submission)
        return folder / "scheduler.json" if task is None else folder / "tasks" / f"{task:03d}.json"

    def write_worker(self, submission: str, task: int | None, worker: Worker) -> None:
        """Record the process of a task of the local backend, or of its scheduler if `task` is None."""
        write_json(self.worker_path(submission, task), encode(worker))

    def read_worker(self, submission: str, task: int | None) -> Worker | None:
        return self._reader.read(self.worker_path(submission, task), Worker)

    def renew_scheduler(self, submission: str) -> None:
        """Tell other hosts that the local scheduler of `submission` is alive."""
        self._renewed_path(submission).touch()

    def silent_s(self, submission: str) -> float | None:
        """Seconds since a local scheduler was last known to be alive, by the clock of the file system: to be asked on
        other hosts. None for one of earlier code, and where nothing can be written."""
        path = self._renewed_path(submission)
        if not path.exists():
            if self.read_worker(submission, None) is not None:
                return None
            path = self.folder(submission)  # its submit may have died
        try:
            return process.file_system_time(self._root) - path.stat().st_mtime
        except OSError:
            return None

    def _renewed_path(self, submission: str) -> Path:
        return self.folder(submission) / "scheduler.renewed"

    def is_recorded(self, submission: str, task: int | None) -> bool:
        """Whether this process is the recorded one of a task of the local backend, or of its scheduler."""
        recorded = self.read_worker(submission, task)
        return recorded is not None and recorded.pid == os.getpid()

    def mark_cancelled(self, submission: str, task: int) -> None:
        """Request that the local scheduler terminates `task`, or does not start it."""
        self.worker_path(submission, task).with_suffix(".cancelled").touch()

    def cancelled(self, submission: str) -> set[int]:
        """The tasks that `mark_cancelled` marked."""
        names = names_in(self.folder(submission) / "tasks")
        return {int(name.partition(".")[0]) for name in names if _CANCELLED.fullmatch(name)}

    # --- notifications ------------------------------------------------------------------------------------

    def _notification_path(self, key: str, event: Notification) -> Path:
        return self._root / "notifications" / f"{event.sweep}.{event.kind}.{key}.json"

    def claim_notification(self, key: str, event: Notification) -> bool:
        """Record that `event` is sent; False if it was before. key: the submission or the configuration."""
        path = self._notification_path(key, event)
        path.parent.mkdir(parents=True, exist_ok=True)
        return create_json(path, encode(event))

    def write_notification(self, key: str, event: Notification) -> None:
        write_json(self._notification_path(key, event), encode(event))

    def notifications(self, sweep: str) -> list[Notification]:
        """All of a sweep."""
        folder = self._root / "notifications"
        names = sorted(name for name in names_in(folder) if name.startswith(f"{sweep}.") and name.endswith(".json"))
        records = [self._reader.read(folder / name, Notification) for name in names]
        return [one for one in records if one is not None and one.sweep == sweep]
