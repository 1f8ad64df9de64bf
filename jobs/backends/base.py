"""The interface of a backend: where tasks run, and everything that the rest of the program asks of it.

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
    """The backend did not say yes or no: what was asked of it may have been done."""


@dataclass(frozen=True)
class ExecutionOptions(Settings):
    """How runs are executed; a rerun has the same. cluster: name of a backend, or auto.

    seeds_per_job: seeds of one configuration in one process. option: `key=value`, instead of what the profile says.
    """

    cluster: str = "auto"
    profile: str | None = None
    max_parallel: int | None = None
    seeds_per_job: int = 1
    option: Sequence[str] = ()

    @classmethod
    def of(cls, submission: Submission | None) -> ExecutionOptions:
        """Those that `submission` was made with, on the backend that it went to; the defaults without one."""
        if submission is None:
            return cls()
        names = [field.name for field in dataclasses.fields(cls)]
        recorded = {name: submission.options[name] for name in names if submission.options.get(name) is not None}
        recorded["option"] = tuple(recorded.get("option", ()))
        return cls(**{**recorded, "cluster": submission.backend})

    def load_profile(self) -> Profile:
        """What tasks ask a cluster for. Raises `JobsError` where the profile cannot be read."""
        return profile.load(self.profile or profile.DEFAULT, self.option)


@dataclass(frozen=True)
class SubmitOptions:
    """Options of one submit, which a rerun does not repeat.

    export: where the scripts go, to be submitted by hand. canary: the first seed of every configuration runs, the
    others wait until it is healthy (`jobs.runs.canary`). then_aggregate: the report is written when all have ended.
    max_gpu_hours: what costs more is refused.
    """

    dry_run: bool = False
    wait: bool = False
    export: Path | None = None
    canary: bool = False
    then_aggregate: bool = False
    max_gpu_hours: float | None = None


@dataclass(frozen=True)
class Target:
    """Where tasks go, and what each asks for.

    throttle: tasks at a time. array_size: tasks of one array at most. cluster: its own name. note: why this backend was
    chosen, where the user left that to the program.
    """

    backend: str
    profile: Profile | None
    gpus: int
    throttle: int = 1
    array_size: int = 1
    cluster: str = ""
    note: str = ""

    @property
    def device(self) -> str:
        """cpu, cuda, or the type of GPU that the profile names."""
        return ((self.profile.gpu_type if self.profile else None) or "cuda") if self.gpus else "cpu"


@dataclass(frozen=True)
class Request:
    """A submit, decided. tasks: the `canaries` first."""

    sweep: str
    tasks: Sequence[TaskRuns]
    options: ExecutionOptions
    submit_options: SubmitOptions
    target: Target

    @property
    def canaries(self) -> int:
        """Tasks that do not wait for a canary."""
        return len({task.config_id for task in self.tasks}) if self.submit_options.canary else len(self.tasks)


@dataclass(frozen=True)
class Allocation:
    """What a backend gives the tasks of a request. threads: of each. chunks: arrays of tasks that are submitted
    together. recorded: further options for the submission's record."""

    threads: int = 1
    chunks: Sequence[Chunk] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """Of one task in one attempt. cpu_s: of all its processes. memory_gb: the most at a time."""

    seconds: float
    cpu_s: float
    memory_gb: float

    @property
    def cpus(self) -> float:
        """How many were busy on average."""
        return self.cpu_s / self.seconds if self.seconds > 0 else 0.0


class Backend(ABC):
    """Subclasses override what they have; the defaults are those of a backend without that feature."""

    name: ClassVar[str]
    title: ClassVar[str] = ""  # how messages name it, where that is not its name
    poll_s: ClassVar[float] = 5.0  # how often `--wait` looks at the runs
    in_process: ClassVar[bool] = False  # the submitting command runs the tasks itself, from the live code
    can_hold: ClassVar[bool] = False  # jobs can be held and released: canaries, the circuit breaker
    can_export: ClassVar[bool] = False  # tasks are batch scripts, which can be submitted by hand
    can_report: ClassVar[bool] = True  # a last job can follow when all tasks have ended
    enforces_limits: ClassVar[bool] = False  # the profile's memory, time and excluded nodes count

    # --- before a submit ----------------------------------------------------------------------------------

    def detect(self) -> str | None:
        """Why `--cluster auto` takes this backend, as a line for the user; None where it is not available.

        Raises `JobsError` where it is there and cannot be reached.
        """
        return None

    @abstractmethod
    def target(self, options: ExecutionOptions) -> Target:
        """Where tasks with `options` go. Raises `JobsError` for what is not there, such as a GPU."""

    def check(self) -> None:  # noqa: B027 - nothing to check by default
        """Raises `JobsError` where nothing can be submitted from here."""

    def remaining_tasks(self, target: Target) -> int | None:
        """How many more tasks the backend takes of this user now; None for any number.

        Raises `JobsError` where it takes none.
        """
        return None

    @abstractmethod
    def width(self, tasks: int, options: ExecutionOptions, target: Target) -> int:
        """How many of `tasks` run at a time."""

    @abstractmethod
    def allocate(self, request: Request, job_name: str) -> Allocation:
        """What the tasks of `request` get. job_name: unique; begins the names of all its jobs."""

    def scripts(self, store: ResultsFolder, submission: Submission, target: Target) -> list[str]:
        """The batch script of every chunk of `submission`."""
        return []

    @abstractmethod
    def preview(self, store: ResultsFolder, submission: Submission, target: Target) -> str:
        """What would be submitted: exact scripts or commands."""

    # --- hand-over ----------------------------------------------------------------------------------------

    @abstractmethod
    def submit(self, store: ResultsFolder, submission: Submission, lock: Lock) -> Submission:
        """Hand over `submission`, which is on disk; the record as it is afterwards. Raises `JobsError`."""

    def can_recover(self, submission: Submission) -> bool:
        """Whether this machine can complete an interrupted hand-over of `submission`."""
        return False

    def recover(self, store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
        """Complete interrupted hand-overs; a line about each for the user."""
        yield from ()

    # --- while tasks wait and run ---------------------------------------------------------------------------

    @abstractmethod
    def task_states(
        self, store: ResultsFolder, submissions: Sequence[Submission], now: float, max_age_s: float
    ) -> dict[TaskKey, TaskState]:
        """What the backend says of the tasks of `submissions`; a task it cannot say anything about is left out.

        now: unix seconds. max_age_s: an answer that is no older will do.
        """

    @abstractmethod
    def cancel(self, store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
        """Tell `tasks` to end. Returns those that go on, each with the reason.

        Raises `JobsError` where the backend does not answer; nothing was cancelled then.
        """

    def hold_pending(self, submission: Submission) -> int:
        """Hold what waits of `submission`; how many tasks. Raises `NoResponse`."""
        return 0

    def release(self, jobs: Sequence[str]) -> None:  # noqa: B027 - nothing is ever held by default
        """Let held `jobs` run. Raises `NoResponse` where one stays held."""

    def log_paths(self, store: ResultsFolder, submission: Submission, task: int) -> list[Path]:
        """Logs of a task, output before errors. Some may not exist."""
        return [store.submissions.log_path(submission.id, task)]

    def accounted_usage(self, submission: Submission) -> list[Usage]:
        """From the backend's accounting; empty where it has none."""
        return []

    # --- inside a job ---------------------------------------------------------------------------------------

    def current_task(self) -> str | None:
        """The backend's ID of the job that this process runs in; None outside its jobs."""
        return None

    def current_cluster(self) -> str:
        """The name of the cluster that this process runs on; "" where it has none."""
        return ""

    def requeue(self, task: str) -> bool:
        """Queue `task`, as `current_task` names it, again; False where that is refused."""
        return False
