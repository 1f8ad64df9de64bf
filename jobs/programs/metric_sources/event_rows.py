"""Follows an event file of TensorBoard."""

from __future__ import annotations

from jobs.programs.metric_sources.followed import FollowedFile
from jobs.programs.metric_sources.problems import DAMAGED, no_step
from jobs.programs.metric_sources.values import Row, metric_name, parse_step
from sweepwise.core.event_files import EventFileError, Scalar, events


class EventRows(FollowedFile):
    """Rows of whole records. The step is that of the event; scalars of one step that arrive together are one row, whose
    time is that of the last."""

    def _restart(self) -> None:
        self._pending = b""
        self._place = 0  # where `_pending` begins in the file
        self._broken = False

    def _take(self, data: bytes) -> list[Row]:
        if self._broken:
            return []
        data = self._pending + data
        new_scalars: list[Scalar] = []
        place = 0
        while True:
            try:
                for end, scalars in events(data, place):
                    place = end
                    new_scalars += scalars
                break
            except EventFileError as error:
                if error.end is None:
                    self._broken = True
                    self.problems.end(f"damaged at byte {self._place + error.place}, the rest is not read")
                    break
                self.problems.add(DAMAGED, self._place + error.place)
                place = error.end
        self._pending = b"" if self._broken else data[place:]
        self._place += place
        return self._grouped(new_scalars)

    def _grouped(self, scalars: list[Scalar]) -> list[Row]:
        rows: list[Row] = []
        for tag, number, value, time in scalars:
            name = metric_name(tag)
            if rows and rows[-1].step == number and name not in rows[-1].metrics:
                rows[-1].metrics[name] = value
                rows[-1] = rows[-1]._replace(time=time)
                continue
            step = parse_step(number)
            if step is None:
                self.problems.add(no_step("record", "step", ""), 0)
            else:
                rows.append(Row(step, {name: value}, time))
        return rows
