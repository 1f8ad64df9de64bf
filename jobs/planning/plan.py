"""The plan: parse YAML to sweeps. `jobs.planning.expand` expands them to configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jobs import yaml_reader
from jobs.planning import plan_tasks, plan_values, program, questions
from jobs.planning.plan_tasks import Tasks
from jobs.programs import python, registry
from jobs.programs.command import ProgramSource
from jobs.results.agents import Agents
from jobs.yaml_reader import Entry
from sweepwise.core.errors import JobsError, near
from sweepwise.core.schema import Schema

if TYPE_CHECKING:
    from aggregate.inputs.plan_questions import Question

DEFAULT_SEEDS = (1, 2, 3, 4, 5, 6)

_PLAN_KEYS = ("plan", "title", "agent", "program", "base", *plan_tasks.KEYS, "seeds", "interim_analyses", "margin",
              "paired", "names", "issues", "sweeps")  # fmt: skip
_VARIES = (
    "grid",
    "zip",
    "fixed",
    *plan_tasks.KEYS,
    "seeds",
    "interim_analyses",
    "margin",
    "paired",
    "goal",
    "questions",
    "issues",
)
_FORMER_KEYS = MappingProxyType({"looks": "interim_analyses"})  # accepted for one release
_SWEEP_KEYS = (*_VARIES, "priority", "parallel", "why", "options")


@dataclass(frozen=True)
class Sweep:
    """One sweep: the hyperparameters that vary and those that are fixed. `entropy` and `entropy.fixed` are two sweeps.

    grid: key -> levels, all combinations. zipped: key -> levels of equal length, combined level by level. where: file
    and line, for messages. priority: 1 runs first. parallel: see `Plan.stages`. interim_analyses: how many are planned;
    seeds may be added between them. margin: the smallest difference of the primary metric that matters, None for a
    share of the baseline's gain. paired: compare configurations seed by seed. tasks_of: the sweep of several tasks of
    which this is one, "" for any other. reference: what counts as 0 and 1 on its task (`Tasks.reference`).
    """

    name: str
    goal: str
    questions: tuple[Question, ...]
    issues: tuple[str, ...]
    priority: int
    parallel: bool
    why: str
    fixed: Mapping[str, Any]
    grid: Mapping[str, tuple[Any, ...]]
    zipped: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    where: str
    interim_analyses: int = 1
    margin: float | None = None
    paired: bool = False
    tasks: Tasks = field(default_factory=Tasks)
    tasks_of: str = ""
    reference: tuple[float | str, ...] = ()

    @property
    def decided_as(self) -> str:
        """The name under which it is decided: a sweep of several tasks is decided for all of them."""
        return self.tasks_of or self.name

    def run_label(self, label: str) -> str:
        """`label` of a configuration where runs of other tasks stand beside it: `walker-walk: lr=0.001`."""
        return f"{self.name.removeprefix(f'{self.tasks_of}.')}: {label}" if self.tasks_of else label

    @property
    def factors(self) -> tuple[str, ...]:
        """The swept hyperparameters, in the plan's order."""
        return (*self.grid, *self.zipped)

    @property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """Swept key -> its levels."""
        return {**self.grid, **self.zipped}


@dataclass(frozen=True)
class Plan:
    """A whole plan. base: key -> value that overrides the agent's default. names: key -> short name. schema: of the
    agent. source: where its code is; None for the packaged agent.

    adopted: sweep -> key -> value decided by earlier sweeps (`jobs.planning.decisions`); it overrides the base.
    """

    name: str
    title: str
    file: str
    base: Mapping[str, Any]
    names: Mapping[str, str]
    issues: Mapping[str, str]
    sweeps: tuple[Sweep, ...]
    adopted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schema: Schema = registry.PACKAGED_SCHEMA
    source: python.AgentSource | ProgramSource | None = None

    @property
    def primary(self) -> str:
        """The metric that decides, in words."""
        return self.schema.description.catalogue.primary.words

    @property
    def folder(self) -> Path:
        """The folder of the plan's file."""
        return Path(self.file).absolute().parent

    def position(self, name: str) -> int:
        """Of the sweep in the order in which sweeps run, from 1; 0 where the plan does not have it."""
        names = [sweep.tasks_of or sweep.name for stage in self.stages for sweep in stage]
        return names.index(name) + 1 if name in names else 0

    @property
    def stages(self) -> tuple[tuple[Sweep, ...], ...]:
        """Sweeps grouped by when they can run, in order of priority.

        A stage holds the sweeps of one priority and any `parallel` sweeps that follow. It starts from the decisions of
        the earlier stages.
        """
        stages: list[list[Sweep]] = []
        for sweep in sorted(self.sweeps, key=lambda s: s.priority):
            if stages and (sweep.parallel or sweep.priority == stages[-1][0].priority):
                stages[-1].append(sweep)
            else:
                stages.append([sweep])
        return tuple(map(tuple, stages))

    def select(self, name: str) -> tuple[Sweep, ...]:
        """The sweep `name`, or all its options if it has no grid. Raises `JobsError` for an unknown name."""
        exact = tuple(s for s in self.sweeps if name in (s.name, s.decided_as))
        options = tuple(s for s in self.sweeps if s.name.startswith(f"{name}."))
        if exact or options:
            return exact or options
        legal = list(dict.fromkeys(n for s in self.sweeps for n in (s.name.split(".")[0], s.name)))
        what = "option" if "." in name else "sweep"
        raise JobsError(f"unknown {what} {name!r}; {near(name, legal)}; `sweeps plan` shows them all")


@dataclass(frozen=True)
class Preset:
    name: str
    about: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class _Defaults:
    """What the sweeps of a plan have in common. names: of all sweeps."""

    schema: Schema
    issues: Mapping[str, str]
    names: Sequence[str]
    seeds: tuple[int, ...]
    interim_analyses: int
    margin: float | None
    paired: bool
    tasks: Tasks


def load(file: Path | None = None, agents: Agents | None = None) -> Plan:
    """The plan in `file`, or the packaged one. Raises `JobsError` with line and fix.

    agents: of the results folder, which know the hyperparameters that an agent had when it was first submitted; None
    if there is no results folder.
    """
    if file is None:
        return _plan(yaml_reader.parse(example(), "stability.yaml", "plan"), agents)
    return _plan(yaml_reader.read(file, "plan"), agents)


def example() -> str:
    """The text of the packaged plan."""
    return resources.files("jobs.planning").joinpath("stability.yaml").read_text(encoding="utf-8")


def load_presets() -> dict[str, Preset]:
    text = resources.files("jobs.planning").joinpath("presets.yaml").read_text(encoding="utf-8")
    presets = {}
    for name, entry in yaml_reader.parse(text, "presets.yaml").mapping().items():
        fields = entry.mapping(("about", "set"))
        presets[name] = Preset(
            name, fields["about"].text(), plan_values.values_of(fields["set"], registry.PACKAGED_SCHEMA)
        )
    return presets


def load_preset(name: str) -> Preset:
    presets = load_presets()
    if name not in presets:
        raise JobsError(f"unknown preset {name!r}; {near(name, presets)}")
    return presets[name]


# --- YAML to records --------------------------------------------------------------------------------------


def _plan(root: Entry, agents: Agents | None) -> Plan:
    fields = root.mapping(_PLAN_KEYS, _FORMER_KEYS)
    if "sweeps" not in fields:
        raise root.error("a plan needs `sweeps:`; see `sweeps plan --example`")
    source = _source(fields, Path(root.file).absolute().parent)
    schema = _schema(source, agents)
    base = plan_values.values_of(fields["base"], schema) if "base" in fields else {}
    _add_task_and_steps(base, fields, schema)
    defaults = _Defaults(
        schema=schema,
        tasks=plan_tasks.parse(fields, Tasks(), schema),
        issues=plan_values.texts_by_name(fields["issues"]) if "issues" in fields else {},
        names=_sweep_names(fields["sweeps"]),
        seeds=plan_values.seeds(fields["seeds"]) if "seeds" in fields else DEFAULT_SEEDS,
        interim_analyses=plan_values.interim_analyses(fields, 1),
        margin=plan_values.margin(fields["margin"]) if "margin" in fields else None,
        paired="paired" in fields and fields["paired"].flag(),
    )
    sweeps: list[Sweep] = []
    for position, (name, entry) in enumerate(fields["sweeps"].mapping().items(), start=1):
        sweeps += _sweep(plan_values.check_name(name, entry), entry, position, defaults)
    if not sweeps:
        raise fields["sweeps"].error("sweeps: empty; give at least one sweep, see `sweeps plan --example`")
    sweeps = _by_task(sweeps, {**_default_task(schema), **base}, schema)
    return Plan(
        name=plan_values.check_name(fields["plan"].text(), fields["plan"]) if "plan" in fields else "plan",
        title=fields["title"].text() if "title" in fields else "",
        file=root.file,
        base=base,
        names=plan_values.short_names(fields["names"], schema) if "names" in fields else {},
        issues=defaults.issues,
        sweeps=tuple(sweeps),
        schema=schema,
        source=source,
    )


def _source(fields: Mapping[str, Entry], folder: Path) -> python.AgentSource | ProgramSource | None:
    """What the plan trains; None for the packaged agent. folder: of the plan."""
    if "program" in fields:
        if "agent" in fields:
            raise fields["agent"].error("agent and program are both given; keep one")
        return program.parse(fields["program"], folder, program.named_in(fields))
    return _agent(fields["agent"], folder) if "agent" in fields else None


def _agent(entry: Entry, folder: Path) -> python.AgentSource | None:
    """The agent that a plan names; None for the packaged one. folder: of the plan."""
    if entry.text() == registry.PACKAGED:
        return None
    try:
        return python.describe(entry.text(), folder)
    except JobsError as error:
        raise entry.error(str(error)) from error


def _schema(source: python.AgentSource | ProgramSource | None, agents: Agents | None) -> Schema:
    if source is None:
        return registry.PACKAGED_SCHEMA
    return agents.schema_of(source.description) if agents is not None else registry.schema(source.description)


def _sweep_names(entry: Entry) -> list[str]:
    """The names of all options, and of all sweeps that have a grid or zip."""
    names = []
    for name, sweep in entry.mapping().items():
        fields = sweep.mapping(_SWEEP_KEYS, _FORMER_KEYS)
        names += [name] if "grid" in fields or "zip" in fields else []
        names += [f"{name}.{option}" for option in (fields["options"].mapping() if "options" in fields else ())]
    return names


def _sweep(name: str, entry: Entry, position: int, defaults: _Defaults) -> list[Sweep]:
    """The sweep itself if it has a grid or zip, then its options."""
    fields = entry.mapping(_SWEEP_KEYS, _FORMER_KEYS)
    fixed = plan_values.values_of(fields["fixed"], defaults.schema) if "fixed" in fields else {}
    _add_task_and_steps(fixed, fields, defaults.schema)
    own_tasks = plan_tasks.parse(fields, defaults.tasks, defaults.schema)
    common = Sweep(
        name=name,
        goal=fields["goal"].text() if "goal" in fields else "",
        questions=(),
        issues=plan_values.issue_names(fields["issues"], defaults.issues) if "issues" in fields else (),
        priority=fields["priority"].whole() if "priority" in fields else position,
        parallel=fields["parallel"].flag() if "parallel" in fields else False,
        why=fields["why"].text() if "why" in fields else "",
        fixed=fixed,
        grid={},
        zipped={},
        seeds=plan_values.seeds(fields["seeds"]) if "seeds" in fields else defaults.seeds,
        where=f"{entry.file}:{entry.line}",
        interim_analyses=plan_values.interim_analyses(fields, defaults.interim_analyses),
        margin=plan_values.margin(fields["margin"]) if "margin" in fields else defaults.margin,
        paired=fields["paired"].flag() if "paired" in fields else defaults.paired,
        tasks=own_tasks,
    )
    alone = "options" not in fields and own_tasks.names  # one configuration on several tasks
    sweeps = [_vary(common, entry, fields, defaults.schema)] if "grid" in fields or "zip" in fields or alone else []
    for option, option_entry in (fields["options"].mapping() if "options" in fields else {}).items():
        sweeps.append(_option(common, f"{name}.{plan_values.check_name(option, option_entry)}", option_entry, defaults))
    if not sweeps:
        raise entry.error(f"sweep {name!r} varies nothing; give it `grid:`, `zip:`, `options:` or `tasks:`")
    if "questions" not in fields:
        return sweeps
    inherit = {sweep.name: sweep.levels for sweep in sweeps if not sweep.questions}
    questions_by_sweep = questions.put(questions.parse(fields["questions"], defaults.names, defaults.schema), inherit)
    return [replace(sweep, questions=questions_by_sweep.get(sweep.name, sweep.questions)) for sweep in sweeps]


def _option(parent: Sweep, name: str, entry: Entry, defaults: _Defaults) -> Sweep:
    """One option of a sweep, with its own questions only; `_sweep` adds those of the sweep to options without any."""
    fields = entry.mapping(_VARIES, _FORMER_KEYS)
    own_tasks = plan_tasks.parse(fields, parent.tasks, defaults.schema)
    fixed = {key: value for key, value in parent.fixed.items() if key != defaults.schema.description.task
             or not own_tasks.names}  # fmt: skip
    fixed |= plan_values.values_of(fields["fixed"], defaults.schema) if "fixed" in fields else {}
    task_and_steps: dict[str, Any] = {}
    _add_task_and_steps(task_and_steps, fields, defaults.schema)
    option = Sweep(
        name=name,
        goal=fields["goal"].text() if "goal" in fields else parent.goal,
        questions=(),
        issues=plan_values.issue_names(fields["issues"], defaults.issues) if "issues" in fields else parent.issues,
        priority=parent.priority,
        parallel=parent.parallel,
        why=parent.why,
        fixed={**fixed, **task_and_steps},
        grid={},
        zipped={},
        seeds=plan_values.seeds(fields["seeds"]) if "seeds" in fields else parent.seeds,
        where=f"{entry.file}:{entry.line}",
        interim_analyses=plan_values.interim_analyses(fields, parent.interim_analyses),
        margin=plan_values.margin(fields["margin"]) if "margin" in fields else parent.margin,
        paired=fields["paired"].flag() if "paired" in fields else parent.paired,
        tasks=own_tasks,
    )
    varied = _vary(option, entry, fields, defaults.schema)
    asked = fields.get("questions")
    parsed_questions = questions.parse(asked, defaults.names, defaults.schema) if asked is not None else []
    return replace(varied, questions=questions.put(parsed_questions, {name: varied.levels})[name])


def _vary(sweep: Sweep, entry: Entry, fields: Mapping[str, Entry], schema: Schema) -> Sweep:
    """`sweep` with the levels of its grid and zip."""
    grid = plan_values.levels(fields["grid"], schema) if "grid" in fields else {}
    zipped = plan_values.levels(fields["zip"], schema) if "zip" in fields else {}
    plan_tasks.check(sweep.tasks, fields, schema)
    if not grid and not zipped and not sweep.tasks.names:
        raise entry.error(f"sweep {sweep.name!r}: empty grid; name at least one hyperparameter with its levels")
    for key in zipped:
        if key in grid:
            raise fields["zip"].error(f"{key} is in both grid and zip of {sweep.name!r}; keep one")
    for key in (*grid, *zipped):
        if key in sweep.fixed:
            raise entry.error(f"{key} is fixed and varied in {sweep.name!r}; keep one")
    lengths = {key: len(levels) for key, levels in zipped.items()}
    if len(set(lengths.values())) > 1:
        lengths_text = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        raise fields["zip"].error(f"zip needs lists of one length: {lengths_text}")
    for key, levels in grid.items():
        if len(set(levels)) < len(levels):
            raise fields["grid"].mapping()[key].error(f"{key}: the same level occurs twice")
    if zipped and len(set(zip(*zipped.values(), strict=True))) < next(iter(lengths.values())):
        raise fields["zip"].error("zip: the same combination occurs twice")
    plan_values.check_paired(sweep.paired, (*grid, *zipped), schema, fields.get("paired", entry))
    return replace(sweep, grid=grid, zipped=zipped)


def _add_task_and_steps(values: dict[str, Any], fields: Mapping[str, Entry], schema: Schema) -> None:
    for key, name in (("task", schema.description.task), ("steps", schema.description.steps)):
        if key in fields and not plan_tasks.per_task(fields[key]):
            if name in values:
                raise fields[key].error(f"{name} is given twice; keep one")
            values[name] = plan_values.value_of(name, fields[key], schema)


def _default_task(schema: Schema) -> dict[str, Any]:
    description = schema.description
    return {key.name: key.default for key in description.hyperparameters if key.name == description.task}


def _by_task(sweeps: Sequence[Sweep], base: Mapping[str, Any], schema: Schema) -> list[Sweep]:
    """`sweeps`, those of several tasks as one for each. base: with the task of sweeps that name none."""
    key = schema.description.task
    single: list[Sweep] = []
    for sweep in sweeps:
        for task in sweep.tasks.names:
            steps = {schema.description.steps: sweep.tasks.steps[task]} if task in sweep.tasks.steps else {}
            single.append(replace(
                sweep, name=f"{sweep.name}.{plan_tasks.in_name(task)}", fixed={**sweep.fixed, key: task, **steps},
                tasks_of=sweep.name, reference=sweep.tasks.reference(task),
            ))  # fmt: skip
        single += [] if sweep.tasks.names else [sweep]
    names = [sweep.name for sweep in single]
    if double := [sweep for sweep in single if names.count(sweep.name) > 1]:
        raise JobsError(f"{double[0].where}: an option has the name of a task, {double[0].name}; give it another")
    task_of = {sweep.name: {**base, **sweep.fixed}.get(key) for sweep in single}
    return [
        replace(sweep, questions=tuple(_in_task(question, sweep, single, task_of) for question in sweep.questions))
        for sweep in single
    ]


def _in_task(question: Question, sweep: Sweep, sweeps: Sequence[Sweep], task_of: Mapping[str, Any]) -> Question:
    """`question` of `sweep`, compared within a task: of a sweep of several beside it, the part on the same one."""
    beside = []
    for name in question.beside:
        members = [other for other in sweeps if other.decided_as == name]
        same = [other.name for other in members if task_of[other.name] == task_of[sweep.name]]
        if not same and (sweep.tasks_of or members[0].tasks_of):
            raise JobsError(
                f"{sweep.where}: the question {question.text!r} compares with {name}, which is not on the task "
                f"{task_of[sweep.name]}; add it to the tasks of {name}, or leave {name} out of `with:`"
            )
        beside += same or [name]
    return replace(question, beside=tuple(beside))
