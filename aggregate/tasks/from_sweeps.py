"""Runs of sweeps and imports as the input of the analysis across tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from aggregate.analysis.summary import Summary, SweepSummary
from aggregate.inputs.runs import ConfigSource
from aggregate.tasks.analysis import TaskAnalysis, analyse
from aggregate.tasks.references import Reference, check_used

FEWEST_TASKS = 2
RETURN = "return"  # unit of results that the references of known suites are of
_NOT_COMPARED = ("task", "steps", "task_id")  # hyperparameters in which the configurations of an algorithm may differ


class _Cell(NamedTuple):
    """A configuration on its task. scores, curves: of its runs."""

    algorithm: str
    task: str
    scores: pd.DataFrame
    curves: pd.DataFrame
    reference: tuple[float, float] | None
    unit: str


def across_tasks(summary: Summary, declared: Mapping[str, Reference], where: str = "") -> TaskAnalysis | None:
    """The analysis over the tasks of all sweeps; None where there are fewer than `FEWEST_TASKS` tasks, or no algorithm
    with as many. where: of the declared references, for errors. Raises `AggregateError` for a declared task that is not
    there."""
    cells = list(_cells(summary))
    tasks = {cell.task for cell in cells}
    most = max((len({cell.task for cell in cells if cell.algorithm == name}) for name in {c.algorithm for c in cells}),
               default=0)  # fmt: skip
    if most < FEWEST_TASKS:
        if declared:
            check_used(declared, sorted(tasks), where)
        return None
    check_used(declared, sorted(tasks), where)
    own = {cell.task: Reference(*cell.reference) for cell in cells if cell.reference is not None}
    unknown = {cell.task for cell in cells if cell.unit != RETURN} - set(own)
    curves = [cell.curves.assign(algorithm=cell.algorithm, task=cell.task) for cell in cells if len(cell.curves)]
    return analyse(
        pd.concat([cell.scores.assign(algorithm=cell.algorithm, task=cell.task) for cell in cells], ignore_index=True),
        {**own, **declared},
        pd.concat(curves, ignore_index=True) if curves else None,
        without_known=unknown,
    )


def _cells(summary: Summary) -> Iterator[_Cell]:
    """Every configuration with a task, once."""
    names = algorithm_names(summary)
    done: set[str] = set()
    for sweep in summary.sweeps:
        primary = sweep.source.agent.catalogue.primary
        for config, scores, seeds in _configs(sweep):
            if config.config_id in done or not config.config.get("task"):
                continue
            done.add(config.config_id)
            wide = seeds.get(primary.kind, pd.DataFrame(columns=["config_id", "seed", "step", primary.name]))
            points = wide.loc[wide["config_id"] == config.config_id].reindex(columns=["seed", "step", primary.name])
            yield _Cell(
                algorithm=names[config.config_id],
                task=str(config.config["task"]),
                scores=run_results(scores[scores["config_id"] == config.config_id]),
                curves=pd.DataFrame({"seed": points["seed"], "share": points["step"] / sweep.total_steps,
                                     "value": points[primary.name]}).dropna(),
                reference=config.reference,
                unit=primary.unit,
            )  # fmt: skip


def _configs(sweep: SweepSummary) -> Iterator[tuple[ConfigSource, pd.DataFrame, dict[str, pd.DataFrame]]]:
    """(configuration, scores, curves per seed) of a sweep and of what was imported beside it."""
    yield from ((config, sweep.scores, sweep.seeds) for config in sweep.source.configs)
    if sweep.imported is not None:
        yield from ((config, sweep.imported.scores, sweep.imported.seeds) for config in sweep.source.imported)


def run_results(scores: pd.DataFrame) -> pd.DataFrame:
    """seed, value and reason: the final result, a diverged run counted as `start_primary` says."""
    start = scores["start_primary"].to_numpy(dtype=float)
    value = np.where(np.isfinite(start), start, scores["final_primary"].to_numpy(dtype=float))
    reasons = scores["outcome"] if "outcome" in scores else pd.Series("no final result", scores.index)
    reasons = reasons.where(reasons != "finished", "no final result")
    return pd.DataFrame({"seed": scores["seed"], "value": value, "reason": reasons.fillna("no final result")})


def algorithm_names(summary: Summary) -> dict[str, str]:
    """config_id -> name of its algorithm: of an import its own, of a sweep the configuration's label. Configurations
    that differ in more than their task are different algorithms, and bear the name of their sweep too if labels are
    equal."""
    labels: dict[str, dict[str, str]] = {}  # label -> what identifies the algorithm -> name
    names: dict[str, str] = {}
    for sweep in summary.sweeps:
        for config in (*sweep.source.configs, *sweep.source.imported):
            if config.config_id in names:
                continue
            own = {key: value for key, value in config.config.items() if key not in _NOT_COMPARED}
            identity = json.dumps(own, sort_keys=True, default=str)
            label = str(config.config.get("algorithm") or config.name) if config.imported else config.name
            known = labels.setdefault(label, {})
            if identity not in known:
                known[identity] = label if not known else f"{label} ({config.imported or sweep.source.name})"
                if list(known.values()).count(known[identity]) > 1:
                    known[identity] = f"{label} ({config.config_id})"
            names[config.config_id] = known[identity]
    return names
