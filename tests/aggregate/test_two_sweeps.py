"""Two sweeps as wholes: which configurations are pairs, and the numbers and sentences against those by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.comparison.two_sweeps import compare_sweeps, format_two_sweeps, pair_configurations
from aggregate.statistics.estimates import holm
from sweepwise.core.errors import AggregateError

RUNS = [(place, seed) for place in range(3) for seed in range(1, 5)]
LABELS = ("tau=0.01", "tau=0.02", "tau=0.05")


@pytest.fixture(scope="module")
def before(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    return summarised(synthetic, tmp_path_factory.mktemp("before"))


def summarised(synthetic: ModuleType, root: Path, **options) -> SweepSummary:  # type: ignore[no-untyped-def]
    source = synthetic.make_sweep(root, (600.0, 500.0, 400.0), 4, labels=LABELS, lean=True, **options)
    configs = tuple(
        dataclasses.replace(c, factors={"tau": i}, config={**c.config, "tau": i}) for i, c in enumerate(source.configs)
    )
    return summarise([dataclasses.replace(source, factors=("tau",), configs=configs)]).sweeps[0]


def with_scores(sweep: SweepSummary, values: dict[tuple[int, int], float]) -> SweepSummary:
    """values: (place of the configuration, seed) -> final result."""
    ids = [config.config_id for config in sweep.source.configs]
    scores = sweep.scores.copy()
    for (place, seed), value in values.items():
        scores.loc[(scores["config_id"] == ids[place]) & (scores["seed"] == seed), "final_primary"] = value
    return dataclasses.replace(sweep, scores=scores)


def test_numbers_are_those_worked_out_by_hand(before: SweepSummary) -> None:
    rng = np.random.default_rng(0)
    a_values = {run: float(rng.normal(500, 50)) for run in RUNS}
    b_values = {key: value + float(rng.normal(20, 10)) for key, value in a_values.items()}
    b_values[2, 4] = np.nan  # did not finish
    found = compare_sweeps(with_scores(before, a_values), with_scores(before, b_values))
    p, means, variances, counts = [], [], [], []
    for place, line in enumerate(found.pairs.to_dict("records")):
        seeds = [seed for seed in range(1, 5) if np.isfinite(b_values[place, seed])]
        a, b = (np.array([values[place, seed] for seed in seeds]) for values in (a_values, b_values))
        test = stats.ttest_rel(b, a)
        low, high = test.confidence_interval()
        assert (line["label"], line["n"], line["identical"]) == (LABELS[place], len(seeds), 0)
        assert [line[name] for name in ("a_mean", "b_mean", "difference", "low", "high")] == pytest.approx(
            [a.mean(), b.mean(), (b - a).mean(), low, high]
        )
        p.append(test.pvalue)
        means.append((b - a).mean())
        variances.append((b - a).var(ddof=1) / len(seeds))
        counts.append(len(seeds))
    assert found.pairs["p"].to_list() == pytest.approx(list(holm(np.array(p))))
    assert found.mean is not None
    total = sum(variances) / 9
    df = total**2 / sum((v / 9) ** 2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    assert float(found.mean.estimate) == pytest.approx(np.mean(means))
    assert float(found.mean.p) == pytest.approx(2 * stats.t.sf(np.mean(means) / np.sqrt(total), df))
    text = next(format_two_sweeps(found))
    assert text.startswith("On average over 3 configurations, the final return of B is +")
    assert "compared with A: significantly better (p = 0.001, differences paired by seed)" in text


def test_a_mean_of_paired_differences_is_found_rarely_without_one(before: SweepSummary) -> None:
    """At a level of 5 %, 400 comparisons of equal sweeps: at most 8 % (5 % plus nearly three standard errors)."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(400):
        a, b = (dict(zip(RUNS, rng.normal(500, 50, len(RUNS)), strict=True)) for _ in "ab")
        mean = compare_sweeps(with_scores(before, a), with_scores(before, b)).mean
        assert mean is not None
        found += float(mean.p) < 0.05
    assert found <= 32


def test_equal_results_are_called_so(before: SweepSummary) -> None:
    found = compare_sweeps(before, before)
    assert found.pairs["identical"].to_list() == [4, 4, 4]
    assert (found.pairs[["low", "high"]] == 0).all(axis=None)
    assert (found.pairs["p"] == 1).all()
    assert list(format_two_sweeps(found)) == [
        "All 12 results are exactly the same.",
        "Seeds that diverged or collapsed: A 0 of 12, B 0 of 12.",
    ]


def test_unstable_seeds_and_missing_ones_are_counted(
    before: SweepSummary, synthetic: ModuleType, tmp_path: Path
) -> None:
    after = summarised(synthetic, tmp_path, special={1: {"collapse": True}}, states={(0, 1): "diverged"})
    found = compare_sweeps(before, after)
    assert found.pairs[["a_unstable", "b_unstable"]].to_numpy().tolist() == [[0, 1], [0, 4], [0, 0]]
    assert found.pairs["n"].to_list() == [3, 4, 4]
    texts = list(format_two_sweeps(found))
    assert "Seeds that diverged or collapsed: A 0 of 12, B 5 of 12." in texts
    assert any(text.startswith("Significantly different (paired t test, Holm over 3): tau=0.02 (−") for text in texts)
    assert "7 of 11 results are exactly the same." in texts


def test_nothing_is_claimed_without_common_seeds(before: SweepSummary, synthetic: ModuleType, tmp_path: Path) -> None:
    states = dict.fromkeys(RUNS, "running")
    found = compare_sweeps(before, summarised(synthetic, tmp_path, states=states))
    assert found.mean is None
    assert next(format_two_sweeps(found)) == "No seed has a final return in both."


def test_pairs_have_the_same_values_of_what_either_sweep_varies(before: SweepSummary) -> None:
    one = before.source
    moved = tuple(
        dataclasses.replace(c, config_id=f"{i:09x}f", config={**c.config, "lr": 1e-4}, factors={"tau": i})
        for i, c in enumerate(one.configs[1:], 1)
    )
    other = dataclasses.replace(one, configs=moved)
    assert [(p.a.name, p.b.name) for p in pair_configurations(one, other)] == [(n, n) for n in LABELS[1:]]
    also_varied = dataclasses.replace(one, factors=("tau", "lr"))
    assert pair_configurations(also_varied, other) == []


def test_what_differs_everywhere_is_named(before: SweepSummary) -> None:
    configs = tuple(dataclasses.replace(c, config={**c.config, "lr": 1e-4}) for c in before.source.configs[1:])
    after = dataclasses.replace(before, source=dataclasses.replace(before.source, configs=configs),
                                origins=before.origins.assign(code="abc"))  # fmt: skip
    found = compare_sweeps(before, after)
    assert found.differ == {"lr": ("auto", "1e-4")}
    texts = list(format_two_sweeps(found))
    assert texts[-3:] == [
        "Only in A: tau=0.01.", "They differ in: lr auto / 1e-4.", "The runs come from: code not recorded / abc.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "walker-walk"}, "is of quadruped-walk, ensemble of walker-walk: results of tasks do not compare"),
        ({"tau": 7}, "have no configuration in common: none has the same values of tau"),
    ],
)
def test_what_does_not_compare_is_refused(before: SweepSummary, change: dict[str, object], message: str) -> None:
    configs = tuple(dataclasses.replace(c, config={**c.config, **change}) for c in before.source.configs)
    after = dataclasses.replace(before, source=dataclasses.replace(before.source, configs=configs))
    with pytest.raises(AggregateError, match=message):
        compare_sweeps(before, after)
