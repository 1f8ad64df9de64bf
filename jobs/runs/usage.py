"""What tasks used of what they asked for, and what to ask for next: from Slurm's books, else from the runs' own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jobs import process
from jobs.results.records import Attempt, Outcome, Submission
from jobs.runs.status import RunStatus
from jobs.submit import rerun
from sweepwise.core.errors import JobsError

_SACCT_TIMEOUT_S = 30.0
_CPU = re.compile(r"(?:(?:(?P<days>\d+)-)?(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGT]?)")
_GB = {"": 1 / 1024**3, "K": 1 / 1024**2, "M": 1 / 1024, "G": 1.0, "T": 1024.0}
_SPARE_MEMORY, _SPARE_TIME, _SPARE_CPU = 1.25, 1.5, 1.1


@dataclass(frozen=True)
class Use:
    """Of one task in one attempt. cpu_s: of all its processes. memory_gb: the most at a time."""

    seconds: float
    cpu_s: float
    memory_gb: float

    @property
    def cpus(self) -> float:
        """How many were busy on average."""
        return self.cpu_s / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Report:
    """A submission with the uses of its tasks that ended. gpu_gb: the most that was in use on a GPU, 0 without one.

    mem_gb, time_min: asked for, None where nobody knows.
    """

    submission: Submission
    uses: tuple[Use, ...]
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
        uses = _accounted(submission) or _recorded(submission, members)
        if uses:
            found.append(Report(submission, tuple(uses), _gpu_gb(submission, members), *_asked(submission)))
    return found


def _gpu_gb(submission: Submission, runs: Sequence[RunStatus]) -> float:
    """Slurm's books know nothing of it."""
    return max((float(outcome.usage.get("gpu_gb", 0.0)) for _, _, outcome in _ended(submission, runs)), default=0.0)


def _ended(submission: Submission, runs: Sequence[RunStatus]) -> Iterator[tuple[RunStatus, Attempt, Outcome]]:
    """Runs whose newest attempt was one of `submission` and left word of its end."""
    for run in runs:
        attempt, outcome = run.record.attempt, run.record.outcome
        if attempt is not None and outcome is not None and attempt.submission == submission.id:
            yield run, attempt, outcome


def _asked(submission: Submission) -> tuple[float | None, int | None]:
    """(gigabytes, minutes) of its profile, as far as that can still be read."""
    if submission.backend != "slurm":
        return None, None
    try:
        chosen = rerun.profile(rerun.recorded_options(submission))
    except JobsError:
        return None, None
    return chosen.mem_gb, chosen.time_min


def _recorded(submission: Submission, runs: Sequence[RunStatus]) -> list[Use]:
    """From the outcomes; the seeds of a pack share a process."""
    found: dict[int | None, Use] = {}
    for run, attempt, outcome in _ended(submission, runs):
        used = outcome.usage
        if "cpu_s" in used:
            found[run.task] = Use(outcome.time - attempt.started, float(used["cpu_s"]), float(used["memory_gb"]))
    return list(found.values())


def _accounted(submission: Submission) -> list[Use]:
    """From sacct; nothing where there is no accounting, or none of memory."""
    jobs = [chunk.job_id for chunk in submission.chunks if chunk.job_id and chunk.count]
    if not jobs:
        return []
    command = ["sacct", "--noheader", "--parsable2", f"--jobs={','.join(jobs)}",
               "--format=JobID,State,ElapsedRaw,TotalCPU,MaxRSS"]  # fmt: skip
    text = process.run_quietly(command, _SACCT_TIMEOUT_S) or ""
    tasks: dict[str, tuple[float, float]] = {}
    memory: dict[str, float] = {}
    for line in text.splitlines():
        job, state, seconds, cpu, size = [*line.split("|"), *[""] * 5][:5]
        task, _, step = job.partition(".")
        if step:
            memory[task] = max(memory.get(task, 0.0), gigabytes(size))
        elif state.partition(" ")[0] not in ("PENDING", "RUNNING") and seconds.isdigit() and int(seconds):
            tasks[task] = (float(seconds), cpu_seconds(cpu))
    return [Use(*times, memory[task]) for task, times in tasks.items() if memory.get(task)]


def cpu_seconds(text: str) -> float:
    """Of sacct's `1-02:03:04`, `02:03:04` or `03:04.500`; 0 where it is none."""
    match = _CPU.fullmatch(text)
    if match is None:
        return 0.0
    part = {name: float(value or 0) for name, value in match.groupdict().items()}
    return ((part["days"] * 24 + part["hours"]) * 60 + part["minutes"]) * 60 + part["seconds"]


def gigabytes(text: str) -> float:
    """Of sacct's `512000K`; 0 where it is none."""
    match = _SIZE.fullmatch(text)
    return float(match["number"]) * _GB[match["unit"]] if match else 0.0
