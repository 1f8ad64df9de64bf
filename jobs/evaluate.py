"""Evaluate what runs kept: from `ID/seed-N` on the command line to returns under each planner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from jobs.errors import JobsError
from jobs.store import RunRef, Store

_RUN = re.compile(r"(?P<config>[0-9a-f]{10})(?:/seed-(?P<seed>\d+))?")


def runs_named(store: Store, texts: Iterable[str]) -> list[RunRef]:
    """Runs under `ID/seed-N`, and all seeds under `ID`. Raises `JobsError` where there is none."""
    found: list[RunRef] = []
    for text in texts:
        match = _RUN.fullmatch(text)
        if match is None:
            raise JobsError(f"run {text!r}: give ID/seed-N, or ID for all its seeds, as `sweeps status --runs` shows")
        store.check_config(match["config"])
        there = store.seeds(match["config"])
        asked = [int(match["seed"])] if match["seed"] else there
        if not asked or not set(asked) <= set(there):
            seeds = ", ".join(map(str, there)) or "none"
            raise JobsError(f"run {text!r} was never started; seeds of {match['config']}: {seeds}")
        found += [RunRef(match["config"], seed) for seed in asked if RunRef(match["config"], seed) not in found]
    return found


def evaluate(
    store: Store,
    runs: Sequence[RunRef],
    *,
    at: int | None,
    planners: Sequence[str],
    episodes: int,
    device: str,
    threads: int,
) -> Iterator[dict[str, object]]:
    """One record per run and planner: run, step, planner, returns. Raises `JobsError`."""
    from tdmpc import run as training

    for run in runs:
        config, folder = store.check_config(run.config_id), store.run_folder(run)
        try:
            for found in training.evaluate(
                config, run.seed, folder, at=at, planners=planners, episodes=episodes, device=device, threads=threads
            ):
                yield {
                    "run": str(run),
                    "step": found.step,
                    "planner": found.planner,
                    "returns": list(found.returns),
                }
        except training.NoWeights as error:
            raise JobsError(f"{run}: {error}") from error
