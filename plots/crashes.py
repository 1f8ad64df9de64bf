"""Return curves once more, with a crash counted as the worst, beside what was observed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from aggregate.analysis.summary import SweepSummary
from plots import curves
from plots.figures import RETURNS, Picture, lines
from plots.tables import Chip
from tdmpc.metrics import METRICS


def crashes(sweep: SweepSummary, chips: Sequence[Chip], frame: curves.Frame) -> list[tuple[str, Picture]]:
    """(title, picture) per kind of return, of the configurations with crashed runs; none where no run crashed."""
    found = []
    for metric, title in RETURNS:
        worst = sweep.worst[sweep.worst["metric"] == metric]
        means = dict(iter(worst.groupby("config_id")))
        pairs = [(line, means[chip.config_id]) for chip, line in lines(sweep, chips, metric) if chip.config_id in means]
        if pairs:
            label = f"{title}: observed, and dotted with a crash counted as the worst"
            found.append((title, Picture(Markup(_drawn(pairs, frame, metric).svg), {}, label)))
    return found


def _drawn(pairs: Sequence[tuple[curves.Line, pd.DataFrame]], frame: curves.Frame, metric: str) -> curves.Drawn:
    return curves.with_crashes(pairs, frame, unit=METRICS[metric].unit)
