"""Learning curves from elsewhere: taken into the results folder, and set beside sweeps when these are judged.

They are no runs of this project: `status`, `submit` and `rerun` do not know them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.lock import alone
from jobs.results.records import Import, ImportedConfig
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError, near

if TYPE_CHECKING:
    from aggregate.importers import Curve
    from aggregate.inputs.runs import ConfigSource, SweepSource


def take(store: ResultsFolder, name: str, paths: Sequence[Path], maps: Sequence[str], **options: Any) -> Import:
    """Import files under `name`, in place of what had that name before. options: as in `aggregate.importers.Asked`.

    Raises `JobsError` where a file or an option is wrong; the results folder is then as it was.
    """
    from aggregate import importers

    store.import_path(name)  # refuses a bad name before anything is read
    if name in store.sweep_names():
        raise JobsError(f"name {name!r}: a sweep of {store.root} has it; choose another")
    try:
        asked = importers.ImportOptions.of(maps, **options)
        curves = importers.collect(paths, asked)
    except importers.CurveImportError as error:
        raise JobsError(str(error)) from error
    made = Import(name, uuid.uuid4().hex[:16], [str(path) for path in paths], asked.frames_per_step,
                  _configs(name, curves), time.time())  # fmt: skip
    folders = {
        curve.key: store.imported_folder(name, made.data, RunRef(_identity(name, *curve.key[:2]), curve.key.seed))
        for curve in curves
    }
    store.prepare()
    with alone(store):
        try:
            importers.write(curves, folders, asked.frames_per_step)
            store.write_import(made)
        finally:
            store.tidy_import(name)
    return made


def _identity(name: str, algorithm: str, task: str) -> str:
    return hashlib.sha256(json.dumps([name, algorithm, task]).encode()).hexdigest()[:10]


def _configs(name: str, curves: Sequence[Curve]) -> list[ImportedConfig]:
    configs = []
    for (algorithm, task), group in itertools.groupby(curves, key=lambda curve: curve.key[:2]):
        own = list(group)
        seeds = [curve.key.seed for curve in own]
        last = max(curve.last_step for curve in own)
        configs.append(ImportedConfig(_identity(name, algorithm, task), algorithm, task, seeds, last))
    return configs


# --- for `aggregate` ------------------------------------------------------------------------------------


def sources(store: ResultsFolder, names: Sequence[str]) -> tuple[list[SweepSource], list[str]]:
    """What `names` mean, or everything: sweeps, with the imported curves of their task beside them; where only imports
    are named, one source per task (NAME, or NAME.TASK for one). Also what to tell the user of imports left out.

    Raises `JobsError` for an unknown name, and where there is nothing.
    """
    imports, rest = _chosen(store, names)
    if (names and not rest) or (not names and imports and not store.sweep_names()):
        return _by_task(store, imports), []
    found = sweep_sources(store, rest)
    told: list[str] = []
    for made, configs in imports:
        new = [_beside(store, sweep, made, configs, told) for sweep in found]
        found = [replace(sweep, imported=sweep.imported + own) for sweep, own in zip(found, new, strict=True)]
        if names and not any(new):
            told.append(f"{made.name} has no curve beside these sweeps; it has {_listed(c.task for c in configs)}")
    return found, told


def _chosen(store: ResultsFolder, names: Sequence[str]) -> tuple[list[tuple[Import, list[ImportedConfig]]], list[str]]:
    """(imports with the configurations asked for, other names)."""
    known = {name: made for name in store.import_names() if (made := store.read_import(name)) is not None}
    if not names:
        return [(made, made.configs) for made in known.values()], []
    chosen: dict[str, dict[str, ImportedConfig]] = {}
    rest, views = [], store.sweep_names()
    for asked in names:
        name, dot, task = asked.partition(".")
        if name in known:
            configs = {c.config_id: c for c in known[name].configs if not dot or c.task == task}
            if not configs:
                legal = near(task, dict.fromkeys(c.task for c in known[name].configs))
                raise JobsError(f"import {name!r} has no task {task!r}; {legal}")
            chosen[name] = chosen.get(name, {}) | configs
        elif known and not any(view == asked or view.startswith(f"{asked}.") for view in views):
            legal = near(asked, [*views, *known])
            raise JobsError(f"{asked!r} was neither submitted to {store.root} nor imported; {legal}")
        else:
            rest.append(asked)
    return [(known[name], list(configs.values())) for name, configs in chosen.items()], rest


def _beside(
    store: ResultsFolder, sweep: SweepSource, made: Import, configs: Sequence[ImportedConfig], told: list[str]
) -> tuple[ConfigSource, ...]:
    """The imported curves of the sweep's task, up to its last step."""
    tasks = {config.config.get("task") for config in sweep.configs}
    own = [config for config in configs if len(tasks) == 1 and config.task in tasks]
    repeats = {config.config.get("action_repeat") for config in sweep.configs}
    if own and made.frames_per_step is not None and repeats != {made.frames_per_step}:
        said = _listed(str(repeat) for repeat in repeats)
        told.append(f"{made.name} has {made.frames_per_step} frames to a step and {sweep.name} {said}: not beside it")
        return ()
    total = max((config.total_steps for config in sweep.configs), default=1)
    return tuple(_config_source(store, made, config, total) for config in own)


def _by_task(store: ResultsFolder, imports: Sequence[tuple[Import, list[ImportedConfig]]]) -> list[SweepSource]:
    """One source per import and task, judged up to the last step that all its algorithms reach."""
    from aggregate.inputs.runs import SweepSource

    found = []
    for made, configs in imports:
        for task in dict.fromkeys(config.task for config in configs):
            own = [config for config in configs if config.task == task]
            total = max(1, min(config.last_step for config in own))
            goal = "Imported curves"
            if any(config.last_step > total for config in own):
                goal += f", up to the last step that all of them reach ({total:,})"
            made_sources = tuple(_config_source(store, made, config, total) for config in own)
            found.append(SweepSource(f"{made.name}.{task}", goal, (), (), made_sources))
    return sorted(found, key=lambda source: source.name)


def _config_source(store: ResultsFolder, made: Import, config: ImportedConfig, total: int) -> ConfigSource:
    from aggregate.inputs.runs import DONE, ConfigSource, RunSource

    runs = [RunRef(config.config_id, seed) for seed in config.seeds]
    return ConfigSource(
        config_id=config.config_id,
        label=config.algorithm,
        factors={},
        is_baseline=False,
        config={"task": config.task, "algorithm": config.algorithm, "imported": made.name},
        total_steps=total,
        runs=tuple(
            RunSource(run.config_id, run.seed, store.imported_folder(made.name, made.data, run), DONE, 1)
            for run in runs
        ),
        imported=made.name,
    )


def _listed(words: Any) -> str:
    found = list(dict.fromkeys(words))
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
