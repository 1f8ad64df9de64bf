"""Imports within `tdmpc` point down: api > training > agent > accel > the modules of the package itself."""

import ast

import pytest

# From the lowest layer up. A module may import its own layer and those below; of `base`, every module may import all.
LAYERS = {
    "base": ("tdmpc.config", "tdmpc.math", "tdmpc.metrics", "tdmpc.rng", "tdmpc.schema", "tdmpc.tasks"),
    "accel": ("tdmpc.accel",),
    "agent": ("tdmpc.agent",),
    "training": ("tdmpc.training",),
    "api": ("tdmpc.api",),
}
ORDER = list(LAYERS)


def layer_of(name):
    """The layer that the module, or the name in a module, belongs to; None for the package itself."""
    return next(
        (layer for layer, prefixes in LAYERS.items() if any(f"{name}.".startswith(f"{p}.") for p in prefixes)), None
    )


def imported_names(source):
    """Dotted names that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: write the package's name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upward_imports(module, source):
    """Imports by the module (dotted name) of a layer above its own."""
    own = ORDER.index(layer_of(module))
    return [
        name
        for name in imported_names(source)
        if name.split(".")[0] == "tdmpc" and (layer_of(name) is None or ORDER.index(layer_of(name)) > own)
    ]


def test_imports_point_down(repository):
    root = repository / "tdmpc"
    sources = {
        ".".join(path.relative_to(repository).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in root.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {layer_of(module) for module in sources} == set(LAYERS)
    assert {m: names for m, source in sources.items() if (names := upward_imports(m, source))} == {}


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tdmpc.rng", "from tdmpc.accel import kernels"),
        ("tdmpc.accel.fused", "from tdmpc.agent.losses import Metrics"),
        ("tdmpc.agent.agent", "from tdmpc.training.replay_buffer import Replay"),
        ("tdmpc.agent.agent", "def f():\n    from tdmpc.training import trainer"),
        ("tdmpc.training.trainer", "import tdmpc.api"),
        ("tdmpc.config", "from tdmpc import no_such_module"),
    ],
)
def test_an_upward_import_is_reported(module, line):
    assert upward_imports(module, line)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tdmpc.api", "from tdmpc.training.trainer import Trainer"),
        ("tdmpc.training.replay_buffer", "from tdmpc.agent.batch import Batch"),
        ("tdmpc.agent.networks", "from tdmpc.accel import fused"),
        ("tdmpc.accel.adam", "from tdmpc import math"),
        ("tdmpc.metrics", "from sweepwise.core.metrics import Metric"),
    ],
)
def test_a_downward_import_is_not_reported(module, line):
    assert upward_imports(module, line) == []
