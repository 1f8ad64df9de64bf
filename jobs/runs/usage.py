"""Requested and used resources of tasks, with a suggestion for the next submit; from Slurm's accounting or the runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jobs.backends import registry
from jobs.backends.base import ExecutionOptions, Usage
from jobs.results.records import Attempt, AttemptOutcome, Submission
from jobs.runs.status import RunStatus
from sweepwise.core.errors import JobsError

_SPARE_MEMORY, _SPARE_TIME, _SPARE_CPU = 1.25, 1.5, 1.1


@dataclass(frozen=True)
class Report:
    """A submission with the usage of its tasks that ended. gpu_gb: peak memory in use on a GPU, 0 without one.

    mem_gb, time_min: as requested, None if unknown.
    """

    submission: Submission
    uses: tuple[Usage, ...]
    gpu_gb: float
    mem_gb: float | None
    time_min: int | None

    @property
    def suggestion(self) -> str:
        """Options of `submit` that request what was used, plus a margin."""
        memory = max(1, math.ceil(_SPARE_MEMORY * max(use.memory_gb for use in self.uses)))
        cpus = max(1, math.ceil(max(use.cpus for use in self.uses) / _SPARE_CPU))
        minutes = max(10, math.ceil(_SPARE_TIME * max(use.seconds for use in self.uses) / 60))
        options = {
            "cpus": (cpus, self.submission.threads),
            "mem_gb": (memory, self.mem_gb),
            "time": (minutes, self.time_min),
        }
        return " ".join(
            f"--option {key}={suggested}"
            for key, (suggested, requested) in options.items()
            if requested is None or suggested < requested
        )


def reports(runs: Iterable[RunStatus]) -> list[Report]:
    """A report for each submission of `runs` with at least one ended task, the oldest first."""
    groups: dict[str, list[RunStatus]] = {}
    for run in runs:
        if run.submission is not None:
            groups.setdefault(run.submission.id, []).append(run)
    collected = []
    for _, members in sorted(groups.items()):
        submission = members[0].submission
        assert submission is not None
        uses = registry.get(submission.backend).accounted_usage(submission) or _recorded(submission, members)
        if uses:
            collected.append(Report(submission, tuple(uses), _gpu_gb(submission, members), *_requested(submission)))
    return collected


def _gpu_gb(submission: Submission, runs: Sequence[RunStatus]) -> float:
    """Peak GPU memory in GB, from the outcomes, since Slurm's accounting does not record it."""
    return max((float(outcome.usage.get("gpu_gb", 0.0)) for _, _, outcome in _ended(submission, runs)), default=0.0)


def _ended(submission: Submission, runs: Sequence[RunStatus]) -> Iterator[tuple[RunStatus, Attempt, AttemptOutcome]]:
    """Runs whose newest attempt belongs to `submission` and has an outcome."""
    for run in runs:
        attempt, outcome = run.record.attempt, run.record.outcome
        if attempt is not None and outcome is not None and attempt.submission == submission.id:
            yield run, attempt, outcome


def _requested(submission: Submission) -> tuple[float | None, int | None]:
    """(memory in GB, time limit in minutes) of its profile; None if there are no limits or no readable profile."""
    if not registry.get(submission.backend).enforces_limits:
        return None, None
    try:
        chosen = ExecutionOptions.of(submission).load_profile()
    except JobsError:
        return None, None
    return chosen.mem_gb, chosen.time_min


def _recorded(submission: Submission, runs: Sequence[RunStatus]) -> list[Usage]:
    """Usage per task, from the outcomes; the seeds of one task share a process."""
    by_task: dict[int | None, Usage] = {}
    for run, attempt, outcome in _ended(submission, runs):
        used = outcome.usage
        if "cpu_s" in used:
            by_task[run.task] = Usage(outcome.time - attempt.started, float(used["cpu_s"]), float(used["memory_gb"]))
    return list(by_task.values())
