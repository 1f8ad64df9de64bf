"""What flags must not depend on, tried on runs that hypothesis draws from the benchmark's generator: healthy or with a
fault of any detector, in any noise, of any length."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flags as generator  # benchmarks/flags.py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate import flags
from aggregate.flags import BY_NAME, FLAG, NOT_ASSESSABLE, Finding, RunView
from tdmpc.description import DESCRIPTION

TRIED = settings(max_examples=40, derandomize=True, database=None)
LOSSES = {"pi_loss_spikes", "pi_loss_variance", "consistency_spikes", "validation_spikes", "consistency_rises",
          "validation_rises", "reward_degrades"}  # fmt: skip
METRIC = {detector.name: detector.metric for detector in flags.detectors_of(DESCRIPTION)}
VALUES = {name for name, d in BY_NAME.items() if d.group == "value"}
RETURNS = {name for name, d in BY_NAME.items() if d.group == "return"}
SHIFTED = RETURNS | {"pi_loss_spikes", "pi_loss_variance", "log_std_oscillates", "entropy_collapse"}


@st.composite
def cases(draw: st.DrawFn, names: frozenset[str] = frozenset(BY_NAME)) -> tuple[str, RunView]:
    """(a detector, a run that may have its fault)."""
    name = draw(st.sampled_from(sorted(names & set(generator.FAULTS))))
    effects, fault = generator.FAULTS[name]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    curves = generator.healthy(rng, draw(st.sampled_from(generator.NOISES)), draw(st.sampled_from((10, 40, 100, 400))))
    effect = draw(st.sampled_from([None, *effects, 3 * effects[-1]]))
    return name, (curves if effect is None else fault(curves, effect, rng)).view()


def finding_of(name: str, run: RunView) -> Finding:
    return BY_NAME[name].assess(run)


def mapped(run: RunView, change: Callable[[str, str, np.ndarray], np.ndarray]) -> RunView:
    """`run` with change(kind, column, values) for every column of numbers, each row of one of lists."""
    rows = {}
    for kind, table in run.rows.items():
        frame = pd.DataFrame(table)
        columns: dict[str, Any] = {}
        for name in frame.columns.drop(["nonfinite"]):
            own = frame[name]
            lists = own.dtype == object
            columns[name] = [change(kind, name, v) for v in own] if lists else change(kind, name, own.to_numpy(float))
        rows[kind] = pd.DataFrame({**columns, "nonfinite": None})
    return dataclasses.replace(run, rows=rows)


def alike(one: Finding, other: Finding, onset: float = 1.0, near: float = 1e-6) -> None:
    """The same but for rounding; a flag at its very threshold may fall on either side."""
    if abs(one.measured - one.least) > near * (1 + abs(one.least)) or np.isnan(one.measured):
        assert one.state == other.state
        assert other.onset == pytest.approx(onset * one.onset, nan_ok=True)
    assert other.measured == pytest.approx(one.measured, rel=1e-4, abs=1e-9, nan_ok=True)


@given(cases(frozenset(LOSSES)), st.floats(-6, 6))
@TRIED
def test_losses_have_any_scale(case: tuple[str, RunView], power: float) -> None:
    name, run = case
    metric = METRIC[name]
    scaled = mapped(run, lambda _, column, values: values * 10**power if column == metric else values)
    alike(finding_of(name, run), finding_of(name, scaled))


@given(cases(frozenset(VALUES)), st.floats(-6, 6))
@TRIED
def test_values_have_any_scale(case: tuple[str, RunView], power: float) -> None:
    name, run = case
    of_value = {METRIC[n] for n in VALUES} | {"td_target_mean"}
    scaled = mapped(run, lambda _, column, values: values * 10**power if column in of_value else values)
    alike(finding_of(name, run), finding_of(name, scaled))


@given(cases(frozenset(SHIFTED)), st.floats(-1000, 1000))
@TRIED
def test_levels_do_not_matter_where_changes_are_judged(case: tuple[str, RunView], by: float) -> None:
    """Returns all together; the policy loss, log_std and entropy each by itself."""
    name, run = case
    own = {METRIC[n] for n in RETURNS} if name in RETURNS else {METRIC[name]}

    def change(_: str, column: str, values: np.ndarray) -> np.ndarray:
        return values + by if column.removesuffix("_episodes") in own else values

    moved = mapped(run, change)
    if name in RETURNS:
        beside = dataclasses.replace(run.reference, low=run.reference.low + by, best=run.reference.best + by)
        moved = dataclasses.replace(moved, reference=beside)
    alike(finding_of(name, run), finding_of(name, moved))


@given(cases(), st.sampled_from([2, 4, 500]))
@TRIED
def test_the_unit_of_time_does_not_matter(case: tuple[str, RunView], factor: int) -> None:
    """Frames instead of agent steps, say."""
    _, run = case
    longer = mapped(run, lambda _, column, values: values * factor if column == "step" else values)
    longer = dataclasses.replace(longer, total_steps=factor * run.total_steps)
    for name in BY_NAME:
        alike(finding_of(name, run), finding_of(name, longer), onset=factor)


@given(cases())
@TRIED
def test_a_flag_has_its_evidence_and_what_could_not_be_judged_none(case: tuple[str, RunView]) -> None:
    name, run = case
    for finding in (finding_of(other, run) for other in BY_NAME):
        if finding.state == FLAG:
            assert finding.measured > finding.least >= 0
            assert 0 < finding.onset <= run.total_steps
        assert finding.detail or finding.state not in (FLAG, NOT_ASSESSABLE)
    metric = METRIC[name]
    gone = {metric, f"{metric}_episodes"}
    without = {kind: {c: v for c, v in rows.items() if c not in gone} for kind, rows in run.rows.items()}
    assert finding_of(name, dataclasses.replace(run, rows=without)).state == NOT_ASSESSABLE


@given(st.integers(0, 2**32 - 1), st.permutations(range(4)))
@settings(TRIED, max_examples=8)
def test_the_order_of_seeds_and_configurations_does_not_matter(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    runs = [(config, s, generator.healthy(rng, "white", 100).view()) for config in ("a", "b") for s in (1, 2)]
    shuffled = [runs[i] for i in order]
    keys = ["config_id", "seed", "flag"]
    one, other = (flags.judge(listed, "a").sort_values(keys, ignore_index=True) for listed in (runs, shuffled))
    pd.testing.assert_frame_equal(one, other)
    votes = [flags.vote(table).sort_values(["config_id", "flag"], ignore_index=True) for table in (one, other)]
    pd.testing.assert_frame_equal(*votes)


@given(cases(), st.integers(0, 2**32 - 1))
@TRIED
def test_what_other_metrics_do_does_not_matter(case: tuple[str, RunView], seed: int) -> None:
    """Each detector looks at its metric, at the value scale and at the returns; never at another diagnostic."""
    name, run = case
    seen = {METRIC[name], "td_target_mean", "optimism_gap", "step"}
    rng = np.random.default_rng(seed)

    def change(kind: str, column: str, values: np.ndarray) -> np.ndarray:
        returns = kind in ("eval", "episode") and "return" in column
        return values if column in seen or returns else rng.permutation(values)

    alike(finding_of(name, run), finding_of(name, mapped(run, change)))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "fault"]), st.sampled_from([2, 4]))
@settings(TRIED, max_examples=25)
def test_coarser_rows_are_judged_alike(seed: int, which: str, bins: int) -> None:
    """Rows averaged in twos or fours: large faults that last stay detected, healthy runs stay so."""
    rng = np.random.default_rng(seed)
    passing = {name for name in generator.FAULTS if "spikes" in name or BY_NAME[name].group == "return"}
    lasting = sorted(set(generator.FAULTS) - passing - {"pi_loss_variance", "log_std_at_floor"})
    name = lasting[int(rng.integers(len(lasting)))]
    effects, fault = generator.FAULTS[name]
    curves = generator.healthy(rng, "white", 400)
    run = (fault(curves, effects[-1], rng) if which == "fault" else curves).view()
    train = pd.DataFrame(run.rows["train"]).drop(columns="nonfinite")
    stacked = {c: np.stack(train[c].to_numpy()) for c in train.columns}
    coarse = {c: v.reshape(-1, bins, *v.shape[1:]).mean(1) if c != "step" else v[bins - 1 :: bins]
              for c, v in stacked.items()}  # fmt: skip
    rows = pd.DataFrame({c: list(v) if v.ndim > 1 else v for c, v in coarse.items()}).assign(nonfinite=None)
    binned = dataclasses.replace(run, rows={**run.rows, "train": rows})
    assert finding_of(name, run).state == finding_of(name, binned).state
