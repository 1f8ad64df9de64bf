"""What a job runs: `TrainJob` claims an attempt for each of its runs, trains them, and records how they ended."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from jobs import process
from jobs.backends import registry
from jobs.backends.base import Backend
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.evaluations import folder_of
from jobs.results.records import Attempt, AttemptOutcome, CodeFile, Status, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import FRESH_S, attempt_alive, lost_shard
from jobs.runs import canary
from jobs.worker.agent import load_agent
from sweepwise.core import trainable
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Progress, RunHandle, Settings, Trainable
from sweepwise.core.value_format import shown

HEARTBEAT_S = 2.0
MOST_CLOCK_SKEW_S = 3600.0  # a heartbeat of another host that is older than this is not waited for
MOST_PREEMPTIONS = 3  # of a run that cannot resume
MOST_UNSEEN = 3  # time limits in a row in which a run saved its state and logged no step
TIME_LIMIT_SIGNAL = signal.SIGUSR2  # Slurm sends it before the time limit: checkpoint, then requeue
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # cancelled, preempted or Ctrl-C: checkpoint and end

Listener = Callable[[RunRef, Progress], None]


@dataclass
class StopFlag:
    """Set by signals, read by the training loop at every step."""

    signals: list[int] = field(default_factory=list)

    def __call__(self) -> bool:
        return bool(self.signals)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self.signals:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the checkpoint
        self.signals.append(number)

    @contextlib.contextmanager
    def installed(self) -> Iterator[StopFlag]:
        """Handles the stop signals inside the block, and restores the previous handlers afterwards."""
        previous = {number: signal.signal(number, self.handle) for number in (TIME_LIMIT_SIGNAL, *STOP_SIGNALS)}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class RunFailed(JobsError):
    """Runs of a task failed; their outcomes are recorded."""


_SETTINGS = {setting.name for setting in dataclasses.fields(Settings)}


@dataclass(frozen=True)
class TrainJob:
    """One task of a submission; everything else is read from the results folder in the job."""

    results: str
    submission: str
    task: int

    def __call__(self) -> None:
        """Train the task's runs. An error of the training is recorded, then raised, so that the job fails."""
        store = ResultsFolder(Path(self.results))
        submission = store.submissions.read(self.submission)
        if submission is None or self.task >= len(submission.tasks):
            raise JobsError(f"task {self.task} of submission {self.submission} is not in {store.root}")
        code_snapshot.check(store, submission)
        store, runs = folder_of(store, submission), submission.tasks[self.task]
        canary.when_begun(store, submission)
        execution = _runner(submission)(
            store,
            device="cuda" if submission.gpus else "cpu",
            threads=submission.threads,
            submission=self.submission,
            task=self.task,
            backend=registry.get(submission.backend),
            settings=Settings(**{k: v for k, v in submission.options.items() if k in _SETTINGS}),
            listen=canary.listener(store, submission, self.task),
        )
        try:
            execution.train([RunRef(runs.config_id, seed) for seed in runs.seeds])
        except Exception:
            canary.after_failure(store, submission)
            raise


def _runner(submission: Submission) -> type[AttemptRunner]:
    """What the tasks of `submission` do."""
    from jobs.worker.evaluate_job import EvaluationRunner

    return EvaluationRunner if submission.evaluation else AttemptRunner


@dataclass(frozen=True)
class AttemptRunner:
    """Trains runs of one configuration in this process.

    backend: of the submission; None in the foreground. listen: called with every progress report.
    """

    store: ResultsFolder
    device: str
    threads: int
    submission: str | None = None
    task: int | None = None
    backend: Backend | None = None
    settings: Settings = field(default_factory=Settings)
    listen: Listener = lambda run, progress: None

    def train(self, runs: Sequence[RunRef]) -> list[AttemptOutcome]:
        """Train the `runs` that are neither done nor running elsewhere. Returns their outcomes, which are recorded."""
        config = self.store.check_config(runs[0].config_id)
        steps_before = {run: self.store.attempts.load(run, config.steps).step for run in runs}
        with _full_disk_in_one_line(self.store):
            code = code_snapshot.record(self.store, code_snapshot.digest(process.ROOT))
            attempts = {run: self._claim(run, code) for run in runs if self._is_trainable(run, config.steps)}
        if not attempts:
            return []
        with StopFlag().installed() as stop:
            try:
                agent, agent_code = self._load_agent(config.agent)
                if agent.description.capabilities.resume == "none":
                    attempts = {
                        run: attempt for run, attempt in attempts.items() if self._may_begin_again(run, attempt)
                    }
                    if not attempts:
                        return []
                handles = [self._handle(run, attempt, agent, agent_code) for run, attempt in attempts.items()]
                with _full_disk_in_one_line(self.store):
                    ended = agent.train(
                        handles, device=self.device, threads=self.threads, settings=self.settings, should_stop=stop
                    )
            except BaseException as error:
                self._record_failure(attempts, error)
                raise
            usage = process.usage(self.device == "cuda")
            if TIME_LIMIT_SIGNAL in stop.signals and agent.description.capabilities.resume == "none":
                ended = [_timed_out(outcome) for outcome in ended]
            with _full_disk_in_one_line(self.store):
                outcomes = [self._record(run, attempts[run], o, usage) for run, o in zip(attempts, ended, strict=True)]
        wants_more = TIME_LIMIT_SIGNAL in stop.signals or not stop.signals
        if wants_more and any(outcome.state == "interrupted" for outcome in outcomes):
            ends = zip(attempts.items(), ended, strict=True)
            self._requeue(any(self._has_advanced(run, one, steps_before[run], end) for (run, one), end in ends))
        if failed := [
            (run, outcome) for run, outcome in zip(attempts, outcomes, strict=True) if outcome.state == "failed"
        ]:
            raise RunFailed("; ".join(f"{run}: {outcome.message}" for run, outcome in failed))
        return outcomes

    def _may_begin_again(self, run: RunRef, attempt: Attempt) -> bool:
        """Whether a run that cannot resume may start over in this job; records a failure where it was preempted too
        often, since each time costs all of its work."""
        if attempt.slurm_job is None:
            return True
        earlier = [one for one in self.store.attempts.all(run) if one.slurm_job == attempt.slurm_job]
        if len(earlier) <= MOST_PREEMPTIONS:
            return True
        message = f"preempted {len(earlier) - 1} times, and it cannot resume; it is not started again"
        outcome = AttemptOutcome("failed", 0, message, time.time(), cause="preempted")
        self.store.attempts.write_outcome(run, attempt.number, outcome)
        _print(f"{run}: {message}")
        return False

    def _is_trainable(self, run: RunRef, steps: int) -> bool:
        record = self.store.attempts.load(run, steps)
        if record.done:
            _print(f"{run}: done at step {record.finished_step:,}")
            return False
        if record.lost_shard:  # its checkpoints are later than the lost metrics, so no attempt would log them again
            _print(f"{run}: {lost_shard(record.lost_shard)}")
            return False
        attempt = record.attempt
        if attempt is None or record.outcome is not None:
            return True
        # Slurm requeued this task: its previous attempt becomes superseded, so there is no need to wait for it
        if attempt.slurm_job is not None and attempt.slurm_job == self._current_task():
            return True
        if self._is_alive(run, attempt, record.status):
            _print(f"{run}: attempt {attempt.number} on {attempt.host} (process {attempt.pid}) trains it already")
            return False
        return True

    def _is_alive(self, run: RunRef, attempt: Attempt, status: Status | None) -> bool:
        """Whether the process of `attempt` is alive. On another host it may have been killed just after its last
        heartbeat, and that host's clock may differ: this waits for a new heartbeat for as long as one may take, by the
        clock of this host."""
        if attempt.host == process.host():
            return attempt_alive(attempt, status, time.time())
        begun = time.time()
        if not attempt_alive(attempt, status, begun - MOST_CLOCK_SKEW_S):
            return False
        while time.time() - begun < FRESH_S:
            if self.store.attempts.load(run, 0).status != status:
                return True
            time.sleep(HEARTBEAT_S)
        return False

    def _claim(self, run: RunRef, code: CodeFile) -> Attempt:
        pid = os.getpid()
        gpu, driver = (process.gpu() if self.device == "cuda" else None) or (None, None)
        attempt = Attempt(
            number=0,
            host=process.host(),
            pid=pid,
            pid_start=process.start_time(pid),
            started=time.time(),
            device=self.device,
            submission=self.submission,
            task=self.task,
            slurm_job=self._current_task(),
            versions=process.versions(),
            commit=code.commit,
            code=code.hash,
            cluster=around.current_cluster() if (around := registry.around_this_process()) else "",
            gpu=gpu,
            driver=driver,
        )
        return self.store.attempts.claim(run, attempt)

    def _load_agent(self, name: str) -> tuple[Trainable, str]:
        """The agent, and the hash of its code."""
        submission = self.store.submissions.read(self.submission) if self.submission is not None else None
        gpus = submission.gpus if submission is not None else len(process.gpus()) if self.device == "cuda" else 0

        def deadline() -> float | None:
            around = registry.around_this_process()
            end = around.end_time() if around is not None else None
            before = float(submission.options.get("checkpoint_signal_s") or 0) if submission is not None else 0.0
            return end - before if end is not None else None

        return load_agent(self.store, name, submission, gpus, deadline)

    def _handle(self, run: RunRef, attempt: Attempt, agent: Trainable, agent_code: str) -> RunHandle:
        number = attempt.number
        return RunHandle(
            config=self.store.check_config(run.config_id).values,
            seed=run.seed,
            folder=self.store.attempts.folder(run),
            tag=f"a{number:03d}",
            guard=lambda: self.store.attempts.is_newest(run, number),
            on_progress=Heartbeat(self.store, run, number, self.listen),
            tell=lambda line: _print(f"{run}: {line}"),
            origin={"code": agent_code},
            catalogue=agent.description.catalogue,
            config_id=run.config_id,
        )

    def _record(self, run: RunRef, attempt: Attempt, end: trainable.Outcome, usage: dict[str, float]) -> AttemptOutcome:
        last = self.store.attempts.last_shard(run) if end.state == "finished" else None
        shard = str(last) if last is not None and last.end == end.step else ""
        outcome = AttemptOutcome(
            end.state, end.step, end.message, time.time(), end.details, usage, shard, cause=end.cause
        )
        self.store.attempts.write_outcome(run, attempt.number, outcome)
        _print(f"{run}: {outcome.state} at step {outcome.step:,} {outcome.message}".rstrip())
        return outcome

    def _record_failure(self, attempts: dict[RunRef, Attempt], error: BaseException) -> None:
        """Record that all runs of the task ended with `error`, even if one of them cannot be recorded."""
        text = "".join(traceback.format_exception(error))
        known = isinstance(error, JobsError)
        last = str(error) if known else traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        for run, attempt in attempts.items():
            status = self.store.attempts.load(run, 0).status
            step = status.step if status is not None and status.attempt == attempt.number else 0
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with contextlib.suppress(OSError):  # a full disk; the traceback is in the log
                self.store.attempts.write_outcome(
                    run, attempt.number, AttemptOutcome(state, step, last, time.time(), text)
                )

    def _current_task(self) -> str | None:
        """The backend's ID of the current job; None in the foreground and for a backend without IDs."""
        return self.backend.current_task() if self.backend is not None else None

    def _has_advanced(self, run: RunRef, attempt: Attempt, before: int, end: trainable.Outcome) -> bool:
        """Whether a run got further than step `before`. One that saved its state but logged no further step is believed
        a few times in a row, for metrics may be written in blocks, or more rarely than its time limit."""
        if end.step > before or not end.saved:
            return end.step > before
        again = 1
        for number in range(attempt.number - 1, 0, -1):
            earlier = self.store.attempts.read_outcome(run, number)
            if earlier is None or earlier.state != "interrupted" or earlier.step < end.step:
                break
            again += 1
        if again <= MOST_UNSEEN:
            _print(f"{run}: no step was logged, but a checkpoint was saved; time {again} of {MOST_UNSEEN}")
        return again <= MOST_UNSEEN

    def _requeue(self, advanced: bool) -> None:
        """Requeue this task before its time limit, unless it made no progress, since it would then loop forever."""
        backend = self.backend or registry.around_this_process()
        job = backend.current_task() if backend is not None else None
        if backend is None or job is None:
            return
        if not advanced:
            _print(f"job {job} is not queued again: it logged no step in its time limit")
        elif not backend.requeue(job):
            _print(f"job {job} could not be queued again; `sweeps rerun --interrupted` continues it")


class Heartbeat:
    """Writes the attempt's status at most every `HEARTBEAT_S` seconds, and always for the last step. A call returns
    whether the attempt still owns its run, as of the last write."""

    def __init__(
        self,
        store: ResultsFolder,
        run: RunRef,
        attempt: int,
        listen: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._run, self._attempt, self._listen, self._clock = store, run, attempt, listen, clock
        self._next = -float("inf")

    def __call__(self, progress: Progress) -> bool:
        self._listen(self._run, progress)
        now = self._clock()
        if now < self._next and progress.step < progress.total:
            return True
        self._next = now + HEARTBEAT_S
        status = Status(
            attempt=self._attempt,
            step=progress.step,
            total=progress.total,
            steps_per_s=progress.steps_per_s,
            last_return=progress.last_return,
            time=time.time(),
            logged=progress.logged,
        )
        with contextlib.suppress(OSError):  # a failed heartbeat must not end the run; shards and checkpoints do raise
            return self._store.attempts.write_status(self._run, status)
        return True


@contextlib.contextmanager
def _full_disk_in_one_line(store: ResultsFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise JobsError(
            f"{os.strerror(error.errno)} in {store.root}: make room, then `sweeps rerun` continues from the last "
            "checkpoint, if there is one"
        ) from error


def _timed_out(outcome: trainable.Outcome) -> trainable.Outcome:
    """What cannot resume has failed where its time was too short."""
    if outcome.state != "interrupted":
        return outcome
    message = f"the time limit was reached at step {outcome.step:,}, and it cannot resume; give it more time"
    return dataclasses.replace(outcome, state="failed", message=message, cause="timeout")


def _print(text: str) -> None:
    print(shown(text), file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """`python -P -m jobs.entry SUBMISSION_FOLDER TASK`."""
    folder, task = Path(arguments[0]), int(arguments[1])
    job = TrainJob(str(folder.parent.parent), folder.name, task)
    if not process.is_recorded(lambda: ResultsFolder(folder.parent.parent).submissions.is_recorded(folder.name, task)):
        _print("the scheduler ended before it recorded this process: nothing is trained")
        return 2
    try:
        job()
    except JobsError as error:
        _print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
