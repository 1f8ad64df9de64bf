"""`sweeps init` and `check`: a first plan for a program of one's own, and a short trial of it."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.group import Globals, say
from jobs.cli.options import place_options
from jobs.programs.override_styles import STYLES
from sweepwise.core.errors import JobsError


@click.command("init")
@click.option("--command", required=True, metavar="WORDS", help='How the program is started: "python train.py".')
@click.option("--code", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="FOLDER",
              help="Folder of the program, where the command runs; this one otherwise.")  # fmt: skip
@click.option("--config", default="", metavar="FILE", help="YAML, JSON or TOML file with its hyperparameters.")
@click.option("--config-command", default="", metavar="WORDS", help="Command that prints them as YAML or JSON.")
@click.option("--style", type=click.Choice(STYLES), metavar="STYLE",
              help=f"How it reads its command line, guessed otherwise: {', '.join(STYLES)}.")  # fmt: skip
@click.option("--like", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder of a finished run, which shows the metrics.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("plan.yaml"), show_default=True,
              metavar="FILE", help="The plan, a new file.")  # fmt: skip
def init_command(
    command: str, code: Path, config: str, config_command: str, style: str | None, like: Path | None, out: Path
) -> None:
    """Write a first plan for a training program of your own, and say what was guessed and what is not known.

    The program starts once, without training: it ends where it would read its arguments.
    """
    from jobs.assist import first_plan

    asked = first_plan.ProgramRequest(command, code, out, config, config_command, style or "", like)
    for line in first_plan.write(asked):
        say(line)


@click.command("check")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="The plan, with a `program:`.")  # fmt: skip
@click.option("--sweep", metavar="SWEEP", help="Try its first configuration; the plan's base otherwise.")
@click.option("--steps", metavar="N", help="Train so many steps, to the end.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="S",
              help="Stop it then; without --steps also once the primary metric has appeared twice.")  # fmt: skip
@place_options
@click.pass_obj
def check_command(
    state: Globals, plan_file: Path, sweep: str | None, steps: str | None, seconds: float, profile: str | None,
    option: tuple[str, ...], cluster: str | None,
) -> None:  # fmt: skip
    """Run the program of a plan for a moment, and say what it got, what it logged and what is wrong.

    It runs here; with --cluster in a short job on that cluster, with the resources of --profile. Nothing is kept: it
    runs in a folder that is removed. Ends with `ok`, or with the problems and exit code 1.
    """
    from jobs.assist import check, cluster_check
    from jobs.backends.base import ExecutionOptions

    if cluster is None and (profile or option):
        raise JobsError("--profile and --option say what a job gets; give --cluster too")
    request = check.request(plan_file, sweep, steps, seconds)
    if cluster is None:
        lines = check.check(request)
    else:
        options = ExecutionOptions(cluster=cluster, profile=profile, option=option)
        lines = cluster_check.check(request, options, state.results)
    problems = False
    for line, is_problem in lines:
        say(line)
        problems = problems or is_problem
    raise click.exceptions.Exit(1 if problems else 0)
