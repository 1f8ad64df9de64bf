"""The benchmark of the flags: its arithmetic, and with few repetitions the facts that must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from aggregate import flags


@pytest.fixture(scope="module")
def bench(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/flags.py")


def test_every_flag_of_a_curve_has_a_fault(bench: ModuleType) -> None:
    assert set(bench.FAULTS) == set(flags.BY_NAME) - {"diverged", "stopped_early"}
    assert list(bench.FAULTS) == [d.name for d in flags.DETECTORS if d.name in bench.FAULTS]


@pytest.mark.parametrize("kind", ["white", "autocorrelated", "heavy-tailed", "heteroscedastic"])
def test_noise_has_unit_variance_and_its_kind(bench: ModuleType, kind: str) -> None:
    drawn = np.array([bench.noise(np.random.default_rng(seed), kind, 500) for seed in range(100)])
    assert drawn.var() == pytest.approx(1, abs=0.1)
    near = np.mean(drawn[:, 1:] * drawn[:, :-1])
    assert near == pytest.approx(0.95 if kind == "autocorrelated" else 0.0, abs=0.1)
    assert (np.abs(drawn).max() > 7) == (kind == "heavy-tailed")


def test_the_area_under_roc_by_hand(bench: ModuleType) -> None:
    assert bench.area_under_roc(np.array([0.0, 1.0]), np.array([0.5, 2.0])) == pytest.approx(3 / 4)


@pytest.mark.parametrize(("of_100", "smallest"), [(96, "0.2"), (95, "not by 0.3")])
def test_what_is_found_from_is_the_worst_noise_and_stays_found(bench: ModuleType, of_100: int, smallest: str) -> None:
    """96 of 100 show that more than 90 % are found."""
    counts = {(0.1, "white"): 100, (0.1, "heavy-tailed"): 50, (0.2, "white"): 100, (0.2, "heavy-tailed"): 96,
              (0.3, "white"): 100, (0.3, "heavy-tailed"): of_100}  # fmt: skip
    lines = [(*of, number < raised) for of, raised in counts.items() for number in range(100)]
    found = pd.DataFrame(lines, columns=["effect", "noise", "raised"]).assign(size=40)
    assert bench.smallest_effect(found, 40) == smallest
    sparse = found[found["noise"] == "heavy-tailed"].assign(noise="missing")
    assert bench.smallest_effect(pd.concat([found[found["noise"] == "white"], sparse]), 40) == f"0.1 ({smallest})"
    assert bench.smallest_effect(found, 200) == "n/a"


def test_healthy_runs_of_another_seed_raise_next_to_nothing(bench: ModuleType) -> None:
    findings, votes = bench.clean(3, 2)
    raised = findings[findings["state"] == flags.FLAG]
    assert len(raised.groupby(["noise", "size", "config_id", "seed"])) <= 10  # 4 % of 240 runs
    assert (votes["state"] != flags.FLAG).all()
    few = findings[(findings["size"] == 20) & (findings["state"] == flags.NOT_ASSESSABLE)]
    assert {"pi_loss_spikes", "consistency_spikes", "targets_swing"} <= set(few["flag"])


def test_a_known_cause_is_named_first(load_script: Callable[[str], ModuleType]) -> None:
    causes = load_script("benchmarks/flag_causes.py")
    named = {truth: causes.leading_cause((truth, 3, 0)) for truth in causes.TRUTHS}
    assert sum(truth == first for truth, first in named.items()) >= len(named) - 1
    assert named["none"] == "none"


def test_large_faults_of_another_seed_are_found(bench: ModuleType) -> None:
    found = bench.faulty(3, 1, sizes=(200,))
    largest = found[found["effect"] == found.groupby("flag")["effect"].transform("max")]
    assert set(largest["flag"]) == set(bench.FAULTS)
    assert largest["raised"].mean() > 0.9


def test_a_page_without_its_markers_is_refused_before_the_work(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "flags.md").write_text("# Flags\n")
    assert bench.main(["--out", str(tmp_path)]) == 1
    assert "are expected; restore them" in capsys.readouterr().err


def test_the_page_is_written_between_its_markers(bench: ModuleType, tmp_path: Path) -> None:
    assert bench.main(["--configurations", "1", "--repetitions", "1", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "docs" / "flags.md").read_text()
    assert "Not measured yet" not in text
    assert text.count("| policy loss spikes |") == 1
    assert text.count("| encoder freeze |") >= 1
    assert "## How to read it" in text
    assert " nan" not in text
