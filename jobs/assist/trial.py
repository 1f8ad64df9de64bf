"""Runs one configuration of a plan for a moment, in folders that are removed."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import process
from jobs.assist.parsers import program_parser, program_style
from jobs.assist.parsers.program_parser import ParserAnswer
from jobs.programs import agent_code, command
from jobs.programs.command import CommandLine, Places, Program, ProgramSource
from jobs.programs.metric_sources.base import LoggedRow, MetricReader
from jobs.results.results_folder import ResultsFolder
from jobs.runs.logs import tail
from jobs.worker import program_environment
from jobs.worker.guarded_program import End, GuardedProgram

_PAUSE_S = 0.05
_READ_S = 0.2
_LONGEST_GRACE_S = 30.0
_TERMINATED_S = 5.0
_TAIL = 20_000  # bytes of output


@dataclass
class SeenMetric:
    """first, last: steps. rows: how many had it."""

    first: int
    last: int
    rows: int


@dataclass
class Trial:
    """What one run did.

    line: its command. places: its folders. cwd: where it ran. passed: hyperparameters that it got. copied: number of
    files of its code. steps: that it was asked for, 0 where the plan names none. end: None where it was stopped.
    stopped: why it was. seconds: until then. metrics: by name. arrivals: (seconds, furthest step) when rows came.
    files: in {run}, name -> bytes. written: name of a file in the copy of its code -> whether it is one of the code.
    saved: whether `resume.when` matches. parser: of an argparse program, else None.
    """

    line: CommandLine
    places: Places
    cwd: Path
    passed: Mapping[str, Any]
    copied: int
    steps: int
    end: End | None = None
    stopped: str = ""
    seconds: float = 0.0
    metrics: dict[str, SeenMetric] = field(default_factory=dict)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    written: dict[str, bool] = field(default_factory=dict)
    saved: bool = False
    output: str = ""
    parser: ParserAnswer | None = None

    @property
    def furthest(self) -> int:
        return max((step for _, step in self.arrivals), default=0)


@dataclass(frozen=True)
class TrialRequest:
    """values: of all hyperparameters. steps: of the run, 0 where the plan names none. until: seconds. to_the_end:
    whether it is let run although the primary metric has appeared twice."""

    source: ProgramSource
    plan_folder: Path
    values: Mapping[str, Any]
    seed: int
    steps: int
    until: float
    to_the_end: bool


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sweeps-check-")).resolve()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def run(request: TrialRequest) -> Trial:
    """Raises `JobsError` where there is no command to start."""
    with _folder() as folder:
        store = ResultsFolder(folder / "results")
        store.prepare()
        store.agents.record(request.source, request.plan_folder)
        code = store.agents.check_copy(store.agents.check(request.source.description.name).code)
        return run_copy(request, code, folder / "run", min(1, len(process.gpus())), process.cores())


def run_copy(request: TrialRequest, code: Path, folder: Path, gpus: int, threads: int) -> Trial:
    """Run a copy of the code. folder: a new one, for {run}. gpus, threads: what it has."""
    program = request.source.program
    needs_port = any("{port}" in word for word in program.command)
    places = Places(folder, code, request.seed, gpus, program_environment.free_port() if needs_port else 0)
    places.run.mkdir()
    line = command.command_line(program, request.values, places)
    if line.config_text:
        (places.run / command.CONFIG_FILE).write_text(line.config_text, encoding="utf-8")
    environment = program_environment.environment(program, places, "check/seed-1", threads, None, line.environment)
    passed = program.passed(request.values)
    trial = Trial(line, places, command.working_folder(program, places), passed, len(_stamps(code)), request.steps)
    trial.parser = _parser(program, request.values, places, environment)
    before = _stamps(code)
    _watch(trial, program, request, environment)
    after = _stamps(code)
    trial.written = {name: name in before for name, stamp in after.items() if before.get(name) != stamp}
    return trial


def _parser(
    program: Program, values: Mapping[str, Any], places: Places, environment: Mapping[str, str]
) -> ParserAnswer | None:
    """What the program's parser takes, where it has one of argparse."""
    if program.style != "argparse":
        return None
    bare = dataclasses.replace(program, activate=(), container="")
    call = program_parser.script_call(command.command_line(bare, values, places).argv, places.code)
    if call is None or call.file is None or program_style.of_script(call.file)[0] != "argparse":
        return None  # it might train instead
    return program_parser.ask(program, call, places, environment)


def _watch(trial: Trial, program: Program, request: TrialRequest, environment: Mapping[str, str]) -> None:
    """Run the program, and stop it as a job would."""
    output = command.output_file(trial.places.run, 1)
    output.parent.mkdir()
    reader = MetricReader(program.metrics.read, program.metrics.step, trial.places.run, output)
    primary = request.source.description.catalogue.primary.name
    began = time.monotonic()
    guarded = GuardedProgram(trial.line.argv, trial.cwd, environment, output)
    try:
        next_read = 0.0
        while (end := guarded.poll()) is None:
            now = time.monotonic() - began
            if now >= next_read:
                _note(trial, reader.read(), now)
                next_read = now + _READ_S
            seen = trial.metrics.get(primary)
            if not request.to_the_end and seen is not None and seen.rows > 1 and seen.last > seen.first:
                trial.stopped = f"{primary} had appeared twice"
            elif now > request.until:
                trial.stopped = f"{request.until:g} s had passed"
            if trial.stopped:
                break
            time.sleep(_PAUSE_S)
        trial.seconds = time.monotonic() - began
        trial.end = end
        if end is None:
            _stop(guarded, program)
    finally:
        guarded.close()
    _note(trial, reader.finish(), trial.seconds)
    trial.problems = reader.problems
    trial.saved = command.resumes(program, trial.places.run)
    trial.output = tail(output, _TAIL)
    for secret in program_environment.secrets(program):
        trial.output = trial.output.replace(secret, "***")
    for path in sorted(trial.places.run.rglob("*")):
        name = path.relative_to(trial.places.run)
        if path.is_file() and name.parts[0] != command.OUTPUT and name.as_posix() != command.CONFIG_FILE:
            trial.files[name.as_posix()] = path.stat().st_size


def _stop(guarded: GuardedProgram, program: Program) -> None:
    """First the signal that saves; after the grace the end of all processes."""
    resume = program.resume
    guarded.signal(signal.Signals[resume.signal] if resume else signal.SIGTERM)
    limit = time.monotonic() + (min(resume.grace, _LONGEST_GRACE_S) if resume else _TERMINATED_S)
    while guarded.poll() is None and time.monotonic() < limit:
        time.sleep(_PAUSE_S)


def _note(trial: Trial, rows: list[LoggedRow], now: float) -> None:
    for row in rows:
        for name in row.metrics:
            seen = trial.metrics.setdefault(name, SeenMetric(row.step, row.step, 0))
            seen.first, seen.last = min(seen.first, row.step), max(seen.last, row.step)
            seen.rows += 1
    if rows:
        trial.arrivals.append((now, max(row.step for row in rows)))


def _stamps(code: Path) -> dict[str, tuple[int, int]]:
    """Name -> size and time of change, of the files of a copy."""
    stamps = {}
    for path in agent_code.copied_files(code):
        with contextlib.suppress(OSError):
            known = (code / path).stat()
            stamps[path.as_posix()] = (known.st_size, known.st_mtime_ns)
    return stamps
