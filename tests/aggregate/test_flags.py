"""Every detector on a curve that shows the fault and on one that does not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aggregate.flags import (
    BY_NAME,
    DETECTORS,
    FLAG,
    NOT_ASSESSABLE,
    OK,
    Finding,
    RunView,
    SweepReference,
    judge,
)
from aggregate.flags.curve_features import largest_swing, smooth, turning_points, variances
from tdmpc.description import DESCRIPTION

N = 200
SHARE = np.linspace(0, 1, N)
RNG = np.random.default_rng(7)
NOISE = RNG.normal(0, 1, (40, N))


def view(kind: str, state: str = "done", total: int = 1000, **columns: object) -> RunView:
    """A run with one kind of row, evenly spread over its steps."""
    count = len(next(iter(columns.values())))  # type: ignore[arg-type]
    steps = np.linspace(total / count, total, count).astype(int)
    return RunView({kind: pd.DataFrame({"step": steps, "nonfinite": None, **columns})}, total, state, DESCRIPTION)


def finding_of(name: str, run: RunView) -> Finding:
    return BY_NAME[name].assess(run)


def state_of(name: str, run: RunView) -> str:
    return finding_of(name, run).state


# --- pieces ---------------------------------------------------------------------------------------------


def test_smoothing_is_the_mean_over_what_there_is() -> None:
    assert smooth(np.array([1.0, 2.0, 6.0, 0.0]), 3).tolist() == [1.5, 3.0, pytest.approx(8 / 3), 3.0]
    assert smooth(np.array([4.0, 8.0]), 5).tolist() == [6.0, 6.0]


def test_variances_of_many_samples_at_once() -> None:
    assert variances([np.array([1.0, 2.0, 3.0]), np.array([5.0, 9.0])]).tolist() == [1.0, 8.0]
    assert variances([]).size == 0


def test_the_largest_swing_that_turns_twice() -> None:
    assert largest_swing(np.array([0.0, 3.0, 1.0, 4.0]), 2) == pytest.approx(2.0, abs=0.01)
    assert largest_swing(np.array([0.0, 3.0, 1.0]), 2) == pytest.approx(0.0, abs=0.01)


def test_turning_points_by_hand() -> None:
    assert turning_points(np.array([0.0, 1.0, 0.0, 1.0]), 0.5) == [1, 2]
    assert turning_points(np.array([0.0, 1.0, 0.8, 2.0]), 0.5) == []  # a dent, no turn
    assert turning_points(np.array([2.0, 1.0, 0.0]), 0.5) == []


# --- policy ---------------------------------------------------------------------------------------------


def log_std(dim: np.ndarray) -> RunView:
    steady = -4 + 0.02 * NOISE[0]
    return view("train", log_std_per_dim=list(np.stack([steady, dim], axis=1)))


def test_a_swinging_dimension_oscillates_and_its_onset_is_the_first_turn() -> None:
    finding = finding_of("log_std_oscillates", log_std(-4 + 0.4 * np.sin(2 * np.pi * 3 * SHARE)))
    assert finding.state == FLAG
    assert finding.measured == pytest.approx(0.8, abs=0.05)  # peak to trough
    assert finding.onset == pytest.approx(1000 / 12, abs=15)  # a quarter of the first of three periods
    assert "of 2 dimensions" in finding.detail


@pytest.mark.parametrize("period", [2, 5, 10, 20])
def test_fast_switching_oscillates_and_says_how(period: int) -> None:
    square = np.where(np.arange(N) % period < period / 2, 0.2, -0.2)
    finding = finding_of("log_std_oscillates", log_std(-4 + square + 0.02 * NOISE[1]))
    assert finding.state == FLAG
    assert finding.detail.startswith("jumps from row to row" if period < 10 else "fast swings")
    assert finding.onset < 200


@pytest.mark.parametrize(
    "dim",
    [
        -4 + 0.05 * NOISE[1],  # noise far below the swing
        -4 + 2.5 * SHARE,  # rises
        -4 + 1.5 * np.exp(-4 * SHARE),  # falls
        -4 + np.minimum(SHARE, 1 - SHARE),  # there and back once: learning may do that
        -4 + 0.1 * np.sin(2 * np.pi * 5 * SHARE),  # swings of 0.2 nat
    ],
)
def test_smooth_log_std_does_not_oscillate(dim: np.ndarray) -> None:
    assert state_of("log_std_oscillates", log_std(dim)) == OK


def test_oscillation_falls_back_on_the_mean() -> None:
    assert state_of("log_std_oscillates", view("train", log_std=-4 + 0.4 * np.sin(20 * SHARE))) == FLAG


def test_oscillation_does_not_care_about_level() -> None:
    dim = -4 + 0.4 * np.sin(20 * SHARE) + 0.02 * NOISE[2]
    a, b = finding_of("log_std_oscillates", log_std(dim)), finding_of("log_std_oscillates", log_std(dim + 3))
    assert (a.state, a.onset) == (b.state, b.onset)
    assert a.measured == pytest.approx(b.measured)


def spiked(values: np.ndarray, at: int, by: float) -> np.ndarray:
    out = values.copy()
    out[at] += by
    return out


CLEAN_PI = -3 * (1 - np.exp(-4 * SHARE)) + 0.05 * NOISE[3]
CLEAN_LOSS = (0.02 + 0.1 * np.exp(-6 * SHARE)) * np.exp(0.05 * NOISE[4])


def test_a_spike_of_the_policy_loss_is_found_where_it_is() -> None:
    run = view("train", pi_loss=spiked(CLEAN_PI, 120, 6.0))
    finding = finding_of("pi_loss_spikes", run)
    assert (finding.state, finding.onset) == (FLAG, run.rows["train"]["step"][120])


def test_spikes_of_the_consistency_loss_are_found() -> None:
    loss = CLEAN_LOSS
    for at in (60, 110, 150):
        loss = spiked(loss, at, 0.05)
    finding = finding_of("consistency_spikes", view("train", consistency_loss=loss))
    assert (finding.state, finding.detail) == (FLAG, "3 spikes of single rows")


@pytest.mark.parametrize(("count", "rows"), [(5, 40), (7, 40), (20, 200), (30, 200)])
def test_many_spikes_do_not_mask_themselves(count: int, rows: int) -> None:
    rng = np.random.default_rng(count)
    loss = rng.normal(0, 1, rows)
    at = rng.choice(np.arange(rows // 6, rows - 4), count, replace=False)
    loss[at] += 16 * rng.choice([-1, 1], count)
    run = view("train", pi_loss=loss)
    finding = finding_of("pi_loss_spikes", run)
    assert finding.state == FLAG
    assert finding.onset == run.rows["train"]["step"][np.sort(at)[0]]


@pytest.mark.parametrize("rows", [6, 12, 20])
def test_an_excursion_is_found_and_a_step_is_none(rows: int) -> None:
    stretch = (np.arange(N) >= 100) & (np.arange(N) < 100 + rows)
    run = view("train", pi_loss=NOISE[0] + 12 * stretch)
    finding = finding_of("pi_loss_spikes", run)
    assert finding.state == FLAG
    assert finding.detail.startswith("excursion of about ")
    assert finding.onset == pytest.approx(run.rows["train"]["step"][100], abs=5 * 6)
    assert state_of("pi_loss_spikes", view("train", pi_loss=NOISE[0] + 12 * (np.arange(N) >= 100))) == OK


def test_spikes_of_a_curve_that_is_constant_elsewhere_are_found() -> None:
    constant = np.full(N, 3.0)
    assert state_of("pi_loss_spikes", view("train", pi_loss=constant)) == OK
    for at in (60, 110, 150):
        constant[at] += 1e-3
    finding = finding_of("pi_loss_spikes", view("train", pi_loss=constant))
    assert finding.state == FLAG
    # 3 of 200 rows off by h: the mean absolute deviation is 0.015 h
    assert finding.measured == pytest.approx(1 / (0.015 * np.sqrt(np.pi / 2)), rel=1e-6)


def test_what_cannot_be_seen_is_said_with_the_run() -> None:
    run = view("train", pi_loss=NOISE[0][:40])
    finding = finding_of("pi_loss_spikes", run)
    assert finding.state == OK
    assert finding.text.endswith(finding.not_found)
    assert finding.not_found.startswith("with 40 rows, one or two spikes below 55 x the noise, three below 5 x")
    (line,) = [line for line in judge([("c", 1, run)]).to_dict("records") if line["flag"] == "pi_loss_spikes"]
    assert line["detail"] == finding.text


def test_validation_spikes_need_validation_rows() -> None:
    spike = view("validation", **{"validation/consistency_loss": spiked(CLEAN_LOSS[::5], 30, 5.0)})
    assert state_of("validation_spikes", spike) == FLAG
    assert state_of("validation_spikes", view("train", consistency_loss=CLEAN_LOSS)) == NOT_ASSESSABLE


@pytest.mark.parametrize("rate", [2.0, 20.0, 100.0])
def test_a_decaying_loss_has_no_spikes(rate: float) -> None:
    for noise in NOISE[5:35]:
        loss = (0.02 + 0.5 * np.exp(-rate * SHARE)) * np.exp(0.1 * noise)
        assert state_of("consistency_spikes", view("train", consistency_loss=loss)) == OK


LOSSES = {"pi_loss_spikes": CLEAN_PI, "pi_loss_variance": CLEAN_PI, "consistency_spikes": CLEAN_LOSS,
          "consistency_rises": CLEAN_LOSS, "reward_degrades": CLEAN_LOSS}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fault", ["none", "spike", "growth"])
def test_losses_are_judged_alike_at_any_scale_and_signed_ones_at_any_level(name: str, fault: str) -> None:
    metric, signed = BY_NAME[name].of(DESCRIPTION).metric, name.startswith("pi")
    loss = spiked(LOSSES[name], 150, 8.0) if fault == "spike" else LOSSES[name]
    loss = loss + 0.5 * NOISE[39] * (SHARE > 0.5) if signed and fault == "growth" else loss
    loss = loss * (1 + 3 * (SHARE > 0.7)) if not signed and fault == "growth" else loss
    base = finding_of(name, view("train", **{metric: loss}))
    assert base.state == FLAG or (fault, name.split("_")[-1]) not in {("spike", "spikes"), ("growth", "rises")}
    for same in [1e-6 * loss, 1e6 * loss, *([loss - 100, loss + 100] if signed else [])]:
        moved = finding_of(name, view("train", **{metric: same}))
        assert (moved.state, moved.measured, moved.least) == (
            base.state,
            pytest.approx(base.measured, rel=1e-4),
            pytest.approx(base.least, rel=1e-4),
        )


def test_heavy_tails_are_no_spikes() -> None:
    noise = np.random.default_rng(5).standard_t(3, (100, N))
    raised = [state_of("consistency_spikes", view("train", consistency_loss=np.exp(0.1 * row))) for row in noise]
    assert raised.count(FLAG) <= 1


def test_a_policy_loss_ever_noisier_is_found() -> None:
    noisier = CLEAN_PI + 0.3 * NOISE[38] * (SHARE > 0.5)
    assert state_of("pi_loss_variance", view("train", pi_loss=noisier)) == FLAG
    assert state_of("pi_loss_variance", view("train", pi_loss=CLEAN_PI)) == OK


def test_a_policy_loss_whose_noise_grows_more_than_the_baselines_is_found_at_any_scale() -> None:
    falling, growing = NOISE[3] * (1 - 0.8 * (SHARE > 0.5)), NOISE[4] * (1 + 0.8 * (SHARE > 0.5))
    runs = [("base", s, view("train", pi_loss=falling + s)) for s in (1, 2)]
    runs += [
        ("growing", 1, view("train", pi_loss=1000 * growing)),
        ("scaled", 1, view("train", pi_loss=1000 * falling)),
    ]
    findings = judge(runs, baseline="base").query("flag == 'pi_loss_variance'").set_index("config_id")
    assert findings.loc["growing", "state"] == FLAG
    assert "a growth 9.5 x the baseline's" in findings.loc["growing", "detail"]
    assert findings.loc["scaled", "state"] == OK
    assert set(findings.loc["base", "state"]) == {OK}


def test_an_entropy_that_is_gone_before_anything_is_learnt_is_found() -> None:
    beside = SweepReference(low=0.0, best=600.0)
    early, even = (view("train", policy_entropy=fall) for fall in (4 - 8 * np.minimum(1, 8 * SHARE), 4 - 8 * SHARE))
    slow, quick = (view("eval", eval_return_planner=curve) for curve in (600 * SHARE, 600 * SHARE**0.1))
    states = [
        finding_of(
            "entropy_collapse", RunView({**train.rows, **evaluated.rows}, 1000, "done", DESCRIPTION, reference=beside)
        ).state
        for train in (early, even)
        for evaluated in (slow, quick)
    ]
    assert states == [FLAG, OK, OK, OK]
    assert state_of("entropy_collapse", early) == NOT_ASSESSABLE  # no return to compare with


def test_the_floor_of_log_std_is_that_of_the_configuration() -> None:
    run = log_std(np.full(N, -4.9))
    assert state_of("log_std_at_floor", run) == OK  # of -10 to 2
    assert state_of("log_std_at_floor", RunView(run.rows, 1000, "done", DESCRIPTION, {"log_std_min": -5.0})) == FLAG


# --- return ---------------------------------------------------------------------------------------------


def evaluations(level: np.ndarray, noise: float = 20.0) -> RunView:
    rng = np.random.default_rng(3)
    episodes = [value + rng.normal(0, noise, 6) for value in level]
    return view("eval", eval_return_planner=[e.mean() for e in episodes], eval_return_planner_episodes=episodes)


RISE = 600 * (1 - np.exp(-6 * np.linspace(0, 1, 40)))
COLLAPSE = np.where(np.arange(40) >= 34, 0.5, 1.0) * RISE


def test_a_late_fall_of_evaluation_is_found() -> None:
    finding = finding_of("evaluation_collapse", evaluations(COLLAPSE))
    assert finding.state == FLAG
    # from 597 to 298, having risen from the first window's 117
    assert finding.measured == pytest.approx((597 - 298) / (597 - 117), abs=0.03)


def test_a_collapse_is_found_with_one_value_an_evaluation() -> None:
    """Imported curves have no values per episode."""
    level = np.where(np.arange(40) >= 34, 160.0, 980 * (1 - np.exp(-6 * np.linspace(0, 1, 40))))
    runs = [("c", seed, view("eval", eval_return_planner=level + 10 * NOISE[seed][:40])) for seed in (1, 2, 3)]
    findings = judge(runs).query("flag == 'evaluation_collapse'")
    assert findings["state"].tolist() == [FLAG] * 3


@pytest.mark.parametrize(("last", "state"), [(2, FLAG), (1, OK)])
def test_a_fall_in_the_last_evaluations_is_found(last: int, state: str) -> None:
    """The last 5 % of 40 evaluations are two."""
    finding = finding_of("evaluation_collapse", evaluations(np.where(np.arange(40) >= 40 - last, 0.5, 1.0) * RISE))
    assert finding.state == state
    if state == FLAG:
        assert "gained lost in the last 2 of 40 values" in finding.detail
        assert finding.onset == 975


@pytest.mark.parametrize("shift", [-500.0, 0.0, 500.0])
def test_a_late_fall_does_not_care_about_the_level(shift: float) -> None:
    base, moved = (finding_of("evaluation_collapse", evaluations(COLLAPSE + s)) for s in (0.0, shift))
    assert (moved.state, moved.onset) == (base.state, base.onset)
    assert moved.measured == pytest.approx(base.measured)


@pytest.mark.parametrize(
    "level",
    [
        RISE,
        np.full(40, 300.0),  # flat: the best of noise is no peak
        np.where(np.arange(40) >= 34, 0.85, 1.0) * RISE,  # falls by less than 30 %
        0.05 * COLLAPSE,  # falls by half of 30 points
        np.where((np.arange(40) > 20) & (np.arange(40) < 28), 0.3, 1.0) * RISE,  # dips and comes back
    ],
)
def test_what_is_no_late_collapse(level: np.ndarray) -> None:
    assert state_of("evaluation_collapse", evaluations(level)) == OK


def test_a_fall_of_training_return_is_found() -> None:
    level = np.repeat(COLLAPSE, 5) + 20 * NOISE[36]
    assert state_of("training_collapse", view("episode", episode_return=level)) == FLAG
    assert state_of("training_collapse", view("episode", episode_return=np.repeat(RISE, 5) + 20 * NOISE[36])) == OK


def test_training_above_evaluation_is_found() -> None:
    train = view("episode", episode_return=np.repeat(RISE, 5) + 20 * NOISE[36]).rows
    for share, state in ((1.0, OK), (0.9, OK), (0.5, FLAG)):
        run = RunView({**train, **evaluations(share * RISE).rows}, 1000, "done", DESCRIPTION)
        assert state_of("training_above_evaluation", run) == state


@pytest.mark.parametrize(("luck", "agent", "state"), [(20, 5, OK), (20, 300, FLAG), (400, 0, FLAG)])
def test_noisy_evaluation_is_found_and_split(luck: float, agent: float, state: str) -> None:
    run = evaluations(RISE + agent * NOISE[37][:40], luck)
    finding = finding_of("evaluation_noise", dataclasses.replace(run, reference=SweepReference(low=0.0, best=600.0)))
    explained = int(finding.detail.split("explains ")[1].split("%")[0])
    assert finding.state == state
    assert explained == 0 if agent == 300 else explained > 60  # of the variance, by the luck of the episodes


def test_a_plateau_is_one_only_below_what_the_sweep_reaches() -> None:
    fallen = np.where(np.arange(40) >= 30, 0.2, 1.0) * RISE
    runs = [("c", seed, evaluations(level)) for seed, level in enumerate((0.2 * RISE, RISE, fallen))]
    findings = judge(runs).query("flag == 'plateau'")
    assert findings["state"].tolist() == [FLAG, OK, OK]


def test_a_run_that_rises_late_is_not_stuck() -> None:
    risen = 0.5 * RISE[-1] * np.clip((np.linspace(0, 1, 40) - 0.9) / 0.1, 0, 1)
    flat = np.full(40, 0.0)
    runs = [("c", seed, evaluations(level)) for seed, level in enumerate((risen, flat, RISE))]
    assert judge(runs).query("flag == 'plateau'")["state"].tolist() == [OK, FLAG, OK]


@pytest.mark.parametrize(("luck", "agent", "state"), [(400, 0, FLAG), (20, 300, OK), (20, 5, OK)])
def test_too_few_episodes_are_told_from_an_agent_that_varies(luck: float, agent: float, state: str) -> None:
    run = evaluations(RISE + agent * NOISE[37][:40], luck)
    view_of = dataclasses.replace(run, reference=SweepReference(low=0.0, best=600.0))
    assert state_of("few_episodes", view_of) == state
    without = view("eval", eval_return_planner=run.rows["eval"]["eval_return_planner"])
    assert state_of("few_episodes", dataclasses.replace(without, reference=view_of.reference)) == NOT_ASSESSABLE


# --- value ----------------------------------------------------------------------------------------------


def valued(**columns: np.ndarray) -> RunView:
    """td_target_mean rises from 0 to 100: the scale of values is about 190."""
    bias = columns.pop("value_bias", None)
    run = view("train", td_target_mean=100 * SHARE, **columns)
    return RunView(
        {**run.rows, **({} if bias is None else view("eval", value_bias=bias).rows)}, 1000, "done", DESCRIPTION
    )


@pytest.mark.parametrize(("offset", "word"), [(80.0, "optimistic"), (-80.0, "pessimistic")])
def test_a_bias_of_one_sign_is_found(offset: float, word: str) -> None:
    finding = finding_of("value_bias", valued(value_bias=offset + 5 * NOISE[0][:40]))
    assert finding.state == FLAG
    assert finding.detail.startswith(word)


@pytest.mark.parametrize("bias", [5 * NOISE[0][:40], 10 + 5 * NOISE[0][:40], 200 * np.resize([1.0, -1.0], 40)])
def test_small_or_two_signed_bias_is_none(bias: np.ndarray) -> None:
    assert state_of("value_bias", valued(value_bias=bias)) == OK


@pytest.mark.parametrize("name", ["heads_disagree", "q_heads_disagree"])
def test_heads_that_disagree_more_and_more_are_found(name: str) -> None:
    metric = BY_NAME[name].of(DESCRIPTION).metric
    assert state_of(name, valued(**{metric: 80 * SHARE})) == FLAG
    assert state_of(name, valued(**{metric: 80 * (1 - SHARE)})) == OK  # settling
    assert state_of(name, valued(**{metric: 10 * SHARE})) == OK  # small


@pytest.mark.parametrize(
    ("name", "metric", "bad", "good"),
    [
        ("value_overshoots", "value_pred_mean", np.minimum(2 * SHARE, 1.5 - SHARE), SHARE),
        ("value_error_stays", "value_error_abs_mean", np.minimum(1, 4 * SHARE), 4 * SHARE * np.exp(-8 * SHARE)),
        ("targets_swing", "td_target_mean", SHARE + 0.4 * np.sin(20 * SHARE), SHARE + 0.05 * np.sin(20 * SHARE)),
    ],
)
def test_what_values_do(name: str, metric: str, bad: np.ndarray, good: np.ndarray) -> None:
    """At any scale of value."""
    for scale in (1e-4, 1.0, 1e4):
        for curve, state in ((bad, FLAG), (good, OK)):
            columns = {"td_target_mean": scale * SHARE, metric: scale * (curve + 0.01 * NOISE[6])}
            assert state_of(name, view("train", **columns)) == state


def test_a_prediction_that_keeps_off_its_target_is_found() -> None:
    offset = finding_of("value_off_target", valued(optimism_gap=-30 + 5 * NOISE[0]))
    assert (offset.state, offset.detail[:21]) == (FLAG, "below its target by 3")
    assert state_of("value_off_target", valued(optimism_gap=5 * NOISE[0])) == OK
    assert state_of("value_off_target", valued(optimism_gap=40 * np.resize([1.0, -1.0], N))) == OK


def test_a_validation_loss_that_rises_is_found_where_the_training_loss_falls() -> None:
    rising = (1 + 3 * (SHARE > 0.7)) * CLEAN_LOSS
    both = {**view("train", consistency_loss=CLEAN_LOSS).rows,
            **view("validation", **{"validation/consistency_loss": rising[::5]}).rows}  # fmt: skip
    run = RunView(both, 1000, "done", DESCRIPTION)
    assert state_of("validation_rises", run) == FLAG
    assert state_of("consistency_rises", run) == OK


def test_disagreement_does_not_care_about_scale() -> None:
    runs = [view("train", td_target_mean=k * 100 * SHARE, td_target_std_across_heads=k * 80 * SHARE) for k in (1, 1e4)]
    a, b = (finding_of("heads_disagree", run) for run in runs)
    assert a.state == b.state == FLAG
    assert a.measured == pytest.approx(b.measured)


# --- run ------------------------------------------------------------------------------------------------


def test_divergence_is_seen_in_rows_events_and_state() -> None:
    clean = view("train", pi_loss=CLEAN_PI)
    assert state_of("diverged", clean) == OK
    bad = view("train", pi_loss=CLEAN_PI)
    bad.rows["train"].loc[50, "nonfinite"] = "pi_loss"
    assert finding_of("diverged", bad).onset == bad.rows["train"]["step"][50]
    event = pd.DataFrame({"step": [70], "event": ["diverged"]})
    assert finding_of("diverged", RunView({**clean.rows, "event": event}, 1000, "done", DESCRIPTION)).onset == 70
    assert state_of("diverged", RunView(clean.rows, 1000, "diverged", DESCRIPTION)) == FLAG
    assert state_of("diverged", RunView({}, 1000, "pending", DESCRIPTION)) == NOT_ASSESSABLE


@pytest.mark.parametrize(
    ("state", "expected"),
    [("done", OK), ("failed", FLAG), ("stalled", FLAG), ("running", NOT_ASSESSABLE), ("pending", NOT_ASSESSABLE)],
)
def test_stopped_early_follows_the_state(state: str, expected: str) -> None:
    half = RunView({"train": pd.DataFrame({"step": [500]})}, 1000, state, DESCRIPTION)
    finding = finding_of("stopped_early", half)
    assert finding.state == expected
    assert expected != FLAG or finding.detail == f"{state} at step 500 of 1,000, 50 % missing"


@pytest.mark.parametrize(
    ("name", "curve", "state"),
    [
        ("log_std_oscillates", -4 + 0.4 * np.sin(20 * SHARE), FLAG),
        ("log_std_oscillates", -4 + SHARE, OK),
        ("value_overshoots", np.minimum(2 * SHARE, 1.5 - SHARE), FLAG),
        ("consistency_rises", (1 + 3 * (SHARE > 0.7)) * CLEAN_LOSS, FLAG),
        ("consistency_rises", CLEAN_LOSS, OK),
        ("heads_disagree", 0.8 * SHARE, FLAG),
    ],
)
def test_coarser_rows_are_judged_alike(name: str, curve: np.ndarray, state: str) -> None:
    metric = BY_NAME[name].of(DESCRIPTION).metric.removesuffix("_per_dim")
    for rows in (1, 2, 4):
        columns = {metric: curve.reshape(-1, rows).mean(1), "td_target_mean": SHARE.reshape(-1, rows).mean(1)}
        assert state_of(name, view("train", **columns)) == state


# --- all of them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", [d for d in DETECTORS if d.min_points > 1], ids=lambda d: d.name)
def test_too_few_points_are_never_ok(detector: object) -> None:
    few = np.arange(detector.min_points - 1, dtype=float)  # type: ignore[attr-defined]
    episodes = [np.ones(4)] * len(few)
    metrics = {m.name: few for m in DESCRIPTION.catalogue.roles.values() if m.kind == "train"}
    train = view("train", **{**metrics, "log_std_per_dim": [np.array([v]) for v in few]})
    rows = {
        **train.rows,
        **view("episode", episode_return=few).rows,
        **view(
            "eval",
            value_bias=few,
            eval_return_planner=few,
            eval_return_planner_episodes=episodes,
            eval_return_policy=few,
        ).rows,
        **view("validation", **{"validation/consistency_loss": few}).rows,
    }
    assert state_of(detector.name, RunView(rows, 1000, "done", DESCRIPTION)) == NOT_ASSESSABLE  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", [lambda v: v * np.nan, lambda v: v * 0.0, lambda v: np.where(v < 0, np.inf, v)])
def test_no_detector_breaks_on_odd_values(damage: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.errstate(invalid="ignore"):
        odd = damage(NOISE[0])
    rows = {
        **view("train", pi_loss=odd, consistency_loss=odd, td_target_mean=odd, td_target_std_across_heads=odd,
               log_std_per_dim=list(np.stack([odd, odd], axis=1))).rows,
        **view("episode", episode_return=odd).rows,
        **view("eval", value_bias=odd[:40], eval_return_planner_episodes=list(odd.reshape(40, 5))).rows,
    }  # fmt: skip
    findings = judge([("c", 1, RunView(rows, 1000, "done", DESCRIPTION))])
    assert findings["flag"].tolist() == list(BY_NAME)


# --- the documentation ----------------------------------------------------------------------------------


def test_the_documentation_says_which_item_of_the_plan_each_flag_watches(repository: Path) -> None:
    section = (repository / "docs" / "flags.md").read_text(encoding="utf-8").partition("## What the plan watches")[2]
    table = section.partition("## ")[0]
    cells = {line.split("|")[1].strip(): set(re.findall(r"`(\w+)`", line.split("|")[2]))
             for line in table.splitlines() if line.startswith("| ")}  # fmt: skip
    assert set().union(*cells.values()) == set(BY_NAME)
    for cause in DESCRIPTION.diagnostics.causes:
        name = cause.name.capitalize()
        (signs,) = [own for title, own in cells.items() if title.partition(",")[0] in (name, f"{name} too fast")]
        assert signs == set(cause.signs)
