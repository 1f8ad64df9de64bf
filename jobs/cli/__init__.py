"""The command line: thin commands over the other packages, with heavy imports inside the commands."""

from __future__ import annotations

from jobs.cli.control import (
    annotate_command,
    cancel_command,
    exclude_command,
    prune_command,
    release_command,
    reread_command,
)
from jobs.cli.deciding import adopt_command, next_command
from jobs.cli.doctor import doctor_command
from jobs.cli.exchange import archive_command, export_command, unarchive_command
from jobs.cli.group import cli
from jobs.cli.imports import import_command
from jobs.cli.judging import aggregate_command, compare_command, evaluate_command, plots_command, view_command
from jobs.cli.looking import logs_command, status_command, usage_command
from jobs.cli.plans import keys_command, plan_command
from jobs.cli.programs import check_command, init_command
from jobs.cli.training import confirm_command, more_command, rerun_command, submit_command, train_command

for command in (
    plan_command, keys_command, submit_command, more_command, confirm_command, rerun_command, train_command,
    cancel_command, prune_command, release_command, reread_command, status_command, logs_command, usage_command,
    evaluate_command, import_command, aggregate_command, view_command, compare_command, plots_command, export_command,
    archive_command, unarchive_command, adopt_command, next_command, doctor_command, init_command, check_command,
    annotate_command, exclude_command,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """The entry point of `sweeps`."""
    cli(prog_name="sweeps")
