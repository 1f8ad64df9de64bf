"""How many seeds are added to what is tied with the leader."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np
import pytest

from aggregate.analysis.configuration_comparison import ConfigurationComparison
from aggregate.analysis.summary import Margin, SweepSummary, summarise
from aggregate.statistics.alpha_spending import InterimAnalyses
from aggregate.verdict.seeds_needed import ties
from aggregate.verdict.verdict import verdict

LABELS, FIRST = ("a", "b", "c"), InterimAnalyses((4,))


@pytest.fixture(scope="module")
def summary(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    """Three configurations of four seeds, of which the last is far behind."""
    sweep = synthetic.make_sweep(tmp_path_factory.mktemp("ties"), (600.0, 650.0, 100.0), 4, labels=LABELS, lean=True)
    return summarise([sweep]).sweeps[0]


def with_finals(
    summary: SweepSummary, finals: tuple[list[float], ...], analyses: InterimAnalyses = FIRST
) -> SweepSummary:
    """The summary as it would be with these final returns."""
    values = [value for own in finals for value in own]
    scores = summary.scores.assign(final_primary=values, healthy_primary=values, start_primary=values)
    contrasts = ConfigurationComparison(analyses)(scores)
    source = dataclasses.replace(summary.source, interim_analyses=analyses)
    return dataclasses.replace(
        summary, scores=scores, contrasts=contrasts, source=source, margin=Margin(np.nan, declared=False)
    )


def test_the_number_is_what_the_smallest_p_of_the_open_pairs_needs(summary: SweepSummary) -> None:
    far = [-500.0, -501, -499, -502]
    tied = ties(with_finals(summary, ([10.0, 12, 14, 16], [13.0, 15, 17, 19], far)))
    leader, other = "0000000001", "0000000000"
    assert tied.configs == (leader, other)
    assert tied.of == other
    # difference 3, se sqrt(2 * 6.667 / 4) = 1.826, df 6; one pair is open, as the third differs from both. At 17 seeds
    # (f = 17 / 4) the second look has level .0226: t(.9887, 6 f) + t(.8, 6 f) = 2.427 + .856, x 1.826 / sqrt(f) = 2.908
    # <= 3; at 16 seeds 2.432 + .857, x 1.826 / sqrt(4) = 3.003
    assert tied.more == 17 - 4


def test_seeds_that_would_not_do_are_not_asked_for(summary: SweepSummary) -> None:
    far = [-500.0, -501, -499, -502]
    close = with_finals(summary, ([10.0, 12, 14, 16], [13.0, 15, 17, 19], far))
    assert (ties(close, most=16).more, ties(close, most=17).more) == (0, 13)
    assert ties(with_finals(summary, ([10.0, 12, 14, 16], [10.0, 12, 14, 16], far))).more == 0
    apart = with_finals(summary, ([10.0, 12, 14, 16], [103.0, 105, 107, 109], far))
    assert ties(apart).configs == ()


def test_the_verdict_says_the_command_and_the_look(summary: SweepSummary) -> None:
    finals = ([10.0, 12, 14, 16], [13.0, 15, 17, 19], [-500.0, -501, -499, -502])
    points = dict(verdict(with_finals(summary, finals)).points)
    more = "sweeps more ensemble: 13 more seeds for each of b; a: a true difference of 3.00 return points between the "
    assert more in points["Next"]
    assert "Interim analyses" not in points
    topic = "Interim analyses"
    first = dict(verdict(with_finals(summary, finals, InterimAnalyses((4,), planned=2))).points)[topic]
    said = "Analysis 1 of 2: p values are corrected for all of them; one test alone must reach p < 0.031."
    assert first.startswith(said)
    third = dict(verdict(with_finals(summary, finals, InterimAnalyses((4, 6, 9), planned=2))).points)[topic]
    assert third.startswith("Analysis 3 of 3, after 4 and 6 seeds: ")
    assert "Only 2 was planned" not in third
    assert "Only 2 were planned" in third
