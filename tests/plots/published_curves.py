"""A stand-in for the curves that TD-MPC2 publishes: its folders, columns, sizes and faults, with made-up numbers."""

from __future__ import annotations

import random
from pathlib import Path

ALGORITHMS = {"tdmpc2": 0.85, "dreamerv3": 0.65, "sac": 0.5, "tdmpc": 0.45}  # how much of a task each learns
SEEDS, POINTS, EVERY = 3, 21, 100_000
_DM_CONTROL = (
    "acrobot-swingup", "cartpole-balance", "cartpole-balance-sparse", "cartpole-swingup",
    "cartpole-swingup-sparse", "cheetah-jump", "cheetah-run", "cheetah-run-back", "cheetah-run-backwards",
    "cheetah-run-front", "cup-catch", "cup-spin", "dog-run", "dog-stand", "dog-trot", "dog-walk", "finger-spin",
    "finger-turn-easy", "finger-turn-hard", "fish-swim", "hopper-hop", "hopper-hop-backwards", "hopper-stand",
    "humanoid-run", "humanoid-stand", "humanoid-walk", "pendulum-spin", "pendulum-swingup", "quadruped-run",
    "quadruped-walk", "reacher-easy", "reacher-hard", "reacher-three-easy", "reacher-three-hard", "walker-run",
    "walker-run-backwards", "walker-stand", "walker-walk", "walker-walk-backwards",
)  # fmt: skip
_SUCCESS = tuple(
    f"{name}-{i}" for name, count in (("mw-task", 50), ("myo-hand", 10), ("pick", 5)) for i in range(count)
)
TASKS = (*_DM_CONTROL, *_SUCCESS)  # 104
# (algorithm, task) without a file, with two runs under seed 1, with a line that occurs twice
ABSENT = {("tdmpc", task) for task in _SUCCESS[60:]} | {("sac", "walker-run")}
TWO_RUNS = {("dreamerv3", "mw-task-3"), ("sac", "cheetah-run")}
REPEATED = {("tdmpc2", "dog-run"), ("tdmpc2", "mw-task-7")}


def runs() -> int:
    """The runs in the folder."""
    return (len(ALGORITHMS) * len(TASKS) - len(ABSENT)) * SEEDS + len(TWO_RUNS)


def publish(folder: Path, tasks: tuple[str, ...] = TASKS) -> Path:
    """Write the folder: ALGORITHM/TASK.csv with step, reward or success, and seed."""
    for algorithm, learned in ALGORITHMS.items():
        (folder / algorithm).mkdir(parents=True)
        for task in tasks:
            if (algorithm, task) not in ABSENT:
                lines = _lines(algorithm, task, learned)
                (folder / algorithm / f"{task}.csv").write_text("\n".join(lines) + "\n")
    return folder


def _lines(algorithm: str, task: str, learned: float) -> list[str]:
    draw = random.Random(f"{algorithm}/{task}")
    height = min(1.0, max(0.0, random.Random(task).uniform(0.2, 1.1) * learned + draw.gauss(0, 0.12)))
    share = task in _SUCCESS
    lines = [f"step,{'success' if share else 'reward'},seed"]
    labels = [*range(SEEDS, 0, -1), *([1] if (algorithm, task) in TWO_RUNS else [])]
    for seed in labels:
        first = draw.choice([0, 0, 0, 1])  # some runs lack their first evaluation
        end = 0.1 * height if draw.random() < 0.05 else height
        for point in range(first, POINTS):
            reached = end * (1 - 2.7 ** (-4 * point / POINTS)) + draw.gauss(0, 0.03)
            value = round(min(1, max(0, reached)), 2) if share else round(1000 * max(0, reached), 1)
            lines.append(f"{point * EVERY},{value},{seed}")
    return [*lines, lines[-1]] if (algorithm, task) in REPEATED else lines
