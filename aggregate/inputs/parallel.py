"""Parallel map over many runs."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sweepwise.core.errors import AggregateError

MANY = 64  # runs from which starting processes pays off
MOST = 8  # processes or threads, as login nodes are shared
CHUNK = 4  # runs sent to a process at a time

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@contextlib.contextmanager
def mapping(runs: int, *, waits: bool) -> Iterator[Map]:
    """A `map` with results in order: in processes for many runs, else in threads if the work `waits` for a file system,
    else in this thread. Raises `AggregateError` where a process was killed."""
    processes = min(MOST, _cores())
    pool: Executor
    if runs >= MANY and processes > 1 and _may_fork():
        fork = multiprocessing.get_context("fork")  # spawned processes would import everything again
        pool = ProcessPoolExecutor(processes, fork, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    elif waits:
        pool = ThreadPoolExecutor(MOST)
    else:
        yield map
        return
    try:
        yield functools.partial(pool.map, chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise AggregateError("a process that read runs was killed; if for want of memory, name fewer sweeps") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_fork() -> bool:
    """Forking is safe on Linux with a single thread: a lock held by another thread would never be released in the
    child."""
    return sys.platform == "linux" and threading.active_count() == 1
