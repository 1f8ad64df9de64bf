"""All metrics that the agent logs. The trainer cannot log an undeclared one. Standard library only."""

from __future__ import annotations

import dataclasses
from typing import Literal

from sweepwise.core.metrics import Better, Catalogue, Metric

Group = Literal["return", "policy", "value", "world model", "run"]

VALIDATION_PREFIXES = ("validation/", "validation_recent/")
# Metric -> what it stands for (`sweepwise.core.metrics.ROLES`).
ROLES = {
    "eval_return_planner": "primary",
    "eval_return_planner_episodes": "primary_episodes",
    "eval_return_policy": "policy_without_mpc",
    "eval_return_policy_episodes": "policy_without_mpc_episodes",
    "episode_return": "training_return",
    "log_std": "log_std",
    "log_std_per_dim": "log_std_per_dim",
    "policy_entropy": "policy_entropy",
    "pi_loss": "policy_loss",
    "value_pred_mean": "value_prediction",
    "td_target_mean": "value_target",
    "optimism_gap": "value_lag",
    "value_bias": "value_bias",
    "value_error_abs_mean": "value_error",
    "value_std_across_q_heads": "value_spread",
    "td_target_std_across_heads": "target_spread",
    "consistency_loss": "consistency",
    "validation/consistency_loss": "validation_consistency",
    "reward_error_abs_mean": "reward_error",
}
TITLES = {"eval_return_planner": "return", "eval_return_policy": "return of the policy without MPC"}


def _train(
    group: Group, name: str, unit: str, better: Better, help: str, is_list: bool = False, formula: str = ""
) -> Metric:
    return Metric(name, "train", group, unit, better, help, is_list, formula)


_POLICY = [
    _train("policy", "log_std", "nat", "none", "policy log std, mean over states and action dimensions"),
    _train("policy", "log_std_per_dim", "nat", "none", "policy log std per action dimension", is_list=True),
    _train("policy", "policy_entropy", "nat", "none", "entropy of the squashed policy, by one sample a state",
           formula="mean of sum_A log(1 - tanh(u)^2) - log N(u)"),
    _train("policy", "pi_loss", "1", "none", "policy loss",
           formula="mean_t rho^t (hinge_coef x hinge - Q-hat / pi_scale - entropy_coeff x entropy)"),
    _train("policy", "pi_grad_norm", "1", "none", "gradient norm of the policy before clipping"),
    _train("policy", "pi_scale", "return", "none", "running 5-95 percentile range of the policy's objective",
           formula="moving average of max(1, p95 - p5 of Q-hat at t = 0)"),
    _train("policy", "entropy_coeff", "1", "none", "entropy coefficient of the schedule"),
    _train("policy", "planner_pi_elite_share", "share", "none", "share of policy candidates among the elites"),
    _train("policy", "planner_std", "action", "none", "planner std of the first action, mean over dimensions"),
    _train("policy", "planner_policy_distance", "action", "none", "|planned action - policy mean action|, mean",
           formula="mean over A of |a_plan - tanh(mean)|"),
]  # fmt: skip

_VALUE = [
    _train("value", "value_loss", "nat", "down", "cross-entropy of the value heads",
           formula="mean over Q of CE(V(z), mean two-hot target)"),
    _train("value", "value_pred_mean", "return", "none", "predicted value of the start states",
           formula="mean over Q, M of V(z)"),
    _train("value", "td_target_mean", "return", "none", "TD target of the start states",
           formula="mean over N, M of min over the drawn heads of y_h"),
    _train("value", "optimism_gap", "return", "none",
           "lag of the prediction behind the target, not bias",
           formula="value_pred_mean - td_target_mean"),
    _train("value", "value_error_abs_mean", "return", "down", "|prediction - target|, mean",
           formula="mean over Q, M of |V(z) - target|"),
    _train("value", "td_target_std_across_heads", "return", "down", "std of the target over all dynamics heads",
           formula="mean over N, M of std over H of y_h"),
    _train("value", "value_std_across_q_heads", "return", "down", "std of the prediction over the value heads",
           formula="mean over M of std over Q of V(z)"),
    _train("value", "aux_value_loss", "nat", "down", "cross-entropy of the auxiliary values, mean over gammas",
           formula="mean over G of CE(V_g(z), mean two-hot target)"),
    _train("value", "aux_value_loss_per_gamma", "nat", "down", "the same, per auxiliary discount", is_list=True),
    Metric("value_bias", "eval", "value", "return", "none",
           "value at the states of episodes without MPC minus the discounted return that followed",
           formula="mean over Q of V(enc(o_t)) - sum_k gamma^k r_{t+k} - gamma^(n-t) V(enc(o_n)), mean over t < 200"),
]  # fmt: skip

_WORLD_MODEL = [
    _train("world model", "consistency_loss", "1", "down", "latent prediction error of the dynamics heads",
           formula="mean_t rho^t mean over H, B, L of (z'_h - sg enc(o))^2"),
    _train("world model", "encoder_consistency_loss", "1", "down", "latent prediction error, training the encoder",
           formula="mean_t rho^t mean over H, B, L of (sg z'_h - enc(o))^2"),
    _train("world model", "reward_loss", "nat", "down", "cross-entropy of the reward heads",
           formula="mean_t rho^t mean over H, R, B of CE(r-hat, two-hot r)"),
    _train("world model", "reward_error_abs_mean", "reward", "down", "|predicted - observed reward|, mean",
           formula="mean over t, H, B of |mean_R r-hat - r|"),
    _train("world model", "termination_loss", "nat", "down", "cross-entropy of the ends of episodes"),
    _train("world model", "total_loss", "1", "down", "weighted sum the model is trained on",
           formula="sum of the losses, each times its coefficient"),
    _train("world model", "grad_norm", "1", "none", "gradient norm of the model before clipping"),
]  # fmt: skip

# Which parameters each loss reaches (docs/algorithm.md, section "Gradient flow").
GRADIENT_FLOW: dict[str, tuple[str, ...]] = {
    "consistency_loss": ("encoder", "dynamics"),
    "encoder_consistency_loss": ("encoder",),
    "reward_loss": ("encoder", "dynamics", "reward"),
    "value_loss": ("encoder", "value"),
    "aux_value_loss": ("encoder", "aux"),
    "termination_loss": ("encoder", "dynamics", "termination"),
}
_GRADIENTS = [
    _train("value" if "value" in loss else "world model", f"grad_norm/{loss}/{module}", "1", "none",
           f"gradient norm of the weighted {loss} in the {module}")
    for loss, modules in GRADIENT_FLOW.items()
    for module in modules
]  # fmt: skip

_VALIDATED = {
    "consistency_loss", "encoder_consistency_loss", "reward_loss", "reward_error_abs_mean",
    "value_loss", "value_pred_mean", "td_target_mean", "value_error_abs_mean", "aux_value_loss", "termination_loss",
}  # fmt: skip
_SOURCE = {
    "validation/": "on all evaluation episodes so far",
    "validation_recent/": "on the newest evaluation's episodes",
}
_VALIDATION = [
    dataclasses.replace(m, name=prefix + m.name, kind="validation", help=f"{m.help}, {_SOURCE[prefix]}")
    for prefix in VALIDATION_PREFIXES
    for m in _VALUE + _WORLD_MODEL
    if m.name in _VALIDATED
]  # fmt: skip


def _evaluation(mode: str, how: str) -> list[Metric]:
    return [
        Metric(f"eval_return_{mode}", "eval", "return", "return", "up", f"evaluation return {how}, mean over episodes"),
        Metric(f"eval_return_{mode}_std", "eval", "return", "return", "down", f"spread over episodes {how}"),
        Metric(f"eval_return_{mode}_episodes", "eval", "return", "return", "up", f"each episode's return {how}", True),
    ]  # fmt: skip


_RETURN = [
    Metric("episode_return", "episode", "return", "return", "up", "return of a training episode"),
    Metric("episode_length", "episode", "return", "steps", "none", "length of a training episode"),
    *_evaluation("planner", "with planning"),
    *_evaluation("policy", "of the policy without MPC"),
    Metric("eval_is_final", "eval", "run", "bool", "none", "1 for the larger evaluation after the last step"),
]  # fmt: skip

_RUN = [
    _train("run", "steps_per_s", "1/s", "up", "agent steps a second since the row before"),
    _train("run", "updates_per_s", "1/s", "up", "gradient updates a second since the row before"),
]  # fmt: skip

EVENTS = {
    "seed_phase_end": "end of the random actions",
    "encoder_freeze": "encoder frozen from here",
    "entropy_start": "entropy schedule begins",
    "entropy_end": "entropy schedule ends",
    "diverged": "a loss or weight became NaN or infinite, or the simulation failed",
}

METRICS: dict[str, Metric] = {
    m.name: dataclasses.replace(m, role=ROLES.get(m.name, ""), title=TITLES.get(m.name, ""))
    for m in _RETURN + _POLICY + _VALUE + _WORLD_MODEL + _GRADIENTS + _VALIDATION + _RUN
}

CATALOGUE = Catalogue(METRICS, EVENTS)
