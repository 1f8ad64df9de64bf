"""Finds the files of a source below the folder of a run."""

from __future__ import annotations

import fnmatch
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from jobs.programs.metric_sources.tail import is_inside
from sweepwise.core.errors import JobsError
from sweepwise.core.event_files import MARK

_WILD = frozenset("*?[")
_QUICK = 0.05  # seconds of a search that may be repeated with each call
_SHARE = 50  # a slower one is repeated after this many times its duration
_MOST_FILES = 20_000  # that are looked at outside the run's folder
NAMES = {"tensorboard": f"*{MARK}*", "wandb": "run-*.wandb"}  # kinds whose path is a folder


def check_path(kind: str, path: str) -> None:
    """Raises `JobsError` for a path that leads out of the run's folder, or that is no path."""
    parts = PurePath(path).parts
    where = f"metrics, {kind} {path!r}"
    if PurePath(path).is_absolute() or ".." in parts:
        raise JobsError(f"{where}: only files in the run's folder are read; write a path relative to it, without '..'")
    if any("**" in part and part != "**" for part in parts):
        raise JobsError(f"{where}: '**' stands for whole folders; write it between slashes, as in '**/progress.csv'")
    if not parts and kind not in NAMES:
        raise JobsError(f"{where}: a path is missing; write one relative to the run's folder, such as 'metrics.{kind}'")
    if "\0" in path:
        raise JobsError(f"{where}: a path cannot contain NUL")


class Search:
    """kind, path: those of the source. folder: that of the run. clock: seconds, for tests."""

    def __init__(self, kind: str, path: str, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._path, self._folder, self._clock = NAMES.get(kind), path, folder, clock
        self._again = -1.0  # when to search again
        self._known: dict[str, Path] = {}  # real path -> path

    def files(self, now: bool = False) -> list[Path]:
        """The files so far, in the order of their names. now: search, however long it took the last time."""
        begun = self._clock()
        if now or begun >= self._again:
            try:
                for path in self._all():
                    if path.is_file() and is_inside(path, self._folder):
                        self._known.setdefault(os.path.realpath(path), path)
            except OSError:  # a folder vanished; what it held is found with the next call
                pass
            took = self._clock() - begun
            self._again = -1.0 if took < _QUICK else begun + _SHARE * took
        return sorted(self._known.values())

    def _all(self) -> Iterator[Path]:
        for start in self._starts():
            if self._name is None or not start.is_dir():
                yield start
                continue
            if is_inside(start, self._folder):
                for folder, _, names in os.walk(start):  # follows no links
                    yield from (Path(folder, name) for name in fnmatch.filter(names, self._name))

    def _starts(self) -> Iterator[Path]:
        exact = self._folder / self._path
        if exact.exists():
            yield exact
        elif not _WILD.isdisjoint(self._path):
            yield from self._folder.glob(self._path)


def misplaced(kind: str, path: str, run: Path, code: Path, linked: Sequence[str], since: float) -> str:
    """Where a file of a source lies that is not read, in words; "" where none is found.

    run: the run's folder, in which the source has no file. code: folder of the code, in which all runs write; linked:
    names of links to other folders in it. since: unix seconds; files that were not written since then are of others.
    """
    name = NAMES.get(kind) or PurePath(path).name
    for written in _written(run, _links(run), name, since):
        if not is_inside(written, run):
            return f"{written.relative_to(run)} points to {os.path.realpath(written)}, outside {{run}}"
    for written in _written(code, [code / link for link in linked], name, since):
        return f"{written.relative_to(code)} was written next to the code, where all runs write it"
    return ""


def _links(folder: Path) -> list[Path]:
    """Links to folders outside."""
    paths = (Path(where, name) for where, names, _ in os.walk(folder) for name in names)
    return [path for path in paths if path.is_symlink() and not is_inside(path, folder)]


def _written(folder: Path, links: Sequence[Path], pattern: str, since: float) -> list[Path]:
    """Files in a folder, and in those that links lead to, whose name matches and that were written since then."""
    walk = (Path(where, name) for top in (folder, *links) for where, _, names in os.walk(top) for name in names)
    matching = (path for path in itertools.islice(walk, _MOST_FILES) if fnmatch.fnmatchcase(path.name, pattern))
    return [path for path in matching if path.exists() and path.stat().st_mtime >= since]
