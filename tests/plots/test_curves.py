"""Pictures, by what stands in their markup."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plots.curves import Frame, Line, common_events, facet, limits_of, overview, small, wants_log
from plots.layouts import NARROW_OVERVIEW, OVERVIEW
from plots.theme import LineStyle

FRAME = Frame(100, {50: "encoder frozen"}, 5.0)


def line(means: list[float], n: int = 3, name: str = "A", color: int = 0) -> Line:
    steps = np.linspace(0, 100, len(means) + 1)[1:]
    mean = pd.DataFrame({"step": steps, "mean": means, "n": n})
    mean = mean.assign(low=mean["mean"] - 1 if n > 1 else np.nan, high=mean["mean"] + 1 if n > 1 else np.nan)
    seeds = pd.concat([pd.DataFrame({"seed": s, "step": steps, "m": np.array(means) + s}) for s in range(n)])
    return Line(name, LineStyle(color, 0), mean, seeds, 3)


def test_events_are_marked_where_all_configurations_agree() -> None:
    events = pd.DataFrame(
        [("a", "encoder_freeze", 50), ("b", "encoder_freeze", 50), ("a", "entropy_start", 50),
         ("a", "entropy_end", 100), ("a", "seed_phase_end", 5), ("b", "seed_phase_end", 7)],
        columns=["config_id", "event", "step"],
    )  # fmt: skip
    assert common_events(events, 100) == {50: "encoder frozen, entropy falls"}


def test_an_overview_names_events_random_actions_and_configurations() -> None:
    lines = [line([1.0, 9.0]), line([1.0, 8.9], name="B", color=1)]
    svg = overview(lines, FRAME, layout=OVERVIEW, unit="return").svg
    for words in ("encoder frozen", "random actions", ">A<", ">B<", "return", "agent steps"):
        assert words in svg
    assert "encoder frozen" not in overview([line([1.0, 9.0])], FRAME, layout=NARROW_OVERVIEW, unit="return").svg


@pytest.mark.parametrize(("n", "bands"), [(1, 0), (2, 0), (3, 1)])
def test_a_band_needs_three_seeds(n: int, bands: int) -> None:
    svg = facet(line([1.0, 2.0, 3.0], n=n), "m", Frame(100, {}, None), (0.0, 10.0), unit="return").svg
    assert svg.count("opacity:0.16") == bands
    assert svg.count("stroke-opacity:0.35") == n  # the seeds, faint


def test_a_point_without_neighbours_is_a_dot() -> None:
    frame = Frame(100, {}, None)
    assert small([line([1.0])], "m", frame, unit="1").svg.count("●") == 1
    assert small([line([1.0, np.nan, 2.0, 3.0])], "m", frame, unit="1").svg.count("●") == 1
    assert "●" not in small([line([1.0, 2.0])], "m", frame, unit="1").svg


def test_limits_hold_everything_drawn_and_the_random_reference() -> None:
    assert limits_of([pd.Series([0.0, 10.0]), pd.Series([np.nan, np.inf])], -10.0) == (-11.0, 11.0)
    assert limits_of([pd.Series([2.0, 2.0])], None) == (1.9, 2.1)
    # equal but for rounding
    assert limits_of([pd.Series([2.0, np.nextafter(2.0, 3.0)])], None) == pytest.approx((1.9, 2.1))
    assert limits_of([pd.Series([-3.0, -3.0 + 1e-15])], None) == pytest.approx((-3.15, -2.85))
    assert limits_of([pd.Series([np.nan])], None) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("half_width", "n", "limits"),
    [
        (1.0, 3, [-1.0, 11.0]),  # all of the bands
        (40.0, 3, [-6.0, 16.0]),  # half of the height, 11, is the means' with their margin
        (40.0, 2, [-0.5, 10.5]),  # no bands
    ],
)
def test_an_overview_is_as_high_as_its_bands_within_reason(half_width: float, n: int, limits: list[float]) -> None:
    wide = line([0.0, 10.0], n=n)
    wide.mean["low"], wide.mean["high"] = wide.mean["mean"] - half_width, wide.mean["mean"] + half_width
    drawn = overview([wide], Frame(100, {}, None), layout=OVERVIEW._replace(width=400, height=300), unit="return")
    assert drawn.view["y"] == pytest.approx(limits)


def test_a_logarithmic_axis_only_for_positive_values_over_a_wide_range() -> None:
    assert wants_log(pd.Series([0.1, 10.0]))
    assert not wants_log(pd.Series([1.0, 10.0]))
    assert not wants_log(pd.Series([0.0, 10.0]))
    assert not wants_log(pd.Series([np.nan]))
    assert "1e-4" in small([line([1e-4, 1e-1])], "m", Frame(100, {}, None), unit="1").svg
