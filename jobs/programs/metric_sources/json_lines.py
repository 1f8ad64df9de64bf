"""Follows a file with a JSON object in each line."""

from __future__ import annotations

import json

from jobs.programs.metric_sources.followed import LONGEST, FollowedFile
from jobs.programs.metric_sources.problems import NO_JSON, NO_OBJECT, no_step, without_step
from jobs.programs.metric_sources.values import RESERVED, Row, Value, flatten, lookup, metric_name, parse_step


class JsonLines(FollowedFile):
    """Rows of lines that are whole; a half-written last line waits."""

    def _restart(self) -> None:
        self._pending = b""
        self._line = 0  # lines read so far

    def _take(self, data: bytes) -> list[Row]:
        end = data.rfind(b"\n") + 1
        if not end:
            self._pending = (self._pending + data)[:LONGEST]
            return []
        text = (self._pending + data[:end]).decode(errors="replace")
        self._pending = data[end:]
        rows = (self._row(line) for line in text.split("\n")[:-1])
        return [row for row in rows if row is not None]

    def _end(self) -> list[Row]:
        """A last line without its end is whole where it is an object."""
        text = self._pending.decode(errors="replace")
        self._pending = b""
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return []
        row = self._row(text)
        return [] if row is None else [row]

    def _row(self, line: str) -> Row | None:
        self._line += 1
        if not line or line.isspace():
            return None
        metrics: dict[str, Value] = {}
        try:
            item = json.loads(line)
            if type(item) is not dict:
                self.problems.add(NO_OBJECT, self._line)
                return None
            flatten(item, metrics)
        except (ValueError, RecursionError):
            self.problems.add(NO_JSON, self._line)
            return None
        said = lookup(item, self._step)
        step = parse_step(said)
        if step is None:
            fault = without_step("line", self._step) if said is None else no_step("line", self._step)
            self.problems.add(fault, self._line)
            return None
        metrics.pop(self._step, None)
        if not RESERVED.isdisjoint(metrics):
            metrics = {metric_name(name): value for name, value in metrics.items()}
        return Row(step, metrics) if metrics else None
