"""Submitted sweeps as `aggregate` wants them: folders and labels, no paths of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.errors import JobsError
from jobs.status import sweeps
from jobs.store import Store

if TYPE_CHECKING:
    from aggregate.load import SweepSource


def sweep_sources(store: Store, names: Sequence[str]) -> list[SweepSource]:
    """The sweeps under `names`, or all. Raises `JobsError` where nothing was submitted."""
    from aggregate.load import ConfigSource, RunSource, SweepSource

    found = sweeps(store, names)
    if not found:
        raise JobsError(f"nothing was submitted to {store.root}; `sweeps submit SWEEP`, or another --results")
    sources = []
    for sweep in found:
        configs = []
        for config, runs in sweep.rows:
            stored = store.read_config(config.config_id)
            if stored is None:
                continue  # reported among the store's problems
            configs.append(
                ConfigSource(
                    config_id=config.config_id,
                    label=config.label,
                    factors={key: _frozen(value) for key, value in config.factors.items()},
                    is_baseline=config.is_baseline,
                    config=stored.to_dict(),
                    total_steps=stored.steps,
                    runs=tuple(
                        RunSource(
                            config.config_id,
                            run.record.ref.seed,
                            store.run_folder(run.record.ref),
                            run.state.state,
                            run.record.attempts,
                        )
                        for run in runs
                    ),
                )
            )
        view = sweep.view
        sources.append(SweepSource(view.name, view.goal, tuple(view.questions), tuple(view.factors), tuple(configs)))
    return sources


def _frozen(value: object) -> object:
    """Lists as tuples: factors are used as keys."""
    return tuple(value) if isinstance(value, list) else value
