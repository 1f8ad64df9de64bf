"""The configuration of one training run: every hyperparameter with its type, its limits and its meaning.

`TrainConfig` is frozen and holds only what changes the result. How a run is executed (device, threads, time between
checkpoints) is passed to `tdmpc.api` separately and is not part of the configuration ID.
Standard library only: the command line reads this module on every call.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweepwise.core.hyperparameters import (
    ConfigError,
    check_limits,
    declared_short_text,
    declared_text,
    key,
    limits_text,
    parse_as,
)
from tdmpc.tasks import EPISODE_FRAMES, TASKS, canonical_task

__all__ = [
    "AGENT_VERSION", "LR_SCALED_BY", "PAPERS", "ConfigError", "TrainConfig", "check_key", "config_id",
    "inactive_keys", "key_types", "limits_text", "parse_value", "type_text",
]  # fmt: skip

# Part of every configuration ID. Raise it when the same hyperparameters and seed give other results than before, and
# say in docs/algorithm.md what changed.
AGENT_VERSION = 2
# Hyperparameter with the size of an ensemble -> the network whose learning rate `ensemble_lr_scaling` scales by it.
LR_SCALED_BY = {
    "planner_num_dynamics_heads": "dynamics",
    "num_reward_heads": "reward",
    "num_q": "value",
    "multi_gamma_gammas": "auxiliary value",
}
# Papers that the `source` of a hyperparameter may name.
PAPERS = {
    "TD-MPC2": "Hansen, Su and Wang, ICLR 2024, arXiv 2310.16828, and its code",
    "TD3": "Fujimoto, van Hoof and Meger 2018, arXiv 1802.09477: delayed policy updates",
    "REDQ": "Chen et al. 2021, arXiv 2101.05982: many updates a step, targets over a random subset of the ensemble",
    "Fedus et al.": "2019, arXiv 1902.06865: values at several discounts as an auxiliary task",
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a run computes. Defaults are the base configuration of the sweep plan.

    Symbols as in `docs/algorithm.md`. A hyperparameter that is added later declares `neutral`, the value at which
    nothing changes, so that runs trained before it keep their configuration ID.
    """

    # task and length
    task: str = key("quadruped-walk", "dm_control suite task, domain-task", shapes=True)
    steps: int = key(100_000, "agent steps of training; frames = steps x action_repeat", low=1)
    action_repeat: int = key(2, "environment steps per agent step", low=1, high=EPISODE_FRAMES, source="TD-MPC2")
    seed_steps: int | None = key(
        None, "steps of random actions before training; auto = max(1000, 5 episodes)", low=1, source="TD-MPC2"
    )

    # optimisation
    batch_size: int = key(256, "windows per update, B", low=2, source="TD-MPC2")
    horizon: int = key(3, "steps of a window and of a plan, T", low=1, source="TD-MPC2")
    utd_ratio: int = key(4, "gradient updates per agent step", low=1, source="REDQ; TD-MPC2 has 1")
    lr: float = key(3e-4, "Adam learning rate before scaling", above=0, source="TD-MPC2")
    enc_lr_scale: float = key(0.3, "encoder learning rate = lr x this", above=0, source="TD-MPC2")
    pi_lr_scale: float = key(0.3, "policy learning rate = lr x this", above=0)
    ensemble_lr_scaling: bool = key(True, "scale dynamics lr by H, reward by R, value by Q/5, auxiliary by G/5")
    grad_clip_norm: float = key(
        20.0, "gradient norm at which each optimiser clips, per seed", above=0, source="TD-MPC2"
    )
    tf32: bool = key(True, "TF32 matrix products on GPUs that have them")
    bfloat16: bool = key(
        False, "bfloat16 matrix products, for GPUs; on a CPU the C kernels are then not used", neutral=False
    )

    # loss weights
    consistency_coef: float = key(20.0, "weight of the consistency loss", low=0, source="TD-MPC2")
    encoder_consistency_coef: float = key(1.0, "weight of the encoder consistency loss", low=0)
    reward_coef: float = key(0.1, "weight of the reward loss", low=0, source="TD-MPC2")
    value_coef: float = key(0.1, "weight of the value loss", low=0, source="TD-MPC2")
    rho: float = key(0.5, "weight of step t of a window is rho^t", above=0, high=1, source="TD-MPC2")
    detach_encoder_ratio: float = key(0.5, "share of training, at its end, with the encoder frozen", low=0, high=1)

    # ensembles
    num_q: int = key(2, "value heads, Q", low=1, shapes=True, source="TD-MPC2, which has 5 of Q(z, a)")
    planner_num_dynamics_heads: int = key(4, "dynamics heads, H", low=1, shapes=True)
    td_num_dynamics_heads: int = key(
        2, "heads drawn per batch for TD targets; 0 = all", low=0, source="after REDQ, which draws critics"
    )
    num_reward_heads: int = key(1, "reward heads, R", low=1, shapes=True)
    policy_head_reduce: str = key(
        "mean", "reduction over heads in the policy objective", choices=("min", "mean", "max")
    )
    planner_head_reduce: str = key("max", "reduction over heads in the planner's score", choices=("min", "mean", "max"))

    # value learning
    ac_source: str = key(
        "imagine",
        "transitions of the value targets",
        choices=("imagine", "replay_rollout", "replay_true"),
        neutral="imagine",
    )
    imagine_initial_source: str = key(
        "replay_rollout",
        "states that imagination starts from: rolled-out latents or encodings",
        choices=("replay_rollout", "replay_true"),
        neutral="replay_rollout",
    )
    num_rollouts: int = key(4, "rollouts imagined from every start state, N", low=1)
    imagination_horizon: int = key(1, "steps of an imagined rollout, each with its TD target", low=1, neutral=1)
    tau: float = key(0.01, "rate of the target value's moving average", above=0, high=1, source="TD-MPC2")
    scale_tau: float = key(
        0.01, "rate of the running scale of the policy objective", above=0, high=1, source="TD-MPC2, where it is tau"
    )
    discount: float | None = key(
        None,
        "discount; auto = the episode-length heuristic of TD-MPC2 (0.99 at 500 steps)",
        above=0,
        high=1,
        source="TD-MPC2",
    )

    # auxiliary values ("multi-gamma")
    multi_gamma_gammas: tuple[float, ...] = key(
        (0.9, 0.95), "auxiliary discounts", above=0, high=1, shapes=True, source="Fedus et al."
    )
    multi_gamma_head: str = key(
        "joint", "one network for all auxiliary discounts or one each", choices=("joint", "separate"), shapes=True
    )
    multi_gamma_loss_weight: float = key(0.01, "weight of the auxiliary loss; 0 = off", low=0, source="Fedus et al.")
    aux_value_source: str = key(
        "imagine",
        "transitions of the auxiliary targets",
        choices=("imagine", "replay_rollout", "replay_true"),
    )
    aux_value_tau: float = key(0.01, "rate of the auxiliary targets' moving average", above=0, high=1)

    # policy
    actor_source: str = key(
        "replay_rollout",
        "states the policy is trained on: rolled-out latents or encodings",
        choices=("replay_rollout", "replay_true"),
        neutral="replay_rollout",
        source="TD-MPC2 for rolled-out latents",
    )
    pi_update_freq: int = key(1, "update the policy every this many gradient updates (TD3)", low=1, source="TD3")
    policy_ema_enabled: bool = key(False, "act and imagine with a moving average of the policy")
    policy_ema_tau: float = key(0.05, "rate of the policy's moving average", above=0, high=1)
    start_entropy_coeff: float = key(
        1e-4, "entropy coefficient before the schedule", low=0, source="TD-MPC2, which keeps it"
    )
    end_entropy_coeff: float = key(1e-6, "entropy coefficient after the schedule", low=0)
    start_dynamic_entropy_ratio: float = key(0.5, "schedule starts at this share of training", low=0, high=1)
    end_dynamic_entropy_ratio: float = key(1.0, "schedule ends at this share of training", low=0, high=1)
    entropy_schedule: str = key("exponential", "interpolation of the coefficient", choices=("exponential", "linear"))
    log_std_min: float = key(-10.0, "lower end of the policy's log standard deviation", source="TD-MPC2")
    log_std_max: float = key(2.0, "upper end of the policy's log standard deviation", source="TD-MPC2")
    hinge_coef: float = key(0.01, "weight of the hinge on the pre-squash mean", low=0)
    hinge_power: float = key(4.0, "power of the hinge", low=1)
    hinge_tau: float = key(2.5, "pre-squash magnitude at which the hinge begins", low=0)

    # planner (MPPI)
    iterations: int = key(6, "planner iterations; two more from 20 action dimensions on", low=1, source="TD-MPC2")
    num_samples: int = key(
        1024, "sampled candidates per iteration", low=1, source="TD-MPC2, which has 512 with the policy's"
    )
    num_pi_trajs: int = key(512, "candidates from the policy", low=0, source="TD-MPC2, which has 24")
    num_elites: int = key(64, "candidates that refit the distribution", low=1, source="TD-MPC2")
    temperature: float = key(
        0.1, "softmax temperature over elite scores", above=0, source="TD-MPC2, which multiplies by 0.5"
    )
    min_std: float = key(0.0, "lower clamp of the planner's std", low=0, source="TD-MPC2, which has 0.05")
    max_std: float = key(1.0, "upper clamp and start of the planner's std", above=0, source="TD-MPC2, which has 2")
    policy_seed_noise_std: float = key(0.05, "noise on policy candidates", low=0)
    train_act_std_coeff: float = key(0.0, "exploration noise in units of the planner's std", low=0)

    # networks
    mlp_dim: int = key(512, "hidden width", low=1, shapes=True, source="TD-MPC2")
    latent_dim: int = key(512, "latent size, L", low=1, shapes=True, source="TD-MPC2")
    enc_dim: int = key(256, "hidden width of the encoder", low=1, shapes=True, source="TD-MPC2")
    num_enc_layers: int = key(2, "layers of the encoder", low=1, shapes=True, source="TD-MPC2")
    simnorm_dim: int = key(8, "group size of SimNorm", low=1, source="TD-MPC2")
    dropout: float = key(
        0.01, "dropout in the first layer of value heads and auxiliary values", low=0, high=0.99, source="TD-MPC2"
    )
    num_bins: int = key(101, "bins of the two-hot regression, K", low=3, shapes=True, source="TD-MPC2")
    symlog_max: float = key(10.0, "bins span [-this, this] in symlog space", above=0, source="TD-MPC2")

    # episodes that end
    episodic: bool = key(False, "learn when episodes end; for tasks that terminate", neutral=False, source="TD-MPC2")
    termination_coef: float = key(1.0, "weight of the termination loss", low=0, neutral=1.0, source="TD-MPC2")

    # replay
    hot_buffer_ratio: float = key(0.01, "share of a batch from the newest transitions", low=0, high=1)
    hot_buffer_size: int = key(
        5,
        "newest windows the hot share is drawn from, beyond a margin of 2 (T + 1 + the hot windows of a batch)",
        low=1,
    )

    # measuring
    log_freq: int = key(500, "agent steps between diagnostic rows", low=1, high=1000)
    eval_freq: int = key(2_500, "agent steps between evaluations", low=1)
    eval_episodes: int = key(5, "episodes per evaluation, with planning and of the policy without MPC", low=1)
    final_eval_episodes: int = key(30, "episodes of the evaluation after the last step", low=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_limits(field.name, field.metadata, getattr(self, field.name))
        object.__setattr__(self, "task", canonical_task(self.task))
        _check_combinations(self)

    @property
    def episode_steps(self) -> int:
        """Agent steps of a full episode."""
        return math.ceil(EPISODE_FRAMES / self.action_repeat)

    @property
    def seed_phase_steps(self) -> int:
        """Steps of random actions before the first update."""
        return self.seed_steps if self.seed_steps is not None else max(1000, 5 * self.episode_steps)

    @property
    def gamma(self) -> float:
        """The discount; where it is auto, TD-MPC2's heuristic clip((n/5 - 1)/(n/5), 0.95, 0.995), n = episode_steps."""
        if self.discount is not None:
            return self.discount
        effective = self.episode_steps / 5
        return min(max((effective - 1) / effective, 0.95), 0.995)

    @property
    def td_heads(self) -> int:
        """Dynamics heads that enter a TD target."""
        return self.td_num_dynamics_heads or self.planner_num_dynamics_heads

    @property
    def uses_aux(self) -> bool:
        """Whether auxiliary values are trained at all."""
        return bool(self.multi_gamma_gammas) and self.multi_gamma_loss_weight > 0

    @property
    def imagines(self) -> bool:
        """Whether any value learns from imagined transitions."""
        return self.ac_source == "imagine" or (self.uses_aux and self.aux_value_source == "imagine")

    @property
    def aux_heads(self) -> int:
        """Networks of the auxiliary values."""
        return 1 if self.multi_gamma_head == "joint" else len(self.multi_gamma_gammas)

    @property
    def hot_windows(self) -> int:
        """Windows of a batch that are drawn from the newest ones."""
        return round(self.hot_buffer_ratio * self.batch_size)

    @property
    def hot_buffer_windows(self) -> int:
        """Newest windows that those are drawn from: `hot_buffer_size` and the margin of the research code."""
        return self.hot_buffer_size + 2 * (self.horizon + 1 + self.hot_windows)

    @property
    def entropy_is_fixed(self) -> bool:
        return self.start_entropy_coeff == self.end_entropy_coeff

    @property
    def steps_are_extendable(self) -> bool:
        """Whether a run of n steps is the exact beginning of a longer one: no schedule depends on `steps`."""
        return self.entropy_is_fixed and self.detach_encoder_ratio == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values of all hyperparameters."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    def with_overrides(self, overrides: Mapping[str, Any]) -> TrainConfig:
        """A copy with `overrides`, whose values may be text. Raises `ConfigError` for an unknown hyperparameter."""
        return dataclasses.replace(self, **{name: parse_value(name, raw) for name, raw in overrides.items()})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        return cls().with_overrides(values)


def _check_combinations(c: TrainConfig) -> None:
    """Raise `ConfigError` where hyperparameters contradict each other."""
    if c.task not in TASKS:
        near = difflib.get_close_matches(c.task, TASKS, n=3)
        raise ConfigError(
            f"task={c.task!r}: not a dm_control suite task"
            + (f"; did you mean {' or '.join(near)}?" if near else "; for example quadruped-walk")
        )
    rules = [
        (c.latent_dim % c.simnorm_dim == 0,
         f"latent_dim={c.latent_dim}: must be a multiple of simnorm_dim={c.simnorm_dim}"),
        (c.td_num_dynamics_heads <= c.planner_num_dynamics_heads,
         f"td_num_dynamics_heads={c.td_num_dynamics_heads}: at most "
         f"planner_num_dynamics_heads={c.planner_num_dynamics_heads}"),
        (c.num_elites <= c.num_samples + c.num_pi_trajs,
         f"num_elites={c.num_elites}: at most num_samples + num_pi_trajs = {c.num_samples + c.num_pi_trajs}"),
        (c.min_std <= c.max_std, f"min_std={c.min_std:g}: at most max_std={c.max_std:g}"),
        (c.log_std_min < c.log_std_max,
         f"log_std_min={c.log_std_min:g}: must be below log_std_max={c.log_std_max:g}"),
        (c.start_dynamic_entropy_ratio <= c.end_dynamic_entropy_ratio,
         f"start_dynamic_entropy_ratio={c.start_dynamic_entropy_ratio:g}: at most "
         f"end_dynamic_entropy_ratio={c.end_dynamic_entropy_ratio:g}"),
        (c.entropy_is_fixed or c.entropy_schedule != "exponential"
         or min(c.start_entropy_coeff, c.end_entropy_coeff) > 0,
         "entropy_schedule='exponential': cannot reach an entropy coefficient of 0; use linear"),
        (c.hot_buffer_ratio < 1, f"hot_buffer_ratio={c.hot_buffer_ratio:g}: must be below 1"),
        (len(set(c.multi_gamma_gammas)) == len(c.multi_gamma_gammas),
         f"multi_gamma_gammas={list(c.multi_gamma_gammas)}: a discount occurs twice"),
        (c.horizon <= c.episode_steps,
         f"horizon={c.horizon}: at most the {c.episode_steps} steps of an episode"),
        (c.steps > c.seed_phase_steps,
         f"steps={c.steps}: nothing is trained in the {c.seed_phase_steps} random steps of the seed phase; "
         "raise steps or set seed_steps lower"),
        (c.seed_phase_steps > c.horizon,
         f"seed_steps={c.seed_steps}: must exceed horizon={c.horizon}, or there is nothing to train on"),
    ]  # fmt: skip
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)


# --- values from text and YAML ------------------------------------------------------------------------


@functools.cache
def key_types() -> dict[str, Any]:
    """Declared type of every hyperparameter."""
    return typing.get_type_hints(TrainConfig)


def type_text(name: str) -> str:
    """The declared type of the hyperparameter `name` in a few words, such as "whole number or auto"."""
    return declared_short_text(key_types()[name])


def check_key(name: str) -> None:
    """Raise `ConfigError` naming near matches where `name` is no hyperparameter."""
    if name not in key_types():
        near = difflib.get_close_matches(name, key_types(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`sweeps keys` lists them all"
        raise ConfigError(f"unknown hyperparameter {name!r}; {hint}")


def parse_value(name: str, raw: Any) -> Any:
    """`raw` (text from a command line, or a YAML or JSON value) as the declared type of the hyperparameter `name`."""
    check_key(name)
    declared = key_types()[name]
    try:
        return parse_as(declared, raw)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={raw!r}: not {declared_text(declared)}") from None


# --- configuration ID ---------------------------------------------------------------------------------


def inactive_keys(config: TrainConfig) -> set[str]:
    """Hyperparameters without effect in `config`. Configurations that differ only there have the same ID."""
    names: set[str] = set()
    if not config.policy_ema_enabled:
        names.add("policy_ema_tau")
    if config.entropy_is_fixed:
        names |= {"start_dynamic_entropy_ratio", "end_dynamic_entropy_ratio", "entropy_schedule"}
    if not config.uses_aux:
        names |= {
            "multi_gamma_gammas", "multi_gamma_head", "multi_gamma_loss_weight",
            "aux_value_source", "aux_value_tau",
        }  # fmt: skip
    if not config.imagines:
        names |= {"imagine_initial_source", "num_rollouts", "imagination_horizon"}
    if not config.episodic:
        names.add("termination_coef")
    if config.steps_are_extendable:
        names.add("steps")
    return names


def config_id(config: TrainConfig, version: int = AGENT_VERSION) -> str:
    """The configuration ID: ten hex digits of a hash over the version of the agent and everything in `config` that
    changes the result.

    The seed is not part of it, nor are inactive hyperparameters and those at the `neutral` value that they declare.
    """
    inactive = inactive_keys(config)
    values = config.to_dict()
    for field in dataclasses.fields(config):
        if field.name in inactive or values[field.name] == field.metadata["neutral"]:
            del values[field.name]
    # automatic values are hashed as what they resolve to, so that setting the same value explicitly changes nothing
    values["seed_steps"], values["discount"] = config.seed_phase_steps, config.gamma
    text = json.dumps({"identity": version, **values}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
