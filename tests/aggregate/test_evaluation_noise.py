"""Whether evaluation is random, in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.verdict.evaluation_noise import format_evaluation_noise


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSummary:
    sweep = synthetic.make_sweep(tmp_path_factory.mktemp("runs"), (600.0, 500.0, 400.0), 3, lean=True)
    return summarise([sweep]).sweeps[0]


def with_noise(sweep: SweepSummary, planner: tuple[float, ...], policy: float) -> SweepSummary:
    """The jumps of the three configurations with planning; those of the policy without MPC."""
    ids = sorted(sweep.scores["config_id"].unique())
    noise = sweep.scores["config_id"].map(dict(zip(ids, planner, strict=True)))
    return dataclasses.replace(sweep, scores=sweep.scores.assign(noise_primary=noise, noise_policy=policy))


@pytest.mark.parametrize(
    ("planner", "said"),
    [
        ((29.0, 30.0, 31.0), "Planning increases it: jumps from one evaluation to the next are +20.0 [17.5, 22.5] "),
        ((3.0, 4.0, 5.0), "Planning reduces it: jumps from one evaluation to the next are −6.0 "),
        ((5.0, 10.0, 16.0), "No significant effect of planning: jumps from one evaluation to the next are +0 "),
    ],
)
def test_planning_is_judged_by_configuration(calm: SweepSummary, planner: tuple[float, ...], said: str) -> None:
    assert said in format_evaluation_noise(with_noise(calm, planner, 10.0))


def test_the_variance_is_split_for_both_ways_of_acting(calm: SweepSummary) -> None:
    split = pd.DataFrame([("c", "planner", 3.0, 0.0, 4.0), ("c", "policy", 1.0, 1.0, 1.0)],
                         columns=["config_id", "mode", "episodes", "time", "seeds"])  # fmt: skip
    text = format_evaluation_noise(dataclasses.replace(calm, variance=split))
    assert ("With planning: none of 3 configurations flagged as noisy; of the variance in the second half of training, "
            "36 % lies between episodes of one evaluation, 0 % over time, 64 % between seeds.") in text  # fmt: skip
    assert "Policy without MPC: none of 3" in text
    assert "33 % over time" in text


def test_nothing_is_said_of_one_seed(tmp_path: Path, synthetic: ModuleType) -> None:
    assert format_evaluation_noise(summarise([synthetic.make_sweep(tmp_path, (600.0,), 1, lean=True)]).sweeps[0]) == ""
