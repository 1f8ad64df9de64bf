"""What every test stands on: the checkout's path, one thread, no display."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import submitit  # noqa: F401 - sets logging up: later it would close the stream that absl's handler was given

# Before anything imports torch or mujoco: the tests share few cores, and a bare machine has no display.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def load_script(repository: Path) -> Callable[[str], ModuleType]:
    """Loads a file of the checkout that no package holds, such as `benchmarks/flags.py`, as a module of its own."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", repository / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def synthetic(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """The module that makes runs up and writes them as real shards."""
    return load_script("tests/aggregate/synthetic.py")
