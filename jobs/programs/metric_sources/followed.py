"""What the readers of all kinds of files have in common."""

from __future__ import annotations

from pathlib import Path

from jobs.programs.metric_sources.problems import Problems
from jobs.programs.metric_sources.tail import Piece, Tail
from jobs.programs.metric_sources.values import Row

LONGEST = 32 << 20  # bytes of a line; what follows is dropped


class FollowedFile:
    """Follows one file. step: name of the column with the step.

    A subclass says how rows are read from bytes (`_take`), from what remains at the end (`_end`), and how to begin
    again (`_restart`).
    """

    head = 256  # the first bytes, which tell whether the file was written again
    patient = False  # whether a file that was written again in place is read only with the next call

    def __init__(self, path: Path, folder: Path, step: str) -> None:
        self.problems = Problems(path.relative_to(folder).as_posix())
        self._step = step
        self._tail = Tail(path, folder, self.head)
        self._restart()

    def read(self) -> list[Row]:
        """What was appended since the last call, a part of it where it is much."""
        return self._rows(self._tail.more(self.patient))

    def finish(self) -> list[Row]:
        """The rest, when nobody writes any more."""
        rows = []
        while True:
            piece = self._tail.more()
            rows += self._rows(piece)
            if not piece.data:
                return rows + self._end()

    def _rows(self, piece: Piece) -> list[Row]:
        if piece.restarted:
            self.problems.clear()
            self._restart()
        return self._take(piece.data) if piece.data else []

    def _restart(self) -> None:
        raise NotImplementedError

    def _take(self, data: bytes) -> list[Row]:
        raise NotImplementedError

    def _end(self) -> list[Row]:
        return []
