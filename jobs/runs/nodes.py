"""Nodes on which tasks end before their runs begin. Such a failure is the node's: it may not see the results folder, or
lack the interpreter, and ends every task within seconds. The rest of the submission is kept off it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from jobs.backends import registry
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import NOT_BEGUN
from jobs.results.submissions import ExcludedNode, ExcludedNodes
from jobs.runs.status import RunStatus

# Words of a reason -> what probably causes it.
_LIKELY = {
    "JobLaunchFailure": "the node does not see the results folder, or its disk is full",
    "No space left": "its disk is full",
    "module": "its modules differ from those of other nodes",
    "No such file or directory": "the interpreter or the results folder is not there",
    "not found": "a program is missing there",
}


def failing_nodes(runs: Iterable[RunStatus]) -> dict[str, list[RunStatus]]:
    """Node -> the runs of one or more submissions whose task ended there before the run began, for nodes on which no
    run began. Empty if tasks ended so on several nodes and no run began anywhere: the cause is not a node then."""
    begun: set[str] = set()
    failed: dict[str, list[RunStatus]] = {}
    for run in runs:
        attempt = run.record.attempt
        if attempt is not None and run.submission is not None and attempt.submission == run.submission.id:
            begun |= {run.node, attempt.host, attempt.host.partition(".")[0]}
        elif run.state.cause == NOT_BEGUN and run.said is not None and run.said.node:
            failed.setdefault(run.said.node, []).append(run)
    if len(failed) > 1 and not begun:
        return {}
    return {node: members for node, members in failed.items() if node not in begun}


def exclude_failing(
    store: ResultsFolder, submission: Submission, runs: Sequence[RunStatus]
) -> Mapping[str, ExcludedNode]:
    """Keep the pending tasks of `submission` off its failing nodes. Returns all nodes that are excluded so far. Raises
    `NoResponse`."""
    excluded = store.submissions.read_excluded(submission.id).nodes
    new = {node: members for node, members in failing_nodes(runs).items() if node not in excluded}
    if not new or not registry.get(submission.backend).exclude(submission, list(new)):
        return excluded
    now = time.time()
    for node, members in new.items():
        reason = members[0].state.reason.partition("; see ")[0]
        excluded = {**excluded, node: ExcludedNode(len(members), reason, now)}
    store.submissions.write_excluded(submission.id, ExcludedNodes(excluded))
    return excluded


def describe_excluded(submission: Submission, excluded: Mapping[str, ExcludedNode]) -> list[str]:
    """A line for each excluded node."""
    lines = []
    for node, entry in sorted(excluded.items()):
        cause = next((text for word, text in _LIKELY.items() if word in entry.reason), "")
        tasks = f"{entry.tasks} task{'s' if entry.tasks > 1 else ''} ended there before the run began"
        lines.append(
            f"{submission.sweep}: node {node} is excluded, {tasks} ({entry.reason})"
            f"{f'; probably {cause}' if cause else ''}; `sweeps rerun {submission.sweep} --failed` runs them elsewhere"
        )
    return lines
