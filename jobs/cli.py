"""The command line: each command a thin layer over the rooms, errors in one line, heavy imports inside."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.errors import JobsError
from tdmpc.config import ConfigError

if TYPE_CHECKING:
    from jobs.expand import Expanded
    from jobs.plan import Plan
    from jobs.store import Store
    from jobs.submit import How

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Globals:
    results: Path
    debug: bool

    def store(self) -> Store:
        from jobs.store import Store

        return Store(self.results)


class UsageLine(click.ClickException):
    """A wrong option or argument, in one line."""

    exit_code = 2

    def __init__(self, error: click.UsageError) -> None:
        path = error.ctx.command_path if error.ctx is not None else "sweeps"
        super().__init__(f"{' '.join(error.format_message().split())} See `{path} --help`.")


class Group(click.Group):
    """Turns errors into one line; `--debug` shows the traceback before it."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise UsageLine(error) from error

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise UsageLine(error) from error
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except KeyboardInterrupt:
            raise click.Abort from None
        except BrokenPipeError:
            # the reader of a pipe has seen enough (`sweeps status | head`); nothing may be written at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except Exception as error:
            if context.params.get("debug"):
                traceback.print_exc()
            raise click.ClickException(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, (JobsError, ConfigError)) or type(error).__name__ in ("AggregateError", "DeviceError"):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {text}; this should not happen, `sweeps --debug ...` shows where it did"


def _version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib import metadata

        try:
            click.echo(f"sweeps {metadata.version('sweeps')}")
        except metadata.PackageNotFoundError:
            click.echo("sweeps, not installed")
        context.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    envvar="SWEEPS_RESULTS",
    show_default=True,
    show_envvar=True,
    help="Folder that holds runs, sweeps and submissions.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(context: click.Context, results: Path, debug: bool) -> None:
    """Sweeps of a reinforcement-learning agent: submit to Slurm or this machine, watch, run again, judge."""
    context.obj = Globals(results, debug)


# --- options that several commands take -----------------------------------------------------------------


def _options(*made: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(made):
            command = option(command)
        return command

    return add


plan_option = click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A plan of your own; the packaged one otherwise.",
)
seeds_option = click.option("--seeds", metavar="SEEDS", help="6 (seeds 1 to 6), 4-9 or 1,3,5; the plan's otherwise.")
value_options = _options(
    click.option("--preset", metavar="NAME", help="Named overrides of the base, such as small."),
    click.option("--task", metavar="TASK", help="dm_control suite task, such as walker-walk."),
    click.option("--steps", metavar="N", help="Agent steps of training."),
    click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
                 help="Override a key (`sweeps keys`); may be repeated."),
)  # fmt: skip
settings_options = _options(
    click.option("--snapshots", type=click.IntRange(min=0), metavar="N",
                 help="How often a run keeps its weights for `evaluate`, evenly spaced; 4 otherwise."),
    click.option("--checkpoint-minutes", type=click.FloatRange(min=0), metavar="M",
                 help="Minutes between checkpoints; 10 otherwise."),
    click.option("--deterministic", is_flag=True, help="On a GPU, the same numbers every time; slower."),
)  # fmt: skip
backend_options = _options(
    click.option("--profile", metavar="NAME|FILE", help="Cluster profile: gpu, a100, cpu ... or a file of yours."),
    click.option("--option", "option", multiple=True, metavar="KEY=VALUE",
                 help="A value instead of the profile's, such as time=2:00:00; may be repeated."),
    click.option("--cluster", type=click.Choice(["auto", "slurm", "local", "debug"]),
                 help="Where jobs run; auto: Slurm where sbatch is, else this machine; debug: in this process."),
    click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Tasks at a time."),
    click.option("--seeds-per-job", type=click.IntRange(min=1), metavar="K",
                 help="Seeds of a configuration trained side by side in one process."),
    settings_options,
    click.option("--canary", is_flag=True,
                 help="Train the first seed of every configuration; hold the others until it is healthy."),
    click.option("--then-aggregate", is_flag=True, help="Write the report when all runs have ended, however they did."),
    click.option("--max-gpu-hours", type=click.FloatRange(min=0, min_open=True), metavar="N",
                 help="Submit nothing that is expected to take more."),
    click.option("--export", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                 help="Write the batch script to submit by hand, `FILE-1` and so on where they are several."),
    click.option("--dry-run", is_flag=True, help="Show the runs and the exact script or commands; submit nothing."),
    click.option("--wait", is_flag=True, help="Show progress until the runs have ended; exit code 1 if any failed."),
)  # fmt: skip


filter_options = _options(
    click.option("--where", multiple=True, metavar="KEY=VALUE",
                 help="Only runs with this value of a key, or seed=N; all of several must hold."),
    click.option("--indices", metavar="N,N-N", help="Only runs with these numbers in `sweeps status --runs`."),
)  # fmt: skip


foreground_options = _options(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
                 help="auto: a GPU where there is one."),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads; all cores otherwise."),
)  # fmt: skip


def _device(asked: str) -> str:
    from jobs import process

    return "cuda" if asked == "cuda" or (asked == "auto" and process.gpus()) else "cpu"


def _how(asked: dict[str, Any]) -> tuple[How, dict[str, Any]]:
    """What `backend_options` were given: for this one submit, and as fields of `Options`."""
    from jobs.submit import How

    given = {key: value for key, value in asked.items() if value is not None and value is not False and value != ()}
    once = {field.name for field in dataclasses.fields(How)}
    return How(**{k: v for k, v in given.items() if k in once}), {k: v for k, v in given.items() if k not in once}


def _overrides(task: str | None, steps: str | None, sets: Sequence[str]) -> dict[str, Any]:
    """--task, --steps and --set as one mapping, read by declared type."""
    from tdmpc.config import parse_value

    given = [(key, value) for key, value in (("task", task), ("steps", steps)) if value is not None]
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise JobsError(f"--set {text!r}: give key=value, such as --set batch_size=128")
        given.append((key.strip(), value))
    values: dict[str, Any] = {}
    for key, value in given:
        if key in values:
            raise JobsError(f"{key} is given twice; keep one")
        values[key] = parse_value(key, value)
    return values


def _preset(name: str | None) -> dict[str, Any]:
    from jobs.plan import load_preset

    return dict(load_preset(name).values) if name is not None else {}


def _expand(
    plan: Plan, name: str | None, preset: str | None, overrides: dict[str, Any], seeds: str | None
) -> list[Expanded]:
    """The sweeps under `name`, or all of the plan in priority order."""
    from jobs.expand import expand
    from jobs.plan import parse_seeds

    chosen = plan.select(name) if name else tuple(sorted(plan.sweeps, key=lambda s: s.priority))
    asked = parse_seeds(seeds) if seeds is not None else None
    return [expand(plan, sweep, _preset(preset), overrides, asked) for sweep in chosen]


def _report_problems(store: Store) -> None:
    for problem in store.problems.values():
        click.echo(f"warning: {problem}", err=True)


# --- plan and keys ----------------------------------------------------------------------------------------


@cli.command("plan")
@click.argument("sweep", required=False)
@_options(plan_option, seeds_option, value_options)
@click.option("--example", is_flag=True, help="Print the packaged plan as YAML, to copy.")
def plan_command(
    sweep: str | None, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], example: bool,
) -> None:  # fmt: skip
    """Show the plan's sweeps, or SWEEP with its configurations."""
    from jobs import plan as plans

    if example:
        click.echo(plans.example(), nl=False)
        return
    from jobs import show

    plan = plans.load(plan_file)
    found = _expand(plan, sweep, preset, _overrides(task, steps, sets), seeds)
    console = show.console()
    if sweep is None:
        console.print(show.plan_table(plan, found))
    for expanded in found if sweep is not None else []:
        for part in show.sweep_details(plan, expanded):
            console.print(part)
        console.print()
    if len(found) > 1:
        console.print(show.totals(found))


@cli.command("keys")
@click.argument("pattern", required=False)
def keys_command(pattern: str | None) -> None:
    """List the configuration's keys with type, default and meaning; those with PATTERN in the name."""
    from jobs import show
    from tdmpc.config import TrainConfig, key_types

    shown = [f for f in dataclasses.fields(TrainConfig) if pattern is None or pattern in f.name]
    if not shown:
        raise JobsError(f"no key has {pattern!r} in its name; `sweeps keys` lists them all")
    from rich.text import Text

    from jobs.expand import show as show_value

    made = show.table("key", "type", "default", "meaning")
    for field in shown:
        choices = field.metadata["choices"]
        kind = " | ".join(choices) if choices else _type_name(key_types()[field.name])
        made.add_row(field.name, Text(kind), Text(show_value(field.default)), Text(field.metadata["help"]))
    show.console().print(made)


def _type_name(kind: Any) -> str:
    words = {"int": "whole number", "float": "number", "str": "word", "bool": "switch"}
    text = str(getattr(kind, "__name__", kind)) if kind in (int, float, str, bool) else str(kind)
    if text.startswith("tuple"):
        return "list of numbers"
    for name, word in words.items():
        text = text.replace(name, word)
    return text.replace("| None", "or auto")


# --- submit, train, rerun ---------------------------------------------------------------------------------


@cli.command("submit")
@click.argument("sweep")
@_options(plan_option, seeds_option, value_options, backend_options)
@click.pass_obj
def submit_command(
    state: Globals, sweep: str, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], **asked: Any,
) -> None:  # fmt: skip
    """Submit what is missing of SWEEP, or of one of its options (update-freq.tau)."""
    from jobs import launch, plan, submit

    chosen = plan.load(plan_file)
    found = _expand(chosen, sweep, preset, _overrides(task, steps, sets), seeds)
    how, options = _how(asked)
    store = state.store()
    choose = lambda: submit.difference(store, found)  # noqa: E731
    prepare = lambda: submit.record_sweeps(store, chosen, found)  # noqa: E731
    changed = lambda: submit.changed(store, found)  # noqa: E731
    code = launch.launch(store, sweep, choose, submit.Options(**options), how, prepare, changed)
    _report_problems(store)
    raise click.exceptions.Exit(code)


@cli.command("rerun")
@click.argument("sweep")
@click.option("--failed", "causes", multiple=True, flag_value="failed", help="Runs that ended by an error.")
@click.option(
    "--timeout",
    "causes",
    multiple=True,
    flag_value="timeout",
    help="Runs whose time limit was reached; twice the time for those that could not save their state.",
)
@click.option(
    "--oom",
    "causes",
    multiple=True,
    flag_value="oom",
    help="Runs that ran out of memory, with half as much again; on a GPU, with half the seeds per job.",
)
@click.option(
    "--node-fail", "causes", multiple=True, flag_value="node-fail", help="Runs whose node failed, on other nodes."
)
@click.option("--missing", "causes", multiple=True, flag_value="missing", help="Runs that never began.")
@click.option("--diverged", "causes", multiple=True, flag_value="diverged", help="Runs that became NaN or infinite.")
@click.option("--interrupted", "causes", multiple=True, flag_value="interrupted", help="Runs that were stopped.")
@click.option("--all", "causes", multiple=True, flag_value="all", help="All that are neither done nor active.")
@_options(filter_options, backend_options)
@click.pass_obj
def rerun_command(
    state: Globals, sweep: str, causes: tuple[str, ...], where: tuple[str, ...], indices: str | None, **asked: Any
) -> None:
    """Run part of a submitted SWEEP again, from its checkpoints, with the options it was submitted with."""
    from jobs import launch, pick, rerun, status

    store = state.store()
    how, changes = _how(asked)

    def picked() -> list[pick.Picked]:
        return pick.pick(store, status.sweeps(store, [sweep]), where, indices)

    filtered = bool(where or indices)
    code = launch.rerun(
        store, sweep, lambda: rerun.choices(picked(), causes, filtered),
        lambda wanted: rerun.batches(picked(), wanted, changes), how,
    )  # fmt: skip
    _report_problems(store)
    raise click.exceptions.Exit(code)


@cli.command("cancel")
@click.argument("sweeps", nargs=-1, required=True)
@filter_options
@click.option("--diverged", is_flag=True, help="Only configurations of which a run diverged.")
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled.")
@click.pass_obj
def cancel_command(
    state: Globals, sweeps: tuple[str, ...], where: tuple[str, ...], indices: str | None, diverged: bool, dry_run: bool
) -> None:
    """End the waiting and running runs of SWEEPS; those that train save their state and can go on later."""
    from jobs import cancel, handover, lock, pick, status

    store = state.store()
    status.selected(store, sweeps)  # an unknown one is an error before anything is locked
    with lock.alone(store) as held:
        for note in handover.recover(store, held):
            click.echo(note, err=True)
        found = status.sweeps(store, sweeps)
        picked = pick.pick(store, found, where, indices)
        ending, kept = cancel.plan(store, pick.of_diverged(found, picked) if diverged else picked)
        if not dry_run:
            ending, more = cancel.carry_out(store, ending)
            kept += more
    for ref, reason in kept:
        click.echo(f"{ref} goes on: {reason}")
    click.echo(f"{sum(len(e.runs) for e in ending)} runs {'would be ' if dry_run else ''}cancelled")
    _report_problems(store)


@cli.command("release")
@click.argument("sweep")
@click.pass_obj
def release_command(state: Globals, sweep: str) -> None:
    """Let the tasks of SWEEP run that are held: by --canary, or because the first ones died alike."""
    from jobs import holds, status

    store = state.store()
    names = status.selected(store, [sweep])
    count = holds.release_all(store, [s for s in store.submissions() if s.sweep in (sweep, *names)])
    click.echo(f"released what was held of {count} submissions" if count else f"nothing of {sweep} is held")


@cli.command("train")
@_options(plan_option, seeds_option, value_options, settings_options)
@foreground_options
@click.pass_obj
def train_command(
    state: Globals, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], device: str, threads: int | None, **settings: Any,
) -> None:  # fmt: skip
    """Train one configuration in the foreground: the plan's base with --preset and --set; seed 1 unless told."""
    from jobs import entry, launch, plan, process

    chosen = plan.load(plan_file)
    values = {**chosen.base, **_preset(preset), **_overrides(task, steps, sets)}
    asked = plan.parse_seeds(seeds) if seeds is not None else (1,)
    store = state.store()
    given = entry.Settings(**{name: value for name, value in settings.items() if value is not None})
    launch.train(store, chosen, values, asked, _device(device), threads or process.cores(), given)


@cli.command("evaluate")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--at", type=click.IntRange(min=1), metavar="STEP", help="Step of the snapshot; the newest otherwise.")
@click.option(
    "--episodes", type=click.IntRange(min=1), metavar="N", help="Episodes per planner; 50 otherwise, 1 with --video."
)
@click.option(
    "--planner",
    "planners",
    multiple=True,
    type=click.Choice(["eval", "train", "policy"]),
    help="eval: one dynamics head; train: all heads, as in training; policy: no planning. "
    "All otherwise, eval with --video.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Film the episodes of one run under one planner: .gif, .webp, or .mp4 where ffmpeg is.",
)
@foreground_options
@click.option("--json", "as_json", is_flag=True, help="Every return as JSON.")
@click.pass_obj
def evaluate_command(
    state: Globals, runs: tuple[str, ...], at: int | None, episodes: int | None, planners: tuple[str, ...],
    video: Path | None, device: str, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Play episodes with the weights that RUN kept: ID/seed-N, or ID for all its seeds."""
    from jobs import evaluate, pick, process

    store = state.store()
    chosen = pick.runs_named(store, runs)
    found = evaluate.evaluate(
        store, chosen, at=at, planners=planners or (("eval",) if video else ("eval", "train", "policy")),
        episodes=episodes or (1 if video else 50), device=_device(device), threads=threads or process.cores(),
        film_to=video,
    )  # fmt: skip
    if as_json:
        import json

        click.echo(json.dumps(list(found), indent=1))
        return
    from jobs import show

    console = show.console()
    with console.status("playing episodes"):
        table = show.evaluations(found)
    console.print(table)
    if video:
        click.echo(f"wrote {video.absolute()}")


# --- status and aggregate ---------------------------------------------------------------------------------


@cli.command("status")
@click.argument("sweeps", nargs=-1)
@click.option("--runs", is_flag=True, help="One row per run.")
@click.option("--watch", "stay", is_flag=True, help="Stay and show it again, until no run is active.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
@click.pass_obj
def status_command(state: Globals, sweeps: tuple[str, ...], runs: bool, stay: bool, as_json: bool) -> None:
    """Show what became of the submitted sweeps, or of SWEEPS."""
    from jobs import handover, holds, status

    store = state.store()
    for note in handover.recover_if_free(store):
        click.echo(note, err=True)
    if as_json:
        import json

        found = status.sweeps(store, sweeps)
        holds.look_after(store, [run for sweep in found for run in sweep.runs])
        click.echo(json.dumps(status.to_json(found, store.problems.values()), indent=1))
        return
    import time

    from jobs import show

    console = show.console()
    if stay:
        from jobs import watch

        watch.watch_status(store, sweeps, runs, console)
    else:
        found = status.sweeps(store, sweeps)
        for part in show.status_tables(found, runs, time.time()):
            console.print(part)
        for note in holds.look_after(store, [run for sweep in found for run in sweep.runs]):
            console.print(note, markup=False, soft_wrap=True)
    _report_problems(store)
    if not store.view_names():
        click.echo(f"nothing was submitted to {store.root}")


@cli.command("logs")
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Stay and show what is added, until the run has ended.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Lines from the end.")
@click.pass_obj
def logs_command(state: Globals, run: str, follow: bool, lines: int) -> None:
    """Show the log of the task that trains RUN (ID/seed-N), or trained it last; packed seeds share one."""
    from jobs import logs, pick, status

    store = state.store()
    ref = pick.run_named(store, run)
    (found,) = status.survey(store, {ref: store.check_config(ref.config_id).steps}).values()
    if found.submission is None or found.task is None:
        raise JobsError(f"run {run} has no log: no submission holds it")
    position: logs.Position = {}
    for path in logs.paths(store, found.submission, found.task):
        text = logs.last_lines(path, lines, position)
        click.echo(f"==> {path} <==", err=True)
        click.echo(text, nl=False)
    if not position and not follow:
        raise JobsError(f"run {run} has no log yet: {found.state.state} {found.state.reason}".rstrip())
    if follow:
        from jobs import watch

        watch.follow_log(store, ref, position, lambda text: click.echo(text, nl=False))


@cli.command("usage")
@click.argument("sweeps", nargs=-1)
@click.pass_obj
def usage_command(state: Globals, sweeps: tuple[str, ...]) -> None:
    """Show what ended tasks of the sweeps, or of SWEEPS, used of what they asked for, and what would do."""
    from jobs import show, status, usage

    store = state.store()
    found = usage.reports(run for sweep in status.sweeps(store, sweeps) for run in sweep.runs)
    _report_problems(store)
    if not found:
        raise JobsError("no task has ended whose use is known; see `sweeps status`")
    show.console().print(show.usage_table(found))


@cli.command("doctor")
@click.option(
    "--profile", default="cpu", show_default=True, metavar="NAME|FILE", help="What the job that looks asks for."
)
@click.option("--option", "option", multiple=True, metavar="KEY=VALUE", help="A value instead of the profile's.")
@click.option("--job/--no-job", default=True, help="Submit a job that looks around on a node; a minute or two.")
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the job is waited for.",
)
@click.option("--write", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a first profile there.")
@click.pass_obj
def doctor_command(
    state: Globals, profile: str, option: tuple[str, ...], job: bool, patience: float, file: Path | None
) -> None:  # fmt: skip
    """Check this machine and its cluster: limits, accounting, requeue, signals, folders, GPU, MuJoCo, torch."""
    import shutil
    import time

    from jobs import doctor, probe, profiles, show

    store, asked = state.store(), profiles.load(profile, option)
    console, sick = show.console(), 0
    parts = [doctor.machine(probe.facts(), "here"), doctor.results_folder(store), doctor.cluster()]
    if job and shutil.which("sbatch"):
        parts.append(doctor.try_a_job(store, asked, patience, time.sleep))
    for part in parts:
        for finding in part:
            console.print(show.finding_text(finding))
            sick += finding.fine is False
    if file is not None:
        doctor.write_profile(file)
        click.echo(f"wrote {file}; look it over, then `sweeps submit ... --profile {file}`")
    raise click.exceptions.Exit(1 if sick else 0)


@cli.command("aggregate")
@click.argument("sweeps", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The report: one offline HTML file.",
)
@click.pass_obj
def aggregate_command(state: Globals, sweeps: tuple[str, ...], out: Path) -> None:
    """Judge the submitted sweeps, or SWEEPS, and write the report."""
    from jobs.sources import sweep_sources

    store = state.store()
    if not out.absolute().parent.is_dir():
        raise JobsError(f"--out {out}: there is no folder {out.absolute().parent}")
    sources = sweep_sources(store, sweeps)
    _report_problems(store)
    from aggregate.summary import summarise
    from plots.report import write_report

    write_report(summarise(sources), out)
    click.echo(f"wrote {out.absolute()}")


def main() -> None:
    """The entry point of `sweeps`."""
    cli(prog_name="sweeps")


if __name__ == "__main__":
    main()
