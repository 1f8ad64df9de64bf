"""Configuration: values by declared type, one-line errors, identity; and every key is alive."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from tdmpc.agent.agent import Agent
from tdmpc.api import train
from tdmpc.config import ConfigError, TrainConfig, check_key, config_id, inactive_keys, parse_value
from tdmpc.description import DESCRIPTION
from tdmpc.tasks import TASKS
from tdmpc.training.seed_state import weights


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("lr", "1e-4", 1e-4),
        ("lr", 3, 3.0),
        ("steps", "1e5", 100_000),
        ("policy_ema_enabled", "no", False),
        ("policy_ema_enabled", "on", True),
        ("policy_ema_enabled", False, False),
        ("multi_gamma_gammas", "[0.9, 0.97]", (0.9, 0.97)),
        ("multi_gamma_gammas", "0.9,0.97", (0.9, 0.97)),
        ("multi_gamma_gammas", [0.9], (0.9,)),
        ("multi_gamma_gammas", "[]", ()),
        ("seed_steps", "auto", None),
        ("seed_steps", "500", 500),
        ("policy_head_reduce", " min ", "min"),
    ],
)
def test_values_are_read_by_declared_type(name, raw, value):
    parsed = parse_value(name, raw)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"num_qq": 1}, "unknown hyperparameter 'num_qq'; did you mean num_q"),
        ({"zzz": 1}, "`sweeps keys` lists them all"),
        ({"lr": "fast"}, "lr='fast': not a number"),
        ({"lr": True}, "lr=True: not a number"),
        ({"steps": "1.5"}, "steps='1.5': not a whole number"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"tau": "nan"}, "tau=nan: must be greater than 0 and at most 1"),
        ({"policy_ema_enabled": "maybe"}, "not a switch (true or false)"),
        ({"multi_gamma_gammas": 0.9}, "not a list of numbers such as [0.9, 0.95]"),
        ({"multi_gamma_gammas": [0.9, 1.5]}, "must be greater than 0 and at most 1"),
        ({"multi_gamma_gammas": [0.9, 0.9]}, "a discount occurs twice"),
        ({"policy_head_reduce": "median"}, "legal values are min, mean, max"),
        ({"policy_head_reduce": False}, "not a word"),
        ({"task": "quadrupedwalk"}, "did you mean quadruped-walk"),
        ({"latent_dim": 12}, "multiple of simnorm_dim=8"),
        ({"td_num_dynamics_heads": 5}, "at most planner_num_dynamics_heads=4"),
        ({"num_elites": 2000}, "at most num_samples + num_pi_trajs = 1536"),
        ({"min_std": 2}, "at most max_std=1"),
        ({"log_std_min": 3}, "must be below log_std_max=2"),
        ({"start_dynamic_entropy_ratio": 1, "end_dynamic_entropy_ratio": 0.5}, "at most end_dynamic_entropy_ratio"),
        ({"end_entropy_coeff": 0}, "use linear"),
        ({"steps": 2500}, "nothing is trained in the 2500 random steps"),
        ({"seed_steps": 2}, "must exceed horizon=3"),
        ({"horizon": 501}, "at most the 500 steps of an episode"),
    ],
)
def test_errors_are_one_line_that_names_value_and_fix(overrides, says):
    with pytest.raises(ConfigError) as caught:
        TrainConfig().with_overrides(overrides)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_table_of_tasks_is_the_suites():
    from dm_control import suite

    assert set(TASKS.values()) == set(suite.ALL_TASKS)


def test_discount_heuristic():
    assert TrainConfig().gamma == pytest.approx(0.99)  # (500/5 - 1) / (500/5)
    assert TrainConfig(action_repeat=20).gamma == pytest.approx(0.95)  # 50 steps give 0.9, clipped
    assert TrainConfig(action_repeat=1).gamma == pytest.approx(0.995)
    assert TrainConfig(discount=0.8).gamma == 0.8


def test_seed_phase():
    assert TrainConfig().seed_phase_steps == 2500
    assert TrainConfig(action_repeat=8).seed_phase_steps == 1000
    assert TrainConfig(seed_steps=7).seed_phase_steps == 7


# --- identity -----------------------------------------------------------------------------------------


def test_the_identity_of_the_base_configuration_never_changes():
    """Results on users' disks stand under it. If this fails, give the new key a `neutral` value."""
    assert config_id(TrainConfig()) == "d317f0544e"
    assert config_id(TrainConfig(), version=1) == "3dffecba6e"


def test_identity_ignores_spelling():
    base = config_id(TrainConfig())
    assert config_id(TrainConfig(seed_steps=2500, discount=0.99)) == base
    assert config_id(TrainConfig.from_dict(json.loads(json.dumps(TrainConfig().to_dict())))) == base
    cups = [config_id(TrainConfig(task=name)) for name in ("cup-catch", "ball-in-cup-catch", "ball_in_cup-catch")]
    assert len(set(cups)) == 1


def test_identity_ignores_what_changes_nothing():
    base = TrainConfig()
    assert config_id(dataclasses.replace(base, policy_ema_tau=0.2)) == config_id(base)
    on = dataclasses.replace(base, policy_ema_enabled=True)
    assert config_id(dataclasses.replace(on, policy_ema_tau=0.2)) != config_id(on)
    off = dataclasses.replace(base, multi_gamma_loss_weight=0)
    assert config_id(dataclasses.replace(off, multi_gamma_head="separate")) == config_id(off)
    replayed = dataclasses.replace(base, ac_source="replay_true", aux_value_source="replay_true")
    assert config_id(dataclasses.replace(replayed, num_rollouts=1, imagination_horizon=2)) == config_id(replayed)
    assert config_id(dataclasses.replace(base, termination_coef=0.1)) == config_id(base)
    fixed = dataclasses.replace(base, end_entropy_coeff=1e-4)
    assert config_id(dataclasses.replace(fixed, entropy_schedule="linear")) == config_id(fixed)


def test_identity_holds_steps_where_a_schedule_depends_on_them():
    base = TrainConfig()
    assert config_id(dataclasses.replace(base, steps=200_000)) != config_id(base)
    free = dataclasses.replace(base, end_entropy_coeff=1e-4, detach_encoder_ratio=0)
    assert config_id(dataclasses.replace(free, steps=200_000)) == config_id(free)


def test_a_key_added_later_with_a_neutral_value_keeps_identities(monkeypatch):
    base = TrainConfig()
    before = config_id(base)
    field = next(f for f in dataclasses.fields(base) if f.name == "num_q")
    monkeypatch.setattr(field, "metadata", {**field.metadata, "neutral": 2})
    assert config_id(base) != before  # num_q=2 left out
    assert config_id(base) == config_id(dataclasses.replace(base))
    assert config_id(dataclasses.replace(base, num_q=1)) != config_id(base)


# --- every key is alive -------------------------------------------------------------------------------

# key -> a value other than the tiny configuration's, and what must be on for the key to matter
CHANGED = {
    "task": ("cartpole-balance", {}), "steps": (25, {}), "action_repeat": (5, {}), "seed_steps": (11, {}),
    "batch_size": (16, {}), "horizon": (2, {}), "utd_ratio": (2, {}), "lr": (0.01, {}), "enc_lr_scale": (0.6, {}),
    "pi_lr_scale": (0.6, {}), "ensemble_lr_scaling": (False, {}), "grad_clip_norm": (0.01, {}),
    "consistency_coef": (10, {}), "encoder_consistency_coef": (2, {}), "reward_coef": (0.2, {}),
    "value_coef": (0.2, {}), "rho": (0.6, {}), "detach_encoder_ratio": (0.4, {}), "num_q": (1, {}),
    "planner_num_dynamics_heads": (3, {}), "td_num_dynamics_heads": (0, {}), "num_reward_heads": (2, {}),
    "policy_head_reduce": ("min", {}), "planner_head_reduce": ("mean", {}), "num_rollouts": (1, {}),
    "imagination_horizon": (2, {}),
    "tau": (0.1, {}),
    # It matters where values of a batch differ by more than 1.
    "scale_tau": (0.5, {
        "steps": 40, "seed_steps": 20, "task": "cartpole-balance", "action_repeat": 5, "discount": 0.999, "lr": 0.02,
        "reward_coef": 10, "value_coef": 10, "tau": 0.9, "utd_ratio": 16,
    }),
    "discount": (0.9, {}),
    "multi_gamma_gammas": ((0.8,), {}),
    "multi_gamma_head": ("separate", {}), "multi_gamma_loss_weight": (0.5, {}),
    "ac_source": ("replay_rollout", {}), "imagine_initial_source": ("replay_true", {}),
    "actor_source": ("replay_true", {}), "episodic": (True, {}), "termination_coef": (0.1, {"episodic": True}),
    "aux_value_source": ("replay_true", {}), "aux_value_tau": (0.1, {}), "pi_update_freq": (2, {}),
    "policy_ema_enabled": (True, {}), "policy_ema_tau": (0.5, {"policy_ema_enabled": True}),
    "start_entropy_coeff": (1e-2, {}), "end_entropy_coeff": (1e-2, {}),
    "start_dynamic_entropy_ratio": (0.6, {}), "end_dynamic_entropy_ratio": (0.8, {}),
    "entropy_schedule": ("linear", {}), "log_std_min": (-5, {}), "log_std_max": (1, {}),
    "hinge_coef": (1, {"hinge_tau": 0}), "hinge_power": (2, {"hinge_tau": 0}), "hinge_tau": (0, {}),
    "iterations": (3, {}), "num_samples": (16, {}), "num_pi_trajs": (8, {}), "num_elites": (3, {}),
    "temperature": (5, {}), "min_std": (0.5, {}), "max_std": (0.5, {}), "policy_seed_noise_std": (0.5, {}),
    "train_act_std_coeff": (1, {}), "mlp_dim": (64, {}), "latent_dim": (64, {}), "enc_dim": (64, {}),
    "num_enc_layers": (3, {}), "simnorm_dim": (4, {}), "dropout": (0.5, {}), "num_bins": (51, {}),
    "symlog_max": (5, {}), "hot_buffer_ratio": (0.5, {}), "hot_buffer_size": (1, {"hot_buffer_ratio": 0.5}),
    "bfloat16": (True, {}),
    "log_freq": (4, {}), "eval_freq": (10, {}), "eval_episodes": (2, {"eval_freq": 10}), "final_eval_episodes": (2, {}),
}  # fmt: skip


# Two episodes and one evaluation: most of the time of a tiny run goes into physics.
SHORT = {"steps": 20, "seed_steps": 10, "eval_freq": 20, "eval_episodes": 1, "final_eval_episodes": 1}


def test_every_key_is_tried():
    assert {*CHANGED, "tf32"} == {f.name for f in dataclasses.fields(TrainConfig)}


def test_what_changes_the_shapes_of_networks_says_so(tiny):
    """A new network beside the others, as for `episodic`, does not count: the others begin as without it."""
    shapes = {}
    for name, (value, context) in {"": (None, {}), **CHANGED}.items():
        config = tiny(**{**context, **({name: value} if name else {})})
        built = weights(Agent(config, 5, 1, [1], "cpu"), 0)
        shapes[name] = {(module, key): v.shape for module, one in built.items() for key, v in one.items()}
    base = shapes.pop("")
    changing = {name for name, own in shapes.items() if any(own.get(place) != shape for place, shape in base.items())}
    declared = {parameter.name for parameter in DESCRIPTION.hyperparameters if parameter.shapes}
    assert changing == declared - {"task"}  # observations and actions differ between tasks


@pytest.fixture(scope="module")
def result_of(tiny, trained_in, tmp_path_factory):
    """Weights and rows of a configuration trained; each configuration once."""
    known = {}

    def find(**changes):
        config = tiny(**changes)
        if config not in known:
            runs = trained_in(tmp_path_factory.mktemp("run"))
            runs.train(config)
            known[config] = (runs.weights(1), runs.rows(1))
        return known[config]

    return find


@pytest.mark.training
@pytest.mark.parametrize("name", sorted(CHANGED))
def test_every_key_changes_what_a_run_computes(tiny, result_of, equal_weights, name):
    value, context = CHANGED[name]
    context = {**SHORT, **context}
    changed = tiny(**{**context, name: value})
    assert name not in inactive_keys(changed)
    assert config_id(changed) != config_id(tiny(**context))
    weights, rows = result_of(**context)
    other_weights, other_rows = result_of(**{**context, name: value})
    assert rows != other_rows or not equal_weights(weights, other_weights)


def test_keys_of_imagination_change_nothing_where_nothing_imagines(result_of, equal_weights):
    replayed = {**SHORT, "ac_source": "replay_rollout", "aux_value_source": "replay_true"}
    weights, rows = result_of(**replayed)
    other_weights, other_rows = result_of(**replayed, num_rollouts=1, imagination_horizon=2)
    assert rows == other_rows
    assert equal_weights(weights, other_weights)


def test_tf32_reaches_the_matrix_products(tiny, trained):
    for wanted in (True, False):
        train([trained(str(wanted)).handle(tiny(tf32=wanted), 1)], device="cpu", threads=1, should_stop=lambda: True)
        assert torch.backends.cuda.matmul.allow_tf32 is wanted


def test_unknown_key_names_near_matches():
    with pytest.raises(ConfigError, match="pi_lr_scale"):
        check_key("pi_lr_scal")
