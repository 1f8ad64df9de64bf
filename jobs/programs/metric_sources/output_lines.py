"""Follows what a program prints. The file is rotated: it becomes `<stem>.previous.log`, and a new one begins."""

from __future__ import annotations

import os
import re
from pathlib import Path

from jobs.programs.metric_sources.problems import Problems, no_number, no_step
from jobs.programs.metric_sources.tail import CHUNK, open_regular
from jobs.programs.metric_sources.values import Row, Value, metric_name, parse_number, parse_step

LINE = 10_000  # characters of a line that are looked at
_WIDEST = 4  # bytes of a character


class OutputLines:
    """Rows of the lines in which a pattern is found. A line ends with a line feed or a carriage return.

    The files are kept open, so that one that was renamed is read to its end.
    """

    def __init__(self, output: Path, pattern: re.Pattern[str], step: str) -> None:
        self._output, self._pattern, self._step = output, pattern, step
        self._previous = output.with_name(f"{output.stem}.previous.log")
        self._open: list[int] = []  # descriptors, the oldest first
        self._pending = b""
        self.problems = Problems(output.name)
        self.files: list[Path] = []

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def read(self) -> list[Row]:
        self._look()
        return self._rows(self._pending + self._more())

    def finish(self) -> list[Row]:
        """The last line counts where no group of the pattern ends with it: it may have been cut within a number."""
        rows = []
        while True:
            self._look()
            data = self._more()
            if not data:
                break
            rows += self._rows(self._pending + data)
        last = self._pending.decode(errors="replace")[:LINE]
        match = self._pattern.search(last)
        if match and all(match.end(group) < len(last) for group in self._pattern.groupindex):
            rows += self._rows(self._pending + b"\n")
        self.close()
        return rows

    def _look(self) -> None:
        """Opens what is new. Two rotations since the last call leave one file in between, which is still there."""
        current = self._handle(self._output)
        if self._open and (current is None or _are_one(current, self._open[-1])):
            if current is not None:
                os.close(current)
            return
        previous = self._handle(self._previous)
        if previous is not None:
            if self._open and _are_one(previous, self._open[-1]):
                os.close(previous)
            else:
                self._open.append(previous)
        if current is not None:
            self._open.append(current)
            self.files = [self._output]

    def _handle(self, path: Path) -> int | None:
        try:
            return open_regular(path)
        except OSError:
            return None

    def _more(self) -> bytes:
        parts: list[bytes] = []
        left = CHUNK
        while left > 0 and self._open:
            data = os.read(self._open[0], left)
            if data:
                parts.append(data)
                left -= len(data)
            elif len(self._open) > 1:
                os.close(self._open.pop(0))  # nobody writes to it since a newer one exists
            elif os.fstat(self._open[0]).st_size < os.lseek(self._open[0], 0, os.SEEK_CUR):
                os.lseek(self._open[0], 0, os.SEEK_SET)  # it was emptied
            else:
                break
        return b"".join(parts)

    def _rows(self, data: bytes) -> list[Row]:
        *lines, self._pending = data.replace(b"\r", b"\n").split(b"\n")
        self._pending = self._pending[: _WIDEST * LINE]
        text = b"\n".join(lines).decode(errors="replace")
        rows = (self._row(line[:LINE]) for line in text.split("\n") if line)
        return [row for row in rows if row is not None]

    def _row(self, line: str) -> Row | None:
        match = self._pattern.search(line)
        if match is None:
            return None
        metrics: dict[str, Value] = {}
        step = None
        for group, text in match.groupdict().items():
            if group == self._step:
                step = parse_step(text)
            elif text is not None:
                number = parse_number(text)
                if number is None:
                    self.problems.add(no_number(group), 0)
                else:
                    metrics[metric_name(group)] = number
        if step is None:
            self.problems.add(no_step("line", self._step, ""), 0)
        return Row(step, metrics) if metrics and step is not None else None


def _are_one(one: int, other: int) -> bool:
    """Whether two descriptors are of the same file."""
    return os.path.sameopenfile(one, other)
