"""References that scores are normalised by: the result that counts as 0 and the one that counts as 1 on a task.

References are declared, never taken from the observed range: a range that depends on the runs changes with every run
that is added.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sweepwise.core.errors import AggregateError, near

# Tasks of dm_control's suite by domain, and those that TD-MPC2 adds to it: returns between 0 and 1000.
_DM_CONTROL = {
    "acrobot": "swingup swingup-sparse",
    "ball-in-cup": "catch spin",
    "cup": "catch spin",
    "cartpole": "balance balance-sparse swingup swingup-sparse three-poles two-poles",
    "cheetah": "run run-back run-backwards run-front jump",
    "dog": "fetch run stand trot walk",
    "finger": "spin turn-easy turn-hard",
    "fish": "swim upright",
    "hopper": "hop hop-backwards stand",
    "humanoid": "run run-pure-state stand walk",
    "humanoid-cmu": "run stand",
    "manipulator": "bring-ball bring-peg insert-ball insert-peg",
    "pendulum": "spin swingup",
    "point-mass": "easy hard",
    "quadruped": "escape fetch run walk",
    "reacher": "easy hard three-easy three-hard",
    "stacker": "stack-2 stack-4",
    "swimmer": "swimmer6 swimmer15",
    "walker": "run run-backwards stand walk walk-backwards",
}
DM_CONTROL = frozenset(f"{domain}-{task}" for domain, tasks in _DM_CONTROL.items() for task in tasks.split())


class Reference(NamedTuple):
    """Results of a task that count as 0 and as 1. `one` below `zero` where lower is better."""

    zero: float
    one: float

    def normalise(self, value: float) -> float:
        return (value - self.zero) / (self.one - self.zero)


class Declared(NamedTuple):
    """A reference as declared: a result, or whose mean result on the task counts: `RANDOM`, or an algorithm's."""

    zero: float | str
    one: float | str


RANDOM = "random"  # the episodes of random actions before training
RETURN_OF_DM_CONTROL = Declared(0.0, 1000.0)


def reference_of(task: str, declared: Mapping[str, Declared], returns: bool = True) -> Declared | None:
    """The declared reference of a task, by its name or else by the longest pattern with * that fits; dm_control's own
    for its tasks where the results are returns; None where nothing is known."""
    if task in declared:
        return declared[task]
    fitting = [pattern for pattern in declared if fnmatch.fnmatchcase(task, pattern)]
    if fitting:
        return declared[max(fitting, key=lambda pattern: (len(pattern), pattern))]
    plain = task.lower().replace("_", "-").removeprefix("dmc-")
    return RETURN_OF_DM_CONTROL if returns and plain in DM_CONTROL else None


def parse_references(content: object, where: str) -> dict[str, Declared]:
    """From a mapping such as {walker-walk: [25, 960], "mw-*": [random, sac]}. Raises `AggregateError`."""
    example = (
        "a task or a pattern with *, and what counts as 0 and as 1, as in walker-walk: [25, 960], or whose mean result "
        f'does, as in "*": [{RANDOM}, lr=0.001]'
    )
    if not isinstance(content, Mapping) or not content:
        raise AggregateError(f"{where}: expected are lines of {example}")
    return {str(task): _declared(pair, f"{where}, {task}", example) for task, pair in content.items()}


def _declared(pair: object, where: str, example: str) -> Declared:
    ends = [_end(end) for end in pair] if isinstance(pair, list | tuple) else []
    if len(ends) != 2 or None in ends:
        raise AggregateError(f"{where}: {str(pair)!r:.60} is not two numbers or names; give {example}")
    zero, one = ends
    if zero == one:
        raise AggregateError(f"{where}: both are {zero}; what counts as 0 and as 1 must differ")
    return Declared(zero, one)


def _end(value: Any) -> Any:
    """A finite number or the name of whose result counts; None for anything else."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (OverflowError, ValueError):
        return value.strip() or None if isinstance(value, str) else None
    return number if math.isfinite(number) else None


def check_used(declared: Mapping[str, Declared], tasks: list[str], where: str) -> None:
    """Raises `AggregateError` for a declared task that fits none of `tasks`: usually a misspelling."""
    for pattern in declared:
        if not any(fnmatch.fnmatchcase(task, pattern) for task in tasks):
            raise AggregateError(f"{where}: there is no task {pattern!r}; {near(pattern, tasks)}")
