"""Evaluate the checkpoints of runs: returns under each planner."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.worker import video
from jobs.worker.agent import load_agent
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Evaluable, NoWeights


def evaluate(
    store: ResultsFolder,
    runs: Sequence[RunRef],
    *,
    at: int | None,
    planners: Sequence[str],
    episodes: int,
    device: str,
    threads: int,
    film_to: Path | None = None,
) -> Iterator[dict[str, object]]:
    """One record per run and planner: run, step, planner, returns. Raises `JobsError`.

    film_to: file for a video of the episodes, which requires exactly one run and one planner.
    """
    if film_to is not None:
        if len(runs) != 1 or len(planners) != 1:
            raise JobsError(
                f"--video shows one run under one planner, not {len(runs)} under {len(planners)}: "
                "give ID/seed-N and at most one --planner"
            )
        video.check(film_to)
        os.environ["MUJOCO_GL"] = video.renderer()  # read when the next line imports dm_control
    for run in runs:
        config, folder = store.check_config(run.config_id), store.attempts.folder(run)
        agent, _ = evaluable(store, run, config.agent)
        try:
            for evaluation in agent.evaluate(
                config.values, run.seed, folder,
                at=at, planners=planners, episodes=episodes, device=device, threads=threads,
            ):  # fmt: skip
                yield {
                    "run": str(run),
                    "step": evaluation.step,
                    "planner": evaluation.planner,
                    "returns": list(evaluation.returns),
                }
                if film_to is not None:
                    video.write(film_to, agent.film(config.values, evaluation, video.WIDTH, video.HEIGHT))
        except NoWeights as error:
            raise JobsError(f"{run}: {error}") from error


def check_evaluable(store: ResultsFolder, name: str) -> None:
    """Raises `JobsError` if the agent `name` keeps no weights that can be evaluated."""
    if not store.agents.description(name).capabilities.evaluate:
        raise JobsError(f"agent {name} keeps no weights that `sweeps evaluate` can use")


def late_snapshots(store: ResultsFolder, run: RunRef, last: int, count: int) -> tuple[int, ...]:
    """Steps of the last `count` snapshots of a run up to step `last`, ascending; one is taken for granted. Raises
    `NoWeights` if the run has not kept them, and `JobsError` for an agent that does not list them."""
    if count == 1:
        return (last,)
    name = store.check_config(run.config_id).agent
    agent, _ = evaluable(store, run, name)
    if not hasattr(agent, "snapshots"):
        raise JobsError(f"agent {name} does not list its snapshots (`Evaluable.snapshots`); leave out --last-snapshots")
    kept = sorted(step for step in agent.snapshots(store.attempts.folder(run)) if step <= last)
    if len(kept) < count or kept[-1] != last:
        steps = ", ".join(f"{step:,}" for step in kept) or "none"
        raise NoWeights(f"{run}: {count} snapshots up to step {last:,} are needed, it has kept {steps}")
    return tuple(kept[-count:])


def evaluable(store: ResultsFolder, run: RunRef, name: str) -> tuple[Evaluable, str]:
    """The agent of a run, with the code that the run was submitted with, and the hash of that code. Raises `JobsError`
    if it cannot evaluate."""
    check_evaluable(store, name)
    attempt = store.attempts.load(run, 0).attempt
    submission = store.submissions.read(attempt.submission) if attempt and attempt.submission else None
    agent, code = load_agent(store, name, submission)
    return cast(Evaluable, agent), code
