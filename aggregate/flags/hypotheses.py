"""What may have caused flags: the causes that an agent declares, scored from the flags and their order.

Most causes are a part of the agent that is updated too fast. Others are alternatives that would show the same flags:
evaluation that plans differently, too few evaluation episodes, and events of the schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.flags.detector import FLAG, NOT_ASSESSABLE, OK
from aggregate.flags.registry import BY_NAME
from sweepwise.core.agent import Cause

# An onset belongs to an event from shortly before it (smoothing shifts onsets) until shortly after; shares of training.
BEFORE_EVENT, AFTER_EVENT = 0.05, 0.1
# Seeds whose first sign must belong to an event: of those that show a sign, of all, and their number. A cause that
# begins at any time shows some signs near an event by chance.
OF_SIGNS, OF_SEEDS, FEWEST_AT_EVENT = 2 / 3, 1 / 2, 2

Windows = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Hypothesis:
    """The hypothesis that `cause` explains the flags of a configuration.

    signs: (flag, seeds that raise it, seeds that could be judged), of the flags that the vote raised. judged: number of
    signs that could be judged. score: share of them that the vote raised, a warning counting half, times 1 less the
    weight of the strongest flag against it; for an event, the share of seeds whose first sign begins there. onset:
    median over seeds of the step of its first sign. first: number of seeds in which one of its signs came before those
    of the other causes, of `seeds` seeds that raise any sign of any cause. at_event: (seeds whose first sign begins at
    an event of the cause, seeds with a sign), None for a cause without events.
    """

    cause: Cause
    signs: tuple[tuple[str, int, int], ...]
    judged: int
    score: float
    onset: float
    first: int
    seeds: int
    at_event: tuple[int, int] | None = None


def onset_windows(events: pd.DataFrame, total_steps: int) -> Windows:
    """Event -> (first, last) step of the onsets that belong to it. events: `event` and `step`, of one configuration."""
    before, after = BEFORE_EVENT * total_steps, AFTER_EVENT * total_steps
    return {
        str(event): (step - before, step + after) for event, step in zip(events["event"], events["step"], strict=True)
    }


def hypotheses(
    findings: pd.DataFrame, votes: pd.DataFrame, causes: Sequence[Cause], windows: Windows | None = None
) -> list[Hypothesis]:
    """Hypotheses that the findings and votes of one configuration support, of the agent's `causes`, best supported
    first. windows: see `onset_windows`; without them no event is a cause.

    One sign is enough. They are ordered by score, then events before other causes, then by earlier onset.
    """
    if votes["state"].isin([OK, NOT_ASSESSABLE]).all():
        return []
    onsets = pd.DataFrame({cause.name: _onsets(findings, cause) for cause in causes}).dropna(how="all")
    earliest = onsets.min(axis=1)
    by_flag = votes.set_index("flag")
    supported = []
    for cause in causes:
        own = by_flag[by_flag.index.isin(cause.signs) & (by_flag["state"] != NOT_ASSESSABLE)]
        up = own[own["state"] != OK]
        if up.empty:
            continue
        at_event = _at_event(onsets[cause.name].dropna(), cause, windows or {})
        score = _score(by_flag, cause, _weights(up["state"]).sum() / len(own), at_event, findings["seed"].nunique())
        if not score:
            continue
        signs = tuple((str(name), int(line["raised"]), int(line["assessable"])) for name, line in up.iterrows())
        onset, first = float(onsets[cause.name].median()), int((onsets[cause.name] == earliest).sum())
        supported.append(Hypothesis(cause, signs, len(own), score, onset, first, len(onsets), at_event))
    return sorted(supported, key=lambda h: (-h.score, h.at_event is None, h.onset))


def of_configuration(
    config_id: str, findings: pd.DataFrame, votes: pd.DataFrame, events: pd.DataFrame, total_steps: int,
    causes: Sequence[Cause],
) -> list[Hypothesis]:  # fmt: skip
    """`hypotheses` of one configuration of a sweep. events: `config_id`, `event` and `step`."""
    own, voted, happened = (frame[frame["config_id"] == config_id] for frame in (findings, votes, events))
    return hypotheses(own, voted, causes, onset_windows(happened, total_steps))


def _weights(states: pd.Series) -> np.ndarray:
    """Of the votes of flags that are not ok: a warning counts half."""
    return np.where(states == FLAG, 1.0, 0.5)


def _onsets(findings: pd.DataFrame, cause: Cause) -> pd.Series:
    """Step of the first sign of the cause, by seed."""
    raised = findings[(findings["state"] == FLAG) & findings["flag"].isin(cause.signs)]
    return raised.groupby("seed")["onset"].min()


def _at_event(onsets: pd.Series, cause: Cause, windows: Windows) -> tuple[int, int] | None:
    """(seeds whose onset belongs to an event of the cause, seeds); None for a cause without events."""
    if not cause.events:
        return None
    known = [windows[event] for event in cause.events if event in windows]
    inside = [any(first <= onset <= last for first, last in known) for onset in onsets]
    return sum(inside), len(inside)


def _score(by_flag: pd.DataFrame, cause: Cause, share: float, at_event: tuple[int, int] | None, seeds: int) -> float:
    """0 for a cause that is not supported. share: of its signs, weighted. seeds: of the configuration."""
    opposed = by_flag.loc[by_flag.index.isin(cause.against), "state"]
    opposed = opposed[~opposed.isin([OK, NOT_ASSESSABLE])]
    left = 1 - float(_weights(opposed).max(initial=0.0))
    if at_event is None:
        return share * left
    inside, shown = at_event
    enough = inside >= max(FEWEST_AT_EVENT, OF_SIGNS * shown, OF_SEEDS * seeds)
    return inside / shown * left if enough else 0.0


def format_hypothesis(hypothesis: Hypothesis) -> str:
    """The evidence as text."""
    h = hypothesis
    named = ", ".join(f"{BY_NAME[name].title} {raised}/{judged}" for name, raised, judged in h.signs)
    order = f"; first sign at step {h.onset:,.0f}, before the others' in {h.first} of {h.seeds} seeds"
    if h.at_event is not None:
        order = f"; first sign at step {h.onset:,.0f}, at the event in {h.at_event[0]} of {h.at_event[1]} seeds"
    return f"{len(h.signs)} of {h.judged} signs: {named}{order}"
