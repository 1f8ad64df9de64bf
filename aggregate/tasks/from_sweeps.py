"""Runs of sweeps and imports as the input of the analysis across tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from aggregate.analysis.summary import BriefSummary, Summary, SweepSummary
from aggregate.inputs.runs import DIVERGED, DONE, STOPPED, ConfigSource
from aggregate.tasks.analysis import TaskAnalysis, analyse
from aggregate.tasks.references import RANDOM, Declared, Reference, check_used, reference_of
from aggregate.verdict.verdict import RERUN
from sweepwise.core.errors import AggregateError, near
from sweepwise.core.metrics import Metric

FEWEST_TASKS = 2
RETURN = "return"  # unit of results that the references of known suites are of


class _Cell(NamedTuple):
    """A configuration on its task. scores, curves: of its runs. reference: declared by its files or its plan. random:
    mean result of random actions there, NaN where unknown. sign: -1 where lower is better."""

    algorithm: str
    task: str
    scores: pd.DataFrame
    curves: pd.DataFrame
    reference: Declared | None
    unit: str
    random: float
    sign: int


def across_tasks(summary: Summary, declared: Mapping[str, Declared], where: str = "") -> TaskAnalysis | None:
    """The analysis over the tasks of all sweeps; None where there are fewer than `FEWEST_TASKS` tasks, or no algorithm
    with as many. where: of the declared references, for errors. Raises `AggregateError` for a declared task or
    algorithm that is not there."""
    cells = list(_cells(summary))
    tasks = {cell.task for cell in cells}
    check_used(declared, sorted(tasks), where)
    most = max((len({cell.task for cell in cells if cell.algorithm == name}) for name in {c.algorithm for c in cells}),
               default=0)  # fmt: skip
    if most < FEWEST_TASKS:
        return None
    references, unusable = _references(cells, declared, where)
    analysis = analyse(
        _together(cells, [cell.scores for cell in cells]),
        references,
        _together(cells, [cell.curves for cell in cells]),
        unusable,
        max((sweep.source.interim_analyses for sweep in summary.every), key=lambda own: (own.count, own.seeds)),
    )
    return replace(analysis, next_command=_next_command(summary, analysis))


def _together(cells: Sequence[_Cell], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The frames of the cells as one, with the columns algorithm and task."""
    counts = [len(frame) for frame in frames]
    whole = pd.concat([frame for frame in frames if len(frame)] or [frames[0]], ignore_index=True)
    owners = {name: np.repeat([getattr(cell, name) for cell in cells], counts) for name in ("algorithm", "task")}
    return whole.drop(columns="config_id").assign(**owners)


def is_clear(analysis: TaskAnalysis) -> bool:
    """Whether the best algorithm is better than each of the others, on all tasks."""
    rivals = analysis.pairs[analysis.pairs["a"] == analysis.algorithms[0]] if analysis.algorithms else analysis.pairs
    everywhere = len(analysis.common) == analysis.runs["task"].nunique()
    ahead = rivals["distinct"] & (rivals["difference"] > 0)
    return bool(everywhere and len(rivals) == analysis.runs["algorithm"].nunique() - 1 > 0 and ahead.all())


def _next_command(summary: Summary, analysis: TaskAnalysis) -> str:
    """What to run next about the sweep of several tasks whose tasks all sweeps are; "" for others."""
    (name, *others) = dict.fromkeys(sweep.source.tasks_of for sweep in summary.every)
    if others or not name:
        return ""
    states = {state for sweep in summary.every for state in sweep.states}
    if options := dict.fromkeys(option for state, option in RERUN.items() if state in states):
        return f"sweeps rerun {name} {' '.join(options)}"
    if states - {DONE, DIVERGED, STOPPED}:
        return f"sweeps status {name}, until the rest has finished"
    if is_clear(analysis):
        return f"sweeps adopt {name} --from-verdict, then `sweeps next`"
    return f"sweeps submit {name} --seeds N for more seeds, or sweeps adopt {name} --config ID"


def _references(
    cells: Sequence[_Cell], declared: Mapping[str, Declared], where: str
) -> tuple[dict[str, Reference], dict[str, str]]:
    """(reference by task, why that of a task cannot be used). `declared` goes before what files and plans declare, and
    this before what is known of a suite. Raises `AggregateError` for a `declared` algorithm that is not there."""
    algorithms = {cell.algorithm for cell in cells}
    for name in (name for pair in declared.values() for name in pair if isinstance(name, str)):
        if name not in (RANDOM, *algorithms):
            raise AggregateError(f"{where}: there is no algorithm {name!r}; {near(name, [RANDOM, *algorithms])}")
    references: dict[str, Reference] = {}
    unusable: dict[str, str] = {}
    for task in sorted({cell.task for cell in cells}):
        own = [cell for cell in cells if cell.task == task]
        of_files = next((cell.reference for cell in own if cell.reference is not None), None)
        known = reference_of(task, {}, all(cell.unit == RETURN for cell in own))
        reference = reference_of(task, declared, returns=False) or of_files or known
        if reference is None:
            continue
        ends = [_result(name, own) for name in reference]
        unknown = [name for name in reference if isinstance(name, str) and name not in (RANDOM, *algorithms)]
        if unknown:
            unusable[task] = f"no algorithm has the name of the reference {unknown[0]}"
        elif lacking := [str(name) for name, end in zip(reference, ends, strict=True) if not np.isfinite(end)]:
            unusable[task] = f"the reference {lacking[0]} has no result there"
        elif any(isinstance(name, str) for name in reference) and own[0].sign * (ends[1] - ends[0]) <= 0:
            unusable[task] = f"the reference {reference.one} is not better there than {reference.zero}"
        else:
            references[task] = Reference(*ends)
    return references, unusable


def _result(name: float | str, cells: Sequence[_Cell]) -> float:
    """The result that counts for one end of a reference; NaN where that is unknown. cells: of the task."""
    if not isinstance(name, str):
        return name
    if name == RANDOM:
        return next((cell.random for cell in cells if np.isfinite(cell.random)), np.nan)
    return float(pd.concat([cell.scores["value"] for cell in cells if cell.algorithm == name] or [_NONE]).mean())


_NONE = pd.Series(dtype=float)


def _cells(summary: Summary) -> Iterator[_Cell]:
    """Every configuration with a task, once. Runs of confirmations are left out, whose seeds must stay separate."""
    names = algorithm_names(summary)
    done: set[str] = set()
    for sweep in (sweep for sweep in summary.every if not sweep.source.confirms):
        catalogue = sweep.source.agent.catalogue
        for configs, scores, seeds in _parts(sweep):
            results = dict(iter(run_results(scores).groupby("config_id")))
            points = dict(iter(_points(seeds, catalogue.primary, sweep.total_steps).groupby("config_id")))
            for config in configs:
                task = config.task_of(sweep.source.agent)
                if config.config_id in done or not task:
                    continue
                done.add(config.config_id)
                yield _Cell(
                    algorithm=names[config.config_id],
                    task=task,
                    scores=results.get(config.config_id, _NO_RESULTS),
                    curves=points.get(config.config_id, _NO_POINTS),
                    reference=Declared(*config.reference) if config.reference else None,
                    unit=catalogue.primary.unit,
                    random=sweep.random.mean if sweep.random else np.nan,
                    sign=catalogue.sign,
                )


def _parts(
    sweep: SweepSummary | BriefSummary,
) -> Iterator[tuple[Sequence[ConfigSource], pd.DataFrame, dict[str, pd.DataFrame]]]:
    """(configurations, their scores, their curves per seed) of a sweep and of what was imported beside it."""
    yield sweep.source.configs, sweep.scores, sweep.seeds
    if sweep.imported is not None:
        yield sweep.source.imported, sweep.imported.scores, sweep.imported.seeds


def _points(seeds: Mapping[str, pd.DataFrame], primary: Metric, total: int) -> pd.DataFrame:
    """config_id, seed, share (of the steps), value: the evaluations of all runs."""
    wide = seeds.get(primary.kind, pd.DataFrame()).reindex(columns=["config_id", "seed", "step", primary.name])
    shares = wide["step"].to_numpy(dtype=float) / total
    return pd.DataFrame(
        {"config_id": wide["config_id"], "seed": wide["seed"], "share": shares, "value": wide[primary.name]}
    ).dropna()


def run_results(scores: pd.DataFrame) -> pd.DataFrame:
    """config_id, seed, value and reason: the final result, a diverged run counted as `start_primary` says."""
    start = scores["start_primary"].to_numpy(dtype=float)
    value = np.where(np.isfinite(start), start, scores["final_primary"].to_numpy(dtype=float))
    reasons = scores["outcome"] if "outcome" in scores else pd.Series("no final result", scores.index)
    reasons = reasons.where(reasons != "finished", "no final result").fillna("no final result")
    return pd.DataFrame({"config_id": scores["config_id"], "seed": scores["seed"], "value": value, "reason": reasons})


_NO_RESULTS = pd.DataFrame(columns=["config_id", "seed", "value", "reason"])
_NO_POINTS = pd.DataFrame(columns=["config_id", "seed", "share", "value"])


def algorithm_names(summary: Summary) -> dict[str, str]:
    """config_id -> name of its algorithm: of an import its own, of a sweep the configuration's label. Configurations
    that differ in more than their task and its steps are different algorithms; where labels are equal, those after the
    first bear the name of their sweep too."""
    labels: dict[str, dict[str, str]] = {}  # label -> what identifies the algorithm -> name
    names: dict[str, str] = {}
    for sweep in summary.every:
        agent = sweep.source.agent
        for config in (*sweep.source.configs, *sweep.source.imported):
            if config.config_id in names:
                continue
            per_task = ("task", "task_id", "steps") if config.imported else (agent.task, agent.steps, "task_id")
            own = {key: value for key, value in config.config.items() if key not in per_task}
            trained = "" if config.imported else f"{agent.name} {config.version}"
            identity = json.dumps([trained, own], sort_keys=True, default=str)
            label = str(config.config.get("algorithm") or config.name) if config.imported else config.name
            known = labels.setdefault(label, {})
            if identity not in known:
                origin = config.imported or sweep.source.tasks_of or sweep.source.name
                known[identity] = label if not known else f"{label} ({origin})"
                if list(known.values()).count(known[identity]) > 1:
                    known[identity] = f"{label} ({config.config_id})"
            names[config.config_id] = known[identity]
    return names
