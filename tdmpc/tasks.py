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


# Task, or the beginning of its name -> (size of its observations, of its actions); the longest one that fits counts.
_SIZES = {
    "acrobot": (6, 1), "ball-in-cup": (8, 2), "cartpole": (5, 1), "cartpole-two-poles": (8, 1),
    "cartpole-three-poles": (11, 1), "cheetah": (17, 6), "dog": (223, 38), "dog-fetch": (232, 38),
    "finger-spin": (9, 2),
    "finger-turn": (12, 2), "fish-upright": (21, 5), "fish-swim": (24, 5), "hopper": (15, 4), "humanoid": (67, 21),
    "humanoid-run-pure-state": (55, 21), "humanoid-cmu": (137, 56), "lqr-lqr-2-1": (4, 1), "lqr-lqr-6-2": (12, 2),
    "manipulator": (44, 5), "pendulum": (3, 1), "point-mass": (4, 2), "quadruped": (78, 12),
    "quadruped-escape": (101, 12), "quadruped-fetch": (90, 12), "reacher": (6, 2), "stacker-stack-2": (49, 5),
    "stacker-stack-4": (63, 5), "swimmer-swimmer6": (25, 5), "swimmer-swimmer15": (61, 14), "walker": (24, 6),
}  # fmt: skip


def sizes(task: str) -> tuple[int, int]:
    """(size of the observations, of the actions) of a task."""
    return _SIZES[max((name for name in _SIZES if task.startswith(name)), key=len)]
