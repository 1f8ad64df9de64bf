"""The interface of a backend, which runs tasks: all methods that the rest of the program calls.

A new backend is one subclass of `Backend`, found through `jobs.backends.registry`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from jobs.backends import profile
from jobs.backends.profile import Profile
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Settings

if TYPE_CHECKING:
    from jobs.results.lock import Lock
    from jobs.results.records import Chunk, Submission, TaskRuns
    from jobs.results.results_folder import ResultsFolder
    from jobs.results.run_state import TaskState

Task: TypeAlias = "tuple[Submission, int]"
TaskKey = tuple[str, int]  # ID of the submission, number of the task


class NoResponse(JobsError):
    """The backend did not respond: the requested action may or may not have been carried out."""


@dataclass(frozen=True)
class ExecutionOptions(Settings):
    """How runs are executed; a rerun uses the same options. cluster: name of a backend, or auto.

    seeds_per_job: seeds of one configuration per process. option: `key=value` pairs that override the profile. notify:
    see `jobs.runs.notify`; None for the profile's, "" for none.
    """

    cluster: str = "auto"
    profile: str | None = None
    max_parallel: int | None = None
    seeds_per_job: int = 1
    option: Sequence[str] = ()
    notify: str | None = None

    @classmethod
    def of(cls, submission: Submission | None) -> ExecutionOptions:
        """The options of `submission`, with the backend that it was submitted to; the defaults for None."""
        if submission is None:
            return cls()
        names = [field.name for field in dataclasses.fields(cls)]
        recorded = {name: submission.options[name] for name in names if submission.options.get(name) is not None}
        recorded["option"] = tuple(recorded.get("option", ()))
        return cls(**{**recorded, "cluster": submission.backend})

    def load_profile(self) -> Profile:
        """The resources that tasks request. Raises `JobsError` if the profile cannot be read."""
        return profile.load(self.profile or profile.DEFAULT, self.option)


@dataclass(frozen=True)
class SubmitOptions:
    """Options of one submit, which a rerun does not repeat.

    export: path of the scripts, to be submitted by hand. canary: the first seed of every configuration runs, the
    others are held until it is healthy (`jobs.runs.canary`). then_aggregate: write the report when all tasks have
    ended. max_gpu_hours: refuse a submit that is expected to cost more.
    """

    dry_run: bool = False
    wait: bool = False
    export: Path | None = None
    canary: bool = False
    then_aggregate: bool = False
    max_gpu_hours: float | None = None


@dataclass(frozen=True)
class Target:
    """The backend of tasks, and the resources that each requests.

    throttle: tasks at a time. array_size: largest number of tasks in one array. cluster: the cluster's name. note: why
    this backend was chosen, with `--cluster auto`. settings: of the cluster, in its own words.
    """

    backend: str
    profile: Profile | None
    gpus: int
    throttle: int = 1
    array_size: int = 1
    cluster: str = ""
    note: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """cpu, cuda, or the GPU type of the profile."""
        return ((self.profile.gpu_type if self.profile else None) or "cuda") if self.gpus else "cpu"


def notify_command(options: ExecutionOptions, target: Target) -> str:
    """The command that is run for events: that of the options, else the profile's; "" for none."""
    of_profile = target.profile.notify if target.profile is not None else None
    return (of_profile if options.notify is None else options.notify) or ""


@dataclass(frozen=True)
class Request:
    """What one submit hands over. tasks: the canaries first, see `canaries`."""

    sweep: str
    tasks: Sequence[TaskRuns]
    options: ExecutionOptions
    submit_options: SubmitOptions
    target: Target

    @property
    def notify(self) -> str:
        return notify_command(self.options, self.target)

    @property
    def has_last_job(self) -> bool:
        """Whether a job runs when all tasks have ended, for the report or a notification."""
        return self.submit_options.then_aggregate or bool(self.notify)

    @property
    def canaries(self) -> int:
        """The number of tasks that do not wait for a canary."""
        return len({task.config_id for task in self.tasks}) if self.submit_options.canary else len(self.tasks)


@dataclass(frozen=True)
class Allocation:
    """What a backend allocates to the tasks of a request. threads: per task. chunks: arrays of tasks that are
    submitted together. recorded: further options for the submission's record."""

    threads: int = 1
    chunks: Sequence[Chunk] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """Resource usage of one task in one attempt. cpu_s: over all its processes. memory_gb: peak."""

    seconds: float
    cpu_s: float
    memory_gb: float

    @property
    def cpus(self) -> float:
        """The average number of busy CPUs."""
        return self.cpu_s / self.seconds if self.seconds > 0 else 0.0


class Backend(ABC):
    """Subclasses override the features that they support; the defaults are for a backend without the feature."""

    name: ClassVar[str]
    title: ClassVar[str] = ""  # its name in messages, if that differs from `name`
    poll_s: ClassVar[float] = 5.0  # seconds between the updates of `--wait`
    in_process: ClassVar[bool] = False  # the submitting command runs the tasks itself, from the live code
    can_hold: ClassVar[bool] = False  # jobs can be held and released, which canaries and the circuit breaker need
    can_export: ClassVar[bool] = False  # tasks are batch scripts that can be submitted by hand
    can_report: ClassVar[bool] = True  # a report job can run after all tasks have ended
    enforces_limits: ClassVar[bool] = False  # the profile's memory, time limit and excluded nodes take effect

    # --- before a submit ----------------------------------------------------------------------------------

    def detect(self) -> str | None:
        """Why `--cluster auto` chooses this backend, as a line for the user; None if it is not available.

        Raises `JobsError` if it is installed but cannot be reached.
        """
        return None

    @abstractmethod
    def target(self, options: ExecutionOptions) -> Target:
        """The target of tasks with `options`. Raises `JobsError` for missing hardware, such as a GPU."""

    def check(self) -> None:  # noqa: B027 - nothing to check by default
        """Raises `JobsError` if nothing can be submitted from this machine."""

    def grace_note(self, grace_s: float, target: Target) -> str:
        """What a program that takes `grace_s` seconds to save its state has to expect here, "" for nothing. Raises
        `JobsError` where it cannot save its state before the time limit."""
        return ""

    def remaining_tasks(self, target: Target) -> int | None:
        """How many more tasks the backend accepts from this user now; None for no limit.

        Raises `JobsError` if it accepts none.
        """
        return None

    @abstractmethod
    def width(self, tasks: int, options: ExecutionOptions, target: Target) -> int:
        """How many of `tasks` run at a time."""

    @abstractmethod
    def allocate(self, request: Request, job_name: str) -> Allocation:
        """The allocation of the tasks of `request`. job_name: unique prefix of the names of its jobs."""

    def scripts(self, store: ResultsFolder, submission: Submission, target: Target) -> list[str]:
        """The batch script of every chunk of `submission`."""
        return []

    @abstractmethod
    def preview(self, store: ResultsFolder, submission: Submission, target: Target) -> str:
        """The exact scripts or commands that would be submitted."""

    # --- hand-over ----------------------------------------------------------------------------------------

    @abstractmethod
    def submit(self, store: ResultsFolder, submission: Submission, lock: Lock) -> Submission:
        """Hand over `submission`, which is already on disk. Returns the updated record. Raises `JobsError`."""

    def can_recover(self, submission: Submission) -> bool:
        """Whether this machine can complete an interrupted hand-over of `submission`."""
        return False

    def recover(self, store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
        """Complete interrupted hand-overs; yields a line for the user about each."""
        yield from ()

    # --- while tasks wait and run ---------------------------------------------------------------------------

    @abstractmethod
    def task_states(
        self, store: ResultsFolder, submissions: Sequence[Submission], now: float, max_age_s: float
    ) -> dict[TaskKey, TaskState]:
        """The states of the tasks of `submissions`; tasks that the backend knows nothing about are left out.

        now: unix seconds. max_age_s: seconds; cached answers that are no older may be used.
        """

    def unsettled(self, store: ResultsFolder, submissions: Sequence[Submission], now: float) -> set[str]:
        """IDs of those of `submissions` of which tasks may still be queued even if all their runs are done, so that
        `task_states` should be called for them. now: unix seconds."""
        return set()

    @abstractmethod
    def cancel(self, store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
        """Cancel `tasks`. Returns the tasks that were not cancelled, each with the reason.

        Raises `JobsError` if the backend does not respond; nothing was cancelled then.
        """

    def hold_pending(self, submission: Submission) -> int:
        """Hold the pending tasks of `submission`. Returns their number. Raises `NoResponse`."""
        return 0

    def held(self, submission: Submission) -> list[str] | None:
        """The jobs of `submission` that start only after a release, whoever held them; None if the backend does not
        tell. Raises `NoResponse`."""
        return None

    def release(self, jobs: Sequence[str]) -> None:  # noqa: B027 - nothing is ever held by default
        """Release held `jobs`. Raises `NoResponse` if one stays held."""

    def exclude(self, submission: Submission, nodes: Sequence[str]) -> bool:
        """Keep the pending tasks of `submission` off `nodes`; False if the backend cannot, or no other node is left.
        Raises `NoResponse`."""
        return False

    def log_paths(self, store: ResultsFolder, submission: Submission, task: int) -> list[Path]:
        """Paths of the logs of a task, stdout before stderr. Some may not exist."""
        return [store.submissions.log_path(submission.id, task)]

    def accounted_usage(self, submission: Submission) -> list[Usage]:
        """Usage from the backend's accounting; empty if it has none."""
        return []

    # --- inside a job ---------------------------------------------------------------------------------------

    def current_task(self) -> str | None:
        """The backend's ID of the job that this process runs in; None outside its jobs."""
        return None

    def current_cluster(self) -> str:
        """The name of the cluster that this process runs on; "" if it has none."""
        return ""

    def end_time(self) -> float | None:
        """Unix seconds when the time limit of the job that this process runs in is reached; None without a limit."""
        return None

    def requeue(self, task: str) -> bool:
        """Requeue `task`, an ID from `current_task`; False if the backend refuses."""
        return False
