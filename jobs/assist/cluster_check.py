"""`sweeps check --cluster`: the same in a short job of a backend, in a results folder of its own that is removed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.assist import check as checks
from jobs.assist import trial
from jobs.assist.check import Checked, CheckRequest
from jobs.assist.lines import OUTPUT, CheckLine
from jobs.assist.trial import TrialRequest
from jobs.backends import registry
from jobs.backends.base import ExecutionOptions, Request, SubmitOptions, Target
from jobs.programs.command import Program, ProgramSource
from jobs.results import code_snapshot
from jobs.results.lock import alone
from jobs.results.records import Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState
from jobs.runs import logs
from jobs.submit import submit
from sweepwise.core.atomic import write_json
from sweepwise.core.errors import JobsError

REQUEST, ANSWER = "check.json", "checked.json"  # in the submission's folder
_START_MIN = 10  # minutes of the job beside those of the program: copies are checked, the parser is asked
_VISIBLE_S = 20.0  # until a file that another host wrote is seen here
_ENDING_S = 60.0  # until a cancelled job has ended


def check(asked: CheckRequest, options: ExecutionOptions, results: Path) -> Iterator[CheckLine]:
    """The lines of a run that is made in a job, the cost first. results: the results folder, beside which the job finds
    its files. Raises `JobsError` where the job cannot be submitted."""
    options = _with_time(options, asked.trial.until)
    target = submit.choose_target(options)
    if registry.get(target.backend).in_process:
        yield from checks.check(asked)
        return
    yield CheckLine("cost", _cost(target))
    with _folder(results) as store:
        submission = _submit(store, asked, options, target)
        try:
            for state in _states(store, submission):
                yield CheckLine("job", _job(submission, state))
        finally:
            _end(store, submission)
        yield from _answer(store, submission)


def _with_time(options: ExecutionOptions, seconds: float) -> ExecutionOptions:
    """The options with a time limit that suits a short job, where there are limits."""
    name = registry.choose()[0] if options.cluster == registry.AUTO else options.cluster
    if not options.profile and not registry.get(name).enforces_limits:
        return options
    return dataclasses.replace(options, option=(f"time={math.ceil(seconds / 60) + _START_MIN}", *options.option))


def _cost(target: Target) -> str:
    profile = target.profile
    if profile is None:
        return f"a job of {target.backend} that runs the program once"
    memory = f", {profile.mem_gb:g} GB" if profile.mem_gb else ""
    gpus = f", {profile.gpus} {'GPU' if profile.gpus == 1 else 'GPUs'}" if profile.gpus else ""
    what = f"{profile.cpus} {'core' if profile.cpus == 1 else 'cores'}{memory}{gpus} (profile {profile.name})"
    if profile.time_min is None:
        return f"one job without a time limit, with {what}"
    hours = profile.time_min / 60
    most = f"{profile.gpus * hours:.2g} GPU-hours" if profile.gpus else f"{profile.cpus * hours:.2g} core-hours"
    return f"one job of at most {profile.time_min} min with {what}, at most {most}"


@contextlib.contextmanager
def _folder(results: Path) -> Iterator[ResultsFolder]:
    """A results folder that jobs can reach as they can the real one."""
    beside = results.absolute().parent
    if not beside.is_dir():
        raise JobsError(f"--results: there is no folder {beside}")
    made = Path(tempfile.mkdtemp(prefix=".sweeps-check-", dir=beside))
    try:
        store = ResultsFolder(made)
        store.prepare()
        yield store
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _submit(store: ResultsFolder, asked: CheckRequest, options: ExecutionOptions, target: Target) -> Submission:
    source = asked.trial.source
    store.agents.record(source, asked.trial.plan_folder)
    store.write_config(asked.config)
    tasks = [TaskRuns(asked.config.config_id, [asked.trial.seed])]
    request = Request("check", tasks, options, SubmitOptions(), target)

    def prepare(submission: Submission) -> None:
        folder = store.submissions.folder(submission.id)
        write_json(folder / REQUEST, {"format": 1, **_to_json(asked)})

    with alone(store) as lock:
        return submit.submit(store, request, lock, prepare)


def _states(store: ResultsFolder, submission: Submission) -> Iterator[TaskState]:
    """The states of the job, each once, until it has ended."""
    backend = registry.get(submission.backend)
    last: tuple[str, str, str] | None = None
    while True:
        state = backend.task_states(store, [submission], time.time(), 0.0).get((submission.id, 0))
        if state is not None and (state.word, state.reason, state.node) != last:
            last = (state.word, state.reason, state.node)
            yield state
        if state is not None and state.word in ("ended", "gone"):
            return
        time.sleep(backend.poll_s)


def _job(submission: Submission, state: TaskState) -> str:
    what = submission.job_of(0) or submission.id
    where = f" on {state.node}" if state.node else ""
    return f"{what} {state.word}{where}{f': {state.reason}' if state.reason else ''}"


def _end(store: ResultsFolder, submission: Submission) -> None:
    """Cancel the job where it has not ended, as after Ctrl-C, and wait for its end, since it writes to the folder."""
    backend = registry.get(submission.backend)
    limit, is_cancelled = time.monotonic() + _ENDING_S, False
    while True:
        state = backend.task_states(store, [submission], time.time(), 0.0).get((submission.id, 0))
        if (state is not None and state.word in ("ended", "gone")) or time.monotonic() > limit:
            return
        if not is_cancelled:
            backend.cancel(store, [(submission, 0)])
            is_cancelled = True
        time.sleep(1.0)


def _answer(store: ResultsFolder, submission: Submission) -> Iterator[CheckLine]:
    """What the job wrote; where it wrote nothing, the end of its log."""
    path = store.submissions.folder(submission.id) / ANSWER
    limit = time.monotonic() + _VISIBLE_S
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.5)
    if path.exists():
        yield from (CheckLine(*line) for line in json.loads(path.read_bytes())["lines"])
        return
    texts = [logs.tail(log) for log in logs.paths(store, submission, 0)]
    shown = [line for line in "".join(texts).splitlines() if line.strip()][-checks.TAIL_LINES :]
    for line in shown:
        yield CheckLine(OUTPUT, line)
    above = "its last lines are above" if shown else "it left no log"
    text = f"the job ended before the program was tried; {above}: correct the profile"
    yield CheckLine("problem", text, is_problem=True)


# --- in the job -------------------------------------------------------------------------------------------


def run_in_job(folder: Path) -> int:
    """Try the program in this job. folder: of the submission. Returns the exit code; problems are in the answer."""
    store = ResultsFolder(folder.parent.parent)
    try:
        answer = [*_try(store, folder)]
    except JobsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        answer = [CheckLine("problem", str(error), is_problem=True)]
    write_json(folder / ANSWER, {"format": 2, "lines": [list(line) for line in answer]})
    return 0


def _try(store: ResultsFolder, folder: Path) -> Iterator[CheckLine]:
    submission = store.submissions.read(folder.name)
    if submission is None:
        raise JobsError(f"there is no submission in {folder}")
    code_snapshot.check(store, submission)
    asked = _from_json(store, submission, json.loads((folder / REQUEST).read_bytes()))
    code = store.agents.check_copy(submission.agent_code)
    tried = trial.run_copy(asked.trial, code, folder / "run", submission.gpus, submission.threads)
    yield from checks.lines(Checked(asked, tried))


def _to_json(asked: CheckRequest) -> dict[str, Any]:
    """All but what the results folder holds."""
    tried = asked.trial
    return {
        "folder": str(tried.source.folder), "plan": str(tried.source.plan), "ran": tried.steps, "until": tried.until,
        "to_the_end": tried.to_the_end, "steps": asked.steps, "run_steps": list(asked.run_steps),
        "is_plan": asked.is_plan,
    }  # fmt: skip


def _from_json(store: ResultsFolder, submission: Submission, stored: dict[str, Any]) -> CheckRequest:
    (task,) = submission.tasks
    config = store.check_config(task.config_id)
    source = ProgramSource(
        store.agents.description(config.agent), Program.from_json(submission.program), Path(stored["folder"]),
        Path(stored["plan"]),
    )  # fmt: skip
    tried = TrialRequest(
        source, Path(stored["plan"]).parent, config.values, task.seeds[0], stored["ran"], stored["until"],
        stored["to_the_end"],
    )  # fmt: skip
    return CheckRequest(tried, config, stored["steps"], stored["run_steps"], stored["is_plan"])
