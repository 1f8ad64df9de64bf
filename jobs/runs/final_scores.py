"""The scores by which the report ranks configurations, for `sweeps status`, which computes none."""

from __future__ import annotations

from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import SweepStatus


def final_scores(store: ResultsFolder, sweep: SweepStatus) -> dict[str, float]:
    """By config_id, the mean final score of the done runs of a configuration, without excluded ones, where all of them
    were judged since they ended: by `aggregate`, `view`, or another command that ranks them."""
    from aggregate.inputs import kept_scores

    means = {}
    for config, runs in sweep.rows:
        done = [run.record.ref for run in runs if run.state.state == "done" and not run.is_excluded]
        caches = {run.seed: store.attempts.cache_path(run) for run in done}
        scores = kept_scores.finals(caches, {run.seed: store.attempts.folder(run) for run in done})
        if done and len(scores) == len(done):
            means[config.config_id] = sum(scores.values()) / len(scores)
    return means
