"""Sweeps, configurations and runs as inputs, and the metric shards of many runs.

Rows are not kept in memory: `RunRows` reads those of one run on demand. Files that cannot be read are listed.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aggregate.inputs import merge_shards, provenance, run_cache
from aggregate.inputs.parallel import in_threads, mapping
from aggregate.inputs.plan_questions import Question
from aggregate.inputs.progress import tracked
from aggregate.inputs.run_facts import RunFacts
from aggregate.statistics.alpha_spending import ONE_ANALYSIS, InterimAnalyses
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import AggregateError

DIVERGED, DONE, FAILED, INTERRUPTED, STALLED = "diverged", "done", "failed", "interrupted", "stalled"
STOPPED = "stopped"  # by `sweeps prune`
BROKEN = (DIVERGED, FAILED, INTERRUPTED, STALLED)  # states that end a run before its last step


class Evaluated(NamedTuple):
    """An evaluation of a run after training. returns: of its episodes. snapshots: steps of the weights where there are
    several, ascending, an equal share of the episodes with each; else those of the last step."""

    returns: tuple[float, ...]
    snapshots: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunSource:
    """A run: the folder of its shards, and its state in the results folder. cache: file for its merged rows, or None.
    reason: why it was stopped or excluded, "" otherwise. cause: of a failure, see `jobs.results.run_state.Cause`.
    evaluations: after training."""

    config_id: str
    seed: int
    folder: Path
    state: str  # see `jobs.results.run_state.State`
    attempts: int
    cache: Path | None = None
    reason: str = ""
    cause: str = ""
    evaluations: tuple[Evaluated, ...] = ()


class RunNotes(NamedTuple):
    """What users noted on a run or a sweep."""

    notes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


NO_NOTES = RunNotes()


@dataclass(frozen=True)
class ConfigSource:
    """A configuration in a sweep; `label` and `factors` hold the hyperparameters that vary in that sweep.

    imported: name of the import that its curves come from, "" for runs of this project. reference: the results that
    count as 0 and 1 across tasks, or whose results do (`aggregate.tasks.references.Declared`), where its files or its
    plan declare them. version: of the agent that trained it, None for imports. excluded: runs that a user left out of
    the analysis, which are not part of `runs`. notes: on its runs, by seed.
    """

    config_id: str
    label: str
    factors: dict[str, Any]
    is_baseline: bool
    config: dict[str, Any]
    total_steps: int
    runs: tuple[RunSource, ...]
    imported: str = ""
    reference: tuple[float | str, float | str] | None = None
    version: int | None = None
    excluded: tuple[RunSource, ...] = ()
    notes: Mapping[int, RunNotes] = field(default_factory=dict)

    @property
    def every_run(self) -> tuple[RunSource, ...]:
        """Its runs, then the excluded ones."""
        return (*self.runs, *self.excluded)

    def task_of(self, agent: AgentDescription) -> str:
        """The task of its runs, "" where that is unknown. agent: of its sweep."""
        value = self.config.get("task" if self.imported else agent.task)
        return "" if value is None else str(value)

    @property
    def name(self) -> str:
        """The label, or a phrase for a configuration without factors."""
        return self.label or "the configuration"


def config_letter(place: int) -> str:
    """The short name of the configuration at `place` in `SweepSource.configs`: A, B, ... Z, AA, AB, ..."""
    head, tail = divmod(place, len(string.ascii_uppercase))
    return (config_letter(head - 1) if head else "") + string.ascii_uppercase[tail]


@dataclass(frozen=True)
class SweepSource:
    """agent: what all its runs train. beside: configurations of other sweeps that `questions` need, by sweep; empty for
    one that was not submitted. imported: imported curves, shown next to the sweep's own. interim_analyses: of this
    sweep, the current included. margin: the smallest relevant difference of the primary metric, NaN where the plan
    names none. confirms: the sweep of which a configuration is confirmed here, on seeds of its own; "" for any other
    sweep. tasks_of: the sweep of several tasks of which this is one, "" for any other. notes: on the sweep. paired:
    whether the plan declared that configurations are compared seed by seed.
    """

    name: str
    goal: str
    questions: tuple[Question, ...]
    factors: tuple[str, ...]
    configs: tuple[ConfigSource, ...]
    agent: AgentDescription
    beside: Mapping[str, tuple[ConfigSource, ...]] = field(default_factory=dict)
    imported: tuple[ConfigSource, ...] = ()
    interim_analyses: InterimAnalyses = ONE_ANALYSIS
    margin: float = np.nan
    confirms: str = ""
    tasks_of: str = ""
    notes: RunNotes = NO_NOTES
    paired: bool = False

    @property
    def excluded(self) -> list[tuple[ConfigSource, RunSource]]:
        """The runs that a user left out of the analysis."""
        return [(config, run) for config in self.configs for run in config.excluded]

    @property
    def baseline(self) -> str:
        """config_id of its baseline, "" for none."""
        return next((config.config_id for config in self.configs if config.is_baseline), "")

    @property
    def all_configs(self) -> tuple[ConfigSource, ...]:
        """Its own configurations, then those of other sweeps, each once."""
        by_id = {config.config_id: config for config in self.configs}
        for config in itertools.chain.from_iterable(self.beside.values()):
            by_id.setdefault(config.config_id, config)
        return tuple(by_id.values())


@dataclass(frozen=True)
class RunRows:
    """The rows of one run, from the shards that existed when it was loaded.

    count: of rows. spacing: by kind, see `step_bins.spacing`. times: unix seconds of the first and the last row, NaN
    without a plausible clock. attempts: by rank, of those with rows. whole: whether every file could be read.
    """

    source: RunSource
    files: tuple[run_cache.ShardFile, ...]
    count: int
    spacing: Mapping[str, float]
    times: tuple[float, float]
    attempts: Mapping[int, run_cache.MergedAttempt]
    whole: bool = True

    def frames(self, kinds: Sequence[str] | None = None, upto: float = np.inf) -> dict[str, pd.DataFrame]:
        """By kind, of `kinds` or all, the rows up to a step, sorted by step; columns as in `merge_shards`.

        Every call reads the cache or the shards.
        """
        return {kind: merge_shards.frame(table) for kind, table in self._tables(kinds, upto).items()}

    def columns(self, kinds: Sequence[str] | None = None, upto: float = np.inf) -> dict[str, merge_shards.Columns]:
        """The same as arrays."""
        return {kind: merge_shards.Columns(table) for kind, table in self._tables(kinds, upto).items()}

    def _tables(self, kinds: Sequence[str] | None, upto: float) -> merge_shards.Kinds:
        if not self.count:
            return {}
        merged = run_cache.load_merged(self.source.folder, self.files, self.source.cache).kinds
        chosen = {kind: table for kind, table in merged.items() if kinds is None or kind in kinds}
        ends = {kind: int(np.searchsorted(table["step"].to_numpy(), upto, side="right"))
                for kind, table in chosen.items()}  # fmt: skip
        return {kind: chosen[kind].slice(0, end) for kind, end in ends.items() if end}


@dataclass(frozen=True)
class Loaded:
    """All runs. runs: by (config_id, seed). quarantine: config_id, seed, file, reason of files that were not read.
    doubts: config_id, seed, note on implausible clocks and unknown rows.

    excluded: the runs that users left out of the analysis, by (config_id, seed).

    origins: config_id, seed and `provenance.KINDS` ("" where not recorded), one line per attempt that rows come from
    (more where its shards differ).
    """

    runs: Mapping[tuple[str, int], RunRows]
    quarantine: pd.DataFrame
    doubts: pd.DataFrame
    origins: pd.DataFrame
    excluded: frozenset[tuple[str, int]] = frozenset()

    @property
    def count(self) -> int:
        """Rows of all runs."""
        return sum(run.count for run in self.runs.values())

    @property
    def warnings(self) -> list[str]:
        """Warnings for the user: one line about files that were not read, one about doubts."""
        lines = []
        for frame, what in ((self.quarantine, "files set aside"), (self.doubts, "doubts about clocks or rows")):
            for first in frame.head(1).to_dict("records"):
                text = f"{first['file']}: {first['reason'].rstrip('.')}" if "file" in first else first["note"]
                lines.append(f"{what}: {len(frame)}, the first in {first['config_id']}/seed-{first['seed']}: {text}; "
                             "the report lists them under Methods")  # fmt: skip
        return lines

    @property
    def rows(self) -> pd.DataFrame:
        """All rows of the runs that are not excluded, in one frame: config_id, seed, attempt, kind and the columns of
        `merge_shards`. Reads all of them into memory."""
        parts = [rows.assign(config_id=config_id, seed=seed, kind=kind)
                 for (config_id, seed), run in self.runs.items() if (config_id, seed) not in self.excluded
                 for kind, rows in run.frames().items()]  # fmt: skip
        first = ["config_id", "seed", "attempt", "kind"]
        rows = pd.concat(parts, ignore_index=True)
        last = ["event", "nonfinite"]
        return rows.reindex(columns=[*first, *(name for name in rows if name not in (*first, *last)), *last])


def load(sweeps: Sequence[SweepSource]) -> Loaded:
    """Read every run once, however many sweeps share it.

    Raises `AggregateError` where there is no run or not one readable row.
    """
    configs = [config for sweep in sweeps for config in (*sweep.all_configs, *sweep.imported)]
    runs = {(run.config_id, run.seed): run for config in configs for run in config.every_run}
    if not runs:
        raise AggregateError("no runs to aggregate: nothing was submitted; `sweeps submit ensemble --seeds 6` starts")
    read = _read([run for _, run in sorted(runs.items())])
    rejected = [(run.source.config_id, run.source.seed, *bad) for run, files, _ in read for bad in files]
    if not any(run.count for run, _, _ in read):
        bad = f", {len(rejected)} bad files (first: {rejected[0][2]}: {rejected[0][3]})" if rejected else ""
        hint = "wait for the first, see `sweeps status`"
        raise AggregateError(f"no readable metric shards in {len(runs)} runs{bad}: {hint}")
    doubts = [(run.source.config_id, run.source.seed, note) for run, _, notes in read for note in notes]
    origins = [(run.source.config_id, run.source.seed, *origin)
               for run, _, _ in read for attempt in run.attempts.values() for origin in attempt.origins]  # fmt: skip
    return Loaded(
        runs={(run.source.config_id, run.source.seed): run for run, _, _ in read},
        quarantine=pd.DataFrame(rejected, columns=["config_id", "seed", "file", "reason"]),
        doubts=pd.DataFrame(doubts, columns=["config_id", "seed", "note"]),
        origins=pd.DataFrame(origins, columns=["config_id", "seed", *provenance.KINDS]),
        excluded=frozenset((run.config_id, run.seed) for config in configs for run in config.excluded),
    )


class _Read(NamedTuple):
    """A run, its files that were not read, and doubts about its rows."""

    run: RunRows
    rejected: list[run_cache.RejectedFile]
    doubts: list[str]


def _read(sources: Sequence[RunSource]) -> list[_Read]:
    """Runs of which nothing is new are known from their caches; processes are started for many others alone."""
    known = in_threads(_known_run, sources)
    unknown = [source for source, run in zip(sources, known, strict=True) if run is None]
    with mapping(len(unknown), _list) as over:
        read = tracked(over(_load_run, unknown), len(unknown), "reading runs")
        return [run if run is not None else next(read) for run in known]


def _known_run(source: RunSource) -> _Read | None:
    files, foreign = run_cache.list_shards(source.folder)
    known = run_cache.known_facts(files, source.cache)
    return None if known is None else _Read(_rows(source, files, *known), list(foreign), known[0].doubts)


class _Listed(NamedTuple):
    """Shards of a run, other files there, and the content of shards that are new."""

    files: tuple[run_cache.ShardFile, ...]
    foreign: tuple[run_cache.RejectedFile, ...]
    contents: run_cache.Contents


def _list(source: RunSource) -> _Listed:
    files, foreign = run_cache.list_shards(source.folder)
    return _Listed(files, foreign, run_cache.new_content(source.folder, files, source.cache))


def _load_run(source: RunSource, listed: _Listed | None = None) -> _Read:
    files, foreign, contents = listed or _list(source)
    merged = run_cache.load_merged(source.folder, files, source.cache, contents)
    run = _rows(source, files, merged.facts, merged.attempts, whole=not merged.rejected)
    return _Read(run, [*merged.rejected, *foreign], merged.facts.doubts)


def _rows(
    source: RunSource, files: tuple[run_cache.ShardFile, ...], facts: RunFacts,
    attempts: Mapping[int, run_cache.MergedAttempt], *, whole: bool = True,
) -> RunRows:  # fmt: skip
    own = {rank: attempt for rank, attempt in attempts.items() if rank in facts.ranks}
    return RunRows(source, files, facts.rows, facts.spacing, facts.times, own, whole)
