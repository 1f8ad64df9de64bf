"""Throw-away Slurms, each for all the tests that want one with its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import Settings, ask, node_states, wait_until

Cluster = Callable[[Settings], Path]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Settings -> slurm.conf of an idle cluster. One that a test left in disorder is replaced."""
    running: dict[Settings, Path] = {}

    def idle(settings: Settings) -> Path:
        if settings in running and not is_tidy(running[settings].parent):
            slurm_cluster.stop(running.pop(settings).parent)
        if settings not in running:
            running[settings] = slurm_cluster.start(settings=settings)  # its folder's name is short, as a socket's must
        return running[settings]

    yield idle
    for conf in running.values():
        slurm_cluster.stop(conf.parent)


def is_tidy(folder: Path) -> bool:
    """Nothing is queued and every node is idle, at once or soon."""
    for job in ask(folder, "squeue", "-h", "-o", "%A").split():
        ask(folder, "scancel", job)

    def tidy() -> bool:
        # A node is listed once for each of its partitions.
        return set(node_states(folder)) == {"idle"} and not ask(folder, "squeue", "-h").strip()

    try:
        wait_until("order", tidy, seconds=20)
    except slurm_cluster.ClusterError:
        return False
    return True
