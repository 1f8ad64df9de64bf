"""Returns of evaluations after training, with the same number of episodes for all configurations of a sweep."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from aggregate.inputs.plan_questions import ENDPOINTS
from aggregate.inputs.runs import SweepSource

COLUMN = ENDPOINTS["evaluation"].column


def episodes_of(sweep: SweepSource) -> int:
    """The number of episodes that most runs of the sweep, and of those that its questions need, were evaluated with;
    the larger of two that are equally frequent; 0 without evaluations."""
    runs = (run for config in sweep.all_configs for run in config.runs)
    counts = Counter(len(returns) for run in runs for returns in run.evaluations)
    return max(counts, key=lambda episodes: (counts[episodes], episodes), default=0)


def with_evaluations(scores: pd.DataFrame, sweep: SweepSource) -> pd.DataFrame:
    """`scores` with `COLUMN`: the mean over exactly `episodes_of` episodes; NaN for a run that was not evaluated with
    as many, so that no configuration is compared on more episodes than another. scores: one line per run."""
    episodes = episodes_of(sweep)
    means = {
        (run.config_id, run.seed): float(np.mean(returns))
        for config in sweep.all_configs
        for run in config.runs
        for returns in run.evaluations
        if len(returns) == episodes
    }
    runs = zip(scores["config_id"], scores["seed"], strict=True)
    return scores.assign(**{COLUMN: pd.Series([means.get(run, np.nan) for run in runs], scores.index, dtype=float)})
