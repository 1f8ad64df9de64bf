"""`sweeps reread`: the logged metrics of ended runs are read again, by a changed plan, without training."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs import process
from jobs.programs.command import WORK, ProgramSource, output_file, run_folder
from jobs.programs.metric_sources.base import MetricReader
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.status import RunStatus
from jobs.worker.program import NO_METRICS
from jobs.worker.run_log import RunLog
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import RunHandle


@dataclass(frozen=True)
class Reread:
    """What became of a run. step: the last that was logged. note: why it was not read, "" where it was."""

    run: RunRef
    step: int
    note: str = ""


def reread(store: ResultsFolder, source: ProgramSource, runs: Sequence[RunStatus]) -> list[Reread]:
    """Read the files of `runs` again, as attempts that train nothing. The caller must hold the lock.

    source: of the changed plan. Raises `JobsError` where it is another program than the runs'.
    """
    store.agents.remap(source)
    return [_reread(store, source, run) for run in runs]


def _reread(store: ResultsFolder, source: ProgramSource, status: RunStatus) -> Reread:
    record, ref = status.record, status.record.ref
    config = store.check_config(ref.config_id)
    if config.agent != source.description.name:
        raise JobsError(f"{ref} was trained by {config.agent}, not by {source.description.name}; name another plan")
    if status.state.state in ACTIVE:
        return Reread(ref, record.step, "still in training; its next attempt uses the plan of its submit")
    if record.attempt is None:
        return Reread(ref, 0, "it never started")
    folder = store.attempts.folder(ref)
    trained = _last_with_files(folder, source, record.attempt.number)
    if trained is None:
        return Reread(ref, 0, f"{folder / WORK}, where the program logged, is missing")
    number, work = trained
    metrics = source.program.metrics
    reader = MetricReader(metrics.read, metrics.step, work, output_file(work, number))
    rows = reader.finish()
    if source.description.catalogue.primary.name not in reader.names:
        names = ", ".join(sorted(reader.names)[:12]) or "nothing"
        return Reread(
            ref, 0, f"metric {source.description.catalogue.primary.name!r} is not in its files; logged: {names}"
        )
    attempt = store.attempts.claim(ref, _as_another(record.attempt))
    handle = _handle(store, ref, attempt)
    log = RunLog(handle, metrics, source.description.catalogue, replaces_all=True)
    log.add(rows)
    log.end()
    done = record.finished_step >= config.steps or (record.outcome is not None and record.outcome.cause == NO_METRICS)
    end = max(record.finished_step, config.steps if source.description.steps else log.step) if done else None
    log.close(end=end)
    store.attempts.write_outcome(ref, attempt.number, _outcome(store, ref, record.outcome, log.step, end))
    return Reread(ref, log.step)


def _last_with_files(folder: Path, source: ProgramSource, newest: int) -> tuple[int, Path] | None:
    """(attempt, {run}) of the newest attempt whose files are there."""
    for number in range(newest, 0, -1):
        work = run_folder(source.program, folder, number)
        if output_file(work, number).exists():
            return number, work
    return None


def _as_another(attempt: Attempt) -> Attempt:
    """A new attempt of this process that belongs to the same task, so that the run's state stays what it is."""
    pid = os.getpid()
    return replace(
        attempt, number=0, host=process.host(), pid=pid, pid_start=process.start_time(pid), started=time.time()
    )


def _handle(store: ResultsFolder, ref: RunRef, attempt: Attempt) -> RunHandle:
    config = store.check_config(ref.config_id)
    submission = store.submissions.read(attempt.submission) if attempt.submission else None
    return RunHandle(
        config=config.values, seed=ref.seed, folder=store.attempts.folder(ref), tag=f"a{attempt.number:03d}",
        guard=lambda: store.attempts.is_newest(ref, attempt.number), on_progress=lambda progress: True,
        origin={"code": submission.agent_code if submission else ""}, config_id=ref.config_id,
    )  # fmt: skip


def _outcome(
    store: ResultsFolder, ref: RunRef, before: AttemptOutcome | None, step: int, end: int | None
) -> AttemptOutcome:
    """As before, and finished where only the metrics were missing."""
    if end is not None:
        last = store.attempts.last_shard(ref)
        shard = str(last) if last is not None and last.end == end else ""
        return AttemptOutcome("finished", end, "read again", time.time(), last_shard=shard)
    if before is None:
        return AttemptOutcome("failed", step, "its process ended without an outcome: killed?", time.time())
    return replace(before, step=max(before.step, step), time=time.time())
