"""Confirmations: sweeps of two configurations of another sweep, trained on seeds that neither of them had.

The seeds of a confirmation must not enter the sweep that it confirms: its best configuration was chosen there, and an
analysis that holds both would be neither exploratory nor confirmatory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from jobs.planning.expand import ExpandedSweep
from jobs.results.records import SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError


def of(store: ResultsFolder, sweep: str) -> list[SubmittedSweep]:
    """The confirmations of `sweep`, the oldest first."""
    views = filter(None, map(store.read_sweep, store.sweep_names()))
    return sorted((view for view in views if view.confirms == sweep), key=lambda view: view.time)


def confirmed_by(store: ResultsFolder, name: str) -> str:
    """The sweep that `name` confirms, "" if `name` is no confirmation."""
    view = store.read_sweep(name) if name in store.sweep_names() else None
    return view.confirms if view is not None else ""


def new_name(store: ResultsFolder, sweep: str) -> str:
    """`SWEEP-confirm`, or `SWEEP-confirm-2` and so on if that name is taken."""
    taken = set(store.sweep_names())
    number = 1
    while (name := f"{sweep}-confirm" + (f"-{number}" if number > 1 else "")) in taken:
        number += 1
    return name


def seeds_in_use(store: ResultsFolder, config_ids: Collection[str]) -> set[int]:
    """The seeds of these configurations that any sweep asks for, any submission holds, or any run was started with."""
    used = {seed for config_id in config_ids for seed in store.attempts.seeds(config_id)}
    for view in filter(None, map(store.read_sweep, store.sweep_names())):
        used.update(seed for config in view.configs if config.config_id in config_ids for seed in config.seeds)
    for submission in store.submissions.all():
        used.update(seed for task in submission.tasks if task.config_id in config_ids for seed in task.seeds)
    return used


def seeds_of(store: ResultsFolder, sweep: str) -> set[int]:
    """The seeds of all confirmations of `sweep`."""
    return {seed for view in of(store, sweep) for config in view.configs for seed in config.seeds}


def check_submit(store: ResultsFolder, sweeps: Iterable[ExpandedSweep]) -> None:
    """Raises `JobsError` if the name of a sweep is that of a confirmation, or if its configurations would get seeds of
    its confirmations."""
    for expanded in sweeps:
        name = expanded.sweep.name
        if confirmed := confirmed_by(store, name):
            raise JobsError(
                f"{name} is a confirmation of {confirmed} in {store.root}; give the sweep of the plan another name"
            )
        ids = {configuration.config_id for configuration in expanded.configurations}
        for view in of(store, name):
            seeds = {seed for config in view.configs if config.config_id in ids for seed in config.seeds}
            if shared := sorted(seeds & set(expanded.seeds)):
                kept = sorted(set(expanded.seeds) - seeds)
                instead = [*kept, *next_seeds(seeds.union(kept), len(shared))]
                raise JobsError(
                    f"seeds {format_seeds(shared)} of {name} belong to its confirmation {view.name}, which must stay "
                    f"separate; give others, such as --seeds {format_seeds(instead)}"
                )


def next_seeds(used: Collection[int], count: int) -> list[int]:
    """The `count` seeds after the last of those in use."""
    first = max(used, default=0) + 1
    return list(range(first, first + count))


def format_seeds(seeds: Sequence[int]) -> str:
    """Ascending seeds as `plan_values.parse_seeds` reads them: `7-12`, `1-3,7`, `7-7`."""
    return f"{seeds[0]}-{seeds[0]}" if len(seeds) == 1 else ",".join(_spans(seeds))


def _spans(seeds: Sequence[int]) -> Iterator[str]:
    first = 0
    for place, seed in enumerate(seeds):
        if place + 1 == len(seeds) or seeds[place + 1] != seed + 1:
            yield f"{seeds[first]}-{seed}" if seeds[first] != seed else f"{seed}"
            first = place + 1
