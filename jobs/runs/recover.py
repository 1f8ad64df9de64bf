"""Completes submissions whose hand-over to a backend was interrupted, for example by a kill of the command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jobs import process
from jobs.backends import registry
from jobs.results.lock import Lock, alone
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError


def unfinished(store: ResultsFolder) -> list[Submission]:
    """Submissions of this user with an incomplete hand-over that this machine can complete, including exported ones."""
    return [
        submission
        for submission in store.submissions.all()
        if submission.user == process.user()
        and not submission.handed_over
        and registry.is_known(submission.backend)
        and registry.get(submission.backend).can_recover(submission)
    ]


def recover(store: ResultsFolder, lock: Lock) -> Iterator[str]:
    """Complete the hand-overs that earlier commands did not finish; yields a line about each."""
    submissions = unfinished(store)
    for name in dict.fromkeys(submission.backend for submission in submissions):
        members = [submission for submission in submissions if submission.backend == name]
        yield from registry.get(name).recover(store, members, lock)


def recover_if_free(store: ResultsFolder) -> list[str]:
    """`recover` for read-only commands: does nothing if there is nothing to do or another command holds the lock."""
    if not unfinished(store):
        return []
    with contextlib.suppress(JobsError), alone(store, wait_s=0.0) as lock:
        return list(recover(store, lock))
    return []
