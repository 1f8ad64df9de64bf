"""What every test stands on: the checkout's path, one thread, no display; who takes which file (`pytest -n`)."""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import submitit  # noqa: F401 - sets logging up: later it would close the stream that absl's handler was given
from xdist.scheduler import LoadFileScheduling

# Before anything imports torch or mujoco: the tests share few cores, and a bare machine has no display.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MUJOCO_GL", "disabled")
# What a user has exported, as the tutorial advises, must not lead tests to other results and profiles.
for variable in ("SWEEPS_RESULTS", "SWEEPS_PROFILES", "SWEEPS_SLURM_TIMEOUT"):
    os.environ.pop(variable, None)

# An example may take long on a busy machine.
# The same examples in every run, so that a change is not refused for what chance finds in other code; new ones are
# tried with `pytest --hypothesis-profile explore`.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("same")

CLUSTER = "tests/cluster/"
# What takes longest, longest first: begun last, it would be waited for by the other workers.
LONGEST = (
    CLUSTER,
    "tests/test_docs_run.py",
    "tests/test_end_to_end.py",
    "tests/jobs/test_program_runs.py",
    "tests/test_compatibility.py",
    "tests/tdmpc/test_run.py",
    "tests/tdmpc/test_config.py",
    "tests/tdmpc/test_graphs.py",
    "tests/plots/",
    "tests/benchmarks/",
    "tests/test_packaging.py",
    "tests/jobs/test_third_backend.py",
    "tests/test_own_program.py",
    "tests/test_second_agent.py",
)
# Files whose tests share little: their tests go to any worker, in so many parts.
DIVIDED = {"tests/tdmpc/test_run.py": 4, "tests/tdmpc/test_config.py": 4}
# Marker -> files or folders; elsewhere a test bears its own, and one that opens a page in Chromium is marked for that.
MARKED = {
    "cluster": ("cluster/",),
    "docs": ("test_docs_run.py",),
    "training": (
        "test_end_to_end.py", "test_fencing.py", "test_second_agent.py", "jobs/test_third_backend.py",
        "tdmpc/test_run.py",
    ),
    # more than four seconds each
    "slow": (
        "benchmarks/", "test_compatibility.py", "test_own_program.py", "test_packaging.py", "test_public_api.py",
        "aggregate/test_flag_properties.py", "aggregate/test_merge_properties.py", "aggregate/test_two_sweeps.py",
        "jobs/test_add_seeds.py", "jobs/test_annotations.py", "jobs/test_archive.py", "jobs/test_canary.py",
        "jobs/test_check.py", "jobs/test_confirm.py", "jobs/test_decisions.py", "jobs/test_doctor.py",
        "jobs/test_evaluate_sweep.py", "jobs/test_handover.py", "jobs/test_imported_curves.py", "jobs/test_init.py",
        "jobs/test_json.py", "jobs/test_judging.py", "jobs/test_live.py", "jobs/test_loss_agent.py",
        "jobs/test_manage.py", "jobs/test_notify.py", "jobs/test_plan_tasks.py", "jobs/test_program_runs.py",
        "jobs/test_prune.py", "jobs/test_sites.py", "jobs/test_widths.py", "plots/test_bad_input.py",
        "plots/test_live_page.py", "plots/test_paper.py", "plots/test_report.py", "plots/test_task_section.py",
        "tdmpc/test_graphs.py", "tdmpc/test_tasks.py",
    ),
}  # fmt: skip
MARKERS = {f"tests/{place}": marker for marker, places in MARKED.items() for place in places}


class ByFile(LoadFileScheduling):
    """A file goes to one worker, for its fixtures; the files that start a Slurm all to the same: one at a time."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file in DIVIDED:
            return f"{file}-{zlib.crc32(nodeid.encode()) % DIVIDED[file]}"
        return CLUSTER if nodeid.startswith(CLUSTER) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """What `-n` means here where no other `--dist` is asked for."""
    if config.option.dist != "load":
        return None
    config.option.loadscopereorder = False  # by the number of tests: the longest files have few
    return ByFile(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    for place, marker in MARKERS.items():
        if item.nodeid.startswith(place):
            item.add_marker(marker)
    if "chromium" in getattr(item, "fixturenames", ()):
        item.add_marker("browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """The place in `LONGEST`, behind all of it for other files."""
    return next((place for place, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))


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
