"""Formulas against arithmetic done by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tdmpc import math as tm
from tdmpc.agent import losses, ops, value_targets


def test_symlog_and_its_inverse():
    x = torch.tensor([0.0, math.e - 1, -(math.e**2 - 1)])
    torch.testing.assert_close(tm.symlog(x), torch.tensor([0.0, 1.0, -2.0]))
    torch.testing.assert_close(tm.symexp(tm.symlog(x)), x)


def test_two_hot_puts_weight_on_the_two_neighbours():
    bins = tm.bin_centres(5, 2.0)  # -2 -1 0 1 2
    x = tm.symexp(torch.tensor([0.25, -2.0, 7.0, 1.0]))
    expected = torch.tensor([[0, 0, 0.75, 0.25, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]])
    torch.testing.assert_close(tm.two_hot(x, bins), expected, atol=1e-6, rtol=0)


def test_two_hot_keeps_a_nan_a_nan():
    found = tm.two_hot(torch.tensor([math.nan, 0.0]), tm.bin_centres(5, 2.0))
    assert found[0].isnan().all()
    assert found[1].tolist() == [0, 0, 1, 0, 0]


def test_two_hot_inverse_is_symexp_of_the_mean_bin():
    bins = tm.bin_centres(3, 1.0)
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.5]]))
    torch.testing.assert_close(tm.two_hot_inverse(logits, bins), torch.tensor([math.e**0.25 - 1]))


def test_soft_cross_entropy():
    logits = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    target = torch.tensor([0.5, 0.5, 0.0])
    expected = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    assert tm.soft_cross_entropy(logits, target).item() == pytest.approx(expected)


def test_simnorm_is_a_softmax_over_each_group():
    x = torch.tensor([0.0, math.log(3.0), 5.0, 5.0])
    torch.testing.assert_close(tm.simnorm(x, 2), torch.tensor([0.25, 0.75, 0.5, 0.5]))


def test_log_std_is_squashed_into_its_range():
    raw = torch.tensor([-100.0, 0.0, 100.0])
    torch.testing.assert_close(tm.squash_log_std(raw, -10, 2), torch.tensor([-10.0, -4.0, 2.0]))


def test_gaussian_log_prob():
    eps, log_std = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, -0.5]])
    expected = (-0.5 - 0.5 - tm.LOG_SQRT_2PI) + (-2.0 + 0.5 - tm.LOG_SQRT_2PI)
    assert tm.gaussian_log_prob(eps, log_std).item() == pytest.approx(expected)


def test_squash_log_det():
    pre = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    expected = torch.log(1 - torch.tanh(pre) ** 2).sum(-1)
    torch.testing.assert_close(tm.squash_log_det(pre), expected)
    assert tm.squash_log_det(torch.tensor([[50.0]])).isfinite().all()


def test_percentile_range():
    x = torch.arange(101.0).repeat(2, 1)
    torch.testing.assert_close(tm.percentile_range(x * torch.tensor([[1.0], [2.0]])), torch.tensor([90.0, 180.0]))


def test_time_weights():
    assert tm.time_weights(4, 0.5).tolist() == [1, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("progress", "how", "value"),
    [
        (0.0, "linear", 1e-2), (0.5, "linear", 1e-2), (0.75, "linear", (1e-2 + 1e-4) / 2), (1.0, "linear", 1e-4),
        (0.5, "exponential", 1e-2), (0.75, "exponential", 1e-3), (1.0, "exponential", 1e-4),
    ],
)  # fmt: skip
def test_schedule(progress, how, value):
    assert tm.scheduled(progress, 1e-2, 1e-4, 0.5, 1.0, how) == pytest.approx(value)


def test_a_fixed_coefficient_is_itself():
    assert tm.scheduled(0.7, 1e-4, 1e-4, 0.5, 1.0, "exponential") == 1e-4


def test_reductions():
    x = torch.tensor([[1.0, 5.0], [3.0, 2.0]])
    assert tm.reduce_heads(x, "min", 0).tolist() == [1, 2]
    assert tm.reduce_heads(x, "max", 0).tolist() == [3, 5]
    assert tm.reduce_heads(x, "mean", 0).tolist() == [2, 3.5]
    assert tm.reduce_heads(x, "max", (0, 1)).item() == 5
    with pytest.raises(ValueError, match="min, mean, max"):
        tm.reduce_heads(x, "median", 0)
    with pytest.raises(ValueError, match="min, mean, max"):  # of one head too
        tm.reduce_heads(x[:1], "median", 0)


# --- losses -------------------------------------------------------------------------------------------


def test_consistency_loss_weighs_steps_and_averages_heads():
    rollout = torch.zeros(1, 2, 2, 1, 2)  # S T H B L
    rollout[0, 0, 0] = 1.0  # step 0: head 0 off by 1, head 1 exact -> mean square 0.5
    rollout[0, 1] = 2.0  # step 1: both heads off by 2 -> 4
    encoded = torch.zeros(1, 2, 1, 2)
    for found in losses.consistency_losses(rollout, encoded, rho=0.5):
        assert found.item() == pytest.approx((0.5 + 0.5 * 4) / 2)


def test_reward_loss_counts_the_shared_first_step_once():
    bins = tm.bin_centres(3, 1.0)
    rewards = torch.zeros(1, 2, 1)  # two-hot: all weight on the middle bin
    first = torch.zeros(1, 1, 1, 1, 3)  # uniform: log 3
    later = torch.log(torch.tensor([0.25, 0.5, 0.25])).expand(1, 1, 2, 1, 3)  # log 2, of both dynamics heads
    target, weights = losses.reward_targets(rewards, 2, bins, rho=0.5)
    found = ops.cross_entropy(torch.cat([first, later], dim=2), target, weights)
    assert found.item() == pytest.approx((math.log(3) + 0.5 * math.log(2)) / 2)


def test_td_targets_take_the_lowest_reward_and_each_discount_itself():
    rewards = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)  # S=1, R=2, k=1, X=1
    values = torch.tensor([[10.0, 20.0], [10.0, 20.0]]).view(1, 2, 2, 1, 1)  # S=1, C=2, h=2, k=1, X=1
    found = value_targets.td_targets(rewards, values, torch.tensor([0.99, 0.9]))
    torch.testing.assert_close(found.flatten(), torch.tensor([10.9, 20.8, 10.0, 19.0]))


def test_td_targets_stop_at_an_end():
    rewards = torch.ones(1, 1, 1, 2)
    values = torch.tensor([[10.0, 10.0], [20.0, 20.0]]).view(1, 1, 2, 1, 2)  # S=1, C=1, h=2, k=1, X=2
    alive = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    found = value_targets.td_targets(rewards, values, torch.tensor([0.5]), alive)
    assert found.flatten().tolist() == [6.0, 1.0, 1.0, 11.0]


def exercise(repository):
    """The function of docs/howto.md, section "Value target"."""
    section = (repository / "docs" / "howto.md").read_text().partition("\n## Value target\n")[2]
    names = {}
    exec(section.partition("```python\n")[2].partition("```")[0], names)
    return names["lambda_returns"]


def test_the_lambda_returns_of_the_exercise(repository):
    """Rewards 1 and 2, values 10 and 20 after them, discount and lambda 1/2: 12, and 1 + (10 / 2 + 12 / 2) / 2."""
    rewards, values = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1), torch.tensor([10.0, 20.0]).view(1, 1, 1, 2, 1)
    given = (rewards, values, torch.tensor([0.5]))
    assert exercise(repository)(*given, trace=0.5).flatten().tolist() == [6.5, 12.0]
    assert exercise(repository)(*given, trace=0.0).tolist() == value_targets.td_targets(*given).tolist()
    ended = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    assert exercise(repository)(*given, ended, trace=0.5).flatten().tolist() == [1.0, 12.0]


@pytest.mark.parametrize("changes", [{"imagination_horizon": 3}, {"ac_source": "replay_true", "num_reward_heads": 2},
                                     {"imagination_horizon": 2, "episodic": True}])  # fmt: skip
def test_the_exercise_takes_the_place_of_the_target(repository, tiny, trained, monkeypatch, changes):
    outcomes = []
    for name, function in (("one step", value_targets.td_targets), ("lambda", exercise(repository))):
        monkeypatch.setattr(value_targets, "td_targets", function)
        runs = trained(name)
        (outcome,) = runs.train(tiny(**changes))
        assert outcome.state == "finished"
        outcomes.append(runs.rows(1))
    assert outcomes[0] != outcomes[1]


def test_termination_loss():
    logits = torch.log(torch.tensor([3.0, 1.0])).view(1, 1, 2, 1)  # two heads, p = 3/4 and 1/2
    found = losses.termination_loss(logits, torch.ones(1, 1, 1))
    assert found.item() == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)


def test_hinge_begins_at_the_threshold():
    mean = torch.tensor([[2.5, -3.5], [0.0, 4.5]])
    assert tm.hinge(mean, 2.5, 4).tolist() == [0.5, 8.0]


def test_policy_loss_and_the_gradient_of_its_entropy():
    """Entropy = -A log N(pre-squash): no gradient to the mean, A to every log std."""
    eps = torch.tensor([[[[0.3, -0.7, 1.1]]]])  # S T B A
    log_std = torch.zeros(1, 1, 1, 3, requires_grad=True)
    log_prob = tm.gaussian_log_prob(eps, log_std)
    terms = losses.PolicyTerms(torch.full((1, 1, 1), 6.0), log_prob, torch.full((1, 1, 1), 5.0))
    loss = losses.policy_loss(terms, torch.tensor([2.0]), 3, entropy_coeff=0.1, hinge_coef=0.01, rho=0.5)
    entropy = -3 * log_prob.item()
    assert loss.item() == pytest.approx(-(6 / 2 + 0.1 * entropy) + 0.05)
    loss.sum().backward()
    torch.testing.assert_close(log_std.grad, torch.full((1, 1, 1, 3), -0.1 * 3))


def test_policy_loss_weighs_time():
    q = torch.tensor([[[1.0], [10.0]]])
    zero = torch.zeros_like(q)
    loss = losses.policy_loss(losses.PolicyTerms(q, zero, zero), torch.ones(1), 1, 0.0, 0.0, rho=0.5)
    assert loss.item() == pytest.approx(-(1 + 0.5 * 10) / 2)
