"""Learning curves of other programs: import them into the results folder, and show them in reports beside sweeps.

Imported curves are not runs of this project: `status`, `submit` and `rerun` ignore them.
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

from jobs.programs import registry
from jobs.reports.inputs import nothing_submitted, sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.lock import alone
from jobs.results.records import Import, ImportedConfig
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import selected
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import JobsError, near
from sweepwise.core.value_format import listed

if TYPE_CHECKING:
    from aggregate.importers import Collected, ImportOptions
    from aggregate.inputs.runs import ConfigSource, SweepSource


def read(
    store: ResultsFolder, paths: Sequence[Path], maps: Sequence[str], collect_errors: bool = False, **options: Any
) -> tuple[Collected, ImportOptions]:  # fmt: skip
    """The curves of files, and how they were read; nothing is written. collect_errors, options: see
    `aggregate.importers.collect` and `ImportOptions.of`. Raises `JobsError` if a file or an option is invalid."""
    from aggregate import importers

    try:
        import_options = importers.ImportOptions.of(maps, _agent(store).catalogue, **options)
        return importers.collect(paths, import_options, collect_errors), import_options
    except importers.CurveImportError as error:
        raise JobsError(str(error)) from error


def take(
    store: ResultsFolder, name: str, paths: Sequence[Path], maps: Sequence[str], **options: Any
) -> tuple[Import, list[str]]:  # fmt: skip
    """(record, notes) of the import of files under `name`, which replaces an earlier one. options: see `read`.

    Raises `JobsError` if a file or an option is invalid; the results folder is then unchanged.
    """
    from aggregate import importers

    store.import_path(name)  # raises for an illegal name before any file is read
    if name in store.sweep_names():
        raise JobsError(f"name {name!r}: a sweep of {store.root} has this name; choose another")
    collected, import_options = read(store, paths, maps, **options)
    curves = collected.curves
    record = Import(name, uuid.uuid4().hex[:16], [str(path) for path in paths], import_options.frames_per_step,
                  _configs(name, collected), time.time())  # fmt: skip
    folders = {
        curve.key: store.imported_folder(
            name, record.data, RunRef(_hash_config_id(name, *curve.key[:2]), curve.key.seed)
        )
        for curve in curves
    }
    store.prepare()
    with alone(store):
        try:
            importers.write(curves, folders, import_options)
            store.write_import(record)
        finally:
            store.tidy_import(name)
    return record, collected.notes


def _agent(store: ResultsFolder) -> AgentDescription:
    """Whose metrics imported curves are: of the agent that all sweeps here train, else of the packaged one."""
    views = (store.read_sweep(name) for name in store.sweep_names())
    names = {view.agent for view in views if view is not None}
    return store.agents.description(names.pop() if len(names) == 1 else registry.PACKAGED)


def _hash_config_id(name: str, algorithm: str, task: str) -> str:
    return hashlib.sha256(json.dumps([name, algorithm, task]).encode()).hexdigest()[:10]


def _configs(name: str, collected: Collected) -> list[ImportedConfig]:
    configs = []
    for (algorithm, task), group in itertools.groupby(collected.curves, key=lambda curve: curve.key[:2]):
        task_curves = list(group)
        seeds = [curve.key.seed for curve in task_curves]
        last = max(curve.last_step for curve in task_curves)
        reference = list(collected.references.get(task, ()))
        configs.append(ImportedConfig(_hash_config_id(name, algorithm, task), algorithm, task, seeds, last, reference))
    return configs


# --- for `aggregate` ------------------------------------------------------------------------------------


def check_names(store: ResultsFolder, names: Sequence[str]) -> None:
    """Raises `JobsError` for what `sources` would refuse: an unknown name, and a folder without results."""
    imports, rest = _select_imports(store, names)
    if rest:
        selected(store, rest)
    elif not imports and not store.sweep_names():
        raise nothing_submitted(store)


def sources(
    store: ResultsFolder, names: Sequence[str], max_age_s: float = 0.0
) -> tuple[list[SweepSource], list[str]]:  # fmt: skip
    """(sources, warnings about imports that were left out) for `names`, or for everything.

    Sweeps get the imported curves of their task. If only imports are named, there is one source per import and task
    (NAME, or NAME.TASK for one task). max_age_s: see `jobs.runs.status.load_statuses`. Raises `JobsError` for an
    unknown name, and if there are no results.
    """
    imports, rest = _select_imports(store, names)
    if (names and not rest) or (not names and imports and not store.sweep_names()):
        return _sources_by_task(store, imports, _agent(store)), []
    sweeps = sweep_sources(store, rest, max_age_s)
    notes: list[str] = []
    for record, configs in imports:
        curves_by_sweep = [_curves_for_sweep(store, sweep, record, configs, notes) for sweep in sweeps]
        sweeps = [
            replace(sweep, imported=sweep.imported + curves)
            for sweep, curves in zip(sweeps, curves_by_sweep, strict=True)
        ]
        if names and not any(curves_by_sweep):
            notes.append(
                f"{record.name} has no curves for tasks of these sweeps, only for {_join_some(c.task for c in configs)}"
            )
    return sweeps, notes


def _select_imports(
    store: ResultsFolder, names: Sequence[str]
) -> tuple[list[tuple[Import, list[ImportedConfig]]], list[str]]:
    """(imports with the selected configurations, other names)."""
    known = {name: record for name in store.import_names() if (record := store.read_import(name)) is not None}
    if not names:
        return [(record, record.configs) for record in known.values()], []
    chosen: dict[str, dict[str, ImportedConfig]] = {}
    rest, views = [], store.sweep_names()
    for requested in names:
        name, dot, task = requested.partition(".")
        if name in known:
            configs = {c.config_id: c for c in known[name].configs if not dot or c.task == task}
            if not configs:
                legal = near(task, dict.fromkeys(c.task for c in known[name].configs))
                raise JobsError(f"import {name!r} has no task {task!r}; {legal}")
            chosen[name] = chosen.get(name, {}) | configs
        elif known and not any(view == requested or view.startswith(f"{requested}.") for view in views):
            legal = near(requested, [*views, *known])
            raise JobsError(f"{requested!r} was neither submitted to {store.root} nor imported; {legal}")
        else:
            rest.append(requested)
    return [(known[name], list(configs.values())) for name, configs in chosen.items()], rest


def _curves_for_sweep(
    store: ResultsFolder, sweep: SweepSource, record: Import, configs: Sequence[ImportedConfig], notes: list[str]
) -> tuple[ConfigSource, ...]:
    """The imported curves of the sweep's task, up to its last step. Adds a note if the frames per step differ."""
    tasks = {config.task_of(sweep.agent) for config in sweep.configs}
    matching = [config for config in configs if len(tasks) == 1 and config.task in tasks]
    repeats = {config.config.get("action_repeat") for config in sweep.configs}
    if matching and record.frames_per_step is not None and repeats != {record.frames_per_step}:
        repeats_text = _join_some(str(repeat) for repeat in repeats)
        notes.append(
            f"{record.name} has {record.frames_per_step} frames per step and {sweep.name} {repeats_text}: "
            "not shown next to it"
        )
        return ()
    total = max((config.total_steps for config in sweep.configs), default=1)
    return tuple(_config_source(store, record, config, total) for config in matching)


def _sources_by_task(
    store: ResultsFolder, imports: Sequence[tuple[Import, list[ImportedConfig]]], agent: AgentDescription
) -> list[SweepSource]:
    """One source per import and task, evaluated up to the last step that all its algorithms reach."""
    from aggregate.inputs.runs import SweepSource

    task_sources = []
    for record, configs in imports:
        for task in dict.fromkeys(config.task for config in configs):
            task_configs = [config for config in configs if config.task == task]
            total = max(1, min(config.last_step for config in task_configs))
            goal = "Imported curves"
            if any(config.last_step > total for config in task_configs):
                goal += f", up to the last step that all of them reach ({total:,})"
            config_sources = tuple(_config_source(store, record, config, total) for config in task_configs)
            task_sources.append(SweepSource(f"{record.name}.{task}", goal, (), (), config_sources, agent))
    return sorted(task_sources, key=lambda source: source.name)


def _config_source(store: ResultsFolder, record: Import, config: ImportedConfig, total: int) -> ConfigSource:
    from aggregate.inputs.runs import DONE, ConfigSource, RunSource

    runs = [RunRef(config.config_id, seed) for seed in config.seeds]
    return ConfigSource(
        config_id=config.config_id,
        label=config.algorithm,
        factors={},
        is_baseline=False,
        config={"task": config.task, "algorithm": config.algorithm, "imported": record.name},
        total_steps=total,
        runs=tuple(
            RunSource(run.config_id, run.seed, store.imported_folder(record.name, record.data, run), DONE, 1)
            for run in runs
        ),
        imported=record.name,
        reference=(config.reference[0], config.reference[1]) if len(config.reference) == 2 else None,
    )


def _join_some(words: Any) -> str:
    return listed(list(dict.fromkeys(words)), 8)
