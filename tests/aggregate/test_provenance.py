"""Seeds that were not made alike."""

from __future__ import annotations

import pandas as pd

from aggregate.inputs.provenance import mixture, seeds_by_origin

LINES = [
    # seed 2 went on with another code; seed 3 is of before the code was recorded
    ("c", 1, "aa", "cuda: A100", "2.4"), ("c", 2, "aa", "cuda: A100", "2.4"), ("c", 2, "bb", "cuda: A100", "2.4"),
    ("c", 3, "", "cuda: H100", "2.4"),
]  # fmt: skip
ORIGINS = pd.DataFrame(LINES, columns=["config_id", "seed", "code", "device", "torch"])


def test_what_differs_is_named_with_its_seeds() -> None:
    assert mixture(ORIGINS) == "3 versions of the code and 2 kinds of device"
    assert seeds_by_origin(ORIGINS) == (
        "3 versions of the code (not recorded: 3; aa: 1, 2; bb: 2) and "
        "2 kinds of device (cuda: A100: 1, 2; cuda: H100: 3)"
    )


def test_seeds_that_were_made_alike_are_not_remarked_upon() -> None:
    assert mixture(ORIGINS[:2]) == seeds_by_origin(ORIGINS[:2]) == ""
    assert mixture(ORIGINS[:0]) == ""
