"""Faults on a real Slurm with accounting; `benchmarks/faults.py` tries more of them, and without accounting.

SWEEPS_FAULTS=all in the environment tries all of them here (`benchmarks/slurm_versions.py --faults`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import slurm_cluster
import submit_faults
from driver import Sweeps
from faults import FAULTS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)


CHOSEN = [name for name, fault in FAULTS.items() if fault.in_tests or os.environ.get("SWEEPS_FAULTS") == "all"]


@pytest.mark.parametrize("name", CHOSEN)
def test_it_recovers(tmp_path: Path, cluster: Callable[[slurm_cluster.Settings], Path], name: str) -> None:
    print(FAULTS[name].try_it(Sweeps(tmp_path, cluster(replace(FAULTS[name].settings, accounting=True)))))


def test_a_controller_that_dies_behind_a_submit_leaves_nothing_held(
    tmp_path: Path, cluster: Callable[[slurm_cluster.Settings], Path]
) -> None:
    """One of the trials of `behind-submit`, in which it forgets the release, the jobs, or nothing."""
    sweeps = Sweeps(tmp_path, cluster(slurm_cluster.Settings(max_array_size=4)))
    print(submit_faults.forgotten_release(sweeps, delays_s=(0.3,), times=1))
