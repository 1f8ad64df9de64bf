"""Follows the files in which a running program logs its metrics. Nothing outside the run's folder is read, except the
program's output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.programs.metric_sources.csv_rows import CsvRows
from jobs.programs.metric_sources.event_rows import EventRows
from jobs.programs.metric_sources.followed import FollowedFile
from jobs.programs.metric_sources.json_lines import JsonLines
from jobs.programs.metric_sources.output_lines import OutputLines
from jobs.programs.metric_sources.problems import Problems
from jobs.programs.metric_sources.search import Search, check_path
from jobs.programs.metric_sources.values import Row
from jobs.programs.metric_sources.wandb_rows import WandbRows
from sweepwise.core.errors import JobsError, near

_FILES: dict[str, type[FollowedFile]] = {
    "jsonl": JsonLines,
    "csv": CsvRows,
    "tensorboard": EventRows,
    "wandb": WandbRows,
}
_STDOUT = "stdout"
IN_BLOCKS = ("wandb",)  # kinds whose rows wait in memory until a block of the file is full
KINDS = (*_FILES, _STDOUT)
_OWN_STEPS = ("tensorboard", "wandb")  # kinds that need no name of a step


@dataclass(frozen=True)
class SourceSpec:
    """Where a program logs.

    kind: one of `KINDS`. path: relative to the run's folder, may be a glob such as `**/progress.csv`; for tensorboard
    and wandb a folder, searched recursively; for stdout "". pattern: regular expression with named groups, for stdout.
    is_evaluation: all its metrics are results of evaluations. step: name of the column or group with the step, "" for
    that of the plan; event files of TensorBoard have their own.
    """

    kind: str
    path: str = ""
    pattern: str = ""
    is_evaluation: bool = False
    step: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SourceSpec:
        """Fields of later versions are ignored."""
        return cls(**{field: value for field, value in stored.items() if field in cls.__dataclass_fields__})


@dataclass(frozen=True)
class LoggedRow:
    """step: of the program. metrics: name -> number, or tuple of numbers; never empty. time: unix seconds, None where
    the file does not say. source: position of its `SourceSpec`."""

    step: int
    metrics: Mapping[str, float | tuple[float, ...]]
    time: float | None = None
    is_evaluation: bool = False
    source: int = 0


class MetricReader:
    """Follows all sources of one run.

    step: name of the column with the step, where a source names none. run: folder that paths are relative to. output:
    file with the program's output. Raises `JobsError` for a source that cannot be read so.
    """

    def __init__(self, specs: Sequence[SourceSpec], step: str, run: Path, output: Path) -> None:
        self._specs = list(specs)
        self._sources = [_source(spec, spec.step or step, run, output) for spec in specs]
        self._names: set[str] = set()

    def read(self) -> list[LoggedRow]:
        """What has been logged since the last call, in each file's order. Of much, a part: the next call goes on."""
        return self._logged([list(source.read()) for source in self._sources])

    def finish(self) -> list[LoggedRow]:
        """The rest, when nobody writes any more: with a last line that has no newline, if it is whole."""
        return self._logged([list(source.finish()) for source in self._sources])

    def _logged(self, parts: list[list[Row]]) -> list[LoggedRow]:
        rows = []
        for position, (spec, own) in enumerate(zip(self._specs, parts, strict=True)):
            for row in own:
                self._names.update(row.metrics)
                rows.append(LoggedRow(row.step, row.metrics, row.time, spec.is_evaluation, position))
        return rows

    @property
    def names(self) -> frozenset[str]:
        """Every metric seen so far."""
        return frozenset(self._names)

    @property
    def problems(self) -> list[str]:
        """What could not be read, one line for each kind of problem in each file."""
        return list(dict.fromkeys(line for source in self._sources for one in source.problems for line in one.lines))

    @property
    def unread(self) -> list[SourceSpec]:
        """Those of which no file was found so far."""
        return [spec for spec, source in zip(self._specs, self._sources, strict=True) if not source.files]

    @property
    def files(self) -> list[Path]:
        """Found so far, each once."""
        return list(dict.fromkeys(path for source in self._sources for path in source.files))


class _Files:
    """The files of one source."""

    def __init__(self, kind: type[FollowedFile], search: Search, run: Path, step: str) -> None:
        self._kind, self._search, self._run, self._step = kind, search, run, step
        self._readers: dict[Path, FollowedFile] = {}

    def read(self) -> Iterator[Row]:
        for reader in self._current(now=False):
            yield from reader.read()

    def finish(self) -> Iterator[Row]:
        for reader in self._current(now=True):
            yield from reader.finish()

    def _current(self, now: bool) -> list[FollowedFile]:
        paths = self._search.files(now)
        for path in paths:
            if path not in self._readers:
                self._readers[path] = self._kind(path, self._run, self._step)
        return [self._readers[path] for path in paths]

    @property
    def problems(self) -> list[Problems]:
        return [reader.problems for reader in self._readers.values()]

    @property
    def files(self) -> list[Path]:
        return sorted(self._readers)


class _Output:
    """The program's output."""

    def __init__(self, lines: OutputLines) -> None:
        self._lines = lines
        self._ended = False

    def read(self) -> list[Row]:
        return [] if self._ended else self._lines.read()

    def finish(self) -> list[Row]:
        rows = [] if self._ended else self._lines.finish()
        self._ended = True
        return rows

    @property
    def problems(self) -> list[Problems]:
        return [self._lines.problems]

    @property
    def files(self) -> list[Path]:
        return self._lines.files


def _source(spec: SourceSpec, step: str, run: Path, output: Path) -> _Files | _Output:
    if spec.kind not in KINDS:
        raise JobsError(f"metrics, kind {spec.kind!r}: {near(spec.kind, KINDS)}")
    if not step and spec.kind not in _OWN_STEPS:
        raise JobsError(
            f"metrics, {spec.kind} {spec.path or spec.pattern!r}: give the name of the step, as in step: step"
        )
    if spec.kind == _STDOUT:
        return _Output(OutputLines(output, _compiled(spec.pattern, step), step))
    check_path(spec.kind, spec.path)
    return _Files(_FILES[spec.kind], Search(spec.kind, spec.path, run), run, step)


def _compiled(pattern: str, step: str) -> re.Pattern[str]:
    where = f"metrics, stdout {pattern!r}"
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise JobsError(f"{where}: not a regular expression: {error}") from error
    if step not in compiled.groupindex:
        raise JobsError(f"{where}: no group has the step; write (?P<{step}>[0-9]+) where the step is")
    return compiled
