"""Two configurations against each other, on made-up runs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from aggregate.analysis.factor_effects import OUTCOMES
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.verdict.compare_two import compare, leader

A, B = "0000000000", "0000000001"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSummary:
    """A is the baseline, B oscillates, a third leads."""
    special = {1: {"oscillate": True}}
    root: Path = tmp_path_factory.mktemp("runs")
    return summarise([synthetic.make_sweep(root, (600.0, 500.0, 900.0), 3, lean=True, special=special)]).sweeps[0]


def test_the_difference_is_the_one_from_the_baseline(sweep: SweepSummary) -> None:
    endpoints = compare(sweep, A, B).endpoints
    assert endpoints["outcome"].tolist() == list(OUTCOMES)
    first = endpoints.iloc[0]
    known = sweep.baseline.set_index("config_id").loc[B]
    assert first[["difference", "d_low", "d_high", "permutation", "better"]].tolist() == pytest.approx(
        known[["difference", "low", "high", "permutation", "better"]].tolist()
    )
    assert first["p"] <= known["p"]  # one comparison, not Holm's over two
    assert first["b_mean"] - first["a_mean"] == pytest.approx(first["difference"])
    assert first["a_n"] == first["b_n"] == 3


def test_turned_round_the_signs_change(sweep: SweepSummary) -> None:
    there, back = compare(sweep, A, B).endpoints, compare(sweep, B, A).endpoints
    assert back["difference"].tolist() == pytest.approx((-there["difference"]).tolist())
    assert back["p"].tolist() == pytest.approx(there["p"].tolist())


def test_flags_that_either_raises_are_counted(sweep: SweepSummary) -> None:
    flags = compare(sweep, A, B).flags.set_index("flag")
    assert flags.loc["log_std_oscillates"].tolist() == [0, 3, 3, 3]
    assert "evaluation_collapse" not in flags.index


def test_without_a_finished_run_there_is_no_difference(tmp_path: Path, synthetic: ModuleType) -> None:
    states = {(1, 1): "running", (1, 2): "running"}
    (sweep,) = summarise([synthetic.make_sweep(tmp_path, (600.0, 500.0), 2, lean=True, states=states)]).sweeps
    first = compare(sweep, A, B).endpoints.iloc[0]
    assert first["b_n"] == 0
    assert first[["difference", "p"]].isna().all()


def test_the_leader_is_of_those_that_are_meant(sweep: SweepSummary) -> None:
    assert leader(sweep, (A, B)) == A
    assert leader(sweep, (A, B, "0000000002")) == "0000000002"
    assert leader(sweep, (B,)) == B
