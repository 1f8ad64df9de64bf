"""Which part is updated too fast: hypotheses for policy, value and world model, from flags and their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.flags.detector import FLAG, NOT_ASSESSABLE, OK
from aggregate.flags.registry import BY_NAME


@dataclass(frozen=True)
class Cause:
    """signs: flags that support it. knob: the recommended change. keys: hyperparameters whose value is reported."""

    name: str
    signs: tuple[str, ...]
    knob: str
    keys: tuple[str, ...]


CAUSES = (
    Cause("policy", ("log_std_oscillates", "pi_loss_spikes", "pi_loss_variance", "training_above_evaluation"),
          "lower pi_lr_scale, or raise pi_update_freq", ("pi_lr_scale", "pi_update_freq")),
    Cause("value", ("targets_swing", "value_overshoots", "heads_disagree", "q_heads_disagree"),
          "lower tau, or utd_ratio", ("tau", "utd_ratio")),
    Cause("world model", ("consistency_spikes", "validation_spikes", "consistency_rises", "reward_degrades"),
          "lower lr, or utd_ratio", ("lr", "utd_ratio")),
)  # fmt: skip


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


def hypotheses(findings: pd.DataFrame, votes: pd.DataFrame) -> list[Hypothesis]:
    """Hypotheses that the findings and votes of one configuration support, best supported first.

    One sign is enough. They are ordered by score, then by earlier onset.
    """
    onsets = pd.DataFrame({cause.name: _onsets(findings, cause) for cause in CAUSES}).dropna(how="all")
    earliest = onsets.min(axis=1)
    by_flag = votes.set_index("flag")
    supported = []
    for cause in CAUSES:
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
