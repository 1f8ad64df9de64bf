"""Who may import whom: the section "Doors" of docs/architecture.md, by reading imports and from sys.modules."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.results.records import SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from tdmpc.config import TrainConfig, config_id

ROOMS = ("tdmpc", "jobs", "aggregate", "plots", "slurm_templates")
# Standard library only; anyone may import them.
OPEN = ("tdmpc.config", "tdmpc.tasks", "tdmpc.metrics", "sweepwise.core.shard_name")
# What a room may import of the others; None: anything of it.
ALLOWED = {
    "tdmpc": {"tdmpc"},
    "jobs": {"jobs", "aggregate", "plots", "slurm_templates", "tdmpc.api", *OPEN},
    "aggregate": {"aggregate", "sweepwise.core.shards", *OPEN},
    # The one thing plots writes it writes as shards are written; the schema is not its business.
    "plots": {"plots", "aggregate", "sweepwise.core.shards.atomic_write", *OPEN},
    "slurm_templates": {"slurm_templates"},
}
HEAVY = {"torch", "pandas", "pyarrow", "matplotlib", "mujoco", "dm_control", "scipy"}
# Never, not even inside a function: the room has no business with them.
FORBIDDEN = {"jobs": HEAVY, "aggregate": {"torch", "mujoco", "dm_control"}, "plots": {"torch", "mujoco", "dm_control"}}
# The modules of jobs that may call the agent.
TRAINING = ("jobs.entry", "jobs.worker.evaluate")
# The modules of aggregate that know what is in a shard.
SCHEMA = ("aggregate.inputs.merge_shards", "aggregate.inputs.run_cache", "aggregate.importers.curves")
# What jobs may import only inside a function, so that status and --help stay quick.
INSIDE = {"aggregate", "plots", "tdmpc.api", "submitit"}


def imports(source: str) -> Iterator[tuple[str, str]]:
    """(dotted name, when) of every import of a module: with the module ("load"), in a "call", or for "types" only."""
    yield from _imports(ast.parse(source), "load")


def _imports(node: ast.AST, when: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import: write the room's name"
            yield from ((f"{child.module}.{alias.name}", when) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _imports(child, "types")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, "call" if when == "load" else when)
        else:
            yield from _imports(child, when)


def within(name: str, doors: set[str] | tuple[str, ...]) -> bool:
    return any(name == door or name.startswith(door + ".") for door in doors)


def breaches(module: str, source: str) -> list[str]:
    """Imports of the module (dotted name) that the doors do not let through."""
    room = module.split(".")[0]
    found = []
    for name, when in imports(source):
        if name.split(".")[0] in ROOMS and not within(name, ALLOWED[room]):
            found.append(f"{module} imports {name}")
        schema = within(name, {"sweepwise.core.shards"}) and name != "sweepwise.core.shards.atomic_write"
        if schema and room == "aggregate" and module not in SCHEMA:
            found.append(f"{module} imports {name}: only {' and '.join(SCHEMA)} know the schema")
        if when == "types":
            continue
        if within(name, FORBIDDEN.get(room, set())):
            found.append(f"{module} imports {name}")
        if room == "jobs" and when == "load" and within(name, INSIDE):
            found.append(f"{module} imports {name} outside a function")
        if room == "jobs" and within(name, {"tdmpc.api"}) and module not in TRAINING:
            found.append(f"{module} imports {name}: only {' and '.join(TRAINING)} do")
    return found


def modules(repository: Path) -> dict[str, str]:
    """Dotted name -> source of every module of the rooms."""
    paths = [path for room in ROOMS for path in sorted((repository / room).rglob("*.py"))]
    return {".".join(path.relative_to(repository).with_suffix("").parts): path.read_text() for path in paths}


def test_every_module_keeps_to_the_doors(repository: Path) -> None:
    sources = modules(repository)
    assert {name.split(".")[0] for name in sources} == set(ROOMS)
    assert [line for name, source in sources.items() for line in breaches(name, source)] == []


@pytest.mark.parametrize("module", OPEN)
def test_the_open_modules_are_standard_library_only(repository: Path, module: str) -> None:
    source = (repository / Path(*module.split("."))).with_suffix(".py").read_text()
    foreign = [
        name
        for name, _ in imports(source)
        if name.split(".")[0] not in sys.stdlib_module_names and not within(name, OPEN)
    ]
    assert foreign == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tdmpc.agent.agent", "from jobs import store"),
        ("tdmpc.agent.agent", "def f():\n    import plots.report"),
        ("aggregate.statistics.estimates", "import torch"),
        ("aggregate.statistics.estimates", "from tdmpc import shards"),
        ("aggregate.inputs.runs", "from tdmpc import shards"),
        ("aggregate.inputs.runs", "from tdmpc.agent.agent import Agent"),
        ("aggregate.inputs.runs", "from jobs.results.results_folder import Store"),
        ("plots.report", "from sweepwise.core.shards import SCHEMA_VERSION"),
        ("plots.report", "def f():\n    from torch import nn"),
        ("jobs.cli", "from aggregate.analysis.summary import summarise"),
        ("jobs.cli", "import submitit"),
        ("jobs.cli", "def f():\n    import pandas as pd"),
        ("jobs.cli", "def f():\n    from tdmpc import run"),
        ("jobs.entry", "from tdmpc import run"),
        ("jobs.entry", "if True:\n    from tdmpc.api import train"),
        ("jobs.entry", "def f():\n    from tdmpc.training.trainer import Trainer"),
        ("slurm_templates.extra", "import jobs"),
    ],
)
def test_a_breach_is_seen(module: str, line: str) -> None:
    assert breaches(module, line)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tdmpc.agent.agent", "from tdmpc import losses"),
        ("aggregate.inputs.merge_shards", "from tdmpc import catalogue, shards"),
        ("plots.report", "from sweepwise.core.shards import atomic_write"),
        ("jobs.cli", "def f():\n    from aggregate.analysis.summary import summarise"),
        ("jobs.backends.slurm.commands", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import submitit"),
        ("jobs.entry", "def f():\n    from tdmpc.api import train"),
        (
            "jobs.submit.launch",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tdmpc.api import Progress",
        ),
        ("jobs.planning.plan", "from tdmpc.config import TrainConfig"),
    ],
)
def test_what_is_allowed_is_no_breach(module: str, line: str) -> None:
    assert breaches(module, line) == []


LOOK = """
import json, sys
sys.argv = ["sweeps", *json.loads(sys.argv[1])]
from jobs.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print("\\nMODULES " + json.dumps([code, sorted(m for m in sys.modules if "." not in m)]))
"""


def loaded(arguments: list[str], folder: Path) -> tuple[int, set[str], str]:
    """Exit code of `sweeps ...` in the folder, the top-level modules it had loaded in the end, what it printed."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    ended = subprocess.run(
        [sys.executable, "-P", "-c", LOOK, json.dumps(arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    text, _, result = ended.stdout.rpartition("MODULES ")
    code, names = json.loads(result)
    return code or 0, set(names), text


@pytest.mark.parametrize("arguments", [["--help"], ["submit", "--help"], ["plan"]])
def test_what_only_talks_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code, names, _ = loaded(arguments, tmp_path)
    assert code == 0
    assert names >= {"jobs", "click"}
    assert names & (HEAVY | {"submitit"}) == set()


def test_status_of_a_sweep_loads_nothing_heavy(tmp_path: Path) -> None:
    store, config = ResultsFolder(tmp_path / "results"), TrainConfig()
    store.prepare()
    store.write_config(config)
    asked = SubmittedConfiguration(
        config_id=config_id(config), label="base", factors={}, is_baseline=True, seeds=[1, 2]
    )
    store.write_sweep(
        SubmittedSweep("tried", plan="plan", goal="", questions=[], factors=[], configs=[asked], time=0.0)
    )
    for arguments in (["status"], ["status", "--runs"], ["status", "--json"]):
        code, names, text = loaded(arguments, tmp_path)
        assert code == 0
        assert "tried" in text
        assert names & (HEAVY | {"submitit"}) == set()
