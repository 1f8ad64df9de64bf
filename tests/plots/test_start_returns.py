"""The curves over all starts, a diverged run counted as random actions."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from aggregate.analysis.summary import summarise
from plots.report import render


def test_only_configurations_with_diverged_runs_are_drawn_again(tmp_path: Path, synthetic: ModuleType) -> None:
    diverged = synthetic.make_sweep(tmp_path / "a", (600.0, 500.0), 2, lean=True, states={(1, 2): "diverged"})
    whole = synthetic.make_sweep(tmp_path / "b", (600.0,), 1, lean=True, name="whole")
    summary = summarise([diverged, whole])
    assert set(summary.sweeps[0].start_curves["config_id"]) == {"0000000001"}
    starts = summary.sweeps[0].start_curves
    last = starts[(starts["metric"] == "eval_return_planner") & (starts["step"] == 20_000)]
    final = summary.sweeps[0].scores.set_index(["config_id", "seed"])["so_far"]["0000000001", 1]
    assert summary.sweeps[0].random is not None
    # one seed is there, the diverged one counts as random actions
    assert abs(last["mean"].item() - (final + summary.sweeps[0].random.mean) / 2) < 20
    text = render(summary)
    assert text.count("over all starts</h2>") == 1
    assert (
        text.count("dotted all starts, a diverged run counted as random actions") == 3
    )  # planning, policy without MPC, training


def test_a_configuration_that_was_stopped_whole_has_no_rank(tmp_path: Path, synthetic: ModuleType) -> None:
    states = {(1, 1): "stopped", (1, 2): "stopped"}
    sweep = synthetic.make_sweep(tmp_path, (600.0, 100.0), 2, lean=True, states=states, labels=("kept", "given up"))
    summary = summarise([sweep])
    kept, given_up = summary.sweeps[0].ranking.to_dict("records")
    assert (kept["final_primary_n"], given_up["final_primary_n"], given_up["start_primary_n"]) == (2, 0, 0)
    assert summary.sweeps[0].contrasts["config_id"].tolist() == ["0000000000"]
    table = render(summary).partition('-contrasts">')[2].partition("</section>")[0]
    assert "given up" not in table
