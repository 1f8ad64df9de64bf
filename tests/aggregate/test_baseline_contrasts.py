"""Contrasts beyond the endpoint that decides, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggregate.analysis.baseline_contrasts import diagnostics, secondary
from aggregate.analysis.factor_effects import OUTCOMES
from aggregate.statistics.alpha_spending import InterimAnalyses
from tdmpc.metrics import CATALOGUE

NOISE = np.array([-1.0, 0.0, 1.0])  # of three seeds: variance 1


def runs(**columns: dict[str, float]) -> pd.DataFrame:
    """Metric -> configuration -> mean."""
    configs = list(next(iter(columns.values())))
    frame = pd.DataFrame({"config_id": np.repeat(configs, 3), "seed": [1, 2, 3] * len(configs)})
    return frame.assign(**{m: np.concatenate([of[c] + NOISE for c in configs]) for m, of in columns.items()})


def test_every_secondary_endpoint_is_corrected_by_itself() -> None:
    means = {"base": 0.0, "a": 3.0, "b": 2.0}
    scores = runs(**dict.fromkeys(OUTCOMES[1:], means))
    table = secondary(scores, "base", InterimAnalyses()).set_index(["outcome", "config_id"])
    assert set(table.index.get_level_values("outcome")) == set(OUTCOMES[1:])
    own = table.loc["fall_primary"]
    assert own["difference"].to_dict() == {"a": 3.0, "b": 2.0}
    # Welch with se sqrt(2/3) and 4 degrees of freedom: p of 3 and of 2; Holm over two
    assert own["p"].to_dict() == {"a": pytest.approx(2 * 0.02131, rel=1e-3), "b": pytest.approx(0.07048, rel=1e-3)}
    assert secondary(scores, "", InterimAnalyses()).empty


def test_diagnostics_are_judged_by_the_false_discovery_rate_over_all_of_them() -> None:
    late = runs(pi_loss={"base": 0.0, "a": 9.0, "b": 0.0}, grad_norm={"base": 0.0, "a": 0.1, "b": 0.0})
    table = diagnostics(late, "base", CATALOGUE).set_index(["outcome", "config_id"])
    assert table["distinct"].to_dict() == {
        ("pi_loss", "a"): True, ("pi_loss", "b"): False, ("grad_norm", "a"): False, ("grad_norm", "b"): False,
    }  # fmt: skip
    assert table.loc[("pi_loss", "a"), "p"] == pytest.approx(4 * table.loc[("pi_loss", "a"), "p_raw"])
    assert diagnostics(late, "", CATALOGUE).empty


def test_one_seed_has_a_difference_and_no_p() -> None:
    late = runs(pi_loss={"base": 0.0, "a": 9.0}).iloc[:4]
    (line,) = diagnostics(late, "base", CATALOGUE).to_dict("records")
    assert line["difference"] == pytest.approx(9.0 - 1.0)
    assert np.isnan(line["p"])
    assert not line["distinct"]
