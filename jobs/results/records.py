"""What lies on disk as JSON, record by record. `jobs.results.record_files` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConfigFile:
    """runs/<config_id>/config.json."""

    config_id: str
    config: dict[str, Any]
    identity_version: int


@dataclass(frozen=True)
class Attempt:
    """One execution of a run. started: unix seconds. pid_start: see `process.start_time`. device: as asked.

    commit, code: of the code it runs, see `CodeFile`. cluster: Slurm's name of itself. gpu, driver: as nvidia-smi says.
    """

    number: int
    host: str
    pid: int
    pid_start: str
    started: float
    device: str
    submission: str | None = None
    task: int | None = None
    slurm_job: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    code: str = ""
    cluster: str = ""
    gpu: str | None = None
    driver: str | None = None


@dataclass(frozen=True)
class CodeFile:
    """code/<hash>.json: where the code of that hash was taken from, and when (unix seconds).

    commit: "+" at its end where files differ. diff: of the packages from the commit; what is `untracked` is not in it.
    note: why only the diff's hash is kept, where that is so.
    """

    hash: str
    root: str
    time: float
    commit: str | None = None
    diff: str = ""
    diff_sha256: str = ""
    untracked: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended: finished, interrupted, diverged, superseded or failed. time: unix seconds.

    usage: of its process, see `process.usage`. last_shard: name of the shard that ends the run, where it finished; ""
    where nothing of it is known.
    """

    state: str
    step: int
    message: str
    time: float
    traceback: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    last_shard: str = ""


@dataclass(frozen=True)
class PrunedRun:
    """runs/<config_id>/seed-<n>/stopped.json: `sweeps prune` gave the run up, with its task of `submission`.

    It holds until a later submission has the run. date: of UTC.
    """

    submission: str
    sweep: str
    reason: str
    date: str
    user: str


@dataclass(frozen=True)
class Status:
    """Heartbeat of an attempt. step of total agent steps; time: unix seconds."""

    attempt: int
    step: int
    total: int
    steps_per_s: float | None
    last_return: float | None
    time: float


@dataclass(frozen=True)
class SubmittedConfiguration:
    config_id: str
    label: str
    factors: dict[str, Any]
    is_baseline: bool
    seeds: list[int]


@dataclass(frozen=True)
class RequestedOverrides:
    """What a command was given beside the plan. seeds: as typed, "" for the plan's. values: key -> value of --task,
    --steps and --set."""

    seeds: str = ""
    preset: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubmittedSweep:
    """sweeps/<name>.json: the sweep as it was asked for, seeds of all submits together.

    questions: each a text, or the fields of `aggregate.inputs.plan_questions.Question`. adopted: key -> value that
    decisions had put in the base (`jobs.planning.decisions`). asked: at the newest submit. looks: number of analyses
    that the plan intends (`jobs.planning.interim_analyses`).
    """

    name: str
    plan: str
    goal: str
    questions: list[Any]
    factors: list[str]
    configs: list[SubmittedConfiguration]
    time: float
    adopted: dict[str, Any] = field(default_factory=dict)
    asked: RequestedOverrides = field(default_factory=RequestedOverrides)
    looks: int = 1


@dataclass(frozen=True)
class InterimAnalysis:
    """Seeds that were asked for after results could be seen. date: of UTC. command: `more` or `submit`.

    seeds: that had finished, of the configuration that had most. more: config_id -> seeds added.
    """

    date: str
    user: str
    command: str
    seeds: int
    more: dict[str, list[int]]


@dataclass(frozen=True)
class InterimAnalysisFile:
    """looks/<sweep>.json: the oldest first. What has finished since the last one is looked at by the next report."""

    looks: list[InterimAnalysis]


@dataclass(frozen=True)
class AdoptedValue:
    """A key that a decision settles. old: what the base had, which may be the same."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Measured:
    """Final return with planning of a configuration: mean and 95 % interval over so many finished seeds."""

    config_id: str
    label: str
    mean: float | None
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class Evidence:
    """What the sweep had measured at the decision. ties: not significantly different from the best configuration."""

    chosen: Measured
    baseline: Measured | None
    leader: Measured
    ties: list[Measured]


@dataclass(frozen=True)
class Decision:
    """What the sweeps after `sweep` take from it. how: config, verdict, set or keep.

    base: key -> value of earlier decisions under which it was taken, but for the keys that its sweep holds or varies.
    date: of UTC. evidence: None where it was decided by hand. undone: when it was taken back, "" where it stands.
    """

    plan: str
    sweep: str
    how: str
    config_id: str
    settled: list[AdoptedValue]
    base: dict[str, Any]
    evidence: Evidence | None
    why: str
    date: str
    user: str
    undone: str = ""


@dataclass(frozen=True)
class Decisions:
    """decisions.json: all that was ever adopted, the oldest first."""

    decisions: list[Decision]


@dataclass(frozen=True)
class TaskRuns:
    """A task: runs of one configuration, trained side by side in one process."""

    config_id: str
    seeds: list[int]


@dataclass(frozen=True)
class Chunk:
    """Tasks of a submission that Slurm gets as one array, or as a plain job where it is one task.

    start, count: its tasks; none in the job that writes the report. job_name: unique, how Slurm is asked.
    after: positions of the chunks that end before this one begins. held: it stays held when the others are
    released, until its canaries are healthy. job_id: "" until Slurm's answer is recorded.
    """

    job_name: str
    start: int
    count: int
    after: list[int] = field(default_factory=list)
    held: bool = False
    job_id: str = ""

    @property
    def tasks(self) -> range:
        return range(self.start, self.start + self.count)

    def job_of(self, task: int) -> str | None:
        """The id of the job that is `task`; None for a task of another chunk, or before there is an id."""
        if not self.job_id or task not in self.tasks:
            return None
        return f"{self.job_id}_{task - self.start}" if self.count > 1 else self.job_id


@dataclass(frozen=True)
class Submission:
    """submissions/<id>/submission.json, written before anything is handed to a backend.

    backend: slurm | local | debug. gpus: per task; 0 trains on the CPU. job_name: unique, the beginning of its
    chunks' names. options: of the backend, for `rerun`. cluster: Slurm's name of itself. report: written when all
    tasks have ended. exported: its scripts are submitted by hand. code: hash of the copy that its jobs run from; ""
    where they run in place. handed_over: every step of the hand-over is done. problem: why it failed, where it did.
    """

    id: str
    sweep: str
    backend: str
    host: str
    user: str
    time: float
    tasks: list[TaskRuns]
    gpus: int
    threads: int
    job_name: str
    options: dict[str, Any]
    chunks: list[Chunk] = field(default_factory=list)
    cluster: str = ""
    report: bool = False
    exported: bool = False
    code: str = ""
    handed_over: bool = False
    problem: str = ""

    def job_of(self, task: int) -> str | None:
        """Slurm's id of `task`, None where there is none."""
        return next((job for chunk in self.chunks if (job := chunk.job_of(task)) is not None), None)

    def holds(self, task: int) -> bool:
        """Whether a backend works for `task` or is about to: not one that it refused."""
        return not self.problem or self.job_of(task) is not None


@dataclass(frozen=True)
class CircuitBreaker:
    """submissions/<id>/trip.json: its first `tasks` died for one `reason`, so that `held` that waited are held.

    time: unix seconds. released: by the user, since then.
    """

    tasks: int
    reason: str
    held: int
    time: float
    released: bool = False


@dataclass(frozen=True)
class Worker:
    """A process on `host` that works for a submission: the local scheduler, or one task of it."""

    host: str
    pid: int
    pid_start: str
    started: float
    exit_code: int | None = None
    ended: float | None = None
    gpu: str | None = None


@dataclass(frozen=True)
class ImportedConfig:
    """An algorithm on a task, as files from elsewhere have it. last_step: the furthest that any seed reached."""

    config_id: str
    algorithm: str
    task: str
    seeds: list[int]
    last_step: int


@dataclass(frozen=True)
class Import:
    """imports/<name>/import.json: learning curves from elsewhere. data: folder beside it that holds their shards.

    files: as they were given. frames_per_step: None where the files counted agent steps. time: unix seconds.
    """

    name: str
    data: str
    files: list[str]
    frames_per_step: int | None
    configs: list[ImportedConfig]
    time: float


@dataclass(frozen=True)
class Archive:
    """archive.json, the first file of an archive. versions: of the packages that wrote its report."""

    sweeps: list[str]
    imports: list[str]
    runs: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Checksums:
    """files.json, the last file of an archive: path -> SHA-256 of every other."""

    files: dict[str, Any]


@dataclass(frozen=True)
class QueueSnapshot:
    """queue.json: what Slurm said last, see `jobs.backends.slurm.queue_state`. Times: unix seconds.

    said: job name -> when it was asked for, and [state, reason, node] of every task that Slurm knew. failures:
    questions in a row without an answer. retry_at, sacct_at: before, squeue and sacct are not asked.
    """

    said: dict[str, Any] = field(default_factory=dict)
    failures: int = 0
    retry_at: float = 0.0
    sacct_at: float = 0.0

    def time_of(self, job_name: str) -> float:
        """When Slurm last answered about the name; 0 for never."""
        return float(self.said.get(job_name, {}).get("time", 0.0))

    def tasks_of(self, job_name: str) -> dict[str, list[str]]:
        tasks: dict[str, list[str]] = self.said.get(job_name, {}).get("tasks", {})
        return tasks
