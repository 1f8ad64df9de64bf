"""Every metric, declared once. The trainer can log nothing else and the report explains nothing else.

Standard library only.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Literal

Group = Literal["return", "policy", "value", "world model", "run"]
Better = Literal["up", "down", "none"]
Kind = Literal["train", "episode", "eval", "validation", "event"]

KINDS: tuple[Kind, ...] = ("train", "episode", "eval", "validation", "event")
VALIDATION_PREFIXES = ("validation/", "validation_recent/")


@dataclass(frozen=True)
class Metric:
    """One column of the shards.

    name: column name. kind: the kind of row it stands in. unit: for the axis. better: which direction is
    good. group: which room of the agent it watches. is_list: one value per dimension, gamma or episode.
    """

    name: str
    kind: Kind
    group: Group
    unit: str
    better: Better
    help: str
    is_list: bool = False


def _train(group: Group, name: str, unit: str, better: Better, help: str, is_list: bool = False) -> Metric:
    return Metric(name, "train", group, unit, better, help, is_list)


_POLICY = [
    _train("policy", "log_std", "nat", "none", "policy log std, mean over states and action dimensions"),
    _train("policy", "log_std_per_dim", "nat", "none", "policy log std per action dimension", is_list=True),
    _train("policy", "policy_entropy", "nat", "none", "entropy of the squashed policy, by one sample a state"),
    _train("policy", "pi_loss", "1", "none", "policy loss"),
    _train("policy", "pi_grad_norm", "1", "none", "gradient norm of the policy before clipping"),
    _train("policy", "pi_scale", "return", "none", "running 5-95 percentile range of the policy's objective"),
    _train("policy", "entropy_coeff", "1", "none", "entropy coefficient of the schedule"),
    _train("policy", "planner_pi_elite_share", "share", "none", "share of policy candidates among the elites"),
    _train("policy", "planner_std", "action", "none", "planner std of the first action, mean over dimensions"),
    _train("policy", "planner_policy_distance", "action", "none", "|planned action - policy mean action|, mean"),
]

_VALUE = [
    _train("value", "value_loss", "nat", "down", "cross-entropy of the value heads"),
    _train("value", "value_pred_mean", "return", "none", "predicted value of the start states"),
    _train("value", "td_target_mean", "return", "none", "TD target of the start states"),
    _train("value", "optimism_gap", "return", "none",
           "value_pred_mean - td_target_mean: lag behind the target, not bias"),
    _train("value", "value_error_abs_mean", "return", "down", "|prediction - target|, mean"),
    _train("value", "td_target_std_across_heads", "return", "down", "std of the target over all dynamics heads"),
    _train("value", "value_std_across_q_heads", "return", "down", "std of the prediction over the value heads"),
    _train("value", "aux_value_loss", "nat", "down", "cross-entropy of the auxiliary values, mean over gammas"),
    _train("value", "aux_value_loss_per_gamma", "nat", "down", "the same, per auxiliary discount", is_list=True),
    Metric("value_bias", "eval", "value", "return", "none",
           "value at visited states of policy-alone episodes minus the discounted return that followed"),
]  # fmt: skip

_WORLD_MODEL = [
    _train("world model", "consistency_loss", "1", "down", "latent prediction error of the dynamics heads"),
    _train("world model", "encoder_consistency_loss", "1", "down", "the same, as it trains the encoder"),
    _train("world model", "reward_loss", "nat", "down", "cross-entropy of the reward heads"),
    _train("world model", "reward_error_abs_mean", "reward", "down", "|predicted - observed reward|, mean"),
    _train("world model", "termination_loss", "nat", "down", "cross-entropy of the ends of episodes"),
    _train("world model", "total_loss", "1", "down", "weighted sum the model is trained on"),
    _train("world model", "grad_norm", "1", "none", "gradient norm of the model before clipping"),
]

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
]


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
    *_evaluation("policy", "with the policy alone"),
    Metric("eval_is_final", "eval", "run", "bool", "none", "1 for the larger evaluation after the last step"),
]

_RUN = [
    _train("run", "steps_per_s", "1/s", "up", "agent steps a second since the row before"),
    _train("run", "updates_per_s", "1/s", "up", "gradient updates a second since the row before"),
]

EVENTS = {
    "seed_phase_end": "end of the random actions",
    "encoder_freeze": "encoder frozen from here",
    "entropy_start": "entropy schedule begins",
    "entropy_end": "entropy schedule ends",
    "diverged": "a loss or weight became NaN or infinite",
}

METRICS: dict[str, Metric] = {
    m.name: m for m in _RETURN + _POLICY + _VALUE + _WORLD_MODEL + _GRADIENTS + _VALIDATION + _RUN
}


def metric(name: str) -> Metric:
    """The declaration of `name`; raises `KeyError` naming near matches."""
    if name not in METRICS:
        near = ", ".join(difflib.get_close_matches(name, METRICS, n=3)) or "none near"
        raise KeyError(f"metric {name!r} is not in the catalogue; near matches: {near}")
    return METRICS[name]
