"""Analysis across tasks: point estimates by hand as rliable defines them, intervals, claims, what is missing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aggregate.inputs.runs import ConfigSource
from aggregate.statistics.alpha_spending import InterimAnalyses
from aggregate.tasks import task_estimates
from aggregate.tasks.analysis import AHEAD, BEHIND, UNDECIDED, TaskAnalysis, analyse
from aggregate.tasks.from_sweeps import algorithm_names, run_results
from aggregate.tasks.references import DM_CONTROL, Declared, Reference, check_used, parse_references, reference_of
from aggregate.tasks.task_verdict import verdict
from sweepwise.core.errors import AggregateError

NAN = math.nan
SHARES = {f"t{i}": Reference(0, 1) for i in range(40)}


# --- estimates ------------------------------------------------------------------------------------------


def test_the_mean_has_the_stratified_variance_and_satterthwaites_degrees_of_freedom() -> None:
    # means 0.2 and 0.5; variances 0.01 of 3 and 0.08 of 2 runs: parts 0.01/3/4 and 0.08/2/4
    scores = np.array([[0.1, 0.2, 0.3], [0.3, 0.7, NAN]])
    found = task_estimates.mean(scores)
    parts = np.array([0.01 / 12, 0.08 / 8])
    assert found.estimate == pytest.approx(0.35)
    assert found.se == pytest.approx(math.sqrt(parts.sum()))
    assert found.df == pytest.approx(parts.sum() ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1))
    low, high = found.interval()
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, found.df) * found.se)


def test_the_interquartile_mean_leaves_out_a_quarter_of_all_runs_rounded_down() -> None:
    # ten runs: the two lowest and the two highest are left out
    scores = np.array([[0.0, 0.9, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8, 0.1]])
    found = task_estimates.interquartile_mean(scores)
    assert found.estimate == pytest.approx((0.2 + 0.3 + 0.4 + 0.5 + 0.6 + 0.7) / 6)
    assert found.estimate == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    # winsorised: 0 -> .2, .9 -> .7; .8 -> .7, .1 -> .2
    parts = [np.var([0.2, 0.7, 0.2, 0.3, 0.4], ddof=1) / 5 / 4, np.var([0.5, 0.6, 0.7, 0.7, 0.2], ddof=1) / 5 / 4]
    assert found.se == pytest.approx(2 * math.sqrt(sum(parts)))


def test_a_run_weighs_by_the_number_of_runs_of_its_task() -> None:
    # weights 1/2 (one run) and 1/4 each (two): a quarter of the weight goes at each end, the run 0 and the run 1;
    # in the middle is the other run of the second task and the first task's
    scores = np.array([[0.5, NAN], [0.0, 1.0]])
    assert task_estimates.interquartile_mean(scores).estimate == pytest.approx(0.5)
    assert task_estimates.mean(np.array([[1.0, NAN], [0.0, 0.0]])).estimate == pytest.approx(0.5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_the_interquartile_mean_of_few_runs_is_that_of_rliable(count: int) -> None:
    scores = np.random.default_rng(count).normal(size=(1, count))
    assert task_estimates.interquartile_mean(scores).estimate == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))


def test_the_optimality_gap_counts_more_than_one_as_one() -> None:
    found = task_estimates.optimality_gap(np.array([[0.5, 1.5], [1.0, 0.8]]))
    assert found.estimate == pytest.approx(1 - (0.5 + 1 + 1 + 0.8) / 4)
    assert found.se == pytest.approx(math.sqrt(np.var([0.5, 1], ddof=1) / 8 + np.var([1, 0.8], ddof=1) / 8))


def test_the_median_is_of_the_tasks_means() -> None:
    scores = np.array([[0.0, 0.2], [0.4, 0.6], [0.9, 0.9]])
    assert task_estimates.median(scores) == pytest.approx(0.5)


def test_the_probability_of_improvement_is_the_mean_over_tasks_with_ties_as_halves() -> None:
    # first task: of 2 x 2 pairs 2.5 are won (1 over 0; 1 over 1 is half; ...): .5 -> {0: won, 1: lost}; 1 -> {won, tie}
    a, b = np.array([[0.5, 1.0], [0.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 2.0]])
    found = task_estimates.improvement(a, b)
    assert found.estimate == pytest.approx((2.5 / 4 + 0) / 2)
    # placements of the first task: of a's runs 1/2 and 3/4, of b's 1 and 1/4
    parts = np.var([0.5, 0.75], ddof=1) / 2 / 4 + np.var([1, 0.25], ddof=1) / 2 / 4
    assert found.se == pytest.approx(math.sqrt(parts))
    assert task_estimates.improvement(b, a).estimate == pytest.approx(1 - found.estimate)


def test_a_profile_is_the_share_of_runs_above_each_score() -> None:
    scores = np.array([[0.1, 0.5, NAN], [0.5, 0.9, 1.0]])
    found = task_estimates.profile(scores, np.array([0.0, 0.5, 0.95]))
    assert found == pytest.approx([1, (0 + 2 / 3) / 2, (0 + 1 / 3) / 2])  # strictly above
    assert 0 < task_estimates.profile_band(scores, np.array([0.0, 0.5])) < 1
    assert math.isnan(task_estimates.profile_band(np.ones((2, 3)), np.array([0.0])))


def test_differences_are_paired_by_task() -> None:
    a, b = np.array([[0.5, 0.7], [0.2, 0.2]]), np.array([[0.4, 0.4], [0.1, 0.3]])
    found = task_estimates.difference(a, b)
    assert found.estimate == pytest.approx((0.2 + 0.0) / 2)
    assert found.se == pytest.approx(math.sqrt((0.02 + 0.02) / 2 / 4))
    similar = task_estimates.difference_on_similar_tasks(a, b)
    assert similar.p == pytest.approx(stats.ttest_1samp([0.2, 0.0], 0).pvalue)
    assert similar.df == 1


def test_without_any_spread_nothing_is_claimed() -> None:
    same = task_estimates.mean(np.full((3, 4), 0.1 + 0.2))
    assert same.estimate == pytest.approx(0.3)
    assert math.isnan(same.se)
    assert math.isnan(task_estimates.difference(np.full((3, 4), 1.0), np.full((3, 4), 0.0)).p)


def test_a_single_run_takes_the_spread_of_the_other_tasks() -> None:
    found = task_estimates.mean(np.array([[0.5, NAN], [0.0, 0.2], [0.0, 0.4]]))
    assert found.se == pytest.approx(math.sqrt((0.05 + 0.02 / 2 + 0.08 / 2) / 9))  # mean variance 0.05 of one run
    assert math.isnan(task_estimates.mean(np.array([[0.5], [0.1]])).se)


# --- references -----------------------------------------------------------------------------------------


def test_references_are_declared_or_those_of_dm_control() -> None:
    declared = {"mw-*": Declared(0, 1), "mw-push*": Declared(0, 0.5), "walker-walk": Declared(20, 960)}
    assert reference_of("mw-reach", declared) == (0, 1)
    assert reference_of("mw-push-wall", declared) == (0, 0.5)
    assert reference_of("walker-walk", declared) == (20, 960)
    assert reference_of("dmc_cartpole_swingup_sparse", {}) == (0, 1000)
    assert reference_of("Hopper-v4", {}) is reference_of("hopper-medium-v2", {}) is None
    assert {"walker-run", "humanoid-run"} <= DM_CONTROL
    assert Reference(10, 2).normalise(6) == 0.5  # lower is better


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "expected are lines"),
        ({"a": 3}, "'3' is not two numbers or names"),
        ({"a": [0, " "]}, "is not two numbers"),
        ({"a": [0, NAN]}, "is not two numbers"),
        ({"a": [0, 1, 2]}, "is not two numbers"),
        ({"a": [True, 0]}, "is not two numbers"),
        ({"a": [5, "5"]}, "both are 5"),
        ({"a": ["sac", "sac"]}, "both are sac"),
    ],
)
def test_a_bad_reference_is_named(content: Any, says: str) -> None:
    with pytest.raises(AggregateError, match=says):
        parse_references(content, "refs.yaml")


def test_a_declared_task_that_is_not_there_is_named() -> None:
    check_used({"walker-*": Declared(0, 1)}, ["walker-run"], "refs.yaml")
    with pytest.raises(AggregateError, match="no task 'walker-rum'; did you mean walker-run"):
        check_used({"walker-rum": Declared(0, 1)}, ["walker-run"], "refs.yaml")


# --- the analysis ---------------------------------------------------------------------------------------


def runs_of(means: dict[str, list[float]], seeds: int = 4, noise: float = 0.02) -> pd.DataFrame:
    """Scores of algorithms whose means on tasks t0, t1 ... are given; NaN for no runs."""
    rng = np.random.default_rng(0)
    lines = [(name, f"t{i}", seed, mean + rng.normal(0, noise), "")
             for name, own in means.items() for i, mean in enumerate(own) if math.isfinite(mean)
             for seed in range(seeds)]  # fmt: skip
    return pd.DataFrame(lines, columns=["algorithm", "task", "seed", "value", "reason"])


def plain_p(found: TaskAnalysis, a: str, b: str) -> float:
    """p of the paired difference of two algorithms, uncorrected."""
    values = found.runs.pivot(index=["algorithm", "task"], columns="seed", values="score")
    return float(task_estimates.difference(values.loc[a].to_numpy(), values.loc[b].to_numpy()).p)


def topics(found: TaskAnalysis) -> dict[str, str]:
    return dict(verdict(found).points)


def test_the_verdict_names_the_tasks_where_it_goes_the_other_way() -> None:
    found = analyse(runs_of({"new": [0.9, 0.8, 0.7, 0.2], "old": [0.5, 0.5, 0.5, 0.6]}), SHARES)
    (pair,) = found.pairs.to_dict("records")
    assert found.algorithms == ("new", "old")
    assert (pair["a"], pair["b"], pair["tasks"], pair["ahead"], pair["behind"]) == ("new", "old", 4, 3, 1)
    assert pair["difference"] == pytest.approx(0.125, abs=0.02)
    assert pair["distinct"]
    assert list(found.by_task["relation"]) == [AHEAD, AHEAD, AHEAD, BEHIND]
    said = verdict(found)
    assert said.headline.startswith("On these 4 tasks new has the highest mean normalised score, 0.64")
    assert said.headline.endswith("better than old. old is ahead on 1 of 4 tasks, significantly on 1 of them.")
    assert "old is better than new on t3" in topics(found)["Single tasks"]
    similar = topics(found)["Tasks like these"]
    assert "no random sample" in similar
    assert pair["similar_p"] > 0.05  # three tasks one way, one the other
    assert list(found.ranks["rank"]) == [1.25, 1.75]
    assert list(found.ranks["best"]) == [3, 1]


def test_pairs_are_corrected_together_and_equal_algorithms_are_not_told_apart() -> None:
    found = analyse(runs_of({"a": [0.5] * 6, "b": [0.5] * 6, "c": [0.3] * 6}), SHARES)
    assert len(found.pairs) == 3
    plain = [plain_p(found, line["a"], line["b"]) for line in found.pairs.to_dict("records")]
    order = np.argsort(plain)
    assert found.pairs["p"].iloc[order[0]] == pytest.approx(3 * plain[order[0]])
    best, second, last = found.algorithms
    assert last == "c"
    assert f"; {second} does not differ significantly from it" in verdict(found).headline
    assert set(found.by_task.query("b == @second")["relation"]) == {UNDECIDED}
    assert best in topics(found)["Other algorithms"]


def test_interim_analyses_count_across_tasks_too() -> None:
    runs = runs_of({"a": [0.52, 0.51], "b": [0.5, 0.49]})
    once, twice = (analyse(runs, SHARES, analyses=InterimAnalyses(seeds, 1)) for seeds in ((4,), (2, 4)))
    assert (twice.pairs[["p", "similar_p"]] > once.pairs[["p", "similar_p"]]).all(axis=None)
    assert (twice.by_task["q"] > once.by_task["q"]).all()
    assert "p values are corrected for 2 interim analyses." in topics(twice)["Other algorithms"]
    assert "corrected" not in topics(once)["Other algorithms"]


def test_what_is_missing_is_named_by_task() -> None:
    runs = runs_of({"a": [0.5, 0.5, 0.5], "b": [0.4, NAN, 0.4]})
    runs = pd.concat([runs, pd.DataFrame({"algorithm": ["a", "b"], "task": ["unknown", "t0"], "seed": [0, 9],
                                          "value": [3.0, NAN], "reason": ["", "lost"]})])  # fmt: skip
    found = analyse(runs, SHARES)
    assert found.common == ("t0", "t2")
    assert found.tasks == ("t0", "t1", "t2")
    assert {tuple(line) for line in found.missing.to_numpy()} == {
        ("", "unknown", 1, "no reference"), ("b", "t1", 0, "no runs"), ("b", "t0", 1, "lost"),
    }  # fmt: skip
    said = topics(found)["Missing"]
    assert "unknown has no reference and is left out" in said
    assert "b has no runs of t1" in said
    assert "1 run of b without a result (lost): t0" in said
    assert "aggregates are over the 2 tasks of which all algorithms have results" in said
    assert "only if seeds are near-normal" in topics(found)["Precision"]


def test_an_algorithm_without_any_result_does_not_hide_the_others() -> None:
    runs = runs_of({"a": [0.5, 0.5], "b": [0.4, 0.4]})
    lost = pd.DataFrame({"algorithm": "c", "task": ["t0", "t1"], "seed": 0, "value": NAN, "reason": "lost"})
    found = analyse(pd.concat([runs, lost]), SHARES)
    assert found.common == ("t0", "t1")
    assert found.algorithms == ("a", "b")
    assert "2 runs of c without a result (lost): t0, t1" in topics(found)["Missing"]


def test_with_single_runs_only_there_is_no_interval() -> None:
    found = analyse(runs_of({"a": [0.5, 0.5], "b": [0.4, 0.2]}, seeds=1), SHARES)
    assert found.aggregates[["low", "high"]].isna().all(axis=None)
    assert not found.pairs["distinct"].any()
    assert "a has a single run of t0, t1, so that there is no interval" in topics(found)["Missing"]


def test_algorithms_without_a_task_in_common_are_not_compared() -> None:
    found = analyse(runs_of({"a": [0.5, NAN], "b": [NAN, 0.4]}), SHARES)
    assert found.pairs.empty
    assert found.aggregates.empty
    assert "nothing can be compared" in verdict(found).headline
    three = analyse(runs_of({"a": [0.5, 0.4, NAN], "b": [NAN, 0.4, 0.3], "c": [0.1, NAN, 0.2]}), SHARES)
    assert len(three.pairs) == 3
    assert "only pairs are compared" in verdict(three).headline


def test_the_order_of_lines_does_not_matter() -> None:
    runs = runs_of({"a": [0.5, 0.7], "b": [0.4, 0.6]})
    one, other = analyse(runs, SHARES), analyse(runs.sample(frac=1, random_state=1), SHARES)
    for name in ("aggregates", "profiles", "pairs", "by_task", "cells", "ranks"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def test_curves_are_of_the_last_evaluation_up_to_each_share_of_the_steps() -> None:
    runs = runs_of({"a": [0.5, 0.5]}, seeds=2, noise=0)
    points = [("a", task, seed, share, value) for task in ("t0", "t1") for seed in (0, 1)
              for share, value in ((0.1, 0.0), (0.5, 0.4 + 0.2 * seed), (1.0, 1.0))]  # fmt: skip
    curves = pd.DataFrame(points, columns=["algorithm", "task", "seed", "share", "value"])
    found = analyse(runs, SHARES, curves).curves.query("name == 'mean'")
    by_share = {round(share, 2): value for share, value in zip(found["share"], found["estimate"], strict=True)}
    assert min(by_share) == 0.1  # before that no run was evaluated
    assert by_share[0.45] == 0
    assert by_share[0.5] == by_share[0.95] == pytest.approx(0.5)
    assert by_share[1.0] == 1
    assert (found["low"] < found["estimate"])[found["share"] == 0.5].all()


# --- from sweeps ----------------------------------------------------------------------------------------


def sweep_of(name: str, *configs: ConfigSource, tasks_of: str = "", agent: str = "tdmpc", task: str = "task") -> Any:
    known = SimpleNamespace(name=agent, version=1, task=task, steps="steps")
    return SimpleNamespace(
        source=SimpleNamespace(name=name, configs=configs, imported=(), agent=known, tasks_of=tasks_of)
    )


def config(config_id: str, label: str, of_import: str = "", **values: Any) -> ConfigSource:
    return ConfigSource(config_id, label, {}, False, values, 100, (), of_import)


def test_configurations_that_differ_in_their_task_alone_are_one_algorithm() -> None:
    sweeps = (
        sweep_of("walk", config("a1", "lr=1", task="walker-walk", lr=1, steps=5), config("a2", "lr=2", task="w", lr=2)),
        sweep_of("run", config("b1", "lr=1", task="walker-run", lr=1, steps=9)),
        sweep_of("other", config("c1", "lr=1", task="fish-swim", lr=1, width=8)),  # another algorithm under that label
        sweep_of("ppo.a", config("e1", "lr=1", env="a", lr=1), tasks_of="ppo", agent="ppo", task="env"),
        sweep_of("ppo.b", config("e2", "lr=1", env="b", lr=1), tasks_of="ppo", agent="ppo", task="env"),
        sweep_of("pub", config("d1", "SAC", "pub", task="w", algorithm="SAC", imported="pub"),
                 config("d2", "SAC", "new", task="w", algorithm="SAC", imported="new")),
    )  # fmt: skip
    names = algorithm_names(SimpleNamespace(every=sweeps))  # type: ignore[arg-type]
    assert names == {"a1": "lr=1", "a2": "lr=2", "b1": "lr=1", "c1": "lr=1 (other)", "e1": "lr=1 (ppo)",
                     "e2": "lr=1 (ppo)", "d1": "SAC", "d2": "SAC (new)"}  # fmt: skip


def test_a_diverged_run_counts_as_random_actions_and_a_lost_one_is_missing() -> None:
    scores = pd.DataFrame({"config_id": "a", "seed": [1, 2, 3, 4], "final_primary": [5.0, NAN, NAN, NAN],
                           "start_primary": [5.0, 1.0, NAN, NAN],
                           "outcome": ["finished", "diverged", "missing", "finished"]})  # fmt: skip
    found = run_results(scores)
    assert found["value"].tolist()[:2] == [5, 1]
    assert found["value"].isna().tolist() == [False, False, True, True]
    assert found["reason"].tolist()[2:] == ["missing", "no final result"]
