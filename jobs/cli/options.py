"""Options shared by several commands, and their interpretation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from jobs.cli.group import say
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import LONGEST, shortened
from sweepwise.core.yaml_scalars import PlainText

if TYPE_CHECKING:
    from jobs.backends.base import SubmitOptions
    from jobs.planning.expand import ExpandedSweep
    from jobs.planning.plan import Plan
    from jobs.results.records import RequestedOverrides
    from jobs.results.results_folder import ResultsFolder
    from sweepwise.core.schema import Schema

SEVERAL = "Several: a,b, or repeated."  # of an option that takes a list
Command = TypeVar("Command", bound=Callable[..., Any])


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class BackendName(click.ParamType):
    """auto, or a backend of `jobs.backends.registry`, which is loaded only if the option is given or shown."""

    name = "backend"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self._legal())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._is_legal(value):
            self.fail(f"{value!r} is not one of {', '.join(map(repr, self._legal()))}.", param, ctx)
        return value

    def _is_legal(self, value: str) -> bool:
        from jobs.backends import registry

        return value == registry.AUTO or registry.is_known(value)

    def _legal(self) -> list[str]:
        from jobs.backends import registry

        return [registry.AUTO, *registry.names()]


class _Names(click.ParamType):
    """One or several of the choices, separated by commas."""

    name = "names"

    def __init__(self, choices: Sequence[str]) -> None:
        self._choices, self._one = choices, click.Choice(choices)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self._choices)}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return tuple(self._one.convert(name.strip(), param, ctx) for name in value.split(","))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._one.shell_complete(ctx, param, incomplete)


def names_option(
    flag: str, name: str, choices: Sequence[str], *, help: str, **options: Any
) -> Callable[[Command], Command]:
    """An option that takes several of `choices`: as `--format csv,json`, or repeated. The command gets each once."""

    def flat(context: click.Context, parameter: click.Parameter, given: Iterable[Iterable[str]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one for names in given for one in names))

    return click.option(
        flag, name, multiple=True, type=_Names(choices), callback=flat, help=f"{help} {SEVERAL}", **options
    )


def split_commas(context: click.Context, parameter: click.Parameter, given: Iterable[str]) -> tuple[str, ...]:
    """The callback of a repeatable option that also takes several names separated by commas."""
    return tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",")))


# --- completion in a shell (docs/install.md) ------------------------------------------------------------------


def complete_sweep(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The submitted sweeps, and those of several options or tasks by their common name."""
    names = _store_of(context).sweep_names()
    return _fitting([*names, *(name.partition(".")[0] for name in names)], incomplete)


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The runs in the results folder."""
    store = _store_of(context)
    runs = (f"{config_id}/seed-{seed}" for config_id in store.config_ids() for seed in store.attempts.seeds(config_id))
    return _fitting(runs, incomplete)


def complete_sweep_or_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [*complete_sweep(context, parameter, incomplete), *complete_run(context, parameter, incomplete)]


def complete_planned_sweep(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The sweeps of the plan, with their options."""
    names = [sweep.name for sweep in plan.sweeps] if (plan := _plan_of(context)) else []
    return _fitting([*names, *(name.partition(".")[0] for name in names)], incomplete)


def complete_hyperparameter(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The hyperparameters of what the plan trains, each with the "=" that follows."""
    plan = _plan_of(context)
    return _fitting([f"{p.name}=" for p in plan.schema.description.hyperparameters] if plan else [], incomplete)


def _store_of(context: click.Context) -> ResultsFolder:
    from jobs.results.results_folder import ResultsFolder

    return ResultsFolder(context.find_root().params["results"])


def _plan_of(context: click.Context) -> Plan | None:
    from jobs.planning import plan

    try:
        return plan.load(context.params.get("plan_file"))
    except Exception:  # noqa: BLE001 - the command reports it; a shell that completes shows no errors
        return None


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _joined(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> str | None:
    return ",".join(given) if given else None


# --- options --------------------------------------------------------------------------------------------------

plan_option = click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Plan file. Default: the packaged plan.",
)
seeds_option = click.option("--seeds", metavar="SEEDS", help="6 (seeds 1 to 6), 4-9 or 1,3,5. Default: the plan's.")
value_options = with_options(
    click.option("--preset", metavar="NAME", help="Named set of hyperparameters, such as small."),
    click.option("--task", metavar="TASK", help="Task of the dm_control suite, such as walker-walk."),
    click.option("--steps", metavar="N", help="Length of training in agent steps."),
    click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", shell_complete=complete_hyperparameter,
                 help="Set a hyperparameter (`sweeps keys` lists them). Repeatable."),
)  # fmt: skip
settings_options = with_options(
    click.option("--snapshots", type=click.IntRange(min=0), metavar="N",
                 help="Number of evenly spaced snapshots of the weights, for `evaluate`. Default: 4."),
    click.option("--checkpoint-minutes", type=click.FloatRange(min=0), metavar="M",
                 help="Minutes between checkpoints. Default: 10."),
    click.option("--deterministic/--no-deterministic", default=None,
                 help="Bitwise reproducible results on a GPU. Slower."),
    click.option("--compile/--no-compile", default=None,
                 help="Use torch.compile. Takes minutes to start; slower on a CPU."),
    click.option("--cuda-graphs/--no-cuda-graphs", default=None,
                 help="Use CUDA graphs on a GPU. Needs more memory."),
)  # fmt: skip
place_options = with_options(
    click.option("--profile", metavar="NAME|FILE", help="Cluster profile: gpu, a100, cpu, ..., or a file."),
    click.option("--option", "option", multiple=True, metavar="KEY=VALUE",
                 help="Replace a value of the profile, such as time=2:00:00. Repeatable."),
    click.option("--cluster", type=BackendName(),
                 help="Where jobs run. auto: Slurm if sbatch exists, else local. debug: in this process."),
)  # fmt: skip
target_options = with_options(
    place_options,
    click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Maximum number of running tasks."),
    click.option("--seeds-per-job", type=click.IntRange(min=1), metavar="K",
                 help="Number of seeds of a configuration that one process trains together."),
    click.option("--notify", metavar="COMMAND",
                 help="Shell command to run once when the sweep has ended, when waiting tasks are held after failures, "
                      "and when a configuration collapses. Default: that of the profile."),
)  # fmt: skip
hand_over_options = with_options(
    click.option("--then-aggregate", is_flag=True, help="Write the report when all runs have ended or failed."),
    click.option("--max-gpu-hours", type=click.FloatRange(min=0, min_open=True), metavar="N",
                 help="Refuse to submit if the expected cost is higher."),
    click.option("--export", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                 help="Write the batch script to FILE (FILE-1, ... if several) instead of submitting it."),
    click.option("--dry-run", is_flag=True, help="Show the runs and the batch script or commands; submit nothing."),
    click.option("--wait", is_flag=True, help="Show progress until all runs have ended. Exit code 1 if a run failed."),
)  # fmt: skip
backend_options = with_options(
    target_options,
    settings_options,
    click.option("--canary", is_flag=True,
                 help="Train the first seed of each configuration; hold the others until it is healthy."),
    hand_over_options,
)  # fmt: skip
watch_options = with_options(
    click.option("--watch", is_flag=True, help="Repeat while runs are active."),
    click.option("--every", type=click.FloatRange(min=1), default=60.0, show_default=True, metavar="SECONDS",
                 help="Interval of --watch."),
)  # fmt: skip
filter_options = with_options(
    click.option("--where", multiple=True, metavar="KEY=VALUE",
                 help="Only runs with this value of a hyperparameter, seed=N or tag=TAG. Repeatable."),
    click.option("--indices", multiple=True, metavar="N,N-N", callback=_joined,
                 help="Only runs with these indices in `sweeps status --runs`. Repeatable."),
)  # fmt: skip


foreground_options = with_options(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
                 help="auto: a GPU if there is one."),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Number of threads. Default: all cores."),
)  # fmt: skip


def device_of(requested: str) -> str:
    from jobs import process

    return "cuda" if requested == "cuda" or (requested == "auto" and process.gpus()) else "cpu"


def split_options(values: dict[str, Any]) -> tuple[SubmitOptions, dict[str, Any]]:
    """The given `backend_options`: those of this submit only, and those that are fields of `ExecutionOptions`."""
    from jobs.backends.base import SubmitOptions

    given = {key: value for key, value in values.items() if value is not None and value != ()}
    submit_fields = {field.name for field in dataclasses.fields(SubmitOptions)}
    return SubmitOptions(**{k: v for k, v in given.items() if k in submit_fields}), {
        k: v for k, v in given.items() if k not in submit_fields
    }


def overrides(schema: Schema, task: str | None, steps: str | None, sets: Sequence[str]) -> dict[str, Any]:
    """--task, --steps and --set as one mapping, parsed by declared type. Raises `JobsError` for a duplicate key."""
    named = ((schema.description.task, task), (schema.description.steps, steps))
    given = [(key, value) for key, value in named if value is not None]
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise JobsError(f"--set {text!r}: give key=value, such as --set batch_size=128")
        given.append((key.strip(), value))
    values: dict[str, Any] = {}
    for key, value in given:
        if key in values:
            raise JobsError(f"{key} is given twice; keep one")
        values[key] = schema.parse_value(key, PlainText(value))
    return values


def preset_values(plan: Plan, name: str | None) -> dict[str, Any]:
    """The values of a preset. Raises `JobsError` for an unknown one, and for a plan of another agent."""
    from jobs.planning.plan import load_preset

    if name is not None and plan.source is not None:
        raise JobsError(
            f"--preset {name}: presets are for the packaged agent, and this plan trains "
            f"{plan.schema.description.name}; set values in the plan's base or with --set"
        )
    return dict(load_preset(name).values) if name is not None else {}


def asked_for(
    schema: Schema, seeds: str | None, preset: str | None, task: str | None, steps: str | None, sets: Sequence[str]
) -> RequestedOverrides:  # fmt: skip
    """The given `seeds_option` and `value_options`."""
    from jobs.results.records import RequestedOverrides

    return RequestedOverrides(seeds or "", preset or "", overrides(schema, task, steps, sets))


def expand_sweeps(plan: Plan, name: str | None, requested: RequestedOverrides) -> list[ExpandedSweep]:
    """The sweeps under `name`, or all of the plan in priority order."""
    from jobs.planning.expand import expand
    from jobs.planning.plan_values import parse_seeds

    sweeps = plan.select(name) if name else tuple(sorted(plan.sweeps, key=lambda s: s.priority))
    preset = preset_values(plan, requested.preset or None)
    seeds = parse_seeds(requested.seeds) if requested.seeds else None
    return [
        dataclasses.replace(expand(plan, sweep, preset, requested.values, seeds), asked=requested) for sweep in sweeps
    ]


def warn(line: str) -> None:
    """Print a warning to standard error."""
    say(f"warning: {shortened(line, LONGEST)}", err=True)


def report_problems(store: ResultsFolder) -> None:
    for problem in store.problems.values():
        warn(problem)
