"""`sweeps view`: the report of sweeps whose runs train, rendered again when results have changed.

A process of its own checks the results and renders (`report_update`): the server answers meanwhile, and rendering can
be ended at any time. This process keeps the newest page as bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.reports import report
from jobs.reports.notifications import send_collapses
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import as_line, one_line

if TYPE_CHECKING:
    from aggregate.inputs.mapping_process import MappingProcess
    from aggregate.inputs.runs import SweepSource

CHECK_S = 2.0  # between two checks of the results, at least
CHECK_SHARE = 0.1  # of a processor, at most: for checks that find nothing new or fail,
RENDER_SHARE = 0.5  # and for those that render
WATCHED_S = 60.0  # after an open page has asked last, nothing more is done
_ASK_SLURM_S = 20.0  # the files of the runs are read more often than Slurm is queried
_LEVEL = 5  # of gzip: a tenth of a second for the largest pages


@dataclass(frozen=True)
class ReportRequest:
    """What the page shows. seen: version of the newest page, "" for none."""

    results: Path
    names: tuple[str, ...] = ()
    references: Path | None = None
    seen: str = ""


@dataclass(frozen=True)
class ReportUpdate:
    """What a check of the results gave. version: of the results, "" where they could not be read. page: HTML,
    compressed with gzip; None where nothing changed or `error` says why there is none. policy: of its scripts, see
    `plots.report.content_policy`. notes: on what is shown. cost_s: seconds of processors or, if longer, of time."""

    version: str
    page: bytes | None = None
    policy: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    cost_s: float = 0.0


def report_update(request: ReportRequest) -> ReportUpdate:
    """The page of `request`, unless it is the one that was seen. Any error is part of the answer."""
    before, begun = process.usage(False)["cpu_s"], time.monotonic()
    try:
        update = _update(request)
    except Exception as error:  # noqa: BLE001 - the last page stays, whatever happened
        update = ReportUpdate("", error=one_line(error))
    cpu_s = process.usage(False)["cpu_s"] - before
    return replace(update, cost_s=max(cpu_s, time.monotonic() - begun))


def update_quietly(request: ReportRequest) -> ReportUpdate:
    """`report_update` in a process that does nothing else, without progress bars: a process that is killed while one is
    shown leaves the terminal without a cursor."""
    from aggregate.inputs import progress

    progress.hide()
    return report_update(request)


def _update(request: ReportRequest) -> ReportUpdate:
    from plots.report import content_policy, render

    notes: list[str] = []
    store = ResultsFolder(request.results)
    sources = report.sources(store, request.names, notes.append, _ASK_SLURM_S)
    version = _version(sources, request.references)
    if version == request.seen:
        return ReportUpdate(version)
    summary, across = report.judge(sources, request.references)
    send_collapses(store, summary.sweeps)
    page = gzip.compress(render(summary, across, version).encode(), _LEVEL)
    notes += [*store.problems.values(), *summary.loaded.warnings]
    return ReportUpdate(version, page, content_policy(is_live=True), tuple(map(as_line, notes)))


def _version(sources: Sequence[SweepSource], references: Path | None) -> str:
    """Digest of all that the report depends on: the sweeps, the states of their runs, and the list of their shards."""
    from aggregate.inputs.run_cache import list_shards

    configs = (config for sweep in sources for config in (*sweep.all_configs, *sweep.imported))
    folders = sorted({run.folder for config in configs for run in config.every_run})
    shards = [list_shards(folder) for folder in folders]
    declared = references.read_bytes() if references is not None and references.is_file() else b""
    return hashlib.sha256(repr((sources, shards, declared)).encode()).hexdigest()[:16]


class LivePage:
    """The newest page, its time and the error since, shared by the threads that serve it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = ReportUpdate("")
        self._time = 0.0  # unix seconds of the newest page
        self._asked = clock()

    def take(self, update: ReportUpdate, now: float) -> None:
        """Show the page of `update`; without one, the page before stays, with the error. now: unix seconds."""
        with self._lock:
            if update.page is not None:
                self._newest, self._time = update, now
            else:
                self._newest = replace(self._newest, error=update.error)

    @property
    def newest(self) -> ReportUpdate:
        """The newest page, and the error since; its `page` is None before the first."""
        with self._lock:
            return self._newest

    def ask(self) -> bytes:
        """What an open page asks for, as JSON: version, time (unix seconds), error, notes. Counts as watching."""
        with self._lock:
            self._asked = self._clock()
            answer = {"version": self._newest.version, "time": self._time, "error": self._newest.error,
                    "notes": self._newest.notes}  # fmt: skip
        return json.dumps(answer).encode()

    def is_watched(self) -> bool:
        """Whether there is no page yet, or an open one asked lately."""
        with self._lock:
            return self._newest.page is None or self._clock() - self._asked < WATCHED_S


def pause_after(update: ReportUpdate, took_s: float) -> float:
    """Seconds to wait after a check that took `took_s` seconds, so that its cost keeps its share."""
    share = RENDER_SHARE if update.page is not None else CHECK_SHARE
    return max(CHECK_S, update.cost_s / share - took_s)


def follow(
    page: LivePage, request: ReportRequest, ask: Callable[[ReportRequest], ReportUpdate], tell: Callable[[str], None],
    wait: Callable[[float], object] = time.sleep,
) -> None:  # fmt: skip
    """Keep `page` up to date, until interrupted. ask: `report_update`, in another process. tell: prints a line; each
    error and each note is printed once, and again only after it had disappeared."""
    printed: set[str] = set()
    while True:
        if not page.is_watched():
            wait(CHECK_S)
            continue
        begun = time.monotonic()
        try:
            update = ask(replace(request, seen=page.newest.version))
        except Exception as error:  # noqa: BLE001 - the process was killed, or its answer is damaged
            update = ReportUpdate("", error=one_line(error), cost_s=time.monotonic() - begun)
        page.take(update, time.time())
        newest = page.newest
        lines = {*newest.notes, newest.error} - {""}
        for line in sorted(lines - printed):
            tell(line)
        printed = lines
        wait(pause_after(update, time.monotonic() - begun))


class Renderer:
    """`update_quietly` in a process that is started when it is needed, and again if it was killed."""

    def __init__(self) -> None:
        self._process: MappingProcess | None = None

    def __call__(self, request: ReportRequest) -> ReportUpdate:
        """Raises `AggregateError` where the process was killed."""
        from aggregate.inputs.mapping_process import MappingProcess

        if self._process is not None and not self._process.is_ready:
            self.close()
        if self._process is None:
            self._process = MappingProcess(with_group=True)
        (update,) = self._process(update_quietly, [request])
        assert isinstance(update, ReportUpdate)
        return update

    def close(self) -> None:
        """End the process and all that it started, whatever they do."""
        if self._process is not None:
            self._process.close()
            self._process = None


@contextlib.contextmanager
def until_interrupted() -> Iterator[Callable[[float], None]]:
    """Ends the block by Ctrl-C or SIGTERM without an error. Once it ends, another signal does not interrupt that.

    Gives a function to wait in the block, which ends it too: Python drops an exception that a signal raises while an
    object is destroyed or a module's lock is released, and would print it.
    """
    is_ended = threading.Event()

    def end(number: int, frame: object) -> None:
        if not is_ended.is_set():
            is_ended.set()
            raise KeyboardInterrupt

    def wait(seconds: float) -> None:
        if is_ended.wait(seconds):
            raise KeyboardInterrupt

    def print_unless_interrupt(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            print_dropped(dropped)

    print_dropped, sys.unraisablehook = sys.unraisablehook, print_unless_interrupt
    handled = {signal.SIGINT: signal.getsignal(signal.SIGINT), signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    for each in handled:
        signal.signal(each, end)
    try:
        yield wait
    except KeyboardInterrupt:
        pass
    finally:
        for each, handler in handled.items():
            signal.signal(each, handler)
        sys.unraisablehook = print_dropped
