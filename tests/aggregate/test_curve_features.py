"""Features of curves are what their definitions say, computed value by value."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from aggregate.flags.curve_features import (
    complete,
    largest_swing,
    means,
    running_median,
    running_median_of_5,
    turning_points,
)

NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))  # few distinct ones, and any
CURVES = st.lists(NUMBERS, min_size=1, max_size=60).map(np.array)
SWINGS = st.floats(1e-3, 10)
SAMPLES = st.lists(st.lists(st.one_of(NUMBERS, st.just(np.nan), st.just(np.inf)), max_size=20), max_size=8)


def turns_of(curve: np.ndarray, swing: float) -> list[int]:
    """Every value is compared with the highest and the lowest since the last turn."""
    turns: list[int] = []
    low = high = direction = 0
    for i, value in enumerate(curve):
        high, low = (i if value > curve[high] else high), (i if value < curve[low] else low)
        falls, rises = curve[high] - value >= swing, value - curve[low] >= swing
        if direction >= 0 and falls:
            turns += [high] * direction
            direction, low, high = -1, i, i
        elif direction <= 0 and rises:
            turns += [low] * -direction
            direction, low, high = 1, i, i
    return turns


@given(CURVES, SWINGS)
def test_turning_points(curve: np.ndarray, swing: float) -> None:
    assert turning_points(curve, swing) == turns_of(curve, swing)


@given(CURVES, st.integers(1, 6))
def test_the_largest_swing_with_so_many_turning_points(curve: np.ndarray, reversals: int) -> None:
    low, high = 0.0, float(np.ptp(curve))
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if len(turns_of(curve, middle)) >= reversals else (low, middle)
    assert largest_swing(curve, reversals) == low


@given(CURVES)
def test_running_medians_of_one_curve_and_of_several(curve: np.ndarray) -> None:
    expected = ndimage.median_filter(curve, 5, mode="reflect")
    assert running_median(curve, 5).tolist() == expected.tolist()
    if curve.size > 1:
        assert running_median_of_5(np.stack([curve, -curve])).tolist() == [expected.tolist(), (-expected).tolist()]


@given(SAMPLES)
def test_complete_samples_and_their_means(lists: list[list[float]]) -> None:
    samples = [np.array(one, dtype=float) for one in lists]
    kept = complete(samples)
    assert kept == [place for place, one in enumerate(samples) if one.size > 1 and np.isfinite(one).all()]
    used = [samples[place] for place in kept]
    assert means(used).tolist() == [one.mean() for one in used]
    assert means(used, 1, 2).tolist() == [one[1::2].mean() for one in used]


@given(st.integers(2, 40), st.integers(1, 20), st.integers(0, 1000))
def test_means_of_samples_of_one_size_are_the_same_to_the_last_bit(size: int, count: int, seed: int) -> None:
    samples = list(np.random.default_rng(seed).normal(0, 1e3, (count, size)))
    for start, every in ((0, 1), (0, 2), (1, 2)):
        assert means(samples, start, every).tolist() == [one[start::every].mean() for one in samples]
