"""Notifications by a command of the user's: a sweep ended, its waiting tasks were held, a configuration collapses.

The command runs in a shell, and is as trusted as the profile or the command line that it comes from. What happened
stands in variables of its environment, so that no name of a configuration is read by the shell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from jobs import process
from jobs.results.records import Notification, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.secret_rules import provider
from sweepwise.core.errors import JobsError

ENDED, HELD, COLLAPSED = "ended", "held", "collapsed"
_TIMEOUT_S = 60.0
_LONGEST = 200  # characters of what a command that failed printed


@dataclass(frozen=True)
class Event:
    """kind: one of the words above. key: what it happened to, a submission or a configuration of `sweep`."""

    kind: str
    sweep: str
    key: str
    message: str


def check_command(command: str) -> None:
    """Raises `JobsError` for a command that must not be stored."""
    if not command.strip() or not command.isprintable():
        raise JobsError(f"--notify {command!r}: give one line for the shell, such as --notify ~/bin/notify.sh")
    if whose := provider(command):
        raise JobsError(
            f"--notify: the command seems to contain a secret ({whose}), and it is stored in the results folder; put "
            "it into a script that only you can read, and name the script"
        )


def send(store: ResultsFolder, submission: Submission, event: Event) -> Notification | None:
    """Run the command of `submission` for `event`. None without a command, and where this event was sent before.

    A command that fails is not run again; its record has the reason, which `sweeps status` shows.
    """
    command = submission.notify
    sent = Notification(event.kind, event.sweep, event.message, process.utc_now())
    try:
        if not command or not store.submissions.claim_notification(event.key, sent):
            return None
    except OSError:  # the results of another user, which cannot be written: no notification
        return None
    variables = {"SWEEPS_EVENT": event.kind, "SWEEPS_SWEEP": event.sweep, "SWEEPS_MESSAGE": event.message}
    code, _, errors = process.run(["/bin/sh", "-c", command], _TIMEOUT_S, {**os.environ, **variables})
    if code == 0:
        return sent
    last = next(iter(reversed(errors.strip().splitlines())), "")[:_LONGEST]
    failed = replace(sent, problem=": ".join(filter(None, [f"exit code {code}" if code is not None else "", last])))
    store.submissions.write_notification(event.key, failed)
    print(f"notification {event.kind}: {failed.problem}", flush=True)
    return failed


def command_of(store: ResultsFolder, sweep: str) -> Submission | None:
    """The newest submission of the sweep with a command."""
    own = [s for s in store.submissions.all() if s.notify and s.sweep in (sweep, sweep.partition(".")[0])]
    return max(own, key=lambda submission: submission.id, default=None)
