"""Guesses by names: which hyperparameter is the seed, the steps or a folder, and what a metric stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SEEDS = ("seed", "random_seed", "rng_seed", "global_seed", "manual_seed", "train_seed")
STEPS = (
    "total_timesteps", "total_env_steps", "total_steps", "total_training_steps", "num_env_steps", "num_train_steps",
    "max_steps", "max_timesteps", "max_train_steps", "max_env_steps", "train_steps", "training_steps", "env_steps",
    "num_timesteps", "num_steps", "n_steps", "timesteps", "steps", "num_frames", "total_frames", "max_iterations",
    "num_iterations", "iterations", "num_updates", "num_epochs", "max_epochs", "epochs",
)  # fmt: skip
FOLDERS = (
    "out", "output", "outdir", "out_dir", "output_dir", "output_folder", "output_path", "log_dir", "logdir",
    "logging_dir", "save_dir", "savedir", "run_dir", "rundir", "work_dir", "workdir", "results_dir", "result_dir",
    "exp_dir", "experiment_dir", "ckpt_dir", "checkpoint_dir",
)  # fmt: skip
STEP_COLUMNS = (
    "step", "steps", "global_step", "total_timesteps", "timesteps", "timestep", "env_step", "env_steps",
    "total_env_steps", "total_steps", "num_timesteps", "_step", "frame", "frames", "iteration", "iter", "update",
    "updates", "epoch",
)  # fmt: skip
_RATES = ("lr", "learning_rate", "lrate", "base_lr", "step_size")
_NOT_IN_RESULT = (
    "num_workers", "n_workers", "workers", "verbose", "quiet", "track", "use_wandb", "wandb", "exp_name", "run_name",
    "experiment_name", "wandb_project", "wandb_project_name", "wandb_entity", "wandb_group", "wandb_name",
    "wandb_mode", "capture_video", "save_video",
)  # fmt: skip
_EVALUATION = {"eval", "evaluation", "test", "val", "valid", "validation", "evaluator"}
_RETURN = {"return", "returns", "reward", "rewards", "rew"}
_SUCCESS = {"score", "scores", "success", "accuracy", "acc"}
_DOWN = {"loss", "error", "err", "mse", "mae", "rmse", "nll", "perplexity", "regret", "cost", "fid"}
_BESIDE = {
    "std",
    "min",
    "max",
    "len",
    "length",
    "lengths",
    "time",
    "var",
    "median",
    "count",
    "num",
    "normalized",
    "raw",
}
# Role -> what its names are, the surest first. A part of a path before them is let be.
_ROLES = {
    "log_std": ("log_std", "logstd", "policy_log_std", "pi_log_std", "mean_log_std", "log_std_mean"),
    "policy_entropy": ("policy_entropy", "pi_entropy", "entropy", "actor_entropy"),
    "policy_loss": (
        "policy_loss", "actor_loss", "pi_loss", "loss_pi", "loss_actor", "loss_policy", "policy_gradient_loss",
    ),
    "value_prediction": (
        "value_prediction", "q_mean", "v_mean", "q_value", "q_values", "qf1_values", "values", "value_mean",
    ),
    "value_target": ("value_target", "value_targets", "target_q", "q_target", "td_target", "target_value"),
    "value_bias": ("value_bias", "q_bias"),
    "value_error": ("value_error", "td_error", "abs_td_error", "td_error_abs"),
    "consistency": ("consistency", "consistency_loss", "dynamics_loss", "loss_dynamics", "model_loss"),
    "reward_error": ("reward_error", "reward_loss", "loss_reward"),
}  # fmt: skip


def words(name: str) -> list[str]:
    """The words of a name in small letters: trainSteps, train-steps and train_steps are the same."""
    return [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if word]


def pick(names: Collection[str], spellings: Sequence[str]) -> str:
    """The first of `wanted` that is a name, else the last part of one; "" for none."""
    for of in (lambda name: name, lambda name: re.split(r"[./]", name)[-1]):
        spelled: dict[str, str] = {}
        for name in names:
            spelled.setdefault("_".join(words(of(name))), name)
        for word in spellings:
            option = spelled.get(word.strip("_"))
            if option is not None:
                return option
    return ""


def folders(defaults: Mapping[str, Any]) -> dict[str, str]:
    """Hyperparameter -> the place in {run} that it should get."""
    by_folder = {}
    for name, default in defaults.items():
        if "_".join(words(name)) in FOLDERS and (default is None or isinstance(default, str)):
            text = str(default or "")
            file = Path(text).name if Path(text).suffix and "$" not in text else ""
            by_folder[name] = f"{{run}}/{file}" if file and re.fullmatch(r"[\w.-]+", file) else "{run}"
    return by_folder


def without_effect(names: Iterable[str]) -> list[str]:
    """Hyperparameters that change no result."""
    return [name for name in names if "_".join(words(name)) in _NOT_IN_RESULT or name.startswith("wandb.")]


def varied(defaults: Mapping[str, Any], excluded: Collection[str]) -> tuple[str, tuple[Any, ...]]:
    """A hyperparameter for a first sweep, and its levels; ("", ()) where none is a number. apart: those that are none
    for a sweep."""
    numbers = {
        name: value for name, value in defaults.items()
        if name not in excluded and isinstance(value, (int, float)) and not isinstance(value, bool)
        and math.isfinite(value) and value > 0
    }  # fmt: skip
    fractions = [name for name, value in numbers.items() if isinstance(value, float)]
    name = pick(fractions, _RATES)
    name = name or next((n for n in fractions if {"lr", "rate"} & set(words(n))), "")
    name = name or next(iter(fractions), "") or next(iter(numbers), "")
    if not name:
        return "", ()
    value = numbers[name]
    if isinstance(value, float):
        return name, (float(f"{value / 10**0.5:.1g}"), value, float(f"{value * 10**0.5:.1g}"))
    return name, tuple(dict.fromkeys((max(1, value // 2), value, 2 * value)))


# --- metrics ----------------------------------------------------------------------------------------------


def is_evaluation(name: str) -> bool:
    return bool(_EVALUATION & set(words(name)))


def primary(names: Collection[str]) -> str:
    """The metric that decides; "" where no name is clear."""
    for tested, of in (
        (True, _RETURN),
        (True, _SUCCESS),
        (False, _RETURN),
        (True, _DOWN),
        (False, _SUCCESS),
        (False, _DOWN),
    ):
        candidates = [name for name in names if of & set(words(name)) and (is_evaluation(name) or not tested)]
        if of is not _DOWN:
            candidates = [name for name in candidates if not _DOWN & set(words(name))]
        if candidates:
            return min(candidates, key=_rank)
    return ""


def _rank(name: str) -> tuple[int, int, int, str]:
    """Means before other statistics, and short names first."""
    said = set(words(name))
    return len(_BESIDE & said), "mean" not in said, len(name), name


def better(name: str) -> str:
    return "down" if _DOWN & set(words(name)) and not (_RETURN | _SUCCESS) & set(words(name)) else "up"


def unit(name: str) -> str:
    """What the metric is measured in: return, else the word that its name has for it."""
    said = words(name)
    if _RETURN & set(said):
        return "return"
    return next((word for word in reversed(said) if word in _SUCCESS | _DOWN), "1")


def roles(names: Collection[str], decides: str) -> dict[str, str]:
    """Role -> metric, for clear names. decides: the primary metric."""
    rest = [name for name in names if name != decides]
    trained = [
        name for name in rest
        if _RETURN & set(words(name)) and not is_evaluation(name) and not (_DOWN | _BESIDE) & set(words(name))
        and "value" not in words(name)
    ]  # fmt: skip
    by_role = {"training_return": min(trained, key=_rank)} if trained and is_evaluation(decides) else {}
    for role, names_of_role in _ROLES.items():
        left = [name for name in rest if name not in by_role.values() and not is_evaluation(name)]
        if name := pick(left, names_of_role):
            by_role[role] = name
    return by_role
