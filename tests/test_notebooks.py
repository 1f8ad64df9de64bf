"""docs/notebooks.md: its code runs as it stands, and the frames and columns that it names exist."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import pytest

from sweepwise.frames import FRAMES, Results


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
    """The variables after all code blocks ran, one after the other, in a folder with results. `figures`: by number,
    how many lines and bands are drawn; `shown`: what the first block shows."""
    names: dict[str, Any] = {}
    mpl.use("agg")
    import matplotlib.pyplot as plt

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        patch.delenv("SWEEPS_RESULTS", raising=False)
        warnings.simplefilter("error")
        for block in re.findall(r"```python\n(.*?)```", text, re.S):
            exec(compile(block, "docs/notebooks.md", "exec"), names)
            names.setdefault("shown", repr(names["results"]))
    all_axes = [plt.figure(number).gca() for number in plt.get_fignums()]
    names["figures"] = [
        (sum(len(line.get_xdata()) > 1 for line in axes.get_lines()), len(axes.collections)) for axes in all_axes
    ]
    plt.close("all")
    return names


def test_its_code_runs_and_gives_what_the_text_says(after: dict[str, Any], folder: Path) -> None:
    results = after["results"]
    assert isinstance(results, Results)
    assert after["finished"].groupby("num_q")["final_primary"].count().tolist() == [3, 3]
    assert after["against"]["distinct"].tolist() == [True]
    assert len(after["run"]) == 95  # one row per 200 steps after 1,000 seed steps
    assert after["run"]["config_id"].nunique() == 1
    assert set(after["raised"]["state"]) <= {"flag"}
    assert results.answers["asked"].unique().tolist() == ["What do the swept hyperparameters do?"]
    assert set(results.effects["family"]) == {"main", "diagnostic"}


def test_the_figures_have_a_line_and_a_band_per_configuration(after: dict[str, Any], folder: Path) -> None:
    assert after["figures"] == [(2, 2), (2, 2)]
    assert (folder / "curves.png").stat().st_size > 10_000


def test_the_representation_is_as_shown(text: str, after: dict[str, Any]) -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.S)
    assert shown.splitlines()[1:] == after["shown"].splitlines()[1:]  # the first line names the folder


def test_its_frames_and_columns_exist(text: str, after: dict[str, Any]) -> None:
    lines = dict(re.findall(r"^\| `(\w+)` \|.*?\| (.*) \|$", text, re.M))
    assert list(lines) == list(FRAMES)
    for frame, columns in lines.items():
        named = re.findall(r"`(\w+)`", columns)
        assert named
        there = " ".join([*getattr(after["results"], frame).columns, *FRAMES])
        assert [name for name in named if name not in there] == []


def test_its_scores_exist(text: str, after: dict[str, Any]) -> None:
    scores = re.findall(r"`(\w+)`", text.split("The scores:")[1].split("\n\n")[0])
    assert len(scores) == 13
    assert set(scores) <= set(after["results"].runs.columns)
