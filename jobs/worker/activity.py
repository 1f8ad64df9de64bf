"""When a program last did something, where it logs rarely or in large blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

_EVERY_S = 15.0
_BUSY = 0.05  # of a core; the process in which a logger writes its files takes less


class Activity:
    """The last sign of life of one program: logged rows, growth of its files, or processor time.

    sizes: something that changes when the program writes to its output or to a file that is followed. cpu_s: seconds
    of processor time of its processes so far, None where that cannot be known. in_blocks: whether it logs to a file
    that is written in blocks, so that rows wait in memory. clock: unix seconds.

    Processor time counts while nothing else can tell: with `in_blocks`, and before the first row. A program is silent
    only once it has logged nothing for twice the longest pause so far.
    """

    def __init__(
        self, sizes: Callable[[], Hashable], cpu_s: Callable[[], float | None], in_blocks: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._sizes, self._cpu_s, self._in_blocks, self._clock = sizes, cpu_s, in_blocks, clock
        self._last = self._last_rows = self._looked = clock()
        self._longest = 0.0
        self._has_rows = False
        self._size, self._cpu = sizes(), cpu_s()

    def note_rows(self) -> None:
        """It has logged something."""
        now = self._clock()
        self._longest = max(self._longest, now - self._last_rows)
        self._last = self._last_rows = now
        self._has_rows = True

    def last(self) -> float:
        """Unix seconds of the last sign of life."""
        now = self._clock()
        if now - self._looked >= _EVERY_S:
            self._look(now)
        return now if now - self._last_rows <= 2 * self._longest else self._last

    def _look(self, now: float) -> None:
        size, cpu = self._sizes(), self._cpu_s()
        if size != self._size:
            self._last = now
        if self._in_blocks or not self._has_rows:
            is_unknown = cpu is None or self._cpu is None
            if is_unknown or abs((cpu or 0.0) - (self._cpu or 0.0)) >= _BUSY * (now - self._looked):
                self._last = now
        self._size, self._cpu, self._looked = size, cpu, now
