"""The commands that a backend starts."""

from __future__ import annotations

from pathlib import Path

from jobs import process
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder


def task_command(submission_folder: Path, *python_options: str) -> list[str]:
    """The command that trains one task of a submission; the task's number must be appended."""
    return [*process.python(), *python_options, "-m", "jobs.entry", str(submission_folder)]


def is_script(head: bytes) -> bool:
    """Whether a file begins as a batch script with such a command, for `atomic.output`."""
    return b"jobs.entry" in head


def report_command(store: ResultsFolder, sweep: str) -> list[str]:
    """The command that writes the report of `--then-aggregate`."""
    options = ["--results", str(store.root), "aggregate", sweep, "--out", str(store.report_path(sweep))]
    return [*process.python(), "-m", "jobs.cli", *options]


def last_command(store: ResultsFolder, submission: Submission) -> list[str]:
    """The command that runs when all tasks of `submission` have ended, for the report and the notification; empty where
    it has neither."""
    if submission.notify:
        return [*process.python(), "-m", "jobs.reports.last_job", str(store.root), submission.id]
    return report_command(store, submission.sweep) if submission.report else []
