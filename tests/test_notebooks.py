"""docs/notebooks.md: its code runs as it stands, and its columns exist."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import pytest

from aggregate.export.frames import LEVELS, Frames
from jobs.reports.notebook import frames
from sweepwise.core.errors import JobsError


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "notebooks.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Path:
    made = tmp_path_factory.mktemp("notebook")
    synthetic.submitted(made / "results", (600.0, 300.0))
    return made


@pytest.fixture(scope="module")
def after(text: str, folder: Path) -> dict[str, Any]:
    """The names that the blocks leave behind, run one after the other where the results are."""
    names: dict[str, Any] = {}
    mpl.use("agg")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.delenv("SWEEPS_RESULTS", raising=False)
        warnings.simplefilter("error")
        for block in re.findall(r"```python\n(.*?)```", text, re.S):
            exec(compile(block, "docs/notebooks.md", "exec"), names)
    return names


def test_its_code_runs_and_finds_what_it_says(after: dict[str, Any]) -> None:
    assert isinstance(after["found"], Frames)
    assert after["finished"].groupby("num_q")["final_planner"].count().tolist() == [3, 3]
    assert after["against"]["distinct"].tolist() == [True]
    assert len(after["plt"].gca().get_lines()) == 2
    assert len(after["rows"]) > 100
    assert after["found"].answers["asked"].unique().tolist() == ["What do the swept keys do?"]
    assert set(after["found"].effects["family"]) == {"main", "diagnostic"}
    assert set(after["raised"]["state"]) <= {"flag"}


def test_its_columns_exist(text: str, after: dict[str, Any]) -> None:
    lines = dict(re.findall(r"^\| `(\w+)` \|.*?\| (.*) \|$", text, re.M))
    assert list(lines) == list(LEVELS)
    for level, columns in lines.items():
        named = re.findall(r"`(\w+)`", columns)
        assert named
        there = " ".join(getattr(after["found"], level).columns)
        assert [name for name in named if name not in there] == []
    scores = re.findall(r"`(\w+)`", text.split("The scores:")[1].split("\n\n")[0])
    assert len(scores) == 13
    assert set(scores) <= set(after["found"].runs.columns)


def test_what_is_left_out_is_warned_of(folder: Path) -> None:
    (folder / "results" / "sweeps" / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match="broken.json: not a whole JSON file"):
        frames(results=folder / "results")
    (folder / "results" / "sweeps" / "broken.json").unlink()
    with pytest.raises(JobsError, match="was not submitted"):
        frames("nope", results=folder / "results")
