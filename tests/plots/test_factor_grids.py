"""Heat maps of two factors, and the importance of each: against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.verdict.number_format import number
from plots.report import write_report
from plots.secondary_tables import MOST_GRIDS, factor_grids

LEVELS = {"num_q": (1, 2, 5), "reduce": ("min", "mean"), "dropout": (0.0, 0.5)}
CELLS = list(itertools.product(*LEVELS.values()))


@pytest.fixture(scope="module")
def sweep(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    """A complete grid of three factors; the fourth configuration collapses in all seeds."""
    finals = [500.0 + 40 * (cell[0] == 2) + 20 * cell[2] for cell in CELLS]
    source = synthetic.make_sweep(
        tmp_path_factory.mktemp("grid"), finals, 2, special={3: {"collapse": True}}, lean=True
    )
    configs = [dataclasses.replace(config, factors=dict(zip(LEVELS, cell, strict=True)))
               for config, cell in zip(source.configs, CELLS, strict=True)]  # fmt: skip
    return summarise([dataclasses.replace(source, factors=tuple(LEVELS), configs=tuple(configs))]).sweeps[0]


def means(sweep: SweepSummary) -> np.ndarray:
    of = sweep.scores.groupby("config_id")["final_primary"].mean()
    return np.array([of[config.config_id] for config in sweep.source.configs])


def only(sweep: SweepSummary, places: Sequence[int]) -> SweepSummary:
    configs = tuple(sweep.source.configs[place] for place in places)
    return dataclasses.replace(sweep, source=dataclasses.replace(sweep.source, configs=configs))


def test_importance_is_the_explained_share_of_the_variance(sweep: SweepSummary) -> None:
    shown, results = factor_grids(sweep)["importance"], means(sweep)
    shares = {}
    for place, key in enumerate(LEVELS):
        of_level = [np.mean([r for r, other in zip(results, CELLS, strict=True) if other[place] == cell[place]])
                    for cell in CELLS]  # fmt: skip
        shares[key] = np.var(of_level) / np.var(results)
    assert shown == [(key, f"{100 * shares[key]:.0f} %") for key in sorted(shares, key=lambda key: -shares[key])]


def test_cells_are_means_over_the_other_factors(sweep: SweepSummary) -> None:
    found = factor_grids(sweep)
    assert len(found["grids"]) == MOST_GRIDS == 3
    grid = next(grid for grid in found["grids"] if {grid["row"], grid["column"]} == {"num_q", "reduce"})
    first, second = (list(LEVELS).index(grid[part]) for part in ("row", "column"))
    for row, cells in grid["cells"]:
        for column, cell in zip(grid["columns"], cells, strict=True):
            there = [place for place, of in enumerate(CELLS) if (str(of[first]), str(of[second])) == (row, column)]
            assert cell["text"] == number(float(means(sweep)[there].mean()))
            assert (cell["n"], cell["unstable"]) == (4, 2 * (3 in there))
            assert 0 <= cell["share"] <= 1


def test_without_all_combinations_there_are_cells_without_a_number_and_no_importance(sweep: SweepSummary) -> None:
    found = factor_grids(only(sweep, [0, 1, 4, 5, 8, 11]))
    assert found["importance"] == []
    texts = {cell["text"] for grid in found["grids"] for _, cells in grid["cells"] for cell in cells}
    assert "not in the sweep" in texts


def test_one_factor_has_no_heat_map(sweep: SweepSummary) -> None:
    assert factor_grids(only(sweep, [0, 4, 8])) == {"importance": [], "grids": []}
    assert factor_grids(only(sweep, [0])) == {"importance": [], "grids": []}


def test_the_page_has_them_and_an_audit_finds_nothing_serious(
    sweep: SweepSummary, visit: Callable[..., Any], tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    write_report(summarise([sweep.source]), tmp_path / "report.html")
    page = visit(tmp_path / "report.html", width=390, bypass_csp=True)
    assert page.locator(".heat").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    violations = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
