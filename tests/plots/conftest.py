"""`synthetic`: the module that makes runs up and writes them as real shards."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def synthetic(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic", repository / "tests" / "aggregate" / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
