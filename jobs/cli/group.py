"""The group of all commands: one-line errors and the global options."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweepwise.core.errors import JobsError, as_line, one_line
from sweepwise.core.value_format import shown

if TYPE_CHECKING:
    from jobs.results.results_folder import ResultsFolder
    from jobs.terminal.output import CommandOutput


def say(text: str, err: bool = False, nl: bool = True) -> None:
    """Print text of any origin; control characters are shown as escapes."""
    click.echo(shown(text), err=err, nl=nl)


def shows(command: Callable[..., CommandOutput]) -> Callable[..., None]:
    """The last decorator of a command that shows something: adds --json.

    With --json, what the command prints by itself goes to stderr, so that stdout has one document and nothing else.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; notes and progress go to stderr.")
    @functools.wraps(command)
    def run(*arguments: Any, as_json: bool, **options: Any) -> None:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            output = command(*arguments, **options)
            document = output.document() if as_json else {}
        if as_json:
            from jobs.terminal.output import to_json

            click.echo(to_json(document))
        else:
            _print(output)
        if output.error is not None:
            raise output.error
        if output.code:
            raise click.exceptions.Exit(output.code)

    return run


def _print(output: CommandOutput) -> None:
    from rich.text import Text

    from jobs.terminal import tables

    console = tables.console()
    for part in output.text():
        if isinstance(part, str):
            say(part)
        else:
            unwrapped = isinstance(part, Text) and bool(part.no_wrap) and not console.is_terminal
            console.print(part, soft_wrap=unwrapped)


def refuse_json(option: str, reason: str) -> None:
    """Raises `JobsError` if --json was given with an option that prints something else."""
    if click.get_current_context().params["as_json"]:
        raise JobsError(f"--json cannot be combined with {option}, which {reason}; leave one of them out")


@dataclass(frozen=True)
class Globals:
    results: Path
    debug: bool

    def store(self) -> ResultsFolder:
        from jobs.results.results_folder import ResultsFolder

        return ResultsFolder(self.results)


class UsageLine(click.ClickException):
    """A wrong option or argument, reported in one line."""

    exit_code = 2

    def __init__(self, error: click.UsageError) -> None:
        path = error.ctx.command_path if error.ctx is not None else "sweeps"
        super().__init__(f"{as_line(error.format_message())} See `{path} --help`.")


# What `sweeps --help` lists: heading -> command -> what it does, on one line of 80 columns.
SECTIONS = {
    "Plan": {
        "init": "Write a first plan for your training program",
        "check": "Run the program of a plan briefly and show problems",
        "plan": "Show the sweeps and configurations of a plan",
        "keys": "List the hyperparameters",
        "doctor": "Check this machine and its cluster, write a profile",
    },
    "Train": {
        "submit": "Submit the missing runs of a sweep",
        "rerun": "Run failed or selected runs again",
        "release": "Release held tasks",
        "cancel": "Cancel waiting and running runs",
        "reread": "Read the logged metrics of programs again",
        "prune": "Stop underperforming configurations",
        "train": "Train one configuration in the foreground",
        "evaluate": "Evaluate snapshots of runs, or film an episode",
    },
    "Follow": {
        "status": "Show the state and progress of runs",
        "view": "Show the report in a browser, up to date while runs train",
        "logs": "Show the log of a run",
        "usage": "Compare used with requested resources",
    },
    "Analyse and decide": {
        "aggregate": "Write the report and print the verdict",
        "compare": "Compare two configurations, sweeps or runs",
        "plots": "Write figures for a paper",
        "annotate": "Add notes and tags to sweeps and runs",
        "exclude": "Leave runs out of the analysis, with a reason",
        "next": "Show the next sweep of the plan",
        "more": "Add seeds to configurations that may be the best",
        "confirm": "Train the best configuration and the baseline on fresh seeds",
        "adopt": "Record the decision on a sweep",
    },
    "Exchange": {
        "import": "Import learning curves of other tools",
        "export": "Export logged metrics to CSV, TensorBoard or W&B",
        "archive": "Write sweeps to one file",
        "unarchive": "Read an archive into the results folder",
    },
}


class Group(click.Group):
    """Lists commands by what they are for, and reports errors in one line; `--debug` shows the traceback before it."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for section in SECTIONS.values() for name in section)
        for heading, section in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in section.items()])

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
            # the reader closed the pipe (`sweeps status | head`); the flush at exit must not fail either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except Exception as error:
            if context.params.get("debug"):
                say(traceback.format_exc(), err=True)
            raise click.ClickException(one_line(error, ", `sweeps --debug ...` shows the traceback")) from error


def _show_version(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    if is_given:
        from importlib import metadata

        try:
            click.echo(f"sweeps {metadata.version('sweepwise')}")
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
    help="Results folder.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def cli(context: click.Context, results: Path, debug: bool) -> None:
    """Hyperparameter sweeps on Slurm or this machine: train once, compare, report."""
    context.obj = Globals(results, debug)
