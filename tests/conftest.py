"""What every test stands on: the checkout's path, one thread, no display."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports torch or mujoco: the tests share few cores, and a bare machine has no display.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]
