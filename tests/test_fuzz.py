"""A few inputs of each family of benchmarks/fuzz.py, the same at every run, and the inputs that were hits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FAMILIES = ("plans", "options", "records", "imports", "archives", "shards", "caches", "snapshots", "terminal")


@pytest.fixture(scope="module")
def fuzz(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/fuzz.py")


def test_there_is_no_other_family(fuzz: ModuleType) -> None:
    assert tuple(fuzz.FAMILIES) == FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_hostile_input_is_refused_or_taken(family: str, fuzz: ModuleType, tmp_path: Path) -> None:
    counts = fuzz.attempt(family, 12, 1, tmp_path)
    assert counts["tried"] >= 10
    assert counts["taken"] >= 1  # what is whole
