"""bootstrap.py: what it would run, in which order, and what it does after an interrupt. Nothing is downloaded here."""

from __future__ import annotations

import ast
import errno
import fcntl
import importlib.util
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.planning import plan

Command = list[str]


@pytest.fixture
def bootstrap(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module that works on an empty copy of the checkout."""
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt", "bootstrap.py"):
        shutil.copy(repository / name, tmp_path / name)
    spec = importlib.util.spec_from_file_location("bootstrap", tmp_path / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module, "require_ensurepip", lambda: None)
    return module


class Recorder:
    """Stands in for `run`: notes commands, and answers as `answer` says."""

    def __init__(self, root: Path, answer: Callable[[Command], int] = lambda command: 0) -> None:
        self.root, self.answer = root, answer
        self.failure: list[str] = []  # the lines of a command that fails
        self.commands: list[Command] = []

    def __call__(self, command: Command, **options: Any) -> int:
        self.commands.append([word.replace(str(self.root), "ROOT") for word in command])
        if command[1:3] == ["-m", "venv"]:
            (self.root / ".venv" / "bin").mkdir(parents=True)
            (self.root / ".venv" / "bin" / "pip").touch()
        return self.answer(command)

    def logged(self, command: Command, expected: int = 1) -> tuple[int, list[str]]:
        """Stands in for `logged`."""
        code = self(command)
        return code, [] if code == 0 else self.failure

    @property
    def said(self) -> list[str]:
        """The commands without the interpreter and `-m`."""
        lines = [" ".join(command[1:]).removeprefix("-m ") for command in self.commands]
        return [line.replace(" --progress-bar off", "") for line in lines]


@pytest.fixture
def recorder(bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder(tmp_path)
    monkeypatch.setattr(bootstrap, "run", made)
    monkeypatch.setattr(bootstrap, "logged", made.logged)
    monkeypatch.setattr(bootstrap, "offer_compiler", lambda: None)
    monkeypatch.setattr(bootstrap, "NO_LABMAZE", (9, 9))
    return made


VENV_LINE = "venv ROOT/.venv"
CPU_LINE = "pip install --no-deps torch==2.13.0+cpu"
PROJECT_LINE = "pip install -c constraints.txt -e ."


def test_it_parses_on_python_2(repository: Path) -> None:
    """None of the syntax that Python 2.7 does not know, so that the version check gets its turn."""
    tree = ast.parse((repository / "bootstrap.py").read_text())
    modern = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Nonlocal, ast.AsyncFunctionDef, ast.Await, ast.Match)
    for node in ast.walk(tree):
        assert not isinstance(node, modern), ast.unparse(node)
        if isinstance(node, ast.FunctionDef):
            assert node.returns is None
            assert node.args.kwonlyargs == []
            assert node.args.posonlyargs == []
            assert all(argument.annotation is None for argument in node.args.args)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            assert not any(isinstance(element, ast.Starred) for element in node.elts), ast.unparse(node)
        if isinstance(node, ast.Raise):
            assert node.cause is None


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 1), (3, 15, 0)])
def test_a_python_that_will_not_do_is_named(bootstrap: ModuleType, version: tuple[int, ...]) -> None:
    with pytest.raises(bootstrap.Stop) as stopped:
        bootstrap.check_python(version, "")
    assert f"this is {version[0]}.{version[1]}: install one" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_a_python_that_will_do_goes_on(bootstrap: ModuleType) -> None:
    bootstrap.check_python((3, 11, 2), "")
    bootstrap.check_python((3, 14, 0), "")


def test_another_python_on_the_path_is_taken_if_it_starts(bootstrap: ModuleType, tmp_path: Path) -> None:
    for folder, code in (("shim", 127), ("real", 0)):
        script = tmp_path / folder / "python3.11"
        script.parent.mkdir()
        script.write_text(f"#!/bin/sh\nexit {code}\n")
        script.chmod(0o755)
    assert bootstrap.find_python(f"{tmp_path}/none:{tmp_path}/shim") is None
    assert bootstrap.find_python(f"{tmp_path}/shim:{tmp_path}/real") == f"{tmp_path}/real/python3.11"


@pytest.mark.parametrize(
    ("system", "wanted", "driver", "smi", "build"),
    [
        ("Linux", "auto", False, None, "cpu"),
        ("Linux", "auto", True, None, "cuda"),
        ("Linux", "auto", False, 0, "cuda"),
        ("Linux", "auto", False, 9, "cpu"),  # nvidia-smi without a driver
        ("Linux", "cuda", False, None, "cuda"),
        ("Linux", "cpu", True, 0, "cpu"),
        ("Darwin", "auto", False, None, "plain"),
    ],
)
def test_which_torch(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    system: str,
    wanted: str,
    driver: bool,
    smi: int | None,
    build: str,
) -> None:
    monkeypatch.setattr(bootstrap.platform, "system", lambda: system)
    monkeypatch.setattr(bootstrap, "DRIVER", str(tmp_path if driver else tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    if smi is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexit {smi}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    assert bootstrap.torch_build(wanted) == build


def test_a_fresh_checkout_then_nothing_more_to_do(bootstrap: ModuleType, recorder: Recorder) -> None:
    bootstrap.setup([], "cpu")
    assert recorder.said == [VENV_LINE, CPU_LINE, PROJECT_LINE]
    bootstrap.setup([], "cpu")
    assert len(recorder.commands) == 3


def test_an_extra_is_added_to_a_whole_environment(bootstrap: ModuleType, recorder: Recorder) -> None:
    bootstrap.setup([], "cpu")
    bootstrap.setup(["test"], "cpu")
    assert recorder.said[3:] == ["pip install -c constraints.txt -e .[test]"]
    bootstrap.setup([], "cpu")
    bootstrap.setup(["test"], "cpu")
    assert len(recorder.commands) == 4


@pytest.mark.parametrize(("stage", "again"), [("-m venv", True), ("torch==", False), ("-e .", False)])
def test_after_an_interrupt_it_goes_on(
    bootstrap: ModuleType, recorder: Recorder, tmp_path: Path, stage: str, again: bool
) -> None:
    """Only what an interrupt leaves of `python -m venv` is made anew; pip finds what it has installed."""

    def interrupted(command: Command) -> int:
        if stage in " ".join(command):
            raise KeyboardInterrupt
        return 0

    recorder.answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        bootstrap.setup([], "cpu")
    (tmp_path / ".venv" / "half-made").touch()
    recorder.answer = lambda command: 0
    recorder.commands.clear()
    bootstrap.setup([], "cpu")
    assert recorder.said == [*([VENV_LINE] if again else []), CPU_LINE, PROJECT_LINE]
    assert (tmp_path / ".venv" / "half-made").exists() == (not again)
    assert list(tmp_path.glob(".venv.old*")) == []


def test_what_pip_was_installing_is_installed_again(bootstrap: ModuleType, tmp_path: Path) -> None:
    """pip writes RECORD last, and takes a package without it for installed."""
    site = tmp_path / ".venv" / "lib" / "python3.13" / "site-packages"
    for name in ("whole-1.0.dist-info", "half-1.0.dist-info"):
        (site / name).mkdir(parents=True)
        (site / name / "METADATA").touch()
    (site / "whole-1.0.dist-info" / "RECORD").touch()
    bootstrap.repair()
    assert [path.name for path in site.iterdir()] == ["whole-1.0.dist-info"]


@pytest.mark.parametrize("content", ["", "-", "key cpu"])
def test_an_environment_whose_marker_says_nothing_is_made_again(
    bootstrap: ModuleType, recorder: Recorder, content: str
) -> None:
    bootstrap.setup([], "cpu")
    Path(bootstrap.MARKER).write_text(content)
    recorder.commands.clear()
    bootstrap.setup([], "cpu")
    assert recorder.said == [VENV_LINE, CPU_LINE, PROJECT_LINE]


@pytest.mark.parametrize("name", ["setup.cfg", "constraints.txt"])
def test_other_requirements_make_another_environment(
    bootstrap: ModuleType, recorder: Recorder, tmp_path: Path, name: str
) -> None:
    bootstrap.setup(["test"], "cpu")
    recorder.commands.clear()
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    bootstrap.setup([], "cpu")
    assert recorder.said == [VENV_LINE, CPU_LINE, "pip install -c constraints.txt -e .[test]"]


def test_an_environment_of_somebody_else_stays(bootstrap: ModuleType, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "pip").touch()
    with pytest.raises(bootstrap.Stop, match="did not make: move it away"):
        bootstrap.setup([], "cpu")
    assert recorder.commands == []
    assert (tmp_path / ".venv" / "bin" / "pip").exists()


def test_what_a_failed_venv_leaves_is_replaced(bootstrap: ModuleType, recorder: Recorder, tmp_path: Path) -> None:
    """`python3 -m venv` without ensurepip leaves an environment without pip."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    bootstrap.setup([], "cpu")
    assert recorder.said[0] == VENV_LINE


def test_where_labmaze_has_no_wheels_dm_control_goes_without(
    bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "NO_LABMAZE", (3, 0))
    bootstrap.setup([], "cpu")
    assert recorder.said == [VENV_LINE, CPU_LINE, PROJECT_LINE, "pip install --no-deps dm_control==1.0.50"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"],
            "the disk is full",
        ),
        (
            [
                "WARNING: Retrying (Retry(total=4)) after connection broken by 'ProxyError('Cannot connect to')'",
                "ERROR: No matching distribution found for torch==2.13.0+cpu",
            ],
            "the proxy does not answer: set HTTPS_PROXY to one that does, or unset it",
        ),
    ],
)
def test_what_no_other_source_would_mend_is_said_at_once(
    bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, lines: list[str], said: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:9")
    recorder.answer, recorder.failure = lambda command: int("pip" in command), lines
    with pytest.raises(bootstrap.Stop, match=said) as stopped:
        bootstrap.setup([], "cpu")
    assert "\n" not in str(stopped.value)
    assert recorder.said == [VENV_LINE, CPU_LINE]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["'NewConnectionError('<pip._vendor.urllib3>: [Errno 111] Connection refused')'"],
            "no package index can be reached",
        ),
        (["certificate verify failed: [SSL: CERTIFICATE_VERIFY_FAILED]"], "set PIP_CERT"),
        (["Collecting x", "ERROR: No matching distribution found for x"], "No matching distribution found for x"),
        ([], "no reason given"),
    ],
)
def test_other_reasons_of_pip(bootstrap: ModuleType, recorder: Recorder, lines: list[str], said: str) -> None:
    recorder.answer, recorder.failure = lambda command: 1, lines
    assert said in bootstrap.pip("x")[1]


def test_pips_lines_become_one(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal in (True, False):
        monkeypatch.setattr(bootstrap.sys.stdout, "isatty", lambda terminal=terminal: terminal)
        bar = bootstrap.Bar(expected=2)
        for line in ("Collecting numpy>=2", "  Downloading numpy", "Installing collected packages: numpy, click"):
            bar.show(line)
        written = capsys.readouterr().out
        assert written.splitlines() == ([] if not terminal else written.splitlines())
        shown = [part.strip() for part in written.split("\r") if part]
        assert shown == (
            ["[############..................] numpy>=2", "[########################......] unpacking 2 packages"]
            if terminal
            else []
        )
        assert all(len(part) < 80 for part in written.split("\r"))


def test_the_log_holds_the_lines_and_an_interrupt_reaches_the_child(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".venv").mkdir()
    assert bootstrap.logged(["sh", "-c", "echo out; echo error >&2; exit 3"]) == (3, ["out", "error"])
    assert (tmp_path / ".venv" / "setup.log").read_text() == "out\nerror\n"

    def interrupt(self: Any, line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap.Bar, "show", interrupt)
    with pytest.raises(KeyboardInterrupt):  # and it does not wait for the minute
        bootstrap.logged(["sh", "-c", "trap 'exit 0' INT; echo begun; sleep 60 & wait"])


@pytest.mark.parametrize("root", [True, False])
def test_a_missing_compiler_is_offered(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    root: bool,
) -> None:
    asked = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bootstrap, "apt_install", lambda *packages: asked.append(packages) or root)
    bootstrap.offer_compiler()
    assert asked == [("gcc", "libc6-dev")]
    assert (
        "three times as long; install one at any time with `sudo apt-get install gcc libc6-dev`"
        in capsys.readouterr().out
    ) == (not root)
    (tmp_path / "clang").write_text("#!/bin/sh\n")
    (tmp_path / "clang").chmod(0o755)
    bootstrap.offer_compiler()
    assert len(asked) == 1


def test_a_full_disk_ends_in_one_line(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    monkeypatch.setitem(bootstrap.COMMANDS, "setup", full)
    monkeypatch.setattr(bootstrap.sys, "argv", ["bootstrap.py", "setup"])
    assert bootstrap.main() == 1
    assert capsys.readouterr().err == (
        "bootstrap.py: /somewhere: No space left on device; make room on the disk, then run bootstrap.py again\n"
    )


def test_the_cpu_build_may_come_from_pytorch_itself(bootstrap: ModuleType, recorder: Recorder) -> None:
    recorder.answer = lambda command: int("torch==" in command[-1] and "--index-url" not in command)
    bootstrap.setup([], "cpu")
    index = "--index-url https://download.pytorch.org/whl/cpu --timeout 15 --retries 1"
    assert recorder.said == [VENV_LINE, CPU_LINE, f"pip install --no-deps {index} torch==2.13.0+cpu", PROJECT_LINE]


def test_without_a_cpu_build_it_stops_before_anything_can_pull_cuda(bootstrap: ModuleType, recorder: Recorder) -> None:
    recorder.answer = lambda command: int("torch==" in command[-1])
    with pytest.raises(bootstrap.Stop, match=r"no CPU build of torch 2\.13\.0") as stopped:
        bootstrap.setup([], "cpu")
    assert "\n" not in str(stopped.value)
    assert len(recorder.commands) == 3
    assert all(line.endswith(("+cpu", ".venv")) for line in recorder.said)


def test_with_a_gpu_the_local_label_is_excluded(bootstrap: ModuleType, recorder: Recorder) -> None:
    bootstrap.setup([], "cuda")
    assert recorder.said[1] == "pip install torch===2.13.0"
    assert "cuda" in recorder.said[3]  # and it is tried once


def test_a_build_that_was_asked_for_stays(
    bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`setup --torch cuda` on a login node, then `demo` there."""
    monkeypatch.setattr(bootstrap, "torch_build", {"auto": "cpu", "cuda": "cuda"}.__getitem__)
    bootstrap.setup([], "cuda")
    recorder.commands.clear()
    bootstrap.setup([], "auto")
    assert recorder.commands == []
    with (tmp_path / "setup.cfg").open("a") as file:
        file.write("# changed\n")
    bootstrap.setup([], "auto")
    assert recorder.said[1] == "pip install torch===2.13.0"


def test_a_gpu_that_appears_gets_its_build(
    bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = iter(["cpu", "cuda"])
    monkeypatch.setattr(bootstrap, "torch_build", lambda wanted: next(builds))
    bootstrap.setup([], "auto")
    bootstrap.setup([], "auto")
    assert [line for line in recorder.said if "torch=" in line] == [CPU_LINE, "pip install torch===2.13.0"]


def test_a_second_one_waits_for_the_first(
    bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def flock(handle: Any, how: int) -> None:
        asked.append(how)
        if how & fcntl.LOCK_NB:
            raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", flock)
    bootstrap.setup([], "cpu")
    assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]
    assert "waiting for it" in capsys.readouterr().out


def test_the_lock_excludes(bootstrap: ModuleType, tmp_path: Path) -> None:
    with bootstrap.locked(), (tmp_path / ".venv.lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("failing", ["", "submit", "aggregate"])
def test_the_demo_trains_then_aggregates(
    bootstrap: ModuleType, recorder: Recorder, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    recorder.answer = lambda command: 3 if failing and failing in command else 0
    code = bootstrap.demo(SimpleNamespace(torch="cpu"))
    words = [command[3] for command in recorder.commands if command[0] == "ROOT/.venv/bin/sweeps"]
    assert words == (["submit"] if failing == "submit" else ["submit", "aggregate"])
    assert code == (3 if failing else 0)
    assert ("demo/report.html" in capsys.readouterr().out) == (not failing)


def test_the_demo_called_again_also_runs_what_failed(bootstrap: ModuleType, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    assert bootstrap.demo(SimpleNamespace(torch="cpu")) == 0
    words = [command[3:] for command in recorder.commands if command[0] == "ROOT/.venv/bin/sweeps"]
    assert [line[0] for line in words] == ["submit", "rerun", "aggregate"]
    assert words[1] == ["rerun", "rates", "--all", "--wait"]


def test_the_demos_sweep_is_the_tutorials(bootstrap: ModuleType, recorder: Recorder, repository: Path) -> None:
    bootstrap.demo(SimpleNamespace(torch="cpu"))
    (submit,) = [command[1:] for command in recorder.commands if "submit" in command]
    with patch.object(click.Command, "invoke", lambda *_: None):  # its words are legal; nothing is carried out
        assert CliRunner().invoke(cli, submit).exit_code == 0
    path = submit[submit.index("--plan") + 1].replace("ROOT", str(repository))
    (sweep,) = plan.load(Path(path)).select(submit[submit.index("submit") + 1])
    assert (sweep.name, tuple(sweep.factors)) == ("rates", ("lr",))


def test_the_test_command_runs_every_check_and_counts_failures(
    bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "apt_install", lambda *packages: True)
    monkeypatch.setattr(bootstrap.os, "sched_getaffinity", lambda pid: {2, 5, 6}, raising=False)
    recorder.answer = lambda command: int("mypy" in command)
    assert bootstrap.test(SimpleNamespace(torch="cpu", quick=False)) == 1
    assert recorder.said[-4:] == ["ruff check .", "ruff format --check .", "mypy", "pytest -q -n 4"]
    assert capsys.readouterr().out.splitlines()[-1] == "== failed: mypy"


def test_the_quick_test_leaves_out_every_marker_and_installs_nothing(
    repository: Path, bootstrap: ModuleType, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*packages: str) -> bool:
        raise AssertionError(packages)

    monkeypatch.setattr(bootstrap, "apt_install", refuse)
    monkeypatch.setattr(bootstrap.os, "sched_getaffinity", lambda pid: {2, 5}, raising=False)
    assert bootstrap.test(SimpleNamespace(torch="cpu", quick=True)) == 0
    assert recorder.said[-1] == "pytest -q -n 3 -m not (cluster or browser or training or docs or slow)"
    registered = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert [line.partition(":")[0] for line in registered] == list(bootstrap.LEFT_OUT)


def test_without_ensurepip_and_root_one_line_says_what_to_install(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("bare", repository / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    monkeypatch.setattr(bare.subprocess, "call", lambda command, **options: 1)
    monkeypatch.setattr(bare, "is_root", lambda: False)
    with pytest.raises(bare.Stop, match=r"sudo apt-get install python3\.\d+-venv`, then bootstrap.py again"):
        bare.require_ensurepip()


@pytest.mark.parametrize(("raised", "code"), [("Stop", 1), ("KeyboardInterrupt", 130)])
def test_an_end_is_one_line(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: str,
    code: int,
) -> None:
    error = KeyboardInterrupt() if raised == "KeyboardInterrupt" else bootstrap.Stop("no room: make some")

    def end(options: object) -> int:
        raise error

    monkeypatch.setitem(bootstrap.COMMANDS, "setup", end)
    monkeypatch.setattr(bootstrap.sys, "argv", ["bootstrap.py", "setup"])
    assert bootstrap.main() == code
    written = capsys.readouterr().err
    assert written.startswith("bootstrap.py: ")
    assert written.count("\n") == 1


def test_ci_runs_the_same_command(repository: Path) -> None:
    assert "python3 bootstrap.py test" in (repository / ".ci" / "run").read_text()
    done = subprocess.run(["sh", "-n", repository / ".ci" / "run"], check=False)
    assert done.returncode == 0
