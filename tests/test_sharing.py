"""`pytest -n`: which worker gets which tests, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

TESTS = [
    "tests/aggregate/test_c.py::one",
    *(f"tests/aggregate/test_d.py::{name}" for name in ("one", "two", "three", "four")),
    *(f"tests/cluster/test_a.py::{name}" for name in ("one", "two")),
    *(f"tests/cluster/test_b.py::{name}[x::y]" for name in ("one", "two")),
    *(f"tests/jobs/test_e.py::{name}" for name in ("one", "two", "three", "four", "five")),
]


class Node:
    """A worker that is told which tests to run."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.files: list[str] = []

    def send_runtest_some(self, places: list[int]) -> None:
        self.files += sorted({ordered(TESTS)[place].split("::")[0] for place in places})


def ordered(tests: list[str]) -> list[str]:
    return sorted(tests, key=lambda test: not test.startswith("tests/cluster/"))


@pytest.fixture
def conftest(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("tests/conftest.py")


def scheduler(conftest: ModuleType, dist: str = "load") -> Any:
    option = SimpleNamespace(dist=dist, loadscopereorder=True)
    config = SimpleNamespace(option=option, getvalue=lambda name: {"tx": ["2*popen"]}[name])
    return conftest.pytest_xdist_make_scheduler(config, None)


def test_the_files_that_start_a_slurm_go_to_one_worker_and_others_follow_in_order(conftest: ModuleType) -> None:
    made, nodes = scheduler(conftest), [Node("first"), Node("second")]
    for node in nodes:
        made.add_node(node)
    for node in nodes:
        made.add_node_collection(node, ordered(TESTS))
    made.schedule()
    # the second had one test and got the next file, of four, as well; the last waits for who is free first
    assert [node.files for node in nodes] == [
        ["tests/cluster/test_a.py", "tests/cluster/test_b.py"],
        ["tests/aggregate/test_c.py", "tests/aggregate/test_d.py"],
    ]
    assert list(made.workqueue) == ["tests/jobs/test_e.py"]


def test_another_way_to_share_that_was_asked_for_is_left(conftest: ModuleType) -> None:
    assert scheduler(conftest, "worksteal") is None


@pytest.mark.parametrize("worker", [True, False])
def test_workers_begin_with_what_takes_longest(
    conftest: ModuleType, monkeypatch: pytest.MonkeyPatch, worker: bool
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if worker:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    items = [SimpleNamespace(nodeid=test) for test in TESTS]
    conftest.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == (ordered(TESTS) if worker else TESTS)


def test_a_test_is_marked_by_its_place_and_by_the_browser(conftest: ModuleType) -> None:
    def marked(place: str, *fixtures: str) -> list[str]:
        found: list[str] = []
        conftest.pytest_itemcollected(SimpleNamespace(nodeid=place, fixturenames=fixtures, add_marker=found.append))
        return found

    assert marked("tests/cluster/test_a.py::one") == ["cluster"]
    assert marked("tests/plots/test_page.py::one", "visit", "chromium") == ["browser"]
    assert marked("tests/jobs/test_e.py::one", "tmp_path") == []


def test_every_place_with_a_marker_is_there(conftest: ModuleType, repository: Path) -> None:
    assert [place for place in conftest.MARKERS if not (repository / place).exists()] == []
