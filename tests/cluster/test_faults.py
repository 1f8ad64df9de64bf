"""Faults on a real Slurm with accounting; `benchmarks/faults.py` tries more of them, and without accounting."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import Sweeps
from faults import FAULTS
from slurm_cluster import Settings

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.in_tests])
def test_it_recovers(tmp_path: Path, cluster: Callable[[Settings], Path], name: str) -> None:
    print(FAULTS[name].try_it(Sweeps(tmp_path, cluster(Settings(accounting=True)))))
