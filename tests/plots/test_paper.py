"""Figures for a paper: sized, named, the same every time, with the report's intervals."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from aggregate.analysis.summary import SweepSummary, summarise
from plots import paper
from sweepwise.core.errors import AggregateError

CURVE = "evaluation-with-planning"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSummary:
    """Two configurations with three seeds; B oscillates. Names that matplotlib could take for something else."""
    made = synthetic.make_sweep(
        tmp_path_factory.mktemp("runs"), (600.0, 500.0), 3, lean=True, special={1: {"oscillate": True}},
        name="a/b <sweep>", labels=("_reduce=$min$", "reduce=mean & more"),
    )  # fmt: skip
    return summarise([made]).sweeps[0]


@pytest.mark.slow
def test_every_figure_that_there_is_something_for_is_written(sweep: SweepSummary, tmp_path: Path) -> None:
    names = [path.name for path in paper.write(sweep, tmp_path / "new", ["svg"], 1, [])]
    assert names == [
        f"a-b-sweep-{name}.svg"
        for name in (CURVE, "evaluation-of-the-policy-without-mpc", "training-episodes", "final", "effects", "flags",
                     "policy", "spread")
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)


@pytest.mark.parametrize(("columns", "points"), [(1, 234), (2, 486)])
def test_a_figure_is_as_wide_as_its_columns(sweep: SweepSummary, tmp_path: Path, columns: int, points: int) -> None:
    (path,) = paper.write(sweep, tmp_path, ["svg"], columns, [CURVE])
    text = path.read_text()
    assert f'width="{points}pt"' in text
    for words in ("_reduce=$min$", "reduce=mean &amp; more", "agent steps", ">return<"):
        assert words in text


def test_the_same_runs_give_the_same_bytes_in_every_format(sweep: SweepSummary, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        list(paper.write(sweep, tmp_path / folder, ["svg", "pdf", "png"], 1, ["final"]))
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for ending, magic in begins.items():
        one, two = ((tmp_path / folder / f"a-b-sweep-final.{ending}").read_bytes() for folder in ("one", "two"))
        assert one.startswith(magic)
        assert one == two


def test_one_metric_alone(sweep: SweepSummary, tmp_path: Path) -> None:
    (path,) = paper.write(sweep, tmp_path, ["svg"], 1, ["pi_loss"])
    assert path.name == "a-b-sweep-pi_loss.svg"
    # two configurations: both means, and a band each
    assert len(re.findall(r"fill-opacity: 0.16", path.read_text())) == 2


def test_an_unknown_figure_and_a_bad_place_are_one_line(sweep: SweepSummary, tmp_path: Path) -> None:
    with pytest.raises(AggregateError, match="--only nope: sweep a/b <sweep> has evaluation-with-planning, "):
        list(paper.write(sweep, tmp_path, ["svg"], 1, ["nope"]))
    (tmp_path / "file").write_text("")
    with pytest.raises(AggregateError, match="choose a place you may write to") as caught:
        list(paper.write(sweep, tmp_path / "file" / "x", ["svg"], 1, ["final"]))
    assert "\n" not in str(caught.value)


def test_the_interval_is_students() -> None:
    # t(0.975, 2) = 4.3027, sd 1, n 3
    low, high = paper._interval(pd.Series([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
    assert np.isnan(paper._interval(pd.Series([1.0, 2.0]))).all()
