"""The debug backend: tasks run one after another in the process of the command, from the live code."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.backends.base import ExecutionOptions, Task, TaskKey
from jobs.backends.local import LocalBackend
from jobs.results.lock import Lock
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState


class DebugBackend(LocalBackend):
    name = "debug"
    in_process = True
    can_report = False

    def detect(self) -> str | None:
        return None

    def at_once(self, options: ExecutionOptions) -> int | None:
        return 1

    def submit(self, store: ResultsFolder, submission: Submission, lock: Lock) -> Submission:
        return submission  # the command runs the tasks itself

    def can_recover(self, submission: Submission) -> bool:
        return False

    def task_states(
        self, store: ResultsFolder, submissions: Sequence[Submission], now: float, max_age_s: float
    ) -> dict[TaskKey, TaskState]:
        return {}  # the state of a foreground run follows from its own process

    def cancel(self, store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
        return {(submission.id, task): "it trains in the foreground of another terminal" for submission, task in tasks}
