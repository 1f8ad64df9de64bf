"""The tasks of the dm_control suite by their usual names, domain-task.

Standard library only, so that a wrong task name is an error at the prompt and not in the job.
A test compares this table with `dm_control.suite.ALL_TASKS`.
"""

from __future__ import annotations

EPISODE_FRAMES = 1000  # control steps of an episode of every task; lqr, which has no limit, gets the same

_BY_DOMAIN = {
    "acrobot": "swingup swingup_sparse",
    "ball_in_cup": "catch",
    "cartpole": "balance balance_sparse swingup swingup_sparse two_poles three_poles",
    "cheetah": "run",
    "dog": "stand walk trot run fetch",
    "finger": "spin turn_easy turn_hard",
    "fish": "upright swim",
    "hopper": "stand hop",
    "humanoid": "stand walk run run_pure_state",
    "humanoid_CMU": "stand walk run",
    "lqr": "lqr_2_1 lqr_6_2",
    "manipulator": "bring_ball bring_peg insert_ball insert_peg",
    "pendulum": "swingup",
    "point_mass": "easy hard",
    "quadruped": "walk run escape fetch",
    "reacher": "easy hard",
    "stacker": "stack_2 stack_4",
    "swimmer": "swimmer6 swimmer15",
    "walker": "stand walk run",
}

# Short forms in common use (TD-MPC2's task list).
_ALIASES = {"cup-catch": "ball-in-cup-catch"}


def _table() -> dict[str, tuple[str, str]]:
    return {
        f"{domain}-{task}".replace("_", "-").lower(): (domain, task)
        for domain, tasks in _BY_DOMAIN.items()
        for task in tasks.split()
    }


TASKS: dict[str, tuple[str, str]] = _table()


def canonical_task(name: str) -> str:
    """The spelling of a task name that configuration IDs use ("cup-catch" -> "ball-in-cup-catch")."""
    spelled = name.replace("_", "-").lower()
    return _ALIASES.get(spelled, spelled)
