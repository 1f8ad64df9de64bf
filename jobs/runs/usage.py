"""What tasks used of what they asked for, and what to ask for next: from Slurm's books, else from the runs' own."""

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
    """A submission with the uses of its tasks that ended. gpu_gb: the most that was in use on a GPU, 0 without one.

    mem_gb, time_min: asked for, None where nobody knows.
    """

    submission: Submission
    uses: tuple[Usage, ...]
    gpu_gb: float
    mem_gb: float | None
    time_min: int | None

    @property
    def suggestion(self) -> str:
        """Options of `submit` that ask for what was used, with room to spare."""
        memory = max(1, math.ceil(_SPARE_MEMORY * max(use.memory_gb for use in self.uses)))
        cpus = max(1, math.ceil(max(use.cpus for use in self.uses) / _SPARE_CPU))
        minutes = max(10, math.ceil(_SPARE_TIME * max(use.seconds for use in self.uses) / 60))
        asked = {
            "cpus": (cpus, self.submission.threads),
            "mem_gb": (memory, self.mem_gb),
            "time": (minutes, self.time_min),
        }
        return " ".join(
            f"--option {key}={wanted}" for key, (wanted, had) in asked.items() if had is None or wanted < had
        )


def reports(runs: Iterable[RunStatus]) -> list[Report]:
    """One for each submission of `runs` of which a task has ended, the oldest first."""
    groups: dict[str, list[RunStatus]] = {}
    for run in runs:
        if run.submission is not None:
            groups.setdefault(run.submission.id, []).append(run)
    found = []
    for _, members in sorted(groups.items()):
        submission = members[0].submission
        assert submission is not None
        uses = registry.get(submission.backend).accounted_usage(submission) or _recorded(submission, members)
        if uses:
            found.append(Report(submission, tuple(uses), _gpu_gb(submission, members), *_asked(submission)))
    return found


def _gpu_gb(submission: Submission, runs: Sequence[RunStatus]) -> float:
    """Slurm's books know nothing of it."""
    return max((float(outcome.usage.get("gpu_gb", 0.0)) for _, _, outcome in _ended(submission, runs)), default=0.0)


def _ended(submission: Submission, runs: Sequence[RunStatus]) -> Iterator[tuple[RunStatus, Attempt, AttemptOutcome]]:
    """Runs whose newest attempt was one of `submission` and left word of its end."""
    for run in runs:
        attempt, outcome = run.record.attempt, run.record.outcome
        if attempt is not None and outcome is not None and attempt.submission == submission.id:
            yield run, attempt, outcome


def _asked(submission: Submission) -> tuple[float | None, int | None]:
    """(gigabytes, minutes) of its profile, as far as that can still be read."""
    if not registry.get(submission.backend).enforces_limits:
        return None, None
    try:
        chosen = ExecutionOptions.of(submission).load_profile()
    except JobsError:
        return None, None
    return chosen.mem_gb, chosen.time_min


def _recorded(submission: Submission, runs: Sequence[RunStatus]) -> list[Usage]:
    """From the outcomes; the seeds of a pack share a process."""
    found: dict[int | None, Usage] = {}
    for run, attempt, outcome in _ended(submission, runs):
        used = outcome.usage
        if "cpu_s" in used:
            found[run.task] = Usage(outcome.time - attempt.started, float(used["cpu_s"]), float(used["memory_gb"]))
    return list(found.values())
