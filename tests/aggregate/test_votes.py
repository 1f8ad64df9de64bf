"""Votes over seeds, and the components of the variance of evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggregate.flags import FLAG, NOT_ASSESSABLE, OK, WARN, RunView, late_evaluations, not_found, variance_split, vote
from tdmpc.description import DESCRIPTION


def test_variance_is_split_by_hand() -> None:
    def run(*evaluations: list[float]) -> RunView:
        episodes = [np.array(e) for e in evaluations]
        steps = np.linspace(1000 / len(episodes), 1000, len(episodes)).astype(int)
        rows = pd.DataFrame({"step": steps, "eval_return_planner_episodes": episodes})
        return RunView({"eval": rows}, 1000, "done", DESCRIPTION)

    # Two seeds 200 apart; both swing by 30 about their level; episodes are 10 off their mean, a variance of 200.
    first, second = (
        run(*[[0.0, 0.0]] * 4, *([level + swing - 10, level + swing + 10] for swing in (30, -30, -30, 30)))
        for level in (400, 600)
    )
    line = (
        variance_split([("c", late_evaluations(first)), ("c", late_evaluations(second))])
        .set_index("mode")
        .loc["planner"]
    )
    assert line["episodes"] == pytest.approx(200**0.5)
    # 4 x 900 over 4 - 2 degrees of freedom, less the 100 that two episodes leave in a mean
    assert line["time"] == pytest.approx((1800 - 100) ** 0.5)
    # the variance of 400 and 600 is 20,000, less what four evaluations leave in a mean
    assert line["seeds"] == pytest.approx((20_000 - 1800 / 4) ** 0.5)
    assert np.isnan(variance_split([("c", late_evaluations(first))])["seeds"]).all()


def votes_of(*states: str) -> tuple[str, int, int]:
    findings = pd.DataFrame({"config_id": "c", "flag": "f", "seed": range(len(states)), "state": states})
    (line,) = vote(findings).to_dict("records")
    return line["state"], line["raised"], line["assessable"]


def test_votes_over_seeds() -> None:
    assert votes_of(FLAG, FLAG, FLAG, OK, OK, OK) == (FLAG, 3, 6)
    assert votes_of(FLAG, FLAG, OK, OK, OK, OK) == (WARN, 2, 6)
    assert votes_of(FLAG, OK, OK, OK, OK, OK) == (OK, 1, 6)
    assert votes_of(FLAG, NOT_ASSESSABLE, NOT_ASSESSABLE) == (FLAG, 1, 1)  # of those that could be judged
    assert votes_of(NOT_ASSESSABLE, NOT_ASSESSABLE) == (NOT_ASSESSABLE, 0, 0)


def test_what_could_not_be_found_is_that_of_the_run_that_limits_a_flag_most() -> None:
    lines = [
        ("a", OK, 0.3, "fine; not found: less than 30"), ("a", OK, 0.5, "fine; not found: less than 50"),
        ("a", FLAG, 0.9, "fell"), ("b", OK, 0.25, ""), ("c", NOT_ASSESSABLE, np.nan, "few"), ("d", OK, 0.0, ""),
    ]  # fmt: skip
    findings = pd.DataFrame(lines, columns=["flag", "state", "threshold", "detail"]).assign(unit="nat")
    assert not_found(findings) == {"a": "less than 50", "b": "less than 0.25 nat"}
