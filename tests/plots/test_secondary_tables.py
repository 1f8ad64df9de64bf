"""What stands beside the final return, in words and in the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest

from aggregate.analysis.summary import summarise
from plots.report import render
from plots.secondary_tables import format_odds

ODDS = {"flag": "log_std_oscillates", "factor": "pi_lr_scale", "low": "0.3", "high": "1", "raised_low": 1, "n_low": 12,
        "raised_high": 9, "n_high": 12, "odds": 20.0, "ci_low": 3.0, "ci_high": 140.0, "p": 0.004}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "Raising pi_lr_scale from 0.3 to 1 multiplies the odds of “log_std oscillates” by 20 [3, 140]: "
             "1 of 12 runs, then 9 of 12 (p = 0.004)"),
        ({"low": "min", "high": "mean", "factor": "reduce"}, "Setting reduce from min to mean multiplies "),
    ],
)  # fmt: skip
def test_odds_in_words(change: dict[str, str], words: str) -> None:
    assert format_odds({**ODDS, **change}).startswith(words)


def test_a_factor_that_raises_flags_and_moves_diagnostics_is_told(tmp_path: Path, synthetic: ModuleType) -> None:
    special = {1: {"oscillate": True, "collapse": True}, 3: {"oscillate": True}}
    sweep = synthetic.make_sweep(tmp_path, (600.0, 610.0, 600.0, 600.0), 4, special=special, lean=True)
    configs = tuple(
        dataclasses.replace(c, factors={"rate": (0.3, 1.0)[i % 2], "head": "ab"[i // 2]}, label=f"{i}")
        for i, c in enumerate(sweep.configs)
    )
    text = render(summarise([dataclasses.replace(sweep, factors=("rate", "head"), configs=configs)]))
    assert "Raising rate from 0.3 to 1 multiplies the odds of “log_std oscillates” by " in text
    assert "0 of 8 runs, then 8 of 8" in text
    assert "What rate does to the odds of" not in text  # the fault is there with both heads
    assert "Against the baseline, on further endpoints" in text
    assert "Diagnostics that differ from the baseline's (" in text
    assert "4 of 4 [51 %, 100 %]" in text  # collapsed
