"""What agents tell of a training."""

from __future__ import annotations

import math

import pytest

from sweepwise.core.trainable import Progress


@pytest.mark.parametrize(
    ("progress", "value", "line"),
    [
        (Progress(5000, 100_000, 12.54, 3.0), 1431.23, "step 5,000 of 100,000: return 1,431.2, 12.5 steps/s"),
        (Progress(20, 1, 1500.0, None), 0.00123456, "step 20: return 0.001235, 1,500.0 steps/s"),
        (Progress(20, 40, 0.0, None), -2.0, "step 20 of 40: return -2"),
        (Progress(20, 40, 0.0, None), math.nan, "step 20 of 40: return nan"),
        (Progress(20, 40, 0.0, None), -math.inf, "step 20 of 40: return -inf"),
    ],
)
def test_an_evaluation_is_one_line(progress: Progress, value: float, line: str) -> None:
    assert progress.evaluation_line("return", value) == line
