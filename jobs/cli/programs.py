"""`sweeps init` and `check`: a first plan for a program of one's own, and a short trial of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.group import Globals, say, shows
from jobs.cli.options import place_options
from jobs.programs.override_styles import STYLES
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from jobs.terminal.output import CommandOutput


@click.command("init")
@click.option(
    "--command", required=True, metavar="WORDS", help='Command that starts the program, such as "python train.py".'
)
@click.option("--code", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="FOLDER",
              help="Folder of the program, where the command runs. Default: the current folder.")  # fmt: skip
@click.option("--config", default="", metavar="FILE", help="YAML, JSON or TOML file with the hyperparameters.")
@click.option(
    "--config-command", default="", metavar="WORDS", help="Command that prints the hyperparameters as YAML or JSON."
)
@click.option("--style", type=click.Choice(STYLES), metavar="STYLE",
              help=f"How the program reads its command line. Default: guessed. {', '.join(STYLES)}.")  # fmt: skip
@click.option("--like", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder of a finished run, to find the metrics.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("plan.yaml"), show_default=True,
              metavar="FILE", help="Plan file to create.")  # fmt: skip
def init_command(
    command: str, code: Path, config: str, config_command: str, style: str | None, like: Path | None, out: Path
) -> None:
    """Write a first plan for your training program, and list what was guessed and what is unknown.

    The program is started once and ends where it would read its arguments; it does not train.
    """
    from jobs.assist import first_plan

    request = first_plan.ProgramRequest(command, code, out, config, config_command, style or "", like)
    for line in first_plan.write(request):
        say(line)


@click.command("check")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="Plan with a `program:` block.")  # fmt: skip
@click.option("--sweep", metavar="SWEEP", help="Run the first configuration of SWEEP. Default: the plan's base.")
@click.option("--steps", metavar="N", help="Train N steps, to the end.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="S",
              help="Stop after S seconds; without --steps also when the primary metric was logged twice.")  # fmt: skip
@place_options
@shows
@click.pass_obj
def check_command(
    state: Globals, plan_file: Path, sweep: str | None, steps: str | None, seconds: float, profile: str | None,
    option: tuple[str, ...], cluster: str | None,
) -> CommandOutput:  # fmt: skip
    """Run the program of a plan briefly, and show its command, what it logged and what is wrong.

    It runs on this machine; with --cluster in a short job on that cluster with the resources of --profile. It runs in
    a temporary folder. The last line is `ok`, or the problems are listed and the exit code is 1.
    """
    from jobs.assist import check, cluster_check
    from jobs.backends.base import ExecutionOptions
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    if cluster is None and (profile or option):
        raise JobsError("--profile and --option are for jobs; give --cluster too")
    request = check.request(plan_file, sweep, steps, seconds)
    if cluster is None:
        lines = check.check(request)
    else:
        options = ExecutionOptions(cluster=cluster, profile=profile, option=option)
        lines = cluster_check.check(request, options, state.results)
    outcomes = []
    for line in lines:
        say(str(line))
        outcomes.append(line)
    return CommandOutput(lambda: documents.trial(outcomes), code=1 if any(line.is_problem for line in outcomes) else 0)
