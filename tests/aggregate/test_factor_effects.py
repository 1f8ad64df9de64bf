"""Effects of factors from returns made by hand: every expected number is in the arrangement."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from aggregate import flags
from aggregate.analysis.configuration_comparison import TRADE_OFF
from aggregate.analysis.factor_contrasts import axes
from aggregate.analysis.factor_effects import effects, last_quarter
from aggregate.analysis.run_outcomes import COLLAPSED, FINISHED
from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource
from tdmpc.description import DESCRIPTION

NOISE = (-1.0, 0.0, 1.0)  # of three seeds: variance 1


def sweep_of(*settings: dict[str, Any]) -> SweepSource:
    """A configuration per setting, named c0, c1, ...; the first is the baseline."""
    runs = [tuple(RunSource(f"c{i}", seed, Path(), "done", 1) for seed in (1, 2, 3)) for i in range(len(settings))]
    configs = [ConfigSource(f"c{i}", "", setting, i == 0, {}, 100, runs[i]) for i, setting in enumerate(settings)]
    return SweepSource("s", "", (), tuple(settings[0]), tuple(configs), DESCRIPTION)


def runs_of(**means: float) -> pd.DataFrame:
    lines = [(name, i, mean + off) for name, mean in means.items() for i, off in enumerate(NOISE, 1)]
    return pd.DataFrame(lines, columns=["config_id", "seed", "final_primary"]).assign(
        auc_primary=np.nan, fall_primary=np.nan, final_policy=np.nan, outcome=FINISHED
    )


def findings_of(**raised: int) -> pd.DataFrame:
    """The flag `x` in so many of three seeds."""
    lines = [(n, s, "x", flags.FLAG if s <= k else flags.OK) for n, k in raised.items() for s in (1, 2, 3)]
    return pd.DataFrame(lines, columns=["config_id", "seed", "flag", "state"])


def grid(**levels: tuple[Any, ...]) -> SweepSource:
    return sweep_of(*(dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values())))


def by_factor(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {line["factor"]: line for line in table.to_dict("records")}


NO_DIAGNOSTICS, NO_FINDINGS = pd.DataFrame({"config_id": [], "seed": []}), findings_of()


def test_main_effects_and_interaction_of_two_by_two() -> None:
    sweep = grid(num_q=(1, 2), reduce=("min", "mean"))
    result = effects(sweep, runs_of(c0=0.0, c1=10.0, c2=4.0, c3=20.0), NO_DIAGNOSTICS, NO_FINDINGS)
    main = by_factor(result.returns)
    assert main["num_q"]["estimate"] == pytest.approx(((4 - 0) + (20 - 10)) / 2)
    assert main["reduce"]["estimate"] == pytest.approx(((10 - 0) + (20 - 4)) / 2)
    assert (main["reduce"]["low"], main["reduce"]["high"]) == ("min", "mean")
    # weights of a half on four means with variance 1/3: se sqrt(1/3), 8 degrees, t(.975, 8) = 2.306
    assert main["num_q"]["ci_high"] - 7 == pytest.approx(2.306 * np.sqrt(1 / 3), abs=1e-3)
    assert (main["num_q"]["runs"], main["num_q"]["sd"]) == (12, 1.0)
    assert by_factor(result.interactions)["num_q × reduce"]["estimate"] == pytest.approx(20 - 4 - 10 + 0)


@pytest.mark.parametrize("fallen", [(), ("c1",), ("c0",), ("c0", "c1"), ("c1", "c1", "c0"), ("c2",)])
def test_an_effect_towards_more_unstable_seeds_is_a_trade_off(fallen: tuple[str, ...]) -> None:
    """c2 has another b and no partner, so its seeds do not count."""
    sweep = sweep_of({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2})
    runs = runs_of(c0=0.0, c1=100.0, c2=0.0)
    for config in set(fallen):
        own = runs.index[runs["config_id"] == config]
        runs.loc[own[: fallen.count(config)], "outcome"] = COLLAPSED
    line = by_factor(effects(sweep, runs, NO_DIAGNOSTICS, NO_FINDINGS).returns)["a"]
    trade_off = fallen.count("c1") > fallen.count("c0")
    assert line["p"] < 0.05
    assert (line["relation"], line["distinct"]) == (TRADE_OFF if trade_off else "", not trade_off)


def test_only_configurations_that_differ_in_nothing_else_are_compared() -> None:
    """One corner of the grid has no runs: the effect is that of the pair that is left."""
    sweep = grid(num_q=(1, 2), reduce=("min", "mean"))
    result = effects(sweep, runs_of(c0=0.0, c1=10.0, c2=4.0), NO_DIAGNOSTICS, NO_FINDINGS)
    main = by_factor(result.returns)
    assert (main["num_q"]["estimate"], main["num_q"]["runs"]) == (pytest.approx(4.0), 6)
    assert main["reduce"]["estimate"] == pytest.approx(10.0)
    assert result.interactions.empty


def test_numbers_have_a_trend_from_lowest_to_highest() -> None:
    result = effects(grid(tau=(0.02, 0.005, 0.01)), runs_of(c0=8.0, c1=0.0, c2=1.0), NO_DIAGNOSTICS, NO_FINDINGS)
    (line,) = result.returns.to_dict("records")
    assert (line["low"], line["high"], line["levels"]) == ("0.005", "0.02", 3)
    assert line["estimate"] == pytest.approx(8.0)  # the middle one has no weight


def test_values_without_an_order_are_compared_with_the_baselines() -> None:
    gammas = ((0.9, 0.95), (0.9, 0.97), (0.8, 0.9))
    result = effects(grid(gammas=gammas), runs_of(c0=5.0, c1=7.0, c2=1.0), NO_DIAGNOSTICS, NO_FINDINGS)
    assert result.returns["low"].tolist() == ["[0.9, 0.95]"] * 2
    assert result.returns["high"].tolist() == ["[0.9, 0.97]", "[0.8, 0.9]"]
    assert result.returns["estimate"].tolist() == pytest.approx([2.0, -4.0])


def test_factors_that_change_together_are_one() -> None:
    sweep = sweep_of({"start": 1e-4, "end": 1e-4}, {"start": 1e-5, "end": 1e-5})
    (axis,) = axes(sweep)[0]
    assert (axis.factor, axis.low, axis.high) == ("start and end", "1e-5", "1e-4")


def test_a_factor_that_never_changes_alone_has_no_effect() -> None:
    sweep = sweep_of({"ema": False, "rate": None}, {"ema": True, "rate": 0.1}, {"ema": True, "rate": 0.2})
    result = effects(sweep, runs_of(c0=0.0, c1=10.0, c2=13.0), NO_DIAGNOSTICS, NO_FINDINGS)
    assert result.returns[["factor", "estimate"]].to_numpy().tolist() == [["rate", pytest.approx(3.0)]]


def test_the_odds_of_a_flag_by_hand() -> None:
    odds = effects(grid(tau=(0.1, 0.2)), runs_of(c0=1.0, c1=1.0), NO_DIAGNOSTICS, findings_of(c0=0, c1=3)).odds
    (line,) = odds.to_dict("records")
    assert (line["raised_low"], line["n_low"], line["raised_high"], line["n_high"]) == (0, 3, 3, 3)
    assert line["odds"] == pytest.approx((3.5 / 0.5) / (0.5 / 3.5))
    assert line["p"] == pytest.approx(0.1)  # two of 20 arrangements are as far apart


def test_diagnostics_are_means_over_the_last_quarter() -> None:
    rows = pd.DataFrame({"step": [75, 80, 100, 100], "pi_loss": [9.0, 1.0, 3.0, np.inf]})
    assert last_quarter({"train": rows}, 100, DESCRIPTION.catalogue) == {"pi_loss": 2.0}


def test_false_discoveries_are_controlled_over_all_metrics() -> None:
    sweep, noise = grid(tau=(0.1, 0.2)), np.tile(NOISE, 2)
    shifted = np.repeat([0.0, 9.0], 3) + noise
    diagnostics = runs_of(c0=0.0, c1=0.0)[["config_id", "seed"]].assign(pi_loss=shifted, grad_norm=noise)
    result = effects(sweep, runs_of(c0=0.0, c1=0.0), diagnostics, NO_FINDINGS).diagnostics.set_index("outcome")
    assert result["distinct"].to_dict() == {"pi_loss": True, "grad_norm": False}
    assert result.loc["pi_loss", "p"] == pytest.approx(2 * result.loc["pi_loss", "p_raw"])


def test_interactions_on_diagnostics_and_on_the_odds_of_flags() -> None:
    sweep = grid(num_q=(1, 2), reduce=("min", "mean"))
    diagnostics = runs_of(c0=0.0, c1=1.0, c2=2.0, c3=13.0).rename(columns={"final_primary": "pi_loss"})
    result = effects(sweep, runs_of(c0=0.0, c1=0.0, c2=0.0, c3=0.0), diagnostics[["config_id", "seed", "pi_loss"]],
                    findings_of(c0=0, c1=0, c2=0, c3=3))  # fmt: skip
    (line,) = result.diagnostic_pairs.to_dict("records")
    assert (line["outcome"], line["factor"]) == ("pi_loss", "num_q × reduce")
    assert line["estimate"] == pytest.approx(13 - 2 - 1 + 0)
    assert line["distinct"]
    (odds,) = result.odds_pairs.to_dict("records")
    # half a run to every count: the odds are 7 in one corner and 1/7 in the three others
    assert odds["odds"] == pytest.approx(7 * 7)
    assert (odds["low"], odds["high"]) == ("1, min", "2, mean")
    assert (odds["raised_low"], odds["raised_high"]) == (0, 3)
    error = np.sqrt(4 * (1 / 0.5 + 1 / 3.5))
    assert np.log(odds["ci_high"] / odds["odds"]) == pytest.approx(1.96 * error)
    assert odds["p_raw"] == pytest.approx(2 * norm.sf(np.log(49) / error))


def test_a_flag_that_no_run_raised_has_no_odds() -> None:
    result = effects(grid(tau=(0.1, 0.2)), runs_of(c0=1.0, c1=1.0), NO_DIAGNOSTICS, findings_of(c0=0, c1=0))
    assert result.odds.empty
    assert result.odds_pairs.empty
