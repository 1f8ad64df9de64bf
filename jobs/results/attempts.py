"""Runs on disk: attempts, heartbeats, outcomes and how far each run is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.results.record_files import SEED_FOLDER, RecordReader, encode, names_in, numbers_in
from jobs.results.records import Attempt, AttemptOutcome, PrunedRun, Status
from sweepwise.core import atomic, shard_name
from sweepwise.core.atomic import Superseded, create_json, write_json
from sweepwise.core.shard_name import ShardName

_SHORT = 500  # characters of a message that must fit into little space


@dataclass(frozen=True, order=True)
class RunRef:
    """A run: configuration and seed."""

    config_id: str
    seed: int

    def __str__(self) -> str:
        return f"{self.config_id}/seed-{self.seed}"


@dataclass(frozen=True)
class RunRecord:
    """The files of a run. steps: agent steps requested. attempts: how many were claimed.

    attempt, outcome: of the newest attempt. status: the newest heartbeat. finished_step: the furthest step at which any
    attempt finished, according to the shard that ends the run, even if no outcome was written. lost_shard: the name of
    such a shard that is missing. stopped: who pruned the run and why, see `PrunedRun`.
    """

    ref: RunRef
    steps: int
    attempts: int
    attempt: Attempt | None
    outcome: AttemptOutcome | None
    status: Status | None
    finished_step: int
    lost_shard: str = ""
    stopped: PrunedRun | None = None

    @property
    def done(self) -> bool:
        return self.finished_step >= self.steps

    @property
    def share(self) -> float:
        """Of the training that is done, 0 to 1; 0 while a program runs whose number of steps is unknown."""
        if self.done:
            return 1.0
        return min(1.0, self.step / self.steps) if self.steps > 1 else 0.0

    @property
    def step(self) -> int:
        """The furthest step known."""
        return max(self.finished_step, self.outcome.step if self.outcome else 0, self.status.step if self.status else 0)


class Attempts:
    """The runs of a results folder. An attempt is one execution of a run.

    config_folder: config_id -> its folder; raises `JobsError` for a malformed ID.
    """

    def __init__(self, root: Path, config_folder: Callable[[str], Path], reader: RecordReader) -> None:
        self._root, self._config_folder, self._reader = root, config_folder, reader

    def folder(self, run: RunRef) -> Path:
        return self._config_folder(run.config_id) / f"seed-{run.seed}"

    def cache_path(self, run: RunRef) -> Path:
        """The cache of the run's metrics, merged from its shards by `sweeps aggregate`; can be deleted at any time."""
        folder = self.folder(run)
        return self._root / "cache" / folder.parent.name / f"{folder.name}.rows"

    def file_sizes(self, run: RunRef) -> list[int]:
        """Sizes of a run's files, in bytes."""
        return [path.stat().st_size for path in self.folder(run).rglob("*") if path.is_file()]

    def seeds(self, config: str) -> list[int]:
        """Seeds of `config` that were ever started."""
        names = names_in(self._config_folder(config))
        return sorted(int(match[1]) for match in map(SEED_FOLDER.fullmatch, names) if match)

    def _numbers(self, run: RunRef, folder: str) -> list[int]:
        return numbers_in(self.folder(run) / folder)

    def claim(self, run: RunRef, attempt: Attempt) -> Attempt:
        """Write `attempt` under the next free number; exclusive creation gives every attempt its own number."""
        folder = self.folder(run) / "attempts"
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            number = max(self._numbers(run, "attempts"), default=0) + 1
            claimed = dataclasses.replace(attempt, number=number)
            if create_json(self._attempt_path(run, number), encode(claimed)):
                break
        atomic.free_room(self._outcome_path(run, number - 1))  # of an attempt that was killed
        atomic.keep_room(self._outcome_path(run, number))
        return claimed

    def is_newest(self, run: RunRef, number: int) -> bool:
        """Whether attempt `number` still owns the run: no later one was claimed."""
        return max(self._numbers(run, "attempts"), default=0) == number

    def read(self, run: RunRef, number: int) -> Attempt | None:
        return self._reader.read(self._attempt_path(run, number), Attempt)

    def all(self, run: RunRef) -> list[Attempt]:
        """The attempts that can be read, the oldest first."""
        attempts = (self.read(run, number) for number in self._numbers(run, "attempts"))
        return [attempt for attempt in attempts if attempt is not None]

    def read_outcome(self, run: RunRef, number: int) -> AttemptOutcome | None:
        return self._reader.read(self._outcome_path(run, number), AttemptOutcome)

    def write_outcome(self, run: RunRef, number: int, outcome: AttemptOutcome) -> None:
        """Record how an attempt ended. On a full disk it goes into the space that was kept by `claim`, shortened."""
        path = self._outcome_path(run, number)
        try:
            write_json(path, encode(outcome))
        except OSError as error:
            if error.errno not in atomic.FULL:
                raise
            short = dataclasses.replace(outcome, traceback="")
            shortest = dataclasses.replace(short, message=outcome.message[:_SHORT])
            atomic.write_in_room(path, map(encode, (outcome, short, shortest)))
        atomic.free_room(path)

    def _attempt_path(self, run: RunRef, number: int) -> Path:
        return self.folder(run) / "attempts" / f"{number:03d}.json"

    def _status_path(self, run: RunRef, number: int) -> Path:
        return self.folder(run) / "status" / f"{number:03d}.json"

    def _outcome_path(self, run: RunRef, number: int) -> Path:
        return self.folder(run) / "outcome" / f"{number:03d}.json"

    def write_status(self, run: RunRef, status: Status) -> bool:
        """Write a heartbeat. If the attempt is superseded, return False and write nothing."""
        # a file per attempt: one suspended between the check and the rename must not overwrite a newer heartbeat
        path = self._status_path(run, status.attempt)
        owned = functools.partial(self.is_newest, run, status.attempt)
        try:
            write_json(path, encode(status), owned, sync=False)
        except Superseded:
            return False
        return True

    def load(self, run: RunRef, steps: int) -> RunRecord:
        """Read the files of `run`, for which `steps` agent steps are requested."""
        numbers = self._numbers(run, "attempts")
        newest = numbers[-1] if numbers else 0
        outcomes = {n: self.read_outcome(run, n) for n in self._numbers(run, "outcome")}
        finished, lost = self._finished(run, [o for o in outcomes.values() if o is not None and o.state == "finished"])
        if finished < steps and (last := self.last_shard(run)) is not None:
            finished = max(finished, last.end or 0)
        return RunRecord(
            ref=run,
            steps=steps,
            attempts=len(numbers),
            attempt=self.read(run, newest) if newest else None,
            outcome=outcomes.get(newest),
            status=next(filter(None, (self._read_status(run, n) for n in reversed(numbers))), None),
            finished_step=finished,
            lost_shard=lost,
            stopped=self._reader.read(self._pruned_path(run), PrunedRun),
        )

    def by_this_clock(self, record: RunRecord, ahead: float) -> RunRecord:
        """`record` with the times that this host's clock would give: the run's host may have a wrong one.

        ahead: seconds by which this host's clock is ahead of the file system's, which stamps what that host writes.
        """
        attempt, status = record.attempt, record.status
        if attempt is None:
            return record
        path, recorded = self._attempt_path(record.ref, attempt.number), attempt.started
        if status is not None and status.attempt == attempt.number:
            path, recorded = self._status_path(record.ref, status.attempt), status.time
        try:
            off = ahead + path.stat().st_mtime - recorded
        except OSError:
            return record
        if status is not None:
            logged = status.logged + off if status.logged else status.logged
            status = dataclasses.replace(status, time=status.time + off, logged=logged)
        attempt = dataclasses.replace(attempt, started=attempt.started + off)
        return dataclasses.replace(record, attempt=attempt, status=status)

    def _pruned_path(self, run: RunRef) -> Path:
        return self.folder(run) / "stopped.json"

    def write_pruned(self, run: RunRef, stop: PrunedRun) -> None:
        write_json(self._pruned_path(run), encode(stop))

    def clear_pruned(self, run: RunRef) -> None:
        self._pruned_path(run).unlink(missing_ok=True)

    def _read_status(self, run: RunRef, number: int) -> Status | None:
        return self._reader.read(self._status_path(run, number), Status)

    def _finished(self, run: RunRef, outcomes: Iterable[AttemptOutcome]) -> tuple[int, str]:
        """(the furthest step of finished `outcomes`, the name of a last shard that is missing)."""
        folder = self.folder(run) / shard_name.FOLDER
        step, lost = 0, ""
        for outcome in outcomes:
            named = shard_name.parse(outcome.last_shard)
            if outcome.last_shard and not (named and (folder / str(named)).exists()):
                lost = outcome.last_shard
            else:
                step = max(step, outcome.step)
        return step, lost

    def last_shard(self, run: RunRef) -> ShardName | None:
        """The newest metric shard of `run`."""
        return shard_name.last(names_in(self.folder(run) / shard_name.FOLDER))
