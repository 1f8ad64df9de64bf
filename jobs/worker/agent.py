"""Loads the agent that a job trains or evaluates, from the copy of its code made at submit."""

from __future__ import annotations

from collections.abc import Callable

from jobs import process
from jobs.programs import python, registry
from jobs.programs.command import Program
from jobs.results import code_snapshot
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.worker.program import ProgramTrainable
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Trainable

Deadline = Callable[[], float | None]


def load_agent(
    store: ResultsFolder, name: str, submission: Submission | None, gpus: int = 0, deadline: Deadline = lambda: None
) -> tuple[Trainable, str]:
    """The agent `name`, and the hash of its code. submission: of the job; None takes the code of the newest submit.
    gpus, deadline: of the job, for a program, see `ProgramTrainable`; the deadline may have to be asked for.

    Raises `JobsError` where it cannot be loaded, or is another agent than the one that the configuration names.
    """
    if name == registry.PACKAGED:
        code = code_snapshot.digest(process.ROOT, code_snapshot.AGENT)
        return python.load(registry.PACKAGED_REFERENCE, None), code
    if submission is not None and (submission.agent or submission.program):
        reference, code, program = submission.agent, submission.agent_code, submission.program
    else:
        record = store.agents.check(name)
        reference, code, program = record.reference, record.code, record.program
    if program:
        copied = store.agents.check_copy(code)
        return ProgramTrainable(
            Program.from_json(program), store.agents.description(name), copied, gpus, deadline()
        ), code
    agent = python.load(reference, store.agents.check_copy(code))
    if agent.description.name != name:
        raise JobsError(f"agent {reference}: its name is {agent.description.name!r}, the configuration's is {name!r}")
    return agent, code
