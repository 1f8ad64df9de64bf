"""Trains runs with a program: one process under a guard for each, and their logged metrics in shards."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs import process
from jobs.programs import command
from jobs.programs.command import CommandLine, Places, Program
from jobs.programs.metric_sources.base import IN_BLOCKS, MetricReader
from jobs.programs.metric_sources.search import NAMES, misplaced
from jobs.runs.logs import tail
from jobs.worker import program_environment
from jobs.worker.activity import Activity
from jobs.worker.guarded_program import End, GuardedProgram, end_processes
from jobs.worker.run_log import RunLog, is_short
from sweepwise.core.agent import AgentDescription
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import SweepsError
from sweepwise.core.trainable import Outcome, Progress, RunHandle, Settings
from sweepwise.core.value_format import shown

REQUEUE = 3  # exit code of a program that has saved its state and wants to be started again
NO_METRICS = "no-metrics"  # cause of a failure: it ended well and logged nothing to judge
_POLL_S = 0.05
_READ_S = 1.0
_PRINT_S = 10.0  # between two lines about evaluations, which a program may log a thousand times a second
_TERMINATED_S, _FORCED_S, _WITHOUT_RESUME_S = 5.0, 15.0, 10.0
_DETAILS = 4_000  # characters of output in the record of a failure
_SHOWN = 300


@dataclass(frozen=True)
class ProgramTrainable:
    """A program as a `sweepwise.core.trainable.Trainable`.

    code: the copy of its code. gpus: of the task. deadline: unix seconds when the job gets the signal to stop, None
    where there is no time limit.
    """

    program: Program
    description: AgentDescription
    code: Path
    gpus: int = 0
    deadline: float | None = None

    def train(
        self,
        handles: Sequence[RunHandle],
        *,
        device: str,
        threads: int,
        settings: Settings,
        should_stop: Callable[[], bool],
    ) -> list[Outcome]:
        """All runs side by side, each in a process of its own. One that fails leaves the others alone."""
        share = max(1, threads // len(handles))
        runs = [_Run(self, handle, share) for handle in handles]
        try:
            while runs != [run for run in runs if run.poll(should_stop())]:
                time.sleep(_POLL_S)
        finally:
            for run in runs:
                run.abandon()
        return [run.outcome for run in runs if run.outcome is not None]


class _Run:
    """One attempt of one run."""

    def __init__(self, trainable: ProgramTrainable, handle: RunHandle, threads: int) -> None:
        self._trainable, self._handle, self._program = trainable, handle, trainable.program
        self.outcome: Outcome | None = None
        self._stopping_since: float | None = None
        self._killed = self._superseded = False
        self._next_read = self._next_print = 0.0
        self._printed: tuple[int, float] | None = None
        places = places_of(self._program, handle, trainable.code, trainable.gpus)
        self._places = places
        if left := end_processes(str(handle.folder / command.WORK)):
            handle.tell(f"ended {left} processes of an earlier attempt")
        places.run.mkdir(parents=True, exist_ok=True)
        self._output = command.output_file(places.run, _attempt(handle))
        self._output.parent.mkdir(exist_ok=True)
        self._begun = self._output.parent.stat().st_mtime  # by the clock of the file system, or of an earlier attempt
        metrics = self._program.metrics
        self._reader = MetricReader(metrics.read, metrics.step, places.run, self._output)
        self._log = RunLog(handle, metrics, trainable.description.catalogue, replaces_all=self._program.resume is None)
        while rows := self._reader.read():
            self._log.add_earlier(rows)
        self._checkpoints = command.checkpoints(self._program, places.run)
        self._guarded = self._start(threads)
        self._activity = None if self._guarded is None else Activity(
            self._sizes, self._guarded.processor_seconds, any(spec.kind in IN_BLOCKS for spec in metrics.read)
        )  # fmt: skip

    def _start(self, threads: int) -> GuardedProgram | None:
        try:
            line = command.command_line(self._program, self._handle.config, self._places)
        except SweepsError as error:
            self.outcome = Outcome("failed", 0, str(error))
            return None
        if line.config_text:
            write_bytes(self._places.run / command.CONFIG_FILE, line.config_text.encode())
        self._handle.tell(command.shell_text(line))
        return GuardedProgram(
            line.argv,
            command.working_folder(self._program, self._places),
            self._environment(line, threads),
            self._output,
        )

    def _environment(self, line: CommandLine, threads: int) -> dict[str, str]:
        run = f"{self._handle.config_id}/seed-{self._handle.seed}"
        return program_environment.environment(
            self._program, self._places, run, threads, self._trainable.deadline, line.environment
        )

    def poll(self, stop: bool) -> bool:
        """One look at the program; whether it has ended."""
        if self.outcome is not None or self._guarded is None:
            return True
        if stop:
            self._stop(time.monotonic())
        end = self._guarded.poll()
        if end is not None:
            self._finish(end)
            return True
        if time.monotonic() >= self._next_read:
            self._read()
            self._next_read = time.monotonic() + _READ_S
            if not self._report() and not self._superseded:
                self._superseded = True
                self._guarded.kill_all()
        return False

    def _read(self) -> None:
        rows = self._reader.read()
        self._log.add(rows)
        if rows and self._activity is not None:
            self._activity.note_rows()
        if time.monotonic() >= self._next_print:
            self._tell_evaluation()

    def _tell_evaluation(self) -> None:
        """Write the newest evaluation to the log, once."""
        newest = self._log.evaluation
        if newest is None or newest == self._printed:
            return
        self._printed, self._next_print = newest, time.monotonic() + _PRINT_S
        step, value = newest
        progress = Progress(step, self._total, self._log.steps_per_s, None)
        self._handle.tell(progress.evaluation_line(self._trainable.description.catalogue.primary.words, value))

    def _sizes(self) -> tuple[tuple[Path, int], ...]:
        """Of the output and the files that it logs to; not of those that a logger writes by itself."""
        names = tuple(NAMES[kind] for kind in IN_BLOCKS)
        files = [self._output, *(path for path in self._reader.files if not any(map(path.match, names)))]
        return tuple((path, path.stat().st_size) for path in files if path.exists())

    def _report(self, finished: bool = False) -> bool:
        """Tell how far the run is: at its last step only once it has ended. Whether this attempt still owns the run."""
        log, total = self._log, self._total
        active = self._activity.last() if self._activity is not None else None
        step = total if finished else min(log.step, total - 1) if self._trainable.description.steps else log.step
        return self._handle.on_progress(Progress(step, total, log.steps_per_s, log.last_result, active))

    @property
    def _total(self) -> int:
        steps = self._trainable.description.steps
        return int(self._handle.config[steps]) if steps else 1

    @property
    def _last_step(self) -> int:
        """Of a run that is finished: as many as the plan asks for, else the furthest that it logged."""
        return self._total if self._trainable.description.steps else max(1, self._log.step)

    def _stop(self, now: float) -> None:
        """First the signal that saves, to the program itself; after the grace the end of all its processes."""
        assert self._guarded is not None
        resume = self._program.resume
        if self._stopping_since is None:
            self._stopping_since = now
            self._guarded.signal(signal.Signals[resume.signal] if resume else signal.SIGTERM)
            return
        waited = now - self._stopping_since - (resume.grace if resume else _WITHOUT_RESUME_S)
        if waited > _TERMINATED_S + _FORCED_S:
            self._guarded.kill_guard()
        elif waited > _TERMINATED_S and not self._killed:
            self._killed = True
            self._guarded.kill_all()
        elif 0 < waited <= _TERMINATED_S:
            self._guarded.terminate_all()

    def _finish(self, end: End) -> None:
        self._log.add(self._reader.finish())
        self._log.end()
        self._tell_evaluation()
        for problem in self._reader.problems:
            self._handle.tell(problem)
        if self._superseded:
            self.outcome = Outcome("superseded", self._log.step, "a newer attempt owns the run")
            return
        finished = end.exit_code == 0 and self._is_whole()
        self._log.close(end=self._last_step if finished else None)
        self._report(finished)
        checkpoints = command.checkpoints(self._program, self._places.run)
        saved = bool(checkpoints) and checkpoints != self._checkpoints
        self.outcome = dataclasses.replace(self._outcome(end, finished), saved=saved)

    def _is_whole(self) -> bool:
        """Whether a program that ended with exit code 0 is done. One that was stopped may just have saved."""
        if self._trainable.description.catalogue.primary.name not in self._log.names:
            return False
        if self._stopping_since is None:
            return True
        steps = self._trainable.description.steps
        return bool(steps) and not is_short(self._log.step, self._total, self._log.interval)

    def _outcome(self, end: End, finished: bool) -> Outcome:
        step = self._log.step
        if finished:
            total = self._last_step
            short = is_short(step, total, self._log.interval)
            early = f"ended early: its last logged step is {step:,} of {total:,}" if short else ""
            return Outcome("finished", total, shown("; ".join(filter(None, (early, self._misplaced())))))
        if end.exit_code == REQUEUE and self._program.resume is not None:
            return Outcome("interrupted", step, f"exit code {REQUEUE}: the program requests a restart")
        if self._stopping_since is None and end.exit_code == 0:
            return Outcome("failed", step, shown(self._nothing_to_judge(self._misplaced())), cause=NO_METRICS)
        if self._stopping_since is not None:
            saved = "" if self._program.resume else "; the program cannot resume, so the run starts again at step 0"
            forced = " by SIGKILL after the grace period" if self._killed else ""
            return Outcome("interrupted", step, f"stopped at step {step:,}{forced}{saved}")
        details = self._masked(tail(self._output, _DETAILS) + end.lost)
        return Outcome("failed", step, self._reason(end, details), details=details)

    def _nothing_to_judge(self, misplaced: str) -> str:
        primary = self._trainable.description.catalogue.primary.name
        names = sorted(self._log.names)
        if names:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            also = f"; {misplaced}" if misplaced else ""
            return f"metric {primary!r}, the primary one, never appeared; logged: {shown}{also}"
        if misplaced:
            return f"metric {primary!r} never appeared: {misplaced}"
        files = self._reader.files
        if files:
            return f"metric {primary!r} never appeared; {files[0].name} contains no metrics"
        places = ", ".join(source.path or "stdout" for source in self._program.metrics.read)
        return (
            f"metric {primary!r} never appeared: nothing at {places} in {{run}}, {self._places.run}; correct "
            "`metrics.read`, or let the program write there"
        )

    def _misplaced(self) -> str:
        """Where the program logged what is not read, as several runs may write there; "" where nothing was found."""
        run, code, linked = self._places.run, self._places.code, self._program.link
        for source in self._reader.unread:
            if where := misplaced(source.kind, source.path, run, code, linked, self._begun):
                return f'{where}: let the program write to {{run}}, or set `cwd: "{{run}}"`'
        return ""

    def _reason(self, end: End, details: str) -> str:
        if end.reason:
            return end.reason
        code = end.exit_code or 0
        lines = [line.strip() for line in details.splitlines() if line.strip()]
        last = f": {lines[-1][:_SHOWN]}" if lines else ""
        if code == -signal.SIGKILL:  # what it last wrote is not the reason
            return "killed by SIGKILL: by a user, or because memory ran out"
        full = f"; the disk of {self._places.run} is full" if process.is_full_disk(self._places.run) else ""
        if code < 0:
            return f"killed by {process.signal_name(-code)}{last}{full}"
        return f"exit code {code}{last}{full}"

    def _masked(self, text: str) -> str:
        for secret in program_environment.secrets(self._program):
            text = text.replace(secret, "***")
        return shown(text)

    def abandon(self) -> None:
        """End the program where the job ends by an error."""
        if self.outcome is None and self._guarded is not None:
            self._guarded.close()


def places_of(program: Program, handle: RunHandle, code: Path, gpus: int) -> Places:
    """What the placeholders of an attempt stand for."""
    run = command.run_folder(program, handle.folder, _attempt(handle))
    needs_port = any("{port}" in word for word in program.command)
    return Places(run, code, handle.seed, gpus, program_environment.free_port() if needs_port else 0)


def _attempt(handle: RunHandle) -> int:
    """The number of the attempt: names of its files begin with it."""
    return int(handle.tag.removeprefix("a"))
