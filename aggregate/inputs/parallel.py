"""Parallel map over many runs."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from aggregate.inputs.mapping_process import MappingProcess

MANY = 128  # runs from which starting processes, each of which imports pandas, pays off
MOST = 8  # processes or threads, as login nodes are shared
CHUNK = 4  # runs sent to a process at a time

_FILES = 8  # that a thread reads at a time

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]

_idle: list[MappingProcess] = []
_keepers = 0


@contextlib.contextmanager
def keep_processes() -> Iterator[None]:
    """Processes that a `mapping` in it started are there for the next, as each first imports pandas."""
    global _keepers
    _keepers += 1
    try:
        yield
    finally:
        _keepers -= 1
        if not _keepers:
            while _idle:
                _idle.pop().close()


@contextlib.contextmanager
def mapping(runs: int, read: Callable[[Any], Any] | None = None) -> Iterator[Map]:
    """A `map` with results in order: in processes for many runs, else in this thread. Raises `AggregateError` where a
    process was killed.

    read: called in threads for the items to come, where the work is done in this thread; what it returns is the second
    argument of the function that is mapped. It should only wait for a file system: threads that compute spend up to
    half of their time on waiting for each other.
    """
    processes = min(MOST, _cores())
    if runs < MANY or processes < 2 or not sys.executable:
        yield map if read is None else functools.partial(_reading_ahead, read)
        return
    with keep_processes(), ThreadPoolExecutor(processes) as threads:
        try:
            yield functools.partial(_over_chunks, threads)
        finally:
            threads.shutdown(cancel_futures=True)


def _reading_ahead(
    read: Callable[[Any], Any], function: Callable[[Any, Any], Result], items: Iterable[Any]
) -> Iterator[Result]:
    """At most `MOST` items ahead, because what was read is in memory."""
    waiting: collections.deque[tuple[Any, Future[Any]]] = collections.deque()
    with ThreadPoolExecutor(MOST) as threads:
        try:
            for item in items:
                waiting.append((item, threads.submit(read, item)))
                if len(waiting) > MOST:
                    first, future = waiting.popleft()
                    yield function(first, future.result())
            while waiting:
                first, future = waiting.popleft()
                yield function(first, future.result())
        finally:
            threads.shutdown(cancel_futures=True)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results in order, of work that waits for a file system and computes little."""
    listed = list(items)
    chunks = [listed[start : start + _FILES] for start in range(0, len(listed), _FILES)]

    def over(chunk: list[Item]) -> list[Result]:
        return [function(item) for item in chunk]

    if len(chunks) < 2:
        return over(listed)
    with ThreadPoolExecutor(MOST) as threads:
        return list(itertools.chain.from_iterable(threads.map(over, chunks)))


def _over_chunks(threads: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Each thread waits for a process."""
    listed = list(items)
    chunks = [listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK)]
    return itertools.chain.from_iterable(threads.map(functools.partial(_in_a_process, function), chunks))


def _in_a_process(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    try:
        process = _idle.pop()
    except IndexError:
        process = MappingProcess()
    try:
        return process(function, items)
    finally:
        if process.is_ready:
            _idle.append(process)
        else:
            process.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
