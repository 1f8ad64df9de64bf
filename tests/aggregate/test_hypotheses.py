"""Hypotheses about what is updated too fast, from made-up findings."""

from __future__ import annotations

import pandas as pd
import pytest

from aggregate.flags import FLAG, NOT_ASSESSABLE, OK, vote
from aggregate.flags.hypotheses import format_hypothesis, hypotheses, of_configuration
from tdmpc.diagnostics import CAUSES


def findings_of(*lines: tuple[str, int, str, float]) -> pd.DataFrame:
    """(flag, seed, state, onset); every other sign was judged ok."""
    given = {(flag, seed) for flag, seed, _, _ in lines}
    seeds = {seed for _, seed, _, _ in lines}
    signs = dict.fromkeys(flag for cause in CAUSES for flag in cause.signs)  # causes share some
    rest = [(flag, seed, OK, float("nan")) for flag in signs for seed in sorted(seeds) if (flag, seed) not in given]
    return pd.DataFrame([*lines, *rest], columns=["flag", "seed", "state", "onset"]).assign(config_id="c")


def test_the_better_supported_cause_leads_with_its_evidence() -> None:
    findings = findings_of(
        ("log_std_oscillates", 1, FLAG, 2000), ("log_std_oscillates", 2, FLAG, 4000),
        ("pi_loss_spikes", 1, FLAG, 1000), ("pi_loss_spikes", 2, FLAG, 9000),
        ("consistency_spikes", 1, FLAG, 500), ("consistency_spikes", 2, OK, float("nan")),
    )  # fmt: skip
    policy, model = hypotheses(findings, vote(findings), CAUSES)
    assert (policy.cause.name, model.cause.name) == ("policy", "world model")
    assert policy.score == pytest.approx(2 / 4)
    assert (policy.onset, policy.first, policy.seeds) == (2500, 1, 2)  # 1000 and 4000; seed 1 began with the model
    assert format_hypothesis(policy) == (
        "2 of 4 signs: log_std oscillates 2/2, policy loss spikes 2/2; "
        "first sign at step 2,500, before the others' in 1 of 2 seeds"
    )
    assert (model.signs, model.onset, model.first) == ((("consistency_spikes", 1, 2),), 500, 1)


def test_of_equal_support_the_earlier_leads() -> None:
    findings = findings_of(("targets_swing", 1, FLAG, 300), ("pi_loss_spikes", 1, FLAG, 700))
    assert [h.cause.name for h in hypotheses(findings, vote(findings), CAUSES)] == ["value", "policy"]


def test_a_warning_counts_half_and_what_could_not_be_judged_not_at_all() -> None:
    lines = [("pi_loss_spikes", seed, FLAG if seed == 1 else OK, 100) for seed in (1, 2, 3)]
    lines += [("log_std_oscillates", seed, NOT_ASSESSABLE, float("nan")) for seed in (1, 2, 3)]
    findings = findings_of(*lines)
    (policy,) = hypotheses(findings, vote(findings), CAUSES)
    assert (policy.score, policy.judged) == (pytest.approx(0.5 / 3), 3)


def leading(lines: list[tuple[str, int, str, float]], **events: int) -> list[str]:
    findings = findings_of(*lines)
    happened = pd.DataFrame([("c", *event) for event in events.items()], columns=["config_id", "event", "step"])
    found = of_configuration("c", findings, vote(findings), happened, 100_000, CAUSES)
    return [h.cause.name for h in found]


def test_a_gap_to_training_points_at_planning_unless_the_policy_has_flags() -> None:
    gap = [("training_above_evaluation", seed, FLAG, 75_000) for seed in (1, 2, 3)]
    assert leading(gap) == ["planning in evaluation", "policy"]
    unhealthy = [("log_std_oscillates", seed, FLAG, 20_000) for seed in (1, 2, 3)]
    assert leading(gap + unhealthy) == ["policy"]
    # a warning against it halves its score, 1/2, which is below 1.5 of 4 signs of the policy only with a second one
    warned = [("log_std_oscillates", seed, FLAG if seed == 1 else OK, 20_000) for seed in (1, 2, 3)]
    assert leading(gap + warned) == ["planning in evaluation", "policy"]


def test_flags_that_begin_at_an_event_point_at_it() -> None:
    def rising(*onsets: float) -> list[tuple[str, int, str, float]]:
        return [("consistency_rises", seed, FLAG, onset) for seed, onset in enumerate(onsets, 1)]

    assert leading(rising(51_000, 55_000, 46_000), encoder_freeze=50_000) == ["encoder freeze", "world model"]
    assert leading(rising(51_000, 55_000, 80_000), encoder_freeze=50_000) == ["encoder freeze", "world model"]
    assert leading(rising(51_000, 61_000, 80_000), encoder_freeze=50_000) == ["world model"]
    others_ok = [("reward_degrades", seed, OK, float("nan")) for seed in (3, 4, 5)]
    assert leading(rising(51_000, 55_000) + others_ok, encoder_freeze=50_000) == ["world model"]  # 2 of 5 seeds
    assert leading(rising(51_000), encoder_freeze=50_000) == ["world model"]  # one seed may begin there by chance
    assert leading(rising(51_000, 55_000, 46_000), entropy_start=50_000) == ["world model"]  # another event
    assert leading(rising(51_000, 55_000, 46_000)) == ["world model"]


def test_the_evidence_of_an_event_says_how_many_seeds_begin_there() -> None:
    findings = findings_of(*[("consistency_rises", seed, FLAG, 50_000.0) for seed in (1, 2)])
    (freeze, _) = hypotheses(findings, vote(findings), CAUSES, {"encoder_freeze": (45_000, 60_000)})
    assert (freeze.score, freeze.at_event) == (1.0, (2, 2))
    assert format_hypothesis(freeze).endswith("; first sign at step 50,000, at the event in 2 of 2 seeds")
    assert freeze.cause.as_question == "does freezing the encoder cause it?"


def test_few_episodes_are_a_cause() -> None:
    assert leading([("few_episodes", seed, FLAG, 50_000) for seed in (1, 2)]) == ["few evaluation episodes"]


def test_no_signs_no_hypothesis() -> None:
    findings = findings_of(("evaluation_collapse", 1, FLAG, 100))
    assert hypotheses(findings, vote(findings), CAUSES) == []
