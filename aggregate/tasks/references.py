"""References that scores are normalised by: the result that counts as 0 and the one that counts as 1 on a task.

References are declared, never taken from the observed range: a range that depends on the runs changes with every run
that is added.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from typing import NamedTuple

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


RETURN_OF_DM_CONTROL = Reference(0.0, 1000.0)


def reference_of(task: str, declared: Mapping[str, Reference], returns: bool = True) -> Reference | None:
    """The declared reference of a task, by its name or else by the longest pattern with * that fits; dm_control's own
    for its tasks where the results are returns; None where nothing is known."""
    if task in declared:
        return declared[task]
    fitting = [pattern for pattern in declared if fnmatch.fnmatchcase(task, pattern)]
    if fitting:
        return declared[max(fitting, key=lambda pattern: (len(pattern), pattern))]
    plain = task.lower().replace("_", "-").removeprefix("dmc-")
    return RETURN_OF_DM_CONTROL if returns and plain in DM_CONTROL else None


def parse_references(content: object, where: str) -> dict[str, Reference]:
    """From a mapping such as {walker-walk: [25, 960], "mw-*": [0, 1]}. Raises `AggregateError`."""
    example = "a task or a pattern with *, and its results that count as 0 and as 1, as in walker-walk: [25, 960]"
    if not isinstance(content, Mapping) or not content:
        raise AggregateError(f"{where}: expected are lines of {example}")
    return {str(task): _reference(pair, f"{where}, {task}", example) for task, pair in content.items()}


def _reference(pair: object, where: str, example: str) -> Reference:
    numbers = pair if isinstance(pair, list | tuple) else ()
    finite = [float(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)]
    if len(finite) != 2 or len(numbers) != 2:
        raise AggregateError(f"{where}: {str(pair)!r:.60} are not two numbers; give {example}")
    if finite[0] == finite[1]:
        raise AggregateError(f"{where}: both are {finite[0]:g}; what counts as 0 and as 1 must differ")
    return Reference(*finite)


def check_used(declared: Mapping[str, Reference], tasks: list[str], where: str) -> None:
    """Raises `AggregateError` for a declared task that fits none of `tasks`: usually a misspelling."""
    for pattern in declared:
        if not any(fnmatch.fnmatchcase(task, pattern) for task in tasks):
            raise AggregateError(f"{where}: there is no task {pattern!r}; {near(pattern, tasks)}")
