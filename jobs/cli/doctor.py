"""`sweeps doctor`: check the machine and its cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.group import Globals, say, shows

if TYPE_CHECKING:
    from jobs.terminal.output import CommandOutput


@click.command("doctor")
@click.option("--profile", default="cpu", show_default=True, metavar="NAME|FILE", help="Profile of the test job.")
@click.option("--option", "option", multiple=True, metavar="KEY=VALUE", help="Replace a value of the profile.")
@click.option("--job/--no-job", default=True, help="Submit a test job that checks a node; takes one or two minutes.")
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for waiting for the test job.",
)
@click.option(
    "--write", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a first profile to this file."
)
@shows
@click.pass_obj
def doctor_command(
    state: Globals, profile: str, option: tuple[str, ...], job: bool, patience: float, file: Path | None
) -> CommandOutput:  # fmt: skip
    """Check this machine and its cluster: limits, accounting, requeue, signals, folders, GPU, MuJoCo, torch."""
    import shutil
    import time

    from jobs.backends import profile as profiles
    from jobs.doctor import checks, probe
    from jobs.terminal import documents, tables
    from jobs.terminal.output import CommandOutput

    store, chosen_profile = state.store(), profiles.load(profile, option)
    console, results = tables.console(), []
    parts = [checks.machine(probe.facts(), "here"), checks.results_folder(store), checks.cluster()]
    if job and shutil.which("sbatch"):
        parts.append(checks.try_a_job(store, chosen_profile, patience, time.sleep))
    for part in parts:
        for finding in part:
            console.print(tables.finding_text(finding, console.width))
            results.append(finding)
    if file is not None:
        checks.write_profile(file)
        say(f"wrote {file}; check it, then `sweeps submit ... --profile {file}`")
    wrong = any(finding.fine is False for finding in results)
    return CommandOutput(lambda: documents.checks(results, file), code=1 if wrong else 0)
