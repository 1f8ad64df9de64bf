"""Logged metrics of a program -> metric shards of its run.

The files of a program are the truth. An attempt that resumes reads again what the attempts before it have logged, drops
what lies beyond the step from which the program went on, and publishes the whole. Shards are published by time, since
a program may log a thousand lines a second or one a minute.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jobs.programs.command import LoggedMetrics, metric
from jobs.programs.metric_sources.base import LoggedRow
from sweepwise.core.metrics import Catalogue, Metric
from sweepwise.core.trainable import RunHandle

_FIRST_S, _LONGEST_S = 30.0, 600.0  # between shards
_MOST_ROWS = 50_000  # kept in memory
_WINDOW = 20  # logged steps that the speed is measured over


class RunLog:
    """The log of one attempt. replaces_all: whether the rows of earlier attempts are dropped, as the run began anew."""

    def __init__(
        self, handle: RunHandle, metrics: LoggedMetrics, declared: Catalogue, replaces_all: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._handle, self._metrics, self._clock = handle, metrics, clock
        self._declared = declared
        self._catalogue = Catalogue(dict(declared.metrics), {})
        self._rows: list[LoggedRow] = []
        self._earlier: list[LoggedRow] = []
        self._start: int | None = -1 if replaces_all else None
        self._writer: Any = None
        self._every, self._next = _FIRST_S, clock() + _FIRST_S
        self._speed: list[tuple[float, int]] = []
        self._last_steps: list[int] = []
        self.step = 0
        self.last_result: float | None = None
        self.evaluation: tuple[int, float] | None = None  # the newest: its step, the primary metric
        self.names: set[str] = set()

    def add_earlier(self, rows: Sequence[LoggedRow]) -> None:
        """What earlier attempts have logged."""
        self._earlier += rows

    def add(self, rows: Sequence[LoggedRow]) -> None:
        """What this attempt logs."""
        if not rows:
            return
        if self._earlier:
            self._settle(min(row.step for row in rows))
        self._note(rows)
        self._rows += rows
        self.step = max(self.step, max(row.step for row in rows))
        self._speed = [*self._speed, (self._clock(), rows[-1].step)][-_WINDOW:]
        self._publish_due()

    def end(self) -> None:
        """Nothing more is logged. What earlier attempts logged counts where this one logged nothing."""
        if self._earlier:
            self._settle(1 + max(row.step for row in self._earlier))
        self.step = max([self.step, *(row.step for row in self._rows)])

    def _settle(self, first: int) -> None:
        """Earlier rows below the step from which the program goes on."""
        kept = [row for row in self._earlier if row.step < first]
        self._earlier = []
        self._note(kept)
        self._rows = [*kept, *self._rows]

    def _note(self, rows: Iterable[LoggedRow]) -> None:
        primary = self._declared.primary.name
        result = self._declared.roles.get("training_return", self._declared.primary).name
        for row in rows:
            self.names.update(row.metrics)
            value = row.metrics.get(result)
            if isinstance(value, float):
                self.last_result = value
            if isinstance(decides := row.metrics.get(primary), float):
                self.evaluation = row.step, decides
            if not self._last_steps or row.step != self._last_steps[-1]:
                self._last_steps = [*self._last_steps, row.step][-_WINDOW:]

    @property
    def steps_per_s(self) -> float:
        if len(self._speed) < 2 or self._speed[-1][0] <= self._speed[0][0]:
            return 0.0
        (began, first), (ended, last) = self._speed[0], self._speed[-1]
        return max(0.0, (last - first) / (ended - began))

    @property
    def interval(self) -> float:
        """The usual number of steps between two logged steps; 0 where that is unknown."""
        gaps = [b - a for a, b in zip(self._last_steps, self._last_steps[1:], strict=False) if b > a]
        return statistics.median(gaps) if gaps else 0.0

    def _publish_due(self) -> None:
        if self._clock() >= self._next or len(self._rows) > _MOST_ROWS:
            self.publish()

    def publish(self) -> None:
        """Publish all rows but the newest, which is left for the shard that ends the run."""
        if len(self._rows) > 1:
            self._write(self._rows[:-1])
            self._writer.flush()
            self._rows = self._rows[-1:]
        self._every = min(2 * self._every, _LONGEST_S)
        self._next = self._clock() + self._every

    def close(self, end: int | None = None) -> None:
        """Publish the rest, after `end`. end: steps of the run, where it is finished."""
        if self._rows:
            self._write(self._rows)
            self._writer.flush(end=end)
            self._rows = []

    def _write(self, rows: Sequence[LoggedRow]) -> None:
        if self._writer is None:
            from sweepwise.core.shards import ShardWriter

            start = self._start if self._start is not None else min(row.step for row in self._rows) - 1
            self._writer = ShardWriter.of_run(self._handle, start, catalogue=self._catalogue, rows_per_shard=10**9)
        for row in rows:
            for kind, values in self._by_kind(row).items():
                frames = row.step * self._metrics.frames_per_step
                self._writer.log(kind, row.step, frames, row.step, values, at=row.time)

    def _by_kind(self, row: LoggedRow) -> dict[str, dict[str, Any]]:
        kinds: dict[str, dict[str, Any]] = {}
        for name, value in row.metrics.items():
            known = self._metric(name, row.is_evaluation, isinstance(value, tuple))
            if known is not None and known.is_list == isinstance(value, tuple):
                kinds.setdefault(known.kind, {})[name] = list(value) if isinstance(value, tuple) else value
        return kinds

    def _metric(self, name: str, is_evaluation: bool, is_list: bool) -> Metric | None:
        """The declaration of a logged metric; None for one that is not kept."""
        known = self._catalogue.metrics
        if name not in known:
            if not self._metrics.keeps(name):
                return None
            known[name] = metric(name, is_evaluation, is_list)  # type: ignore[index]
        return known[name]


def is_short(step: int, steps: int, interval: float) -> bool:
    """Whether a run that ended by itself is short of its steps by more than a logging interval."""
    return step < steps and not math.isclose(step, steps) and steps - step > interval
