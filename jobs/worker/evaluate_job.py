"""What a task of an evaluation runs: it claims the evaluation of each of its runs, plays the episodes, and records the
returns once."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import cast

from jobs import process
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.evaluations import EvaluationFolder
from jobs.results.records import Attempt, AttemptOutcome, EvaluationFile, Status
from jobs.results.results_folder import ResultsFolder
from jobs.worker.evaluate import evaluable, late_snapshots
from jobs.worker.train_job import STOP_SIGNALS, TIME_LIMIT_SIGNAL, AttemptRunner, RunFailed
from sweepwise.core.atomic import Superseded
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import NoWeights

HEARTBEAT_S = 20.0  # well below `run_state.FRESH_S`


class _Stopped(BaseException):
    """The task was told to stop. Not an `Exception`, so that the agent's code does not handle it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(frozen=True)
class EvaluationRunner(AttemptRunner):
    """Evaluates runs of one configuration in this process, one after another; `store` is an `EvaluationFolder`."""

    def train(self, runs: Sequence[RunRef]) -> list[AttemptOutcome]:
        """Evaluate the `runs` that are neither done nor being evaluated elsewhere. Returns their outcomes, which are
        recorded. Raises `RunFailed` if one failed."""
        store = cast(EvaluationFolder, self.store)
        code = code_snapshot.record(store, code_snapshot.digest(process.ROOT))
        outcomes: dict[RunRef, AttemptOutcome] = {}
        with _signals_raise():
            for run in runs:
                if not self._is_trainable(run, store.spec.episodes):
                    continue
                attempt = self._claim(run, code)
                outcomes[run] = self._evaluate(store, run, attempt)
                if outcomes[run].state == "interrupted" or outcomes[run].cause == "timeout":
                    break
        if failed := [f"{run}: {end.message}" for run, end in outcomes.items() if end.state == "failed"]:
            raise RunFailed("; ".join(failed))
        return list(outcomes.values())

    def _evaluate(self, store: EvaluationFolder, run: RunRef, attempt: Attempt) -> AttemptOutcome:
        episodes, began = store.spec.episodes, time.monotonic()
        try:
            with _heartbeat(store, run, attempt, episodes):
                record = self._play(store, run, attempt)
            store.attempts.write_returns(run, attempt.number, record)
            speed = episodes / max(time.monotonic() - began, 1e-9)
            mean = sum(record.returns) / episodes
            store.attempts.write_status(run, Status(attempt.number, episodes, episodes, speed, mean, time.time()))
            outcome = AttemptOutcome("finished", episodes, "", time.time(), usage=process.usage(self.device == "cuda"))
        except Superseded:
            outcome = AttemptOutcome("superseded", 0, "a newer attempt evaluates it", time.time())
        except _Stopped as stop:
            outcome = _stopped(stop)
        except Exception as error:  # noqa: BLE001 - recorded, and the task's other runs are evaluated
            self._record_failure({run: attempt}, error)
            recorded = store.attempts.read_outcome(run, attempt.number)
            return recorded or AttemptOutcome("failed", 0, str(error), time.time())
        store.attempts.write_outcome(run, attempt.number, outcome)
        print(f"{run}: {outcome.state} {outcome.message}".rstrip(), file=sys.stderr, flush=True)
        return outcome

    def _play(self, store: EvaluationFolder, run: RunRef, attempt: Attempt) -> EvaluationFile:
        """The episodes of one run. Raises `JobsError` without weights, and for returns that are not finite."""
        spec, trained, config = store.spec, ResultsFolder(store.root), store.check_config(run.config_id)
        agent, agent_code = evaluable(trained, run, config.agent)
        returns: list[float] = []
        try:
            steps = late_snapshots(trained, run, spec.at or config.steps, spec.snapshots)
            for step in steps:
                (evaluation,) = agent.evaluate(
                    config.values, run.seed, trained.attempts.folder(run), at=step, planners=[spec.planner],
                    episodes=spec.episodes // len(steps), device=self.device, threads=self.threads,
                )  # fmt: skip
                returns += map(float, evaluation.returns)
        except NoWeights as error:
            raise JobsError(str(error)) from error
        if not all(map(math.isfinite, returns)):
            raise JobsError(f"a return of its episodes is not finite: {next(v for v in returns if v - v != 0)}")
        if len(returns) != spec.episodes:
            raise JobsError(f"agent {config.agent} played {len(returns)} episodes, {spec.episodes} were requested")
        several = list(steps) if len(steps) > 1 else []
        return EvaluationFile(
            steps[-1], spec.planner, returns, attempt.code, agent_code, attempt.number, self.device, several
        )


def _stopped(stop: _Stopped) -> AttemptOutcome:
    """An evaluation starts over where it was stopped, so in the same time it would not get further."""
    if stop.number == TIME_LIMIT_SIGNAL:
        message = "the time limit was reached before the last episode; give it more time"
        return AttemptOutcome("failed", 0, message, time.time(), cause="timeout")
    return AttemptOutcome("interrupted", 0, f"stopped by {stop}", time.time())


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Inside the block, signals to stop raise `_Stopped` in this thread; the previous handlers are restored."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    previous = {number: signal.signal(number, handle) for number in (TIME_LIMIT_SIGNAL, *STOP_SIGNALS)}
    try:
        yield
    except _Stopped:
        pass  # between two runs, when nothing was claimed
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _heartbeat(
    store: EvaluationFolder, run: RunRef, attempt: Attempt, episodes: int
) -> contextlib.AbstractContextManager[None]:
    """Writes heartbeats from a thread, since an agent does not report while it plays."""

    def beat() -> None:
        with contextlib.suppress(OSError):
            store.attempts.write_status(run, Status(attempt.number, 0, episodes, None, None, time.time()))

    return process.repeated(beat, HEARTBEAT_S, at_once=True)
