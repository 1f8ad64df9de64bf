"""Select the runs of a command: by `ID/seed-N`, or by `--where key=value` (a hyperparameter, seed or tag) and
`--indices 3,7-9` of submitted sweeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import RunStatus, SweepStatus
from sweepwise.core.errors import JobsError
from sweepwise.core.schema import Schema
from sweepwise.core.yaml_scalars import PlainText

TAG = "tag"  # in `--where tag=TAG`, unless a hyperparameter has this name
_RUN = re.compile(r"(?P<config>[0-9a-f]{10})(?:/seed-(?P<seed>\d{1,9}))?")
_DIGITS = 9  # of a seed or a number of a run
_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


class _Tag(str):
    """A tag to look for."""


@dataclass(frozen=True)
class SelectedRun:
    """A run of a sweep. number: its position in the sweep, from 1, as shown by `sweeps status --runs`."""

    number: int
    label: str
    run: RunStatus


def select_runs(
    store: ResultsFolder, sweeps: Sequence[SweepStatus], where: Sequence[str] = (), indices: str | None = None
) -> list[SelectedRun]:
    """Each run of `sweeps` once that matches every `key=value` of `where` and whose number is in `indices`."""
    count = max((sum(len(runs) for _, runs in sweep.rows) for sweep in sweeps), default=0)
    chosen_numbers = _numbers(indices, count) if indices is not None else None
    if chosen_numbers is not None and len(sweeps) != 1:
        raise JobsError(f"--indices count the runs of one sweep; name one of {', '.join(s.view.name for s in sweeps)}")
    selection: dict[Any, SelectedRun] = {}
    for sweep in sweeps:
        number = 0
        conditions = [_condition(text, store.agents.schema(sweep.view.agent)) for text in where]
        for config, runs in sweep.rows:
            values = _values(store, config.config_id) if conditions else {}
            for run in runs:
                number += 1
                row = {**values, "seed": run.record.ref.seed}
                holds = all(_holds(condition, row, run) for condition in conditions)
                if holds and (chosen_numbers is None or number in chosen_numbers):
                    selection.setdefault(run.record.ref, SelectedRun(number, sweep.view.run_label(config.label), run))
    if chosen_numbers is not None and (beyond := chosen_numbers - {p.number for p in selection.values()}) and not where:
        raise JobsError(f"--indices {indices}: there is no run {min(beyond)} in {sweeps[0].view.name}")
    if where and not selection:
        names = ", ".join(sweep.view.name for sweep in sweeps)
        condition = " and ".join(where)
        raise JobsError(f"--where {condition}: no run of {names} matches; `sweeps status` shows their values")
    return list(selection.values())


def of_diverged(sweeps: Sequence[SweepStatus], picked: Iterable[SelectedRun]) -> list[SelectedRun]:
    """The `picked` runs whose configuration diverged for at least one seed."""
    diverged = {
        config.config_id
        for sweep in sweeps
        for config, runs in sweep.rows
        if any(r.state.state == "diverged" for r in runs)
    }
    return [p for p in picked if p.run.record.ref.config_id in diverged]


def _condition(text: str, schema: Schema) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise JobsError(f"--where {text!r}: give key=value, such as --where num_q=2")
    if key == TAG and TAG not in {parameter.name for parameter in schema.description.hyperparameters}:
        return TAG, _Tag(value)
    if key == "seed":
        if not value.isdecimal() or len(value) > _DIGITS:
            raise JobsError(f"--where {text!r}: a seed is a whole number")
        return key, int(value)
    return key, schema.parse_value(key, PlainText(value))


def _holds(condition: tuple[str, Any], row: Mapping[str, Any], run: RunStatus) -> bool:
    """row: the values of the run's configuration and its seed."""
    key, value = condition
    if isinstance(value, _Tag):
        return run.annotations is not None and value in run.annotations.tags
    return bool(row.get(key) == value)


def _values(store: ResultsFolder, config_id: str) -> dict[str, Any]:
    config = store.read_config(config_id)
    return dict(config.values) if config is not None else {}


def _numbers(text: str, count: int) -> set[int]:
    """The numbers of `text`; of what lies beyond `count` one, since a range may end anywhere."""
    numbers: set[int] = set()
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        if span is None or not int(span[1]) or int(span[2] or span[1]) < int(span[1]):
            raise JobsError(f"--indices {text!r}: give numbers from 1 and ranges of them, such as 3,7-9")
        first, last = int(span[1]), int(span[2] or span[1])
        numbers.update(range(first, min(last, max(first, count + 1)) + 1))
    return numbers


def names_run(text: str) -> bool:
    """Whether `text` has a form that `runs_named` accepts: `ID/seed-N` or `ID`."""
    return _RUN.fullmatch(text) is not None


def is_run(text: str) -> bool:
    """Whether `text` has the form `ID/seed-N`."""
    match = _RUN.fullmatch(text)
    return match is not None and match["seed"] is not None


def runs_named(store: ResultsFolder, texts: Iterable[str]) -> list[RunRef]:
    """The run of each `ID/seed-N`, and all started seeds of each `ID`. Raises `JobsError` if a run never started."""
    refs: list[RunRef] = []
    for text in texts:
        match = _RUN.fullmatch(text)
        if match is None:
            raise JobsError(f"run {text!r}: give ID/seed-N, or ID for all its seeds, as `sweeps status --runs` shows")
        store.check_config(match["config"])
        started = store.attempts.seeds(match["config"])
        named_seeds = [int(match["seed"])] if match["seed"] else started
        if not named_seeds or not set(named_seeds) <= set(started):
            seeds = ", ".join(map(str, started)) or "none"
            raise JobsError(f"run {text!r} was never started; seeds of {match['config']}: {seeds}")
        refs += [RunRef(match["config"], seed) for seed in named_seeds if RunRef(match["config"], seed) not in refs]
    return refs


def run_named(store: ResultsFolder, text: str) -> RunRef:
    """The run `ID/seed-N` of a stored configuration. Raises `JobsError`."""
    match = _RUN.fullmatch(text)
    if match is None or not match["seed"]:
        raise JobsError(f"run {text!r}: give ID/seed-N, as `sweeps status --runs` shows")
    store.check_config(match["config"])
    return RunRef(match["config"], int(match["seed"]))
