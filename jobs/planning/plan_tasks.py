"""The `tasks:` of a plan: a sweep of several tasks, which becomes one sweep for each of them.

What is known per task stands beside the list: `steps:` and `references:` as mappings. The sweeps of the tasks are named
SWEEP.TASK; together they are submitted, judged and decided as SWEEP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from jobs.planning import plan_values
from jobs.yaml_reader import Entry
from sweepwise.core.errors import AggregateError, near
from sweepwise.core.hyperparameters import ConfigError
from sweepwise.core.schema import Schema

if TYPE_CHECKING:
    from aggregate.tasks.references import Declared

KEYS = ("task", "tasks", "steps", "references")
MAX_TASKS = 1000
_LONGEST = 64  # characters of a task in a sweep's name


@dataclass(frozen=True)
class Tasks:
    """The tasks of a sweep, in the plan's order; none for a sweep of one task. steps: of the tasks that have their own.
    references: by task or pattern, as declared."""

    names: tuple[Any, ...] = ()
    steps: Mapping[Any, Any] = field(default_factory=dict)
    references: Mapping[str, Declared] = field(default_factory=dict)

    def reference(self, task: Any) -> tuple[float | str, ...]:
        """What counts as 0 and 1 on `task`; empty where the plan says nothing."""
        from aggregate.tasks.references import reference_of

        return tuple(reference_of(str(task), self.references, returns=False) or ())


def parse(fields: Mapping[str, Entry], inherited: Tasks, schema: Schema) -> Tasks:
    """The tasks of a plan, a sweep or an option. inherited: of what it is part of. Raises `JobsError` with line."""
    if "tasks" in fields and "task" in fields:
        raise fields["tasks"].error("task and tasks are both given; keep one")
    names = () if "task" in fields else inherited.names
    if "tasks" in fields:
        names = _names(fields["tasks"], schema)
    returns = schema.description.catalogue.primary.unit == "return"
    return Tasks(names, _steps(fields, names, inherited, schema), _references(fields, names, inherited, returns))


def check(tasks: Tasks, fields: Mapping[str, Entry], schema: Schema) -> None:
    """Raises `JobsError` where a sweep or option also fixes or varies what its tasks differ in."""
    listed = {schema.description.task: tasks.names, schema.description.steps: tasks.steps}
    for name in ("fixed", "grid", "zip"):
        for key, entry in fields[name].mapping().items() if name in fields else ():
            if listed.get(key):
                raise entry.error(f"{entry.name}: {key} is set for each task already; keep one of both")


def per_task(entry: Entry) -> bool:
    """Whether `steps:` are given for each task."""
    return isinstance(entry.node, yaml.MappingNode)


def in_name(task: Any) -> str:
    """The task as part of a sweep's name, which is a file's name too."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", str(task)).strip("-")[:_LONGEST] or "task"


def _names(entry: Entry, schema: Schema) -> tuple[Any, ...]:
    key = schema.description.task
    if key not in {parameter.name for parameter in schema.description.hyperparameters}:
        raise entry.error(
            f"{entry.name}: {schema.description.name} has no hyperparameter {key!r}; set `task_key:` of "
            "the program to the hyperparameter with the task"
        )
    names: list[Any] = []
    for item in entry.items():
        name = _task(key, item, schema)
        if name in names:
            raise item.error(f"{entry.name}: {name} occurs twice")
        if same := [other for other in names if in_name(other) == in_name(name)]:
            raise item.error(f"{entry.name}: {same[0]} and {name} are both {in_name(name)} in names of files; keep one")
        names.append(name)
    if not 1 <= len(names) <= MAX_TASKS:
        raise entry.error(f"{entry.name}: {len(names)} tasks; give 1 to {MAX_TASKS}")
    return tuple(names)


def _task(key: str, entry: Entry, schema: Schema) -> Any:
    """The value of the task's hyperparameter, in the form that configurations hold."""
    value = plan_values.value_of(key, entry, schema)
    if value is None or isinstance(value, tuple):
        raise entry.error(f"{entry.name}: {value!r} is not a task; give a value of {key}")
    try:
        return schema.resolve({key: value}).values[key]
    except ConfigError as error:
        if str(error).startswith(f"{key}="):
            raise entry.error(str(error)) from error
        return value  # the defaults alone are illegal; the configurations are checked when they are expanded


def _steps(fields: Mapping[str, Entry], names: Sequence[Any], inherited: Tasks, schema: Schema) -> dict[Any, Any]:
    entry, description = fields.get("steps"), schema.description
    if entry is None:
        return {task: steps for task, steps in inherited.steps.items() if task in names}
    if not per_task(entry):
        return {}
    if not names:
        raise entry.error(f"{entry.name}: steps of single tasks need `tasks:`, the list of tasks")
    if not description.steps:
        raise entry.error(f"{entry.name}: {description.name} declares no hyperparameter with the number of steps")
    steps = {}
    for name, value in entry.mapping().items():
        task = next((task for task in names if name in (str(task), in_name(task))), None)
        if task is None:
            raise value.error(f"{entry.name}: {name!r} is not one of the tasks; {near(name, map(str, names))}")
        steps[task] = plan_values.value_of(description.steps, value, schema)
    return steps


def _references(
    fields: Mapping[str, Entry], names: Sequence[Any], inherited: Tasks, returns: bool
) -> Mapping[str, Declared]:
    """returns: whether the primary metric is a return, of which the references of known suites are."""
    from aggregate.tasks.references import check_used, parse_references, reference_of

    entry, texts = fields.get("references"), [str(name) for name in names]
    if entry is None:
        return inherited.references if names else {}
    if not names:
        raise entry.error(f"{entry.name}: references of tasks need `tasks:`, the list of tasks")
    try:
        declared = parse_references({task: pair.raw() for task, pair in entry.mapping().items()}, entry.name)
        check_used(declared, texts, entry.name)
    except AggregateError as error:
        raise entry.error(str(error)) from error
    for task in texts:
        if reference_of(task, declared, returns) is None:
            raise entry.error(
                f"{entry.name}: {task} is missing; give its values that count as 0 and 1, as in {task}: [0, 1000]"
            )
    return declared
