"""The command line: help everywhere, one line for every error, nothing heavy on the way."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.cli.group import SECTIONS
from jobs.planning import plan

COMMANDS = sorted(cli.commands)
ROOT = Path(__file__).resolve().parents[2]


def test_the_commands() -> None:
    assert COMMANDS == [
        "adopt", "aggregate", "annotate", "archive", "cancel", "check", "compare", "confirm", "doctor", "evaluate",
        "exclude", "export", "import", "init", "keys", "logs", "more", "next", "plan", "plots", "prune", "release",
        "reread", "rerun", "status", "submit", "train", "unarchive", "usage", "view",
    ]  # fmt: skip


def test_the_help_lists_every_command_on_a_line_of_80_columns() -> None:
    listed = [name for section in SECTIONS.values() for name in section]
    assert sorted(listed) == COMMANDS
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["--help"]).output.splitlines()
    assert [line.split()[0] for line in shown if line.split() and line.split()[0] in COMMANDS] == listed
    assert len(shown) < 50


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


WRONG = {
    "submit nope": "unknown sweep 'nope'",
    "submit update-freq.ta": "did you mean update-freq.tau",
    "submit ensemble --set pi_lr_scal=1": "did you mean pi_lr_scale",
    "submit ensemble --set num_q=3": "sweep 'ensemble' varies num_q",
    "submit ensemble --set batch_size=x": "batch_size='x': not a whole number",
    "submit ensemble --set foo": "give key=value",
    "submit ensemble --set lr=1e-3 --set lr=1e-4": "lr is given twice",
    "submit ensemble --steps 0": "steps=0: must be at least 1",
    "submit ensemble --steps many": "steps='many': not a whole number",
    "submit ensemble --seeds 0": "seeds='0'",
    "submit ensemble --task walker-wlk": "did you mean walker-walk",
    "submit ensemble --preset smal": "did you mean small",
    "submit ensemble --plan /nowhere.yaml": "cannot read /nowhere.yaml",
    "submit ensemble --cluster slurm --profile gpuu --dry-run": "unknown profile 'gpuu'",
    "submit ensemble --cluster local --profile gpu": "requests a GPU and this machine has none",
    "submit ensemble --cluster local --profile cpu --cuda-graphs": "--cuda-graphs is for a GPU",
    "train --preset small --device cpu --cuda-graphs": "give --no-cuda-graphs, or train on a GPU",
    "submit ensemble --cluster moon": "'moon' is not one of",
    "submit": "Missing argument 'SWEEP'",
    "sumbit": "No such command 'sumbit'",
    "--nope": "No such option",
    "status nope": "was not submitted",
    "rerun ensemble --failed": "was not submitted",
    "rerun ensemble --cause": "No such option",
    "cancel nope": "was not submitted",
    "cancel": "Missing argument 'SWEEPS...'",
    "logs d317f0544e": "give ID/seed-N",
    "logs d317f0544e/seed-1": "submit the sweep again",
    "aggregate": "nothing was submitted",
    "aggregate --out /nowhere/x.html": "there is no folder",
    "aggregate --format xlsx": "'xlsx' is not one of",
    "aggregate --every 0": "Invalid value for '--every'",
    "compare ensemble": "only ensemble is given; name two",
    "compare ensemble nope": "nothing was submitted",
    "plots": "nothing was submitted",
    "plots --format svg,,png": "'' is not one of 'svg', 'pdf', 'png'",
    "plots --columns 3": "'3' is not one of",
    "import": "no FILE to import",
    "import x.csv": "give the curves a name",
    "import x.csv --name x": "x.csv: there is no such file",
    "import x.csv --name x --map eval_return=y": "x.csv: there is no such file",
    "import x.csv --name x --map eval_retrn=y": "near matches: eval_return",
    "import x.csv --name a/b --map eval_return=y": "name 'a/b': letters",
    "import x.csv --name x --map eval_return=y --frames-per-step 0": "Invalid value for '--frames-per-step'",
    "usage": "no ended task has recorded",
    "keys zzz": "no hyperparameter has 'zzz'",
}


@pytest.mark.parametrize("line", WRONG)
def test_errors_are_one_line_and_write_nothing(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    result = CliRunner().invoke(cli, ["--results", str(tmp_path / "results"), *line.split()])
    assert result.exit_code != 0
    assert WRONG[line] in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


LISTS = {
    "aggregate": ("--format", ["csv", "json"], []),
    "plots": ("--format", ["svg", "pdf"], []),
    "export": ("--format", ["csv", "tensorboard"], []),
    "evaluate": ("--planner", ["eval", "policy"], ["RUN"]),
    "import": ("--accept", ["cut", "spread"], []),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_given_with_commas_or_by_repeating_the_option(name: str) -> None:
    flag, values, arguments = LISTS[name]

    def parsed(*words: str) -> list[str]:
        command = cli.commands[name]
        (option,) = (parameter for parameter in command.params if flag in parameter.opts)
        context = command.make_context(name, [*arguments, *words])
        return list(context.params[option.name or ""])

    first, second = values
    assert parsed(flag, first, flag, second) == parsed(flag, f"{first}, {second}") == values
    assert parsed(flag, f"{first},{second}", flag, first) == values
    with pytest.raises(click.BadParameter, match="'nope' is not one of"):
        parsed(flag, f"{first},nope")


def test_names_and_numbers_of_runs_are_lists_too() -> None:
    plots = cli.commands["plots"].make_context("plots", ["--only", "final,flags", "--only", "pi_loss"])
    assert plots.params["only"] == ("final", "flags", "pi_loss")
    assert plots.params["formats"] == ("svg",)
    for name in ("cancel", "rerun", "reread"):
        for words, expected in (([], None), (["--indices", "1-2", "--indices", "4"], "1-2,4")):
            assert cli.commands[name].make_context(name, ["SWEEP", *words]).params["indices"] == expected


# Options of one name that are not alike everywhere, and why.
UNLIKE = {
    "--config": "of `init` a file, as `config:` in a plan; elsewhere a configuration",
    "--diverged": "of `rerun` one of several causes",
    "--seeds": "of `confirm` a number of fresh seeds, which are not chosen",
}


def test_an_option_is_the_same_in_every_command() -> None:
    kinds: dict[str, set[object]] = {}
    for command in cli.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                value = "" if parameter.is_flag else parameter.metavar or ""
                kind = (type(parameter.type), parameter.multiple, parameter.is_flag, value.replace("FILE", ""))
                for flag in parameter.opts:
                    kinds.setdefault(flag, set()).add(kind)
    assert {flag for flag, found in kinds.items() if len(found) > 1} == set(UNLIKE)


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_results_folder_that_cannot_be_written(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(cli, ["--results", str(tmp_path / folder), "submit", "ensemble", "--cluster", "local"])
    assert result.exit_code == 1
    assert "give another with --results" in result.stderr


def test_a_bug_is_one_line_and_debug_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*given: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(plan, "load", bug)
    short, long = (CliRunner().invoke(cli, [*flags, "plan"]) for flags in ([], ["--debug"]))
    assert (
        short.stderr
        == "Error: ZeroDivisionError: oops; this is an internal error, `sweeps --debug ...` shows the traceback\n"
    )
    assert "Traceback" in long.stderr


def test_plan_shows_counts_and_totals() -> None:
    text = CliRunner().invoke(cli, ["plan"]).stdout
    row = next(line.split() for line in text.splitlines() if " ensemble " in line)
    assert row[-3:] == ["8", "6", "48"]
    assert "34 distinct configurations, 204 runs" in text


def test_plan_of_one_sweep_shows_its_configurations() -> None:
    text = CliRunner().invoke(cli, ["plan", "gamma", "--seeds", "4-9"]).stdout
    assert "gammas=[0.8, 0.9, 0.95, 0.97]" in text
    assert "fixed: num_q=2, multi_gamma_head=joint" in text
    assert "3 configurations, 18 runs" in text


def test_the_example_is_the_packaged_plan(tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    path.write_text(CliRunner().invoke(cli, ["plan", "--example"]).stdout)
    assert plan.load(path).sweeps[0].grid == plan.load().sweeps[0].grid


def test_keys_lists_type_default_and_help() -> None:
    line = next(
        row for row in CliRunner().invoke(cli, ["keys", "policy_head"]).stdout.splitlines() if "min | mean" in row
    )
    assert line.split()[:6] == ["policy_head_reduce", "min", "|", "mean", "|", "max"]
    assert "reduction over heads" in line


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("title: '[bold]x[/nope]'\nsweeps: {s: {goal: '[red]y', grid: {num_q: [1, 2]}}}")
    for words in (["plan"], ["plan", "s"]):
        result = CliRunner().invoke(cli, [*words, "--plan", str(path)])
        assert result.exit_code == 0, result.output
    assert "[red]y" in result.stdout


def test_module_runs_like_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "--results", str(tmp_path / "r"), "status"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"nothing was submitted to {tmp_path / 'r'}\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["status", ""], ["entropy", "update-freq", "update-freq.tau"]),
        (["status", "update-freq."], ["update-freq.tau"]),
        (["logs", ""], ["0011223344/seed-1", "0011223344/seed-12"]),
        (["export", ""], ["entropy", "update-freq", "update-freq.tau", "0011223344/seed-1", "0011223344/seed-12"]),
        (["compare", "entropy", "e"], ["entropy"]),
        (["submit", "update-freq.p"], ["update-freq.pi-lr", "update-freq.pi-update-freq", "update-freq.policy-ema"]),
        (["submit", "en"], ["ensemble", "entropy", "entropy.fixed"]),
        (["submit", "--plan", "none.yaml", "e"], []),
        (["submit", "ensemble", "--set", "log_std"], ["log_std_max=", "log_std_min="]),
        (["--results", "elsewhere", "status", ""], []),
        (["sub"], ["submit"]),
    ],
)
def test_a_shell_completes(tmp_path: Path, words: list[str], found: list[str]) -> None:
    """As bash asks: a name that no sweep or run can have is not offered."""
    results = tmp_path / "results"
    for name in ("entropy.json", "update-freq.tau.json", "no; sweep.json"):
        (results / "sweeps").mkdir(parents=True, exist_ok=True)
        (results / "sweeps" / name).touch()
    for run in ("0011223344/seed-1", "0011223344/seed-12", "$(reboot)/seed-1"):
        (results / "runs" / run).mkdir(parents=True)
    environment = {**os.environ, "_SWEEPS_COMPLETE": "bash_complete", "COMP_CWORD": str(len(words)),
                   "COMP_WORDS": shlex.join(["sweeps", *words]), "PYTHONPATH": str(ROOT)}  # fmt: skip
    command = [sys.executable, "-P", "-c", "from jobs.cli import main; import sys; sys.argv = ['sweeps']; main()"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [line.partition(",")[2] for line in done.stdout.split()] == found
