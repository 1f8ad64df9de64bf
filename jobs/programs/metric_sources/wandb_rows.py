"""Follows a file of a Weights & Biases run without network."""

from __future__ import annotations

import json

from jobs.programs.metric_sources.followed import FollowedFile
from jobs.programs.metric_sources.problems import DAMAGED, no_step
from jobs.programs.metric_sources.values import Row, Value, flatten, metric_name, parse_step
from jobs.programs.metric_sources.wandb_log import HEADER, Item, history, log_part


class WandbRows(FollowedFile):
    """Rows of whole records. The step is the plan's where the row has it, else that of Weights & Biases."""

    def _restart(self) -> None:
        self._pending = b""
        self._place = 0  # where `_pending` begins in the file
        self._damage = -1  # the last damaged place
        self._broken = False

    def _take(self, data: bytes) -> list[Row]:
        self._pending += data
        if not self._place and len(self._pending) >= len(HEADER):
            if not self._pending.startswith(HEADER):
                self._broken = True
                self.problems.end("not a file of Weights & Biases, or of an unknown version")
            self._place, self._pending = len(HEADER), self._pending[len(HEADER) :]
        if self._broken or not self._place:
            self._pending = self._pending[: len(HEADER)]
            return []
        part = log_part(self._pending, self._place)
        self._pending = self._pending[part.used :]
        for place in part.damage:
            if place > self._damage:  # until its block is whole, a place is found again
                self.problems.add(DAMAGED, place)
                self._damage = place
        rows = [self._row(record, self._place) for record in part.records]
        self._place += part.used
        return [row for row in rows if row is not None]

    def _row(self, record: bytes, place: int) -> Row | None:
        try:
            items, counted = history(record)
            if not items:
                return None
            values, texts = _values(items)
        except (ValueError, IndexError, RecursionError):
            self.problems.add(DAMAGED, place)
            return None
        said = texts.get(self._step, values.get(self._step, values.get("_step", counted)))
        step = parse_step(said)
        if step is None:
            self.problems.add(no_step("record", self._step if self._step in values | texts else "_step", ""), 0)
            return None
        time = values.get("_timestamp")
        metrics = {metric_name(name): value for name, value in values.items() if name[:1] != "_" and name != self._step}
        return Row(step, metrics, time if isinstance(time, float) else None) if metrics else None


def _values(items: list[Item]) -> tuple[dict[str, Value], dict[str, str]]:
    """Numbers, and texts, by name. An object with a `_type`, such as a histogram or an image, is none."""
    media = {parts[:-1] for parts, _ in items if len(parts) > 1 and parts[-1] == "_type"}
    values: dict[str, Value] = {}
    texts: dict[str, str] = {}
    for parts, text in items:
        if media and any(parts[: len(one)] == one for one in media):
            continue
        name = "/".join(parts) if len(parts) > 1 else parts[0]
        if text[:1] in b'{["tfn':
            _add(values, texts, name, json.loads(text))
        else:
            values[name] = float(text)
    return values, texts


def _add(values: dict[str, Value], texts: dict[str, str], name: str, content: object) -> None:
    if isinstance(content, str):
        texts[name] = content
    else:
        flatten({name: _without_media(content)}, values)


def _without_media(content: object) -> object:
    """Older versions of wandb keep an object in one piece."""
    if not isinstance(content, dict):
        return content
    return {} if "_type" in content else {name: _without_media(value) for name, value in content.items()}
