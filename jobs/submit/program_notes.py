"""What a submit says of code: the exact commands of a program, what is not copied, and runs that used other code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.planning.expand import ExpandedSweep
from jobs.planning.plan import Plan
from jobs.programs import agent_code
from jobs.programs.command import Places, ProgramSource, command_line, run_folder, shell_text
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.value_format import listed

_NAMED = 5  # files that are named


def notes(store: ResultsFolder, plan: Plan, sweeps: Sequence[ExpandedSweep], dry_run: bool) -> list[str]:
    """Lines for the user. dry_run: with the command of the first run of each configuration.

    Raises `JobsError` for a value that the style of the overrides cannot express.
    """
    if not isinstance(plan.source, ProgramSource):
        return list(_not_copied(plan))
    lines = list(_commands(plan.source, store, sweeps))
    return [*(lines if dry_run else []), *_not_copied(plan), *_other_code(store, plan.source, sweeps)]


def _not_copied(plan: Plan) -> Iterator[str]:
    """A line where code lies beside what is copied and Git knows nothing of it."""
    names = code_snapshot.left_out()
    if isinstance(plan.source, ProgramSource):
        copied = {path.as_posix() for path in agent_code.program_files(plan.source)}
        names += [name for name in agent_code.left_out(plan.source.folder) if name not in copied]
    elif plan.source is not None and plan.source.folder == plan.folder.resolve():
        names += agent_code.left_out(plan.source.folder)
    if names:
        yield f"not copied, since Git does not track them: {listed(names, _NAMED)}; `git add` what runs need"


def _commands(source: ProgramSource, store: ResultsFolder, sweeps: Sequence[ExpandedSweep]) -> Iterator[str]:
    for sweep in sweeps:
        for configuration in sweep.configurations:
            seed = min(sweep.seeds)
            work = run_folder(source.program, store.attempts.folder(RunRef(configuration.config_id, seed)), 1)
            line = command_line(source.program, configuration.config.values, Places(work, Path("{code}"), seed))
            yield f"{configuration.label}: {shell_text(line)}"


def _other_code(store: ResultsFolder, source: ProgramSource, sweeps: Sequence[ExpandedSweep]) -> Iterator[str]:
    """A line where finished runs of `sweeps` were trained by other code than is submitted now."""
    if store.agents.read(source.description.name) is None:
        return
    code = agent_code.digest(source.folder, agent_code.program_files(source))
    used: dict[str, str] = {}
    others = 0
    for run in {RunRef(c.config_id, seed) for sweep in sweeps for c in sweep.configurations for seed in sweep.seeds}:
        record = store.attempts.load(run, 1)
        name = record.attempt.submission if record.attempt else None
        if name is None or not record.done:
            continue
        if name not in used:
            submission = store.submissions.read(name)
            used[name] = submission.agent_code if submission else code
        others += used[name] != code
    if others:
        yield f"{others} finished runs used other code; raise `version:` of the program to train them again"
