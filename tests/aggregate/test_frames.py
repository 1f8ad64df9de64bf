"""The judgement as data: what stands in which level, and the same bytes for the same runs."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest

from aggregate.analysis.run_outcomes import OUTCOME_SCORES
from aggregate.analysis.summary import SCORES, summarise
from aggregate.export import frames
from aggregate.export.frames import LEVELS, Frames
from sweepwise.core.atomic import OutputError
from tdmpc.config import TrainConfig


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Frames:
    """Two sweeps: of two configurations, one with a run that failed, and of one with another factor."""
    root = tmp_path_factory.mktemp("runs")
    pair = synthetic.make_sweep(root, (600.0, 500.0), 2, states={(1, 2): "failed"}, lean=True)
    one = pair.configs[0]
    alone = replace(pair, name="gamma", factors=("gammas",), configs=(replace(one, factors={"gammas": (0.9, 0.99)}),))
    return frames.frames(summarise([pair, alone]))


def test_each_level_has_its_lines(levels: Frames) -> None:
    assert levels.runs[["sweep", "seed", "state"]].to_numpy().tolist() == [
        ["ensemble", 1, "done"], ["ensemble", 2, "done"], ["ensemble", 1, "done"], ["ensemble", 2, "failed"],
        ["gamma", 1, "done"], ["gamma", 2, "done"],
    ]  # fmt: skip
    assert levels.configurations[["sweep", "planned", "final_primary_n"]].to_numpy().tolist() == [
        ["ensemble", 2, 2], ["ensemble", 2, 1], ["gamma", 2, 2],
    ]  # fmt: skip
    assert set(levels.rows["config_id"].astype(str)) == set(levels.runs["config_id"])
    assert not levels.flags.duplicated(["sweep", "config_id", "seed", "flag"]).any()
    assert levels.curves["sweep"].unique().tolist() == ["ensemble", "gamma"]


def test_a_factor_is_a_column_where_it_is_varied(levels: Frames) -> None:
    assert levels.runs["num_q"].tolist() == [0, 0, 1, 1, pd.NA, pd.NA]
    assert levels.configurations["gammas"].tolist()[2] == (0.9, 0.99)
    keys = {field.name for field in fields(TrainConfig)}
    taken = {*levels.runs.columns, *levels.configurations.columns} - {"num_q", "gammas"}
    assert taken & keys == set()  # no key of the configuration hides a column


def test_a_contrast_is_the_configuration_less_the_other(levels: Frames) -> None:
    finals = levels.configurations.set_index(["sweep", "config_id"])["final_primary_mean"]
    deciding = levels.contrasts[levels.contrasts["outcome"] == "final_primary"]
    assert deciding["family"].tolist() == ["best", "baseline"]
    for line in deciding.to_dict("records"):
        difference = finals[line["sweep"], line["config_id"]] - finals[line["sweep"], line["against"]]
        assert line["difference"] == pytest.approx(difference)
        assert difference < 0


def test_the_scores_of_a_run_are_those_of_the_report(levels: Frames) -> None:
    assert {*SCORES, *OUTCOME_SCORES} <= set(levels.runs.columns)
    mean = levels.runs[(levels.runs["sweep"] == "gamma")]["final_primary"].mean()
    assert levels.configurations["final_primary_mean"].tolist()[2] == pytest.approx(mean)


@pytest.mark.parametrize("suffix", frames.FORMATS)
def test_the_same_runs_give_the_same_bytes(levels: Frames, tmp_path: Path, suffix: str) -> None:
    written = list(frames.write(levels, tmp_path / "report.html", [suffix]))
    assert [path.name for path in written] == [f"report-{level}.{suffix}" for level in LEVELS]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in frames.write(levels, tmp_path / "report.html", [suffix])] == first
    assert len(list(tmp_path.iterdir())) == len(LEVELS)


def test_no_number_is_lost_on_the_way(levels: Frames, tmp_path: Path) -> None:
    list(frames.write(levels, tmp_path / "x", ["csv", "json", "parquet"]))
    for level in LEVELS:
        kept: pd.DataFrame = getattr(levels, level)
        csv = pyarrow.csv.read_csv(tmp_path / f"x-{level}.csv").to_pandas()
        parquet = pd.read_parquet(tmp_path / f"x-{level}.parquet")
        records = json.loads((tmp_path / f"x-{level}.json").read_text(), parse_constant=pytest.fail)
        assert list(csv) == list(parquet) == list(kept)
        assert len(csv) == len(parquet) == len(records) == len(kept)
        for name in kept.select_dtypes("number"):
            expected = kept[name].to_numpy(dtype=float, na_value=np.nan)
            np.testing.assert_array_equal(csv[name].to_numpy(dtype=float), expected)
            np.testing.assert_array_equal(parquet[name].to_numpy(dtype=float), expected)
            values = [np.nan if record[name] is None else record[name] for record in records]
            np.testing.assert_array_equal(values, np.where(np.isfinite(expected), expected, np.nan))


def test_lists_and_what_is_not_finite(tmp_path: Path, levels: Frames) -> None:
    rows = pd.DataFrame({"a": [np.inf, np.nan, 0.1], "b": [np.array([1.0, np.nan]), None, np.array([])],
                         "mixed": [(1, 2), 3, None]})  # fmt: skip
    loaded: Any = SimpleNamespace(rows=rows)
    list(frames.write(replace(levels, loaded=loaded), tmp_path / "x.html", ["csv", "json"]))
    assert json.loads((tmp_path / "x-rows.json").read_text()) == [
        {"a": None, "b": [1.0, None], "mixed": "[1, 2]"},
        {"a": None, "b": None, "mixed": "3"},
        {"a": 0.1, "b": [], "mixed": None},
    ]
    assert (tmp_path / "x-rows.csv").read_text().splitlines()[1:3] == ['inf,"[1.0, null]","[1, 2]"', ',,"3"']


def test_a_place_that_cannot_be_written_is_named(levels: Frames, tmp_path: Path) -> None:
    (tmp_path / "x-rows.csv").mkdir()
    with pytest.raises(OutputError, match="this is a folder"):
        list(frames.write(levels, tmp_path / "x.html", ["csv"]))
