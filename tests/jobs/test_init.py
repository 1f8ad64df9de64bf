"""`sweeps init`: a first plan for a program, from its script, its parser, its configuration and a finished run."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from jobs.assist import guess, plan_text
from jobs.assist.parsers import hook
from jobs.assist.parsers.program_parser import script_call
from jobs.cli import cli
from jobs.planning import plan as plans
from jobs.planning.expand import expand
from jobs.programs.command import PLACEHOLDERS, Places, ProgramSource, command_line
from sweepwise.core import yaml_scalars

WALKER = Path(__file__).parent / "programs" / "walker.py"
PYTHON = sys.executable
PARSER = """
import argparse
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", "-l", type=float, default="3e-4")
parser.add_argument("--batch", type=int, default=1e3)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--no-norm", dest="norm", action="store_false")
parser.add_argument("--compile", action="store_true")
parser.add_argument("--no-compile", dest="compile", action="store_false")
parser.add_argument("--double", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--broken", type=bool, default=False)
parser.add_argument("--checked", type=lambda text: text == "True", default=False)
parser.add_argument("--hidden", nargs="+", type=int, default=[256, 256])
parser.add_argument("--tags", action="append", default=None)
parser.add_argument("--layers", type=lambda text: text.split(","), default=["a", "b"])
parser.add_argument("--env", choices=["walk", "run: fast #1"], default="run: fast #1")
parser.add_argument("--untyped", default=0.5)
parser.add_argument("-q", action="store_true")
parser.add_argument("-v", "--verbosity", action="count", default=0)
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--random-seed", type=int, default=0)
parser.add_argument("--steps-per-epoch", type=int, default=100)
parser.add_argument("--total-timesteps", type=int, default=int(1e6))
parser.add_argument("--log-dir", default="logs")
parser.add_argument("--num-workers", type=int, default=2)
arguments = parser.parse_args()
Path("trained").touch()
"""


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`sweeps init` in a folder of its own."""
    folder = tmp_path / "agent"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def init(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["init", *words])
        assert result.exit_code == code, result.output
        assert all(len(line) <= 80 or len(line.split()) == 1 for line in result.output.splitlines() if code == 0)
        return result

    return init


def script(text: str, name: str = "train.py") -> str:
    Path(name).write_text(text)
    return f"{PYTHON} {name}"


def written() -> dict[str, Any]:
    """The plan as data, with numbers as the plan's reader takes them."""
    return dict(yaml.safe_load(Path("plan.yaml").read_text()))


def loaded() -> tuple[plans.Plan, ProgramSource]:
    plan = plans.load(Path("plan.yaml"))
    assert isinstance(plan.source, ProgramSource)
    return plan, plan.source


def flat(output: str) -> str:
    return " ".join(output.split())


def test_the_parser_of_the_program_says_what_its_hyperparameters_are(init: Callable[..., Result]) -> None:
    said = flat(init("--command", script(PARSER)).output)
    assert not Path("trained").exists()
    plan, source = loaded()
    assert {p.name: p.default for p in source.description.hyperparameters} == {
        "learning-rate": 3e-4, "batch": 1000, "amp": False, "no-norm": False, "compile": False, "double": True,
        "checked": False, "hidden": (256, 256), "tags": None, "layers": ("a", "b"), "env": "run: fast #1",
        "data": None, "steps-per-epoch": 100, "total-timesteps": 1_000_000, "num-workers": 2,
    }  # fmt: skip
    assert source.description.steps == "total-timesteps"
    assert source.program.seed == ("random-seed",)
    assert source.program.command[-3:] == ("--log-dir", "{run}", "{overrides}")
    rules = {name: rule.switch or rule.split for name, rule in source.program.rules.items()}
    assert rules == {"amp": "flag", "no-norm": "flag", "checked": "value", "tags": "repeat", "layers": "comma"}
    (sweep,) = plan.sweeps
    assert sweep.grid == {"learning-rate": (9e-5, 3e-4, 9e-4)}
    assert len(sweep.seeds) == 6
    ignored = [p.name for p in source.description.hyperparameters if not p.identity]
    assert ignored == ["num-workers"]
    for line in (
        "seed guessed random-seed", "steps guessed total-timesteps, 1,000,000 by default", "folder guessed log-dir",
        "unknown the value of data, which the program requires", "left out broken: type=bool reads every text as true",
        "left out untyped: it has no type=", "left out -q:", "left out verbosity:", "unknown the metrics",
    ):  # fmt: skip
        assert line in said
    assert "the value of log-dir" not in said


def test_what_it_writes_the_program_reads_as_its_defaults(init: Callable[..., Result], tmp_path: Path) -> None:
    """The command of the plan, carried out by the program's parser, gives what the program has without it."""
    init("--command", script(PARSER.replace("required=True", 'default="x y"')))
    plan, source = loaded()
    values = {**plan.schema.resolve(plan.base).values}
    line = command_line(source.program, values, Places(tmp_path, tmp_path, seed=0))
    names = "print(vars(arguments))"
    Path("train.py").write_text(Path("train.py").read_text().replace('Path("trained").touch()', names))
    printed = []
    for words in (line.argv[2:], ("--log-dir", str(tmp_path))):
        done = subprocess.run([PYTHON, "train.py", *words], capture_output=True, text=True, check=True)
        printed.append(done.stdout)
    expected = printed[1].replace("'batch': 1000.0", "'batch': 1000")
    assert printed[0] == expected


def test_the_walker_of_the_tests(init: Callable[..., Result]) -> None:
    shutil.copy(WALKER, "walker.py")
    said = flat(init("--command", f"{PYTHON} walker.py").output)
    assert "style guessed argparse: walker.py imports it" in said
    assert "--resume is left out" in said
    assert "next: check it, then `sweeps check --plan plan.yaml`" in said
    _, source = loaded()
    assert [p.name for p in source.description.hyperparameters] == ["lr", "steps", "pause", "trouble"]
    assert source.program.command == (PYTHON, "walker.py", "--out", "{run}", "{overrides}")
    assert written()["seeds"] == 6


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("import hydra", "hydra"),
        ("import argparse\nimport tyro", "tyro"),
        ("import os, typer as cli", "click"),
        ("from click import command", "click"),
        ("from absl import app, flags", "absl"),
        ("from absl import logging\nimport argparse", "argparse"),
        ("import fire", "fire"),
        ("import pyrallis", "pyrallis"),
        ("from draccus import wrap", "draccus"),
        ("from jsonargparse import CLI", "jsonargparse"),
        ("from omegaconf import OmegaConf\nc = OmegaConf.from_cli()", "omegaconf"),
        ("from options import get", "click"),
    ],
)
def test_the_style_is_that_of_the_library(init: Callable[..., Result], text: str, style: str) -> None:
    Path("options.py").write_text("import click\n")
    said = init("--command", script(text)).output
    assert f"guessed {style}" in said
    assert loaded()[1].program.style == style


def test_a_program_that_might_train_is_not_started(init: Callable[..., Result]) -> None:
    text = "from pathlib import Path\nPath('trained').touch()\n"
    assert "The script is not started" in flat(init("--command", script(text)).output)
    assert not Path("trained").exists()
    said = flat(init("--command", script(text), "--style", "argparse", "--out", "b.yaml").output)
    assert "could not be read: the program reads its arguments without argparse" in said


def test_the_plan_names_the_folder_of_the_code(init: Callable[..., Result], tmp_path: Path) -> None:
    script("import fire\n")
    init("--command", f"{PYTHON} train.py", "--out", "../plan.yaml")
    assert yaml.safe_load((tmp_path / "plan.yaml").read_text())["program"]["code"] == "agent"
    (tmp_path / "plans").mkdir()
    init("--command", f"{PYTHON} train.py", "--code", ".", "--out", "../plans/plan.yaml")
    source = plans.load(tmp_path / "plans" / "plan.yaml").source
    assert isinstance(source, ProgramSource)
    assert source.folder == (tmp_path / "agent").resolve()


def test_a_program_whose_parser_does_not_answer(init: Callable[..., Result]) -> None:
    said = flat(init("--command", script("import argparse\nimport no_such_module\n")).output)
    assert "the parser could not be read: ModuleNotFoundError: No module named 'no_such_module'" in said
    plan, source = loaded()
    assert plan.sweeps[0].grid == {"lr": (3e-4, 1e-3, 3e-3)}
    assert "change me" in Path("plan.yaml").read_text()
    assert source.program.seed == ("seed",)


@pytest.mark.parametrize(
    ("text", "command", "names"),
    [
        # the first parser leaves the rest to the second
        ("import argparse\na = argparse.ArgumentParser(add_help=False)\na.add_argument('--conf', default='x')\n"
         "_, rest = a.parse_known_args()\nb = argparse.ArgumentParser()\n"
         "b.add_argument('--lr', type=float, default=1.)\n"
         "b.parse_args(rest)\nraise SystemExit('trained')", "train.py", ["conf", "lr"]),
        # the command below it that the command line names
        ("import argparse\na = argparse.ArgumentParser()\ns = a.add_subparsers()\np = s.add_parser('fit')\n"
         "p.add_argument('--lr', type=float, default=1.)\ns.add_parser('show').add_argument('--port', type=int)\n"
         "a.parse_args()", "train.py fit", ["lr"]),
        # what the command sets is no hyperparameter
        ("import argparse\na = argparse.ArgumentParser()\na.add_argument('--lr', type=float, default=1.)\n"
         "a.add_argument('--env', default='x')\na.parse_args()", "train.py --env=y", ["lr"]),
        ("import argparse, sys\nprint('loud')\na = argparse.ArgumentParser()\na.add_argument('--lr', type=float)\n"
         "assert sys.argv[0] == 'train.py'\nimport options\na.parse_known_args()", "train.py", ["lr"]),
        ("import argparse\na = argparse.ArgumentParser()\na.add_argument('--lr', type=float)\na.parse_args()",
         "-m train", ["lr"]),
    ],
)  # fmt: skip
def test_unusual_parsers(init: Callable[..., Result], text: str, command: str, names: list[str]) -> None:
    Path("options.py").write_text("")
    script(text)
    init("--command", f"{PYTHON} {command}")
    assert [p.name for p in loaded()[1].description.hyperparameters] == names


CLICK = """
import click
from pathlib import Path
@click.group()
@click.option("--device", default="cpu")
def main(device): ...
@main.command()
@click.option("--lr", default=3e-4)
@click.option("-n", "--batch-size", type=int, default=32)
@click.option("--amp/--no-amp", default=True)
@click.option("--quick", is_flag=True)
@click.option("--layers", multiple=True, type=int, default=[64, 64])
@click.option("--betas", nargs=2, type=float, default=(0.9, 0.999))
@click.option("--opt", type=click.Choice(["adam", "sgd"]), default="adam")
@click.option("--name", required=True)
@click.version_option("1")
def fit(**named): Path("trained").touch()
main()
"""
ABSL = """
from absl import app, flags
from pathlib import Path
flags.DEFINE_float("lr", 3e-4, "")
flags.DEFINE_bool("amp", True, "")
flags.DEFINE_list("layers", ["a", "b"], "")
flags.DEFINE_multi_integer("sizes", [1, 2], "")
flags.DEFINE_enum("opt", "adam", ["adam", "sgd"], "")
flags.DEFINE_string("name", None, "")
app.run(lambda _: Path("trained").touch())
"""


@pytest.mark.parametrize(
    ("text", "command", "values", "rules"),
    [
        (CLICK, "train.py fit",
         {"lr": 3e-4, "batch-size": 32, "amp": True, "quick": False, "layers": (64, 64), "betas": (0.9, 0.999),
          "opt": "adam", "name": None},
         {"quick": {"switch": "flag"}, "betas": {"split": "words"}}),
        (ABSL, "train.py",
         {"lr": 3e-4, "amp": True, "layers": ("a", "b"), "sizes": (1, 2), "opt": "adam", "name": None},
         {"sizes": {"split": "repeat"}}),
    ],
)  # fmt: skip
def test_other_libraries_are_asked_too(
    init: Callable[..., Result], text: str, command: str, values: dict[str, Any], rules: dict[str, Any]
) -> None:
    script(text)
    init("--command", f"{PYTHON} {command}")
    assert not Path("trained").exists()
    plan, source = loaded()
    assert {one.name: one.default for one in source.description.hyperparameters} == values
    assert written()["program"]["overrides"]["keys"] == rules
    line = command_line(source.program, plan.schema.resolve({"name": "x"}).values, Places(Path("run"), Path(), 1))
    assert subprocess.run(line.argv, check=False).returncode == 0, line.argv
    assert Path("trained").exists()


def test_a_configuration_file(init: Callable[..., Result]) -> None:
    script("import hydra\n")
    config = {"steps": 500, "seed": 1, "optim": {"lr": 0.01}, "wandb": {"project": "x"}, "work_dir": "runs"}
    Path("conf.yaml").write_text(json.dumps(config))
    init("--command", f"{PYTHON} train.py", "--config", "conf.yaml")
    plan, source = loaded()
    assert written()["program"]["config"] == "conf.yaml"
    assert source.program.command[2:] == ("{overrides}", "work_dir={run}", "hydra.run.dir={run}")
    assert source.description.steps == "steps"
    assert source.program.seed == ("seed",)
    assert plan.sweeps[0].grid == {"optim.lr": (0.003, 0.01, 0.03)}
    ignored = [p.name for p in source.description.hyperparameters if not p.identity]
    assert sorted(ignored) == ["wandb.project", "work_dir"]


def test_hydra_is_asked_for_its_configuration(init: Callable[..., Result]) -> None:
    """A stand-in for Hydra that prints what it is asked to."""
    script(
        "import sys\ntry:\n    import hydra\nexcept ImportError: pass\nassert '--cfg' in sys.argv\n"
        "print('lr: 0.1\\nseed: 0\\nrate:', '0.1' if '--resolve' in sys.argv else '${lr}')"
    )
    init("--command", f"{PYTHON} train.py")
    _, source = loaded()
    assert written()["program"]["config_command"] == f"{PYTHON} train.py --cfg all --resolve"
    assert {p.name: p.default for p in source.description.hyperparameters} == {"lr": 0.1, "rate": 0.1}


def test_a_fraction_in_a_file_becomes_a_number_of_steps(init: Callable[..., Result]) -> None:
    script("import fire\n")
    Path("conf.yaml").write_text("total_steps: 1e6\nlr: 1e-3\nseed: 1\n")
    init("--command", f"{PYTHON} train.py", "--config", "conf.yaml")
    plan, _ = loaded()
    assert expand(plan, plan.sweeps[0]).configurations[0].config.steps == 1_000_000


def test_without_a_seed_the_program_gets_it_by_a_variable(init: Callable[..., Result]) -> None:
    text = (
        "import argparse\na = argparse.ArgumentParser()\na.add_argument('--lr', type=float, default=1.)\na.parse_args()"
    )
    said = flat(init("--command", script(text)).output)
    assert "unknown how the program reads the seed" in said
    assert loaded()[1].program.command[:2] == ("env", "SEED={seed}")


# --- metrics of a finished run --------------------------------------------------------------------------------


def event(step: int, tag: str, value: float) -> bytes:
    """A record of an event file, whose checksums are right."""
    from aggregate.importers.event_files import checksum

    name = tag.encode()
    scalar = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(scalar)]) + scalar
    data = b"\x09" + struct.pack("<d", 1.0) + b"\x10" + bytes([step]) + b"\x2a" + bytes([len(summary)]) + summary
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", checksum(head)) + data + struct.pack("<I", checksum(data))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder in which a run logged JSON lines, CSV and event files."""
    folder = tmp_path / "finished"
    (folder / "tb").mkdir(parents=True)
    (folder / "2024-05-01").mkdir()
    rows = [{"global_step": n, "train/episode_reward": n, "train/entropy": 1, "note": "x"} for n in range(1, 4)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = ["time/total_timesteps,eval/mean_reward,eval/std_reward", "100,1.5,0.1", "200,2.5,0.1"]
    (folder / "2024-05-01" / "eval.csv").write_text("\n".join(lines) + "\n")
    (folder / "tb" / "events.out.tfevents.1.host").write_bytes(event(1, "losses/actor_loss", 0.5))
    (folder / "copy.jsonl").write_text((folder / "log.jsonl").read_text())
    return folder


def test_a_finished_run_shows_the_metrics(init: Callable[..., Result], finished: Path) -> None:
    shutil.copy(WALKER, "walker.py")
    said = flat(init("--command", f"{PYTHON} walker.py", "--like", str(finished)).output)
    metrics = written()["program"]["metrics"]
    assert metrics == {
        "read": [
            {"jsonl": "copy.jsonl"},
            {"csv": "**/eval.csv", "kind": "eval", "step": "time/total_timesteps"},
            {"tensorboard": "tb"},
        ],
        "step": "global_step",
        "primary": {"name": "eval/mean_reward", "better": "up"},
        "roles": {
            "training_return": "train/episode_reward",
            "policy_entropy": "train/entropy",
            "policy_loss": "losses/actor_loss",
        },
    }
    assert "log.jsonl: left out" in said
    assert loaded()[1].description.catalogue.primary.name == "eval/mean_reward"


def test_a_folder_without_metrics_is_refused(init: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"loss": 1}\n{"loss": 2}\n')
    said = init("--command", script("import fire"), "--like", str(tmp_path), code=1).output
    assert "no metrics in JSON lines" in said
    assert "log.jsonl: no column holds the step" in said
    assert not Path("plan.yaml").exists()


@pytest.mark.parametrize(
    ("names", "primary", "better"),
    [
        (["train/return", "eval/return_std", "eval/return_mean"], "eval/return_mean", "up"),
        (["eval/loss", "eval/success_rate", "train/reward"], "eval/success_rate", "up"),
        (["charts/episodic_return", "losses/value_loss"], "charts/episodic_return", "up"),
        (["train/loss", "val/loss"], "val/loss", "down"),
        (["eval/std_return", "eval/episode_return"], "eval/episode_return", "up"),
        (["lr", "fps"], "", "up"),
    ],
)
def test_which_metric_decides(names: list[str], primary: str, better: str) -> None:
    assert guess.primary(names) == primary
    assert guess.better(primary) == better


# --- what must not go wrong -----------------------------------------------------------------------------------


def test_no_file_is_overwritten(init: Callable[..., Result]) -> None:
    Path("plan.yaml").write_text("mine")
    said = init("--command", script("import fire"), code=1).output
    assert "plan.yaml exists already" in said
    assert Path("plan.yaml").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["plan.yaml", "train.py"]


def test_nor_is_one_that_appears_meanwhile(init: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "load", lambda part: Path("plan.yaml").write_text("mine"))
    assert "plan.yaml exists already" in init("--command", script("import fire"), code=1).output
    assert Path("plan.yaml").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["plan.yaml", "train.py"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "--command: is empty"),
        ("python 'train.py", "quote it as in a shell"),
        ("cd x && python train.py", "runs without a shell"),
        ("python train.py > log", "runs without a shell"),
    ],
)
def test_a_command_that_cannot_be(init: Callable[..., Result], command: str, message: str) -> None:
    said = init("--command", command, code=1).output
    assert message in said
    assert said.count("\n") == 1


def test_texts_of_the_user_are_quoted(init: Callable[..., Result]) -> None:
    odd = "a: b # c\u2028\"'{x}\t"
    parser = f"a = argparse.ArgumentParser()\na.add_argument('--text', default={odd!r}, choices=[{odd!r}, '\\n- x'])\n"
    script(f"import argparse\n{parser}a.parse_args()", "a: b #.py")
    init("--command", f"NO=yes {PYTHON} 'a: b #.py'")
    _, source = loaded()
    assert source.program.command[3] == "a: b #.py"
    assert source.program.environment == {"NO": "yes"}
    assert [p.default for p in source.description.hyperparameters] == [odd]


@pytest.mark.parametrize(
    "value", [0.5, 1e-3, 3e-4, 1e-10, 0.1 + 0.2, 12345678.9, 1e22, 7, -3, True, None, "no", "1e3", "", ["a", 1.0], []]
)
def test_values_are_read_as_they_were_written(value: Any) -> None:
    from jobs.yaml_reader import parse

    entry = parse(f"k: {plan_text.value(value)}", "x").mapping()["k"]
    read = yaml_scalars.value(entry.raw())
    assert (read, type(read)) == (yaml_scalars.frozen(value), type(yaml_scalars.frozen(value)))


@pytest.mark.parametrize(
    ("command", "python", "target"),
    [
        ("python -u -X dev train.py --a b.py", ("python", "-u", "-X", "dev"), ("train.py",)),
        ("env A=1 python3.11 -m pkg.train x", ("env", "A=1", "python3.11"), ("-m", "pkg.train")),
        ("uv run train.py", ("uv", "run", "python"), ("train.py",)),
        ("torchrun --nproc 2 train.py", ("python",), ("train.py",)),
    ],
)
def test_which_script_a_command_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, python: tuple[str, ...], target: tuple[str, ...]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    call = script_call(command.split(), tmp_path)
    assert call is not None
    assert (call.python, call.target) == (python, target)


def test_the_hook_is_literal_in_a_command() -> None:
    text = Path(hook.__file__).read_text()
    assert [name for name in PLACEHOLDERS if f"{{{name}}}" in text] == []
