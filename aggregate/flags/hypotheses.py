"""Which part of an agent is updated too fast: its `Diagnostics.causes`, scored from flags and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.flags.detector import FLAG, NOT_ASSESSABLE, OK
from aggregate.flags.registry import BY_NAME
from sweepwise.core.agent import Cause


@dataclass(frozen=True)
class Hypothesis:
    """The hypothesis that a configuration updates `cause` too fast.

    signs: (flag, seeds that raise it, seeds that could be judged), of the flags that the vote raised. judged: number of
    signs that could be judged. score: share of them that the vote raised, a warning counting half. onset: median over
    seeds of the step of its first sign. first: number of seeds in which one of its signs came before those of the other
    causes, of `seeds` seeds that raise any sign of any cause.
    """

    cause: Cause
    signs: tuple[tuple[str, int, int], ...]
    judged: int
    score: float
    onset: float
    first: int
    seeds: int


def hypotheses(findings: pd.DataFrame, votes: pd.DataFrame, causes: Sequence[Cause]) -> list[Hypothesis]:
    """Hypotheses that the findings and votes of one configuration support, of the agent's `causes`, best supported
    first.

    One sign is enough. They are ordered by score, then by earlier onset.
    """
    onsets = pd.DataFrame({cause.name: _onsets(findings, cause) for cause in causes}).dropna(how="all")
    earliest = onsets.min(axis=1)
    by_flag = votes.set_index("flag")
    supported = []
    for cause in causes:
        own = by_flag[by_flag.index.isin(cause.signs) & (by_flag["state"] != NOT_ASSESSABLE)]
        up = own[own["state"] != OK]
        if up.empty:
            continue
        weights = np.where(up["state"] == FLAG, 1.0, 0.5)
        signs = tuple((str(name), int(line["raised"]), int(line["assessable"])) for name, line in up.iterrows())
        onset, first = float(onsets[cause.name].median()), int((onsets[cause.name] == earliest).sum())
        supported.append(Hypothesis(cause, signs, len(own), weights.sum() / len(own), onset, first, len(onsets)))
    return sorted(supported, key=lambda h: (-h.score, h.onset))


def _onsets(findings: pd.DataFrame, cause: Cause) -> pd.Series:
    """Step of the first sign of the cause, by seed."""
    raised = findings[(findings["state"] == FLAG) & findings["flag"].isin(cause.signs)]
    return raised.groupby("seed")["onset"].min()


def format_hypothesis(hypothesis: Hypothesis) -> str:
    """The evidence as text."""
    h = hypothesis
    named = ", ".join(f"{BY_NAME[name].title} {raised}/{judged}" for name, raised, judged in h.signs)
    order = f"; first sign at step {h.onset:,.0f}, before the others' in {h.first} of {h.seeds} seeds"
    return f"{len(h.signs)} of {h.judged} signs: {named}{order}"
