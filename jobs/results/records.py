"""The records that are stored as JSON. `jobs.results.record_files` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConfigFile:
    """runs/<config_id>/config.json. agent: its name; files of earlier versions are of the packaged agent. hashed: see
    `ResolvedConfig`. agent_version: of the agent; 0 in files from before it was stored, when that of the packaged agent
    was 1."""

    config_id: str
    config: dict[str, Any]
    identity_version: int
    agent: str = "tdmpc"
    hashed: list[str] = field(default_factory=list)
    agent_version: int = 0


@dataclass(frozen=True)
class AgentFile:
    """agents/<name>.json: the agent as of the last submit.

    description: `AgentDescription.to_json`. reference: `package.module:NAME`. code: hash of the copy of its code, ""
    for the packaged agent, which is part of this project. first: the hyperparameters at the first submit; those that
    were added later are part of a configuration ID only where they differ from their default. program: how a command is
    run, `jobs.programs.command.Program.to_json`; empty for a Python object.
    """

    description: dict[str, Any]
    reference: str
    code: str
    first: list[str]
    program: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """One execution of a run. started: unix seconds. pid_start: see `process.start_time`. device: as requested.

    commit, code: of the code it runs, see `CodeFile`. cluster: its name in Slurm. gpu, driver: from nvidia-smi.
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
    """code/<hash>.json: the origin of the code with that hash. time: unix seconds, when it was recorded.

    commit: ends in "+" if files differ from it. diff: of the packages against the commit, without `untracked` files.
    note: the reason if only the diff's hash is kept. files: the manifest of a program's copy, whose folder may gain
    other files while it runs; empty for all files of the folder.
    """

    hash: str
    root: str
    time: float
    commit: str | None = None
    diff: str = ""
    diff_sha256: str = ""
    untracked: list[str] = field(default_factory=list)
    note: str = ""
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended: finished, interrupted, diverged, superseded or failed. time: unix seconds.

    usage: of its process, see `process.usage`. last_shard: name of the shard that ends a finished run; "" if it is
    unknown. cause: of a failure, see `run_state.Cause`; "" where the message tells.
    """

    state: str
    step: int
    message: str
    time: float
    traceback: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    last_shard: str = ""
    cause: str = ""


@dataclass(frozen=True)
class EvaluationFile:
    """runs/<config_id>/seed-<n>/evaluations/<planner>-<episodes>-step-<step>/returns.json: the returns of the episodes,
    in order, with the weights of `step`. code, agent_code: hashes of the code that played them. attempt: that did.
    snapshots: steps of the weights where there are several, ascending; an equal share of the episodes with each."""

    step: int
    planner: str
    returns: list[float]
    code: str
    agent_code: str
    attempt: int
    device: str
    snapshots: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class PrunedRun:
    """runs/<config_id>/seed-<n>/stopped.json: `sweeps prune` stopped the run, with its task of `submission`.

    Valid until a later submission includes the run. date: in UTC.
    """

    submission: str
    sweep: str
    reason: str
    date: str
    user: str


@dataclass(frozen=True)
class Status:
    """Heartbeat of an attempt. step, total: agent steps. time: unix seconds. logged: when the run last gave a sign
    of life, where the process that writes the heartbeat is another than the one that trains."""

    attempt: int
    step: int
    total: int
    steps_per_s: float | None
    last_return: float | None
    time: float
    logged: float | None = None


@dataclass(frozen=True)
class SubmittedConfiguration:
    config_id: str
    label: str
    factors: dict[str, Any]
    is_baseline: bool
    seeds: list[int]


@dataclass(frozen=True)
class RequestedOverrides:
    """Options of a command that override the plan. seeds: as typed, "" for the plan's. values: key -> value of --task,
    --steps and --set."""

    seeds: str = ""
    preset: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubmittedSweep:
    """sweeps/<name>.json: the sweep as it was submitted, with the seeds of all submits.

    questions: each a text, or the fields of `aggregate.inputs.plan_questions.Question`. adopted: key -> value in the
    base from earlier decisions (`jobs.planning.decisions`). asked: overrides at the newest submit. looks: planned
    number of analyses (`jobs.planning.interim_analyses`). agent: name of what is trained. margin, paired:
    see `jobs.planning.plan.Sweep`. confirms: the sweep of which this one confirms a configuration
    (`jobs.decide.confirm`), "" for a sweep of a plan. tasks_of: the sweep of several tasks of which this is one.
    reference: what counts as 0 and 1 on its task, numbers or names (`aggregate.tasks.references.Declared`); empty where
    the plan says nothing.
    position: in the order in which the plan runs its sweeps, from 1; 0 where unknown.
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
    agent: str = "tdmpc"
    margin: float | None = None
    confirms: str = ""
    tasks_of: str = ""
    reference: list[Any] = field(default_factory=list)
    position: int = 0
    paired: bool = False

    def run_label(self, label: str) -> str:
        """`label` of a configuration where runs of other tasks stand beside it: `walker-walk: lr=0.001`."""
        return f"{self.name.removeprefix(f'{self.tasks_of}.')}: {label}" if self.tasks_of else label


@dataclass(frozen=True)
class InterimAnalysis:
    """Seeds that were added after results were available. date: in UTC. command: `more` or `submit`.

    seeds: the largest number of finished seeds of a configuration. more: config_id -> seeds added.
    """

    date: str
    user: str
    command: str
    seeds: int
    more: dict[str, list[int]]


@dataclass(frozen=True)
class InterimAnalysisFile:
    """looks/<sweep>.json, the oldest first. Runs that finished after the last one belong to the next analysis."""

    looks: list[InterimAnalysis]


@dataclass(frozen=True)
class TaskRuns:
    """A task: runs of one configuration, trained side by side in one process."""

    config_id: str
    seeds: list[int]


@dataclass(frozen=True)
class Chunk:
    """Tasks of a submission that are one array in Slurm, or a plain job if there is only one task.

    start, count: the range of its tasks, empty for the report job. job_name: unique, used for queries.
    after: positions of the chunks that must end before this one starts. held: stays held when the other chunks are
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

    @property
    def jobs(self) -> list[str]:
        """The job ids of its tasks, of the report job if it has none; empty while there is no id."""
        if not self.job_id:
            return []
        return [f"{self.job_id}_{index}" for index in range(self.count)] if self.count > 1 else [self.job_id]

    def job_of(self, task: int) -> str | None:
        """The job id of `task`; None for a task of another chunk, and while there is no id."""
        if not self.job_id or task not in self.tasks:
            return None
        return f"{self.job_id}_{task - self.start}" if self.count > 1 else self.job_id


@dataclass(frozen=True)
class Submission:
    """submissions/<id>/submission.json, written before anything is handed to a backend.

    backend: slurm | local | debug. gpus: per task; 0 trains on the CPU. job_name: unique prefix of its chunks' names.
    options: of the backend, for `rerun`. cluster: its name in Slurm. report: whether a report is written when all
    tasks have ended. exported: its scripts are submitted by hand. code: hash of the copy that its jobs run from; ""
    if they run from the live code. agent, agent_code: reference to what is trained and hash of the copy of its code,
    both "" for the packaged agent. program: as in `AgentFile`. evaluation: what its tasks evaluate
    (`jobs.results.evaluations.EvaluationSpec`), empty where they train.
    handed_over: the hand-over is complete. problem: why the hand-over failed, else "". controller: when Slurm's
    controller had started that was told to release its jobs, in the controller's own words; "" if it is unknown.
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
    agent: str = ""
    agent_code: str = ""
    program: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    handed_over: bool = False
    problem: str = ""
    controller: str = ""

    @property
    def notify(self) -> str:
        """The command that is run for events (`jobs.runs.notify`), "" for none."""
        return str(self.options.get("notify") or "")

    def job_of(self, task: int) -> str | None:
        """The Slurm job id of `task`; None if there is none."""
        return next((job for chunk in self.chunks if (job := chunk.job_of(task)) is not None), None)

    def holds(self, task: int) -> bool:
        """Whether `task` was handed over or still will be; False if the backend refused it."""
        return not self.problem or self.job_of(task) is not None


@dataclass(frozen=True)
class Notification:
    """notifications/<sweep>.<kind>.<key>.json: an event that the user's command was run for. problem: why the command
    failed, else "". date: in UTC."""

    kind: str
    sweep: str
    message: str
    date: str
    problem: str = ""


@dataclass(frozen=True)
class CircuitBreaker:
    """submissions/<id>/trip.json: the first `tasks` all failed for one `reason`, so `held` pending tasks were held.

    time: unix seconds. released: whether the user has released them since.
    """

    tasks: int
    reason: str
    held: int
    time: float
    released: bool = False


@dataclass(frozen=True)
class Worker:
    """A process of a submission on `host`: the local scheduler or one of its tasks. started, ended: unix seconds."""

    host: str
    pid: int
    pid_start: str
    started: float
    exit_code: int | None = None
    ended: float | None = None
    gpu: str | None = None


@dataclass(frozen=True)
class ImportedConfig:
    """An algorithm on a task, from imported files. last_step: the furthest step that any seed reached. reference: the
    results that count as 0 and 1 across tasks, where the files declare them."""

    config_id: str
    algorithm: str
    task: str
    seeds: list[int]
    last_step: int
    reference: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Import:
    """imports/<name>/import.json: imported learning curves. data: name of the folder beside it with their shards.

    files: as they were given. frames_per_step: None if the files count agent steps. time: unix seconds.
    """

    name: str
    data: str
    files: list[str]
    frames_per_step: int | None
    configs: list[ImportedConfig]
    time: float


@dataclass(frozen=True)
class Archive:
    """archive.json, the first file of an archive. versions: of the packages that created its report."""

    sweeps: list[str]
    imports: list[str]
    runs: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Checksums:
    """files.json, the last file of an archive. files: path -> SHA-256 of every other file."""

    files: dict[str, Any]


@dataclass(frozen=True)
class QueueSnapshot:
    """queue.json: the last answers of Slurm, see `jobs.backends.slurm.queue_state`. Times: unix seconds.

    said: job name -> time of the answer, and [state, reason, node] of every task that Slurm listed. failures:
    consecutive calls without a response. retry_at, sacct_at: squeue and sacct are not called before these times.
    """

    said: dict[str, Any] = field(default_factory=dict)
    failures: int = 0
    retry_at: float = 0.0
    sacct_at: float = 0.0

    def time_of(self, job_name: str) -> float:
        """Time of the last answer about `job_name`, in unix seconds; 0 if there was none."""
        return float(self.said.get(job_name, {}).get("time", 0.0))

    def tasks_of(self, job_name: str) -> dict[str, list[str]]:
        tasks: dict[str, list[str]] = self.said.get(job_name, {}).get("tasks", {})
        return tasks
