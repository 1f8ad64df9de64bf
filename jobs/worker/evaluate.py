"""Evaluate the checkpoints of runs: returns under each planner."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.worker import video
from sweepwise.core.errors import JobsError


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
    from tdmpc import api as training

    for run in runs:
        config, folder = store.check_config(run.config_id), store.attempts.folder(run)
        try:
            for evaluation in training.evaluate(
                config, run.seed, folder, at=at, planners=planners, episodes=episodes, device=device, threads=threads
            ):
                yield {
                    "run": str(run),
                    "step": evaluation.step,
                    "planner": evaluation.planner,
                    "returns": list(evaluation.returns),
                }
                if film_to is not None:
                    video.write(film_to, training.film(config, evaluation, video.WIDTH, video.HEIGHT))
        except training.NoWeights as error:
            raise JobsError(f"{run}: {error}") from error
