"""Input without end, of a size that nobody can mean, or with what a terminal obeys: one line at once, nothing sent."""

from __future__ import annotations

import ast
import io
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.text import Text

from jobs import yaml_reader
from jobs.cli import cli, looking
from jobs.planning import plan as plans
from jobs.planning.expand import expand
from jobs.planning.program_config import flat
from jobs.results.record_files import RecordReader
from jobs.results.records import Worker
from jobs.runs import select
from jobs.terminal import tables
from sweepwise.core.errors import JobsError
from sweepwise.core.hyperparameters import ConfigError, Hyperparameter
from sweepwise.core.yaml_scalars import PlainText

SWEEPS = "sweeps: {s: {goal: g, grid: {lr: [1e-4, 1e-3]}}}\n"


def _message(*words: str) -> str:
    result = CliRunner().invoke(cli, list(words))
    assert result.exit_code != 0
    (line,) = result.output.splitlines()
    assert "internal error" not in line
    return line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"names: {{x: &a [{'1,' * 400}], y: [{'*a,' * 400}]}}\n{SWEEPS}", "more than 100,000 values"),
        ("\n".join(["k0: &a0 [x]", *(f"k{n}: &a{n} [{f'*a{n - 1},' * 9}]" for n in range(1, 60))]), "more than"),
        ("\n".join(["k0: &a0 [x]", *(f"k{n}: &a{n} [*a{n - 1}]" for n in range(1, 300))]), "more than 50 levels"),
        ("plan: &a [*a]", "an alias is inside the value that it repeats"),
        ("[" * 5000, "nested too deeply"),
        ("plan: " + "a" * 1_000_001, "larger than 1 MB"),
        (f"seeds: {'9' * 5000}\n{SWEEPS}", "give a count"),
        (f"interim_analyses: {'9' * 5000}\n{SWEEPS}", "is not a whole number"),
        (f"margin: {'9' * 5000}\n{SWEEPS}", "margin"),
        (f"sweeps: {{s: {{priority: {'9' * 5000}, grid: {{lr: [1]}}}}}}", "is not a whole number"),
        (f"base: {{batch_size: {'9' * 5000}}}\n{SWEEPS}", "batch_size"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_meant_is_refused_at_once(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    message = _message("plan", "--plan", str(tmp_path / "plan.yaml"))
    assert words in message
    assert "plan.yaml" in message
    assert len(message) < 2_200


def test_more_combinations_or_runs_than_a_sweep_may_have_are_refused(tmp_path: Path) -> None:
    levels = ", ".join(map(str, range(1, 30)))
    keys = ("batch_size", "mlp_dim", "enc_dim", "num_rollouts", "log_freq", "eval_freq")
    grid = "".join(f"      {key}: [{levels}]\n" for key in keys)
    (tmp_path / "plan.yaml").write_text(f"sweeps:\n  s:\n    goal: g\n    grid:\n{grid}")
    plan = plans.load(tmp_path / "plan.yaml")
    with pytest.raises(JobsError, match=r"594,823,321 combinations \(batch_size 29 x .* at most 20,000 combinations"):
        expand(plan, plan.sweeps[0])
    (tmp_path / "plan.yaml").write_text(
        f"sweeps:\n  s:\n    goal: g\n    grid:\n{grid[: grid.index('enc_dim')].rstrip()}"
    )
    plan = plans.load(tmp_path / "plan.yaml")
    with pytest.raises(JobsError, match=r"841 combinations .* with 1000 seeds; at most .* 200,000 runs"):
        expand(plan, plan.sweeps[0], seeds=tuple(range(1000)))


def test_numbers_of_thousands_of_digits_are_no_values() -> None:
    for declared in (Hyperparameter("x", 1), Hyperparameter("x", 0.5), Hyperparameter("x", 1.5, type="any")):
        for raw in ("9" * 5000, PlainText("9" * 5000), 10**400, PlainText("1e999")):
            with pytest.raises(ConfigError):
                declared.parse(raw)
    assert Hyperparameter("x", 2, type="any").parse(PlainText("9" * 30)) == int("9" * 30)


def test_numbers_of_runs_may_end_anywhere_without_being_counted_out() -> None:
    assert select._numbers("2-999999999,4", 3) == {2, 3, 4}
    assert select._numbers("7-999999999", 3) == {7}
    for text in ("1" * 5000, f"1-{'9' * 5000}", "0-2", "5-4"):
        with pytest.raises(JobsError, match="--indices"):
            select._numbers(text, 3)


@pytest.mark.parametrize("option", ["--plan", "--profile"])
def test_a_fifo_or_a_device_is_no_file(option: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name, kind in (("fifo.yaml", "a FIFO"), ("zero.yaml", "a device")):
        words = ["submit", "ensemble", "--cluster", "slurm", option, str(tmp_path / name)]
        assert f"{kind}, not a plain file" in _message("--results", str(tmp_path / "r"), *words)


def test_a_record_that_is_a_fifo_is_a_problem_with_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "001.json")
    reader = RecordReader()
    assert reader.read(tmp_path / "001.json", Worker) is None
    assert reader.problems == {
        tmp_path / "001.json": f"{tmp_path / '001.json'}: cannot be read: a FIFO, not a plain file"
    }


def test_a_programs_configuration_may_repeat_itself_up_to_the_limit() -> None:
    assert flat(yaml_reader.parse("a: &a {b: 1}\nc: *a\n", "f"), "") == {"a.b": 1, "c.b": 1}


# --- terminals ------------------------------------------------------------------------------------------


def test_errors_show_what_a_terminal_would_obey_and_stay_short(tmp_path: Path) -> None:
    message = _message("--results", str(tmp_path), "plan", "\x1b]0;PWN\x07")
    assert "\\x1b]0;PWN\\x07" in message
    assert "\\x1b[2J" in _message("plan", "--plan", "\x1b[2J.yaml")
    assert len(_message("plan", "x" * 100_000)) < 2_200
    assert "\\u202e" in _message("plan", "--no-such-\u202e")


def test_a_console_shows_controls_and_keeps_its_own_styles() -> None:
    file = io.StringIO()
    console = tables.EscapingConsole(file=file, force_terminal=True, color_system="standard", width=60)
    console.print(Text("\x1b[2Jred\x07", style="red"), "\x1b]0;x\x9b", highlight=False)
    assert file.getvalue() == "\x1b[31m\\x1b[2Jred\x1b[0m \\x1b]0;x\\x9b\n"


def test_commands_print_by_functions_that_escape(repository: Path) -> None:
    """`click.echo` and rich's own console send what they are given."""
    raw = []
    for path in sorted((repository / "jobs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "click.secho", "Console"):
                raw.append(f"{path.relative_to(repository)}:{ast.unparse(node.func)}")
    assert sorted(set(raw)) == ["jobs/cli/group.py:click.echo"]


def test_a_log_is_shown_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    looking._say_log("1 %\r2 %\r\nend\x1b[31m\n")
    assert capsys.readouterr().out == "1 %\n2 %\nend\\x1b[31m\n"
