"""A progress bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = 1.0  # seconds before the bar appears

_is_hidden = False


def hide() -> None:
    """No more bars in this process: for one that works in the background."""
    global _is_hidden
    _is_hidden = True


def tracked(items: Iterable[Item], total: int | None, doing: str) -> Iterator[Item]:
    """The items, `total` of them, None for an unknown number.

    If stderr is a terminal, a progress bar appears after `PATIENCE` seconds and disappears at the end.
    """
    if _is_hidden or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, begun = bar.add_task(doing, total=total), time.monotonic()
    try:
        for item in items:
            yield item
            bar.advance(task)
            if not bar.live.is_started and time.monotonic() - begun > PATIENCE:
                bar.start()
    finally:
        bar.stop()
