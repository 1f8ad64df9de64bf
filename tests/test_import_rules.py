"""Which package may import which (docs/architecture.md, "Import rules"), by reading imports and from sys.modules."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.backends import registry
from jobs.results.records import SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from tdmpc import description
from tdmpc.config import TrainConfig, config_id

PACKAGES = ("sweepwise", "tdmpc", "jobs", "aggregate", "plots", "slurm_templates")
# Standard library only; any package may import them.
CONTRACTS = (
    "sweepwise.core.agent",
    "sweepwise.core.atomic",
    "sweepwise.core.errors",
    "sweepwise.core.event_files",
    "sweepwise.core.hyperparameters",
    "sweepwise.core.metrics",
    "sweepwise.core.run_metrics",
    "sweepwise.core.schema",
    "sweepwise.core.shard_name",
    "sweepwise.core.trainable",
    "sweepwise.core.value_format",
    "sweepwise.core.yaml_scalars",
)
AGENT_DECLARATIONS = tuple(
    f"tdmpc.{name}" for name in ("config", "tasks", "metrics", "diagnostics", "network_shapes", "memory", "description")
)
OPEN = (*CONTRACTS, *AGENT_DECLARATIONS)
# The only modules outside the packaged agent that import it, and what of it.
OF_THE_AGENT = {"jobs.programs.registry": "tdmpc.description", "jobs.doctor.probe": "tdmpc.api"}
# What a package may import of the others.
ALLOWED = {
    "sweepwise": {"sweepwise", "jobs", "aggregate"},
    "tdmpc": {"tdmpc", "sweepwise.core"},
    "jobs": {"jobs", "aggregate", "plots", "slurm_templates", *CONTRACTS},
    "aggregate": {"aggregate", "sweepwise.core.shards", *CONTRACTS},
    "plots": {"plots", "aggregate", *CONTRACTS},
    "slurm_templates": {"slurm_templates"},
}
HEAVY = {"torch", "pandas", "pyarrow", "matplotlib", "mujoco", "dm_control", "scipy"}
# Never, not even inside a function.
FORBIDDEN = {"jobs": HEAVY, "aggregate": {"torch", "mujoco", "dm_control"}, "plots": {"torch", "mujoco", "dm_control"}}
# The only module of jobs that writes shards, of what a program logs.
WRITES_SHARDS = "jobs.worker.run_log"
# The modules of aggregate that know what is in a shard.
SCHEMA = ("aggregate.inputs.merge_shards", "aggregate.inputs.run_cache", "aggregate.importers.curves")
# What jobs and sweepwise may import only inside a function, so that `status`, --help and `import sweepwise` stay quick.
INSIDE = {"aggregate", "plots", "tdmpc.api", "submitit"}
# Parts of a package from the bottom up: a module imports parts that stand before its own, and modules of its own part.
LEVELS: dict[str, tuple[set[str], ...]] = {
    "tdmpc": (
        {"tasks", "math", "rng", "metrics"},
        {"config"},
        {"diagnostics", "network_shapes"},
        {"memory"},
        {"description"},
        {"accel"},
        {"agent"},
        {"training"},
        {"api"},
        {"trainable"},
    ),
    "jobs": (
        {"process", "yaml_reader", "submitter_environment"},
        {"programs"},
        {"results"},
        {"backends"},
        {"runs"},
        {"planning"},
        {"reports", "worker", "doctor"},
        {"terminal"},
        {"submit"},
        {"assist"},
        {"decide", "entry"},
        {"cli"},
    ),
    "aggregate": (
        {"statistics"},
        {"inputs"},
        {"flags", "importers"},
        {"analysis"},
        {"verdict", "export"},
        {"tasks", "comparison"},
    ),
}
LEVEL = {
    (package, part): level for package, levels in LEVELS.items() for level, parts in enumerate(levels) for part in parts
}
TYPES_MAY_POINT_UP = ("jobs",)


def imports(source: str) -> Iterator[tuple[str, str]]:
    """(dotted name, when) of every import of a module: with the module ("load"), in a "call", or for "types" only."""
    yield from _imports(ast.parse(source), "load")


def _imports(node: ast.AST, when: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import: write the package's name"
            yield from ((f"{child.module}.{alias.name}", when) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _imports(child, "types")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, "call" if when == "load" else when)
        else:
            yield from _imports(child, when)


def within(name: str, packages: set[str] | tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def breaches(module: str, source: str) -> list[str]:
    """Imports of the module (dotted name) that the rules do not allow."""
    package = module.split(".")[0]
    lines = []
    for name, when in imports(source):
        if name.split(".")[0] in PACKAGES and not _allowed(package, module, name):
            lines.append(f"{module} imports {name}")
        if within(name, {"sweepwise.core.shards"}) and package == "aggregate" and module not in SCHEMA:
            lines.append(f"{module} imports {name}: only {' and '.join(SCHEMA)} know the schema")
        if (when != "types" or package not in TYPES_MAY_POINT_UP) and _points_up(module, name):
            lines.append(f"{module} imports {name}, which stands above it")
        if when == "types":
            continue
        if within(name, FORBIDDEN.get(package, set())):
            lines.append(f"{module} imports {name}")
        if package in ("jobs", "sweepwise") and when == "load" and within(name, INSIDE):
            lines.append(f"{module} imports {name} outside a function")
    return lines


def _allowed(package: str, module: str, name: str) -> bool:
    if module.startswith("sweepwise.core"):
        return within(name, {"sweepwise.core"})
    if package != "sweepwise" and name in {f"sweepwise.core.{contract.rpartition('.')[2]}" for contract in CONTRACTS}:
        return True
    if module == WRITES_SHARDS and within(name, {"sweepwise.core.shards"}):
        return True
    if module in OF_THE_AGENT and within(name, {OF_THE_AGENT[module]}):
        return True
    return within(name, ALLOWED[package])


def _points_up(module: str, name: str) -> bool:
    """Whether `name` belongs to a part of the same package that does not stand below the module's; or to none."""
    (package, *own), (other_package, *other) = module.split("."), name.split(".")
    if package != other_package or package not in LEVELS or not own or own[0] == other[0]:
        return False
    return LEVEL.get((package, other[0]), len(LEVEL)) >= LEVEL[package, own[0]]


def modules(repository: Path) -> dict[str, str]:
    """Dotted name -> source of every module of the packages."""
    paths = [path for package in PACKAGES for path in sorted((repository / package).rglob("*.py"))]
    return {".".join(path.relative_to(repository).with_suffix("").parts): path.read_text() for path in paths}


def test_every_module_keeps_to_the_rules(repository: Path) -> None:
    sources = modules(repository)
    assert {name.split(".")[0] for name in sources} == set(PACKAGES)
    assert [line for name, source in sources.items() for line in breaches(name, source)] == []


def test_every_part_of_a_package_has_its_level(repository: Path) -> None:
    for package in LEVELS:
        entries = (path for path in (repository / package).iterdir() if path.suffix == ".py" or path.is_dir())
        parts = {path.stem for path in entries} - {"__init__", "__pycache__"}
        assert parts == {part for known, part in LEVEL if known == package}


def test_folders_and_files_stay_small_enough_to_find_things(repository: Path) -> None:
    """At most 14 modules to a folder, files below 450 lines, functions of at most 41 lines."""
    sources = modules(repository)
    functions = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: length for name, length in functions.items() if length > 41} == {}
    folders = Counter(name.rpartition(".")[0] for name in sources)
    assert {folder: count for folder, count in folders.items() if count > 14} == {}
    assert {name: text.count("\n") for name, text in sources.items() if text.count("\n") >= 450} == {}


def test_a_class_name_means_one_thing(repository: Path) -> None:
    trees = {module: ast.parse(source) for module, source in modules(repository).items()}
    names = Counter(node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_only_the_registry_names_backends(repository: Path) -> None:
    """A comparison with a backend's name elsewhere would have to be edited for a new backend."""
    named = []
    for module, source in modules(repository).items():
        if within(module, {"jobs.backends"}):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Compare | ast.Dict | ast.Subscript | ast.Match):
                constants = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                named += [f"{module}:{node.lineno} {word}" for word in constants & set(registry.PACKAGED)]
    assert [line for line in named if not line.startswith("jobs.cli.group:")] == []  # "debug" is its option there


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
        ("sweepwise.core.shards", "from tdmpc import metrics"),
        ("sweepwise.core.errors", "from sweepwise import frames"),
        ("sweepwise", "import jobs.cli\nfrom aggregate.analysis.summary import summarise"),
        ("tdmpc.agent.agent", "from jobs.results import results_folder"),
        ("tdmpc.agent.agent", "import sweepwise"),
        ("tdmpc.agent.agent", "def f():\n    import plots.report"),
        ("aggregate.statistics.estimates", "import torch"),
        ("aggregate.statistics.estimates", "from sweepwise.core import shards"),
        ("aggregate.inputs.runs", "from sweepwise.core import shards"),
        ("aggregate.inputs.runs", "from tdmpc.agent.agent import Agent"),
        ("aggregate.inputs.runs", "from jobs.results.results_folder import ResultsFolder"),
        ("plots.report", "from sweepwise.core.shards import SCHEMA_VERSION"),
        ("plots.report", "def f():\n    from torch import nn"),
        ("jobs.cli", "from aggregate.analysis.summary import summarise"),
        ("jobs.cli", "import submitit"),
        ("jobs.cli", "def f():\n    import pandas as pd"),
        ("jobs.cli", "def f():\n    from tdmpc import api"),
        ("jobs.worker.train_job", "from tdmpc import api"),
        ("jobs.worker.train_job", "def f():\n    from tdmpc.api import train"),
        ("jobs.doctor.probe", "from tdmpc.api import without_kernels"),
        ("jobs.programs.registry", "from tdmpc import metrics"),
        ("jobs.planning.plan", "from tdmpc.config import TrainConfig"),
        ("aggregate.inputs.merge_shards", "from tdmpc.metrics import METRICS"),
        ("plots.figures", "def f():\n    from tdmpc.description import DESCRIPTION"),
        ("jobs.results.lock", "from jobs.runs import status"),
        ("jobs.runs.status", "def f():\n    from jobs.cli import options"),
        ("aggregate.statistics.estimates", "from aggregate.inputs.runs import load"),
        ("aggregate.inputs.runs", "from aggregate.analysis import summary"),
        ("aggregate.inputs.runs", "def f():\n    import aggregate.flags.votes"),
        ("aggregate.flags.votes", "from aggregate import importers"),
        ("aggregate.verdict.verdict", "from aggregate.export import Folder"),
        ("aggregate.verdict.verdict", "from aggregate.tasks.analysis import analyse"),
        ("aggregate.verdict.verdict", "from plots.theme import PALETTE"),
        ("aggregate.inputs.runs", "if TYPE_CHECKING:\n    from aggregate.verdict.leader import leaderboard"),
        ("tdmpc.rng", "from tdmpc.accel import kernels"),
        ("tdmpc.accel.fused", "from tdmpc.agent.losses import Metrics"),
        ("tdmpc.agent.agent", "def f():\n    from tdmpc.training import trainer"),
        ("tdmpc.training.trainer", "import tdmpc.api"),
        ("tdmpc.config", "from tdmpc import no_such_module"),
        ("slurm_templates.extra", "import jobs"),
    ],
)
def test_a_breach_is_seen(module: str, line: str) -> None:
    assert breaches(module, line)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tdmpc.agent.agent", "from tdmpc.agent import losses"),
        ("tdmpc.training.trainer", "from sweepwise.core import shards"),
        ("aggregate.inputs.merge_shards", "from sweepwise.core import shards"),
        ("plots.report", "from sweepwise.core import atomic"),
        ("jobs.cli", "def f():\n    from aggregate.analysis.summary import summarise"),
        ("jobs.backends.slurm.batch_script", "if TYPE_CHECKING:\n    import submitit"),
        ("jobs.doctor.probe", "def f():\n    from tdmpc.api import without_kernels"),
        ("jobs.programs.registry", "from tdmpc import description"),
        ("jobs.terminal.tables", "if TYPE_CHECKING:\n    from jobs.submit.submit import PlannedRun"),
        ("jobs.planning.plan", "from sweepwise.core.schema import Schema"),
        ("aggregate.verdict.verdict", "from aggregate.analysis.summary import SweepSummary"),
        ("aggregate.export.tensorboard", "from aggregate.importers.event_files import checksum"),
        ("aggregate.inputs.runs", "from aggregate.inputs import run_cache"),
        ("tdmpc.api", "from tdmpc.training.trainer import Trainer"),
        ("tdmpc.training.replay_buffer", "from tdmpc.agent.batch import Batch"),
        ("tdmpc.agent.networks", "from tdmpc.accel import fused"),
        ("tdmpc.metrics", "from sweepwise.core.metrics import Metric"),
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
    store.write_config(description.SCHEMA.resolve(vars(config)))
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
