"""Layouts of files that other tools leave: which columns or tags matter, what a step counts, what a path names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aggregate.importers import layout_readers as readers
from aggregate.importers.faults import CurveImportError, Faults
from aggregate.importers.tables import COMPRESSED, InputTable, kind_of, open_table

STEPS, FRAMES, ITERATIONS = "agent steps", "environment frames", "iterations"
RUN_FOLDER = "{algorithm}/{task}/{seed}"
Names = Callable[[Path], dict[str, str]]


@dataclass(frozen=True)
class Layout:
    """metrics: columns or tags with the result, the best first. index: of `INDEX` -> columns, the first that is there
    counts. unit: what a step counts. path: how the path of a run ends, of its folder where in_folder. names: what else
    the path says of algorithm, task and seed. references: column -> results that count as 0 and 1.
    runs_follow: see `repeated_steps.split_runs`. average: several values of a tag at one step are averaged."""

    name: str
    metrics: tuple[str, ...]
    index: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unit: str = STEPS
    path: str = "{algorithm}/{task}"
    in_folder: bool = False
    names: Names = lambda path: {}
    references: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    runs_follow: bool = False
    average: bool = False


def _by_pattern(pattern: str) -> Names:
    """What the name of the folder says."""
    compiled = re.compile(pattern)

    def names(path: Path) -> dict[str, str]:
        match = compiled.fullmatch(path.name)
        return {key: value for key, value in match.groupdict().items() if value} if match else {}

    return names


def _rllib_names(path: Path) -> dict[str, str]:
    return _by_pattern(r"(?P<algorithm>[A-Za-z0-9]+)_(?P<task>.+?)_(?:[0-9a-f]{5}_[0-9]{5}_|[0-9]{4}-[0-9]{2}).*")(
        path
    ) | readers.parameters(path / "params.json", {"task": "env", "seed": "seed"})


def _spinning_up_names(path: Path) -> dict[str, str]:
    return _by_pattern(r"(?P<algorithm>.+)_s(?P<seed>[0-9]+)")(path) | readers.parameters(
        path / "config.json", {"seed": "seed"}
    )


TDMPC2 = Layout("TD-MPC2 results", ("reward", "success"), {"step": ("step",), "seed": ("seed",)}, FRAMES,
                references={"success": (0.0, 1.0)})  # fmt: skip
RLLIB = Layout(
    "RLlib",
    ("evaluation/env_runners/episode_return_mean", "evaluation/episode_reward_mean",
     "evaluation/sampler_results/episode_reward_mean", "env_runners/episode_return_mean", "episode_reward_mean"),
    {"step": ("num_env_steps_sampled_lifetime", "timesteps_total", "num_env_steps_sampled"), "time": ("timestamp",)},
    path=RUN_FOLDER, in_folder=True, names=_rllib_names,
)  # fmt: skip
SB3_PROGRESS = Layout("stable-baselines3 progress", ("eval/mean_reward", "rollout/ep_rew_mean"),
                      {"step": ("time/total_timesteps",)}, path=RUN_FOLDER, in_folder=True)  # fmt: skip
SB3_MONITOR = Layout("stable-baselines3 monitor", ("r",), {"step": ("step",), "task": ("env_id",), "time": ("time",)},
                     path=RUN_FOLDER, in_folder=True)  # fmt: skip
SPINNING_UP = Layout("Spinning Up", ("AverageTestEpRet", "AverageEpRet"), {"step": ("TotalEnvInteracts",)},
                     path="", in_folder=True, names=_spinning_up_names)  # fmt: skip
DREAMER_SCORES = Layout(
    "DreamerV3 scores", ("y",), {"step": ("x",), "task": ("task",), "algorithm": ("method",), "seed": ("seed",)},
    FRAMES, path="",
)  # fmt: skip
DREAMER_METRICS = Layout("DreamerV3 metrics", ("eval_episode/score", "episode/score"), {"step": ("step",)}, FRAMES,
                         RUN_FOLDER, in_folder=True)  # fmt: skip
DOPAMINE_JSON = Layout(
    "Dopamine JSON", ("Value",), {"step": ("Iteration",), "task": ("Game",), "algorithm": ("Agent",)}, ITERATIONS,
    path="", runs_follow=True,
)  # fmt: skip
WANDB_CHART = Layout("W&B chart export", ("value",), {"step": ("step",), "seed": ("seed",), "algorithm": ("run",)},
                     path="")  # fmt: skip
CLEANRL = Layout("CleanRL", ("eval/episodic_return", "charts/episodic_return"), path="", average=True,
                 names=_by_pattern(r"(?P<task>.+)__(?P<algorithm>.+)__(?P<seed>[0-9]+)__[0-9]+"))  # fmt: skip
DOPAMINE_EVENTS = Layout("Dopamine TensorBoard", ("Eval/AverageReturns", "Train/AverageReturns"), unit=ITERATIONS,
                         path=RUN_FOLDER)  # fmt: skip
_OF_EVENTS = (CLEANRL, DOPAMINE_EVENTS)
# Files that are searched for in folders beside those with a usual suffix.
SEARCHED = ("result.json", "scores.json", "progress.txt")
# Of files of one run in one folder, the first is read.
PREFERRED = ("progress.csv", "result.json", "progress.txt", "metrics.jsonl", "scores.jsonl")


def plain_name(path: Path) -> str:
    return path.name.lower().removesuffix(COMPRESSED)


def is_monitor(path: Path) -> bool:
    return plain_name(path).endswith("monitor.csv")


def open_known(path: Path, faults: Faults, mapped: bool = False) -> tuple[Layout, InputTable] | None:
    """The layout of a file and its table; None for a file that is not recognised. mapped: the user names its columns.
    Raises `CurveImportError`."""
    name = plain_name(path)
    if is_monitor(path):
        return SB3_MONITOR, open_table(path, faults, readers.read_monitor)
    if name == "progress.txt":
        return SPINNING_UP, open_table(path, faults, readers.read_tabs)
    if name == "result.json":
        return RLLIB, open_table(path, faults, readers.read_results)
    if name == "progress.csv":
        table = open_table(path, faults, readers.read_whole_lines)
        return next(((known, table) for known in (SB3_PROGRESS, RLLIB) if _fits(known, table.columns)), None)
    if kind_of(path) == ".json":
        return _open_json(path, faults)
    if kind_of(path) not in (".csv", ".jsonl"):
        return None
    table = open_table(path, faults)
    if set(table.columns) in ({"step", "reward", "seed"}, {"step", "success", "seed"}):
        return TDMPC2, table
    if kind_of(path) == ".csv" and not mapped and readers.is_chart(table.columns):
        return WANDB_CHART, readers.chart(table, faults)
    if kind_of(path) == ".jsonl" and _fits(DREAMER_METRICS, table.columns):
        return DREAMER_METRICS, table
    return None


def _open_json(path: Path, faults: Faults) -> tuple[Layout, InputTable] | None:
    table = open_table(path, faults)
    if {"xs", "ys"} <= set(table.columns):
        return DREAMER_SCORES, readers.unrolled(table)
    if {"Agent", "Game", "Iteration", "Value"} <= set(table.columns):
        return DOPAMINE_JSON, table
    return None


def _fits(layout: Layout, columns: Collection[str]) -> bool:
    """Whether there is a column for the result and one for every part of the index that needs one."""
    needed = (layout.metrics, layout.index["step"])
    return all(any(name in columns for name in names) for names in needed)


def known_events(tags: Collection[str]) -> Layout | None:
    """The layout of event files with these tags."""
    return next((known for known in _OF_EVENTS if any(tag in tags for tag in known.metrics)), None)


def steps_of(
    layout: Layout | None, frames_per_step: int | None, per_iteration: int | None, where: str
) -> tuple[int, int]:
    """(factor, divisor) that make agent steps of the file's unit. Raises `CurveImportError` where an option must say
    it."""
    unit = layout.unit if layout else STEPS
    if unit == FRAMES and frames_per_step is None:
        raise CurveImportError(
            f"{where}: {layout.name if layout else ''} counts environment frames; --frames-per-step N says how many to "
            "an agent step, such as 2 (1 to keep frames)"
        )
    if unit == ITERATIONS and per_iteration is None:
        raise CurveImportError(
            f"{where}: {layout.name if layout else ''} counts iterations; --steps-per-iteration N says how many agent "
            "steps to one, such as 250000"
        )
    return (per_iteration or 1) if unit == ITERATIONS else 1, frames_per_step or 1
