"""The scripts that try other machines and other versions: what they run, and what they print of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

Load = Callable[[str], ModuleType]


class System:
    """Stands in for a chroot: notes what is installed and run, and a command prints `output`."""

    def __init__(self, root: Path, suite: str, **options: Any) -> None:
        self.root, self.suite = root, suite
        self.installed: list[str] = []
        self.commands: list[tuple[str, str]] = []
        self.output, self.code = "== ready: . .venv/bin/activate && sweeps --help\n", 0
        root.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> System:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def install(self, *packages: str) -> None:
        self.installed += packages

    def run(self, command: list[str], *, user: str = "root", **options: Any) -> SimpleNamespace:
        self.commands.append((user, " ".join(command)))
        if command[0] == "sh":
            options["stdout"].write(self.output.encode())
            return SimpleNamespace(returncode=self.code)
        return SimpleNamespace(returncode=0)


@pytest.fixture
def machines(load_script: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("chroots")
    script = load_script("benchmarks/fresh_machines.py")
    monkeypatch.setattr(
        script.subprocess, "run", lambda *words, **options: SimpleNamespace(stdout="12\tx", returncode=0)
    )
    return script


def test_a_row_for_each_machine_and_command(
    machines: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[System] = []
    monkeypatch.setattr(machines, "Chroot", lambda *words, **options: made.append(System(*words)) or made[-1])
    words = ["--folder", str(tmp_path), "--suite", "trixie", "--compiler", "no", "--command", "setup", "--keep"]
    monkeypatch.setattr(sys, "argv", ["fresh_machines.py", *words])
    assert machines.main() == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:4] for row in rows] == [["| Debian 13", "root", "no", "setup"], ["| Debian 13", "user", "no", "setup"]]
    assert rows[0][4] == "== ready: . .venv/bin/activate && sweeps --help".strip("= ")
    assert [system.installed for system in made] == [
        ["python3", "ca-certificates", "git"],
        ["python3", "ca-certificates", "git", "python3-venv"],
    ]
    assert made[1].commands[-1] == ("user", "sh -c python3 bootstrap.py setup")


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("......\n= 3 failed, 2 passed in 9.1s =\n== failed: pytest\n", 1,
         "exit code 1: 3 failed, 2 passed in 9.1s; failed: pytest"),
        ("== making .venv\nbootstrap.py: the disk is full\n", 1, "exit code 1: bootstrap.py: the disk is full"),
        ("error: no such file\n", 127, "exit code 127: error: no such file"),
        ("", 0, "nothing printed"),
    ],
)  # fmt: skip
def test_a_row_says_how_a_command_ended(
    machines: ModuleType, tmp_path: Path, output: str, code: int, said: str
) -> None:
    system = System(tmp_path / "root", "trixie")
    system.output, system.code = output, code
    assert machines.measure(system, "root", "/root/sweeps", "setup", tmp_path / "log")[0] == said


@pytest.mark.parametrize(("which", "torch"), [("newest", "torch>="), ("lowest", "torch==")])
def test_versions_are_resolved_from_one_end_of_the_ranges(
    load_script: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, which: str, torch: str
) -> None:
    script = load_script("benchmarks/versions.py")
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="torch==9.9+cpu\n")

    monkeypatch.setattr(script.subprocess, "run", run)
    stated = script.requirements()
    monkeypatch.setattr(script, "requirements", lambda: stated)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    (tmp_path / f".venv.{which}").mkdir()
    script.install(which, "3.12", None)
    assert commands[1][-3:-1] == ["--torch-backend", "cpu"]
    assert commands[1][-1].startswith(torch)
    assert commands[-1][commands[-1].index("--resolution") + 1] == script.RESOLUTIONS[which]
    assert commands[-1][-1] == "dm_control==1.0.50"
    assert (tmp_path / f".venv.{which}" / "torch.txt").read_text() == "torch==9.9+cpu\n"
