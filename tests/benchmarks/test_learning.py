"""The learning study: the verdict's arithmetic, and every output from made-up runs."""

from __future__ import annotations

import csv
import dataclasses
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from jobs.planning import plan
from jobs.planning.expand import expand
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome
from jobs.results.results_folder import ResultsFolder
from jobs.submit.submit import record_sweeps
from tdmpc.config import TrainConfig

# Episodes of ten agent steps; a run takes seconds.
TINY = """\
plan: learning
base: {action_repeat: 100, seed_steps: 20, utd_ratio: 1, batch_size: 8, mlp_dim: 32, enc_dim: 32, latent_dim: 32,
       iterations: 1, num_samples: 8, num_pi_trajs: 4, num_elites: 4, eval_freq: 10, eval_episodes: 1,
       final_eval_episodes: 1, end_entropy_coeff: 1e-4, detach_encoder_ratio: 0}
sweeps:
  learning:
    options:
      cartpole-swingup: {steps: 100, grid: {task: [cartpole-swingup]}}
      walker-stand: {steps: 100, grid: {task: [walker-stand]}}
"""


@pytest.fixture(scope="module")
def learning(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/learning.py")


@pytest.fixture(autouse=True)
def references(learning: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up runs of the reference."""
    finals = {"cartpole-swingup": (8800, (420, 400, 380)), "walker-stand": (8200, (500, 510, 490))}
    lines = ["task,seed,step,eval_return_planner"]
    for task, (steps, returns) in finals.items():
        for seed, final in enumerate(returns):
            # the last four count: 100 above and below, then twice the final
            course = (0, final + 100, final - 100, final, final)
            lines += [f"{task},{seed},{steps * (n + 1) // 5},{value}" for n, value in enumerate(course)]
    (tmp_path / "reference.csv").write_text("\n".join(lines))
    monkeypatch.setattr(learning, "REFERENCE_RUNS", tmp_path / "reference.csv")


def reference(learning: ModuleType) -> Any:
    """One evaluation each of two seeds after 100 steps."""
    evaluations = {"seed": [1, 2], "step": [100, 100], "eval_return_planner": [450.0, 550.0]}
    return learning.Reference(pd.DataFrame(evaluations), random=100.0)


def test_the_margin_is_15_percent_of_what_the_reference_gained(learning: ModuleType) -> None:
    assert reference(learning).margin == pytest.approx(60)
    found = learning.references()["cartpole-swingup"]
    assert (found.steps, list(found.finals), found.random) == (8800, [420, 400, 380], 27)


@pytest.mark.parametrize(
    ("steps", "finished", "ends", "says"),
    [
        (100, 5, (-59.9, 9.0), "non-inferior"),
        (100, 5, (-60.0, 9.0), "**not shown**: the interval reaches below"),
        (100, 5, (-99.0, -0.1), "**inferior**: the interval lies below zero"),
        (90, 5, (10.0, 20.0), "not comparable: 90 steps, the reference has 100"),
        (100, 4, (10.0, 20.0), "not shown: 1 of 5 seeds did not finish"),
        (100, 5, (math.nan, math.nan), "not shown: an interval needs two seeds"),
    ],
)
def test_verdict(learning: ModuleType, steps: int, finished: int, ends: tuple[float, float], says: str) -> None:
    assert learning.judge(reference(learning), steps, finished, 5, ends) == says


def test_the_plan_ends_where_the_references_do_with_an_evaluation_there(
    learning: ModuleType, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "REFERENCE_RUNS", repository / "benchmarks" / "results" / "tdmpc2.csv")
    loaded = plan.load(learning.PLAN)
    found = {
        c.config.values["task"]: TrainConfig(**c.config.values)
        for sweep in loaded.select("learning")
        for c in expand(loaded, sweep).configurations
    }
    assert {task: config.steps for task, config in found.items()} == {
        task: reference.steps for task, reference in learning.references().items()
    }
    assert all(config.steps % config.eval_freq == 0 for config in found.values())
    assert all(config.steps_are_extendable for config in found.values())  # a try with fewer steps is its beginning


def made_up(learning: ModuleType, synthetic: ModuleType, root: Path, evaluations: int) -> ResultsFolder:
    """Three runs a task, interrupted once: 100 s and 300 s. Their final return: 900 and 300."""
    store, loaded = ResultsFolder(root), plan.load(learning.PLAN)
    store.prepare()
    for sweep in loaded.select("learning"):
        expanded = expand(loaded, dataclasses.replace(sweep, seeds=(1, 2, 3)))
        record_sweeps(store, loaded, [expanded])
        (found,) = expanded.configurations
        for seed in expanded.seeds:
            run = RunRef(found.config_id, seed)
            final = 900.0 if found.config.values["task"] == "walker-stand" else 300.0
            synthetic.write_run(
                store.attempts.folder(run),
                seed,
                total=found.config.steps,
                final=final,
                evaluations=evaluations,
                lean=True,
            )
            for begun, ended in ((1000.0, 1100.0), (2000.0, 2300.0)):
                attempt = store.attempts.claim(run, Attempt(0, "n1", 1, "", begun, "cpu", versions={"torch": "2.9"}))
                outcome = AttemptOutcome("finished", found.config.steps, "", ended)
                store.attempts.write_outcome(run, attempt.number, outcome)
    return store


def test_page_figure_and_csv_come_from_the_runs(learning: ModuleType, synthetic: ModuleType, tmp_path: Path) -> None:
    store = made_up(learning, synthetic, tmp_path / "runs", evaluations=8)
    page, picture, table = learning.write(store, tmp_path / "out")
    lines = {line.split(" | ")[0]: line for line in page.read_text().splitlines() if line.startswith("| ")}
    assert lines["| walker-stand"].endswith("| 500 [475, 525] | 3 | 319 [289, 348] | −52.9 | non-inferior |")
    assert lines["| cartpole-swingup"].endswith("**inferior**: the interval lies below zero |")
    assert "8,800 (17,600) | 3 |" in lines["| cartpole-swingup"]
    assert "Not measured yet" not in page.read_text()
    assert "## How to read it" in page.read_text()
    texts = [element.text for element in ET.parse(picture).iter() if element.text]
    assert {"cartpole-swingup", "walker-stand", "random actions", "A", "B"} <= set(texts)
    assert "var(" not in picture.read_text()
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["task"], row["seed"]) for row in rows[:3]] == [("cartpole-swingup", str(seed)) for seed in (1, 2, 3)]
    assert rows[0]["wall_s"] == "400"
    assert rows[0]["steps_per_s"] == "22.00"  # 8,800 in 400 s
    assert rows[0]["torch"] == "2.9"


def test_other_sweeps_of_the_plan_beside_it_are_not_judged(
    learning: ModuleType, synthetic: ModuleType, tmp_path: Path
) -> None:
    store, loaded = made_up(learning, synthetic, tmp_path / "runs", evaluations=8), plan.load(learning.PLAN)
    before = [path.read_bytes() for path in learning.write(store, tmp_path / "before")]
    others = [expand(loaded, dataclasses.replace(sweep, seeds=(1, 2, 3))) for sweep in loaded.select("precision")]
    record_sweeps(store, loaded, others)
    assert len(others) == 2
    assert [path.read_bytes() for path in learning.write(store, tmp_path / "behind")] == before


def test_before_the_first_evaluation_nothing_is_shown(
    learning: ModuleType, synthetic: ModuleType, tmp_path: Path
) -> None:
    page, picture, _ = learning.write(made_up(learning, synthetic, tmp_path / "runs", evaluations=0), tmp_path / "out")
    assert page.read_text().count("not shown: 3 of 3 seeds did not finish") == 2
    assert "cartpole-swingup" not in picture.read_text()


def test_it_trains_what_is_missing_and_says_what_cannot_be_compared(
    learning: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setattr(learning, "PLAN", tmp_path / "tiny.yaml")
    call = ["--seeds", "2", "--steps", "40", "--out", str(tmp_path)]
    assert learning.main(call) == 0
    page, table = tmp_path / "docs" / "learning.md", tmp_path / "benchmarks" / "results" / "learning.csv"
    assert page.read_text().count("not comparable: 40 steps") == 2
    first = table.read_text()
    rows = list(csv.DictReader(first.splitlines()))
    assert [(row["steps"], row["seeds_side_by_side"], row["threads"]) for row in rows] == [("40", "2", "1")] * 4
    assert learning.main(call) == 0  # nothing is missing
    assert table.read_text() == first
    assert learning.main(["--steps", "10", "--out", str(tmp_path)]) == 1  # shorter than the random actions
    assert table.read_text() == first


def test_tf32_cuts_the_factors_of_products_alone(load_script: Callable[[str], ModuleType]) -> None:
    """Against products in float64 of factors whose last 13 bits were cleared by hand."""
    tf32 = load_script("benchmarks/tf32.py")
    draw = torch.Generator().manual_seed(1)
    a, b, c = (torch.randn(shape, generator=draw, requires_grad=True) for shape in ((9, 40), (40, 7), (9, 7)))

    def cut(x: torch.Tensor) -> torch.Tensor:
        kept = x.detach().contiguous().numpy().view("uint32") & np.uint32(0xFFFFE000)
        return torch.from_numpy(kept.view("float32")).double()

    with tf32.Truncated():
        product = torch.addmm(c, a, b)
        batched = torch.bmm(a[None], b[None])[0] + torch.baddbmm(c[None], a[None], b[None])[0]
        (product * (1 + c.detach())).sum().backward()
    torch.testing.assert_close(product.double(), cut(a) @ cut(b) + c, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(batched.double(), 2 * cut(a) @ cut(b) + c, rtol=1e-5, atol=1e-5)
    slope = cut(1 + c)
    torch.testing.assert_close(a.grad.double(), slope @ cut(b).T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(b.grad.double(), cut(a).T @ slope, rtol=1e-5, atol=1e-5)
    assert torch.equal(c.grad, 1 + c.detach())  # no product
    assert (product - torch.addmm(c, a, b)).abs().max() > 1e-3  # of float32, which it is not


def test_it_trains_with_tf32_beside_the_study(
    learning: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setattr(learning, "PLAN", tmp_path / "tiny.yaml")
    call = ["--seeds", "2", "--steps", "40", "--tasks", "cartpole-swingup", "--out", str(tmp_path)]
    assert learning.main([*call, "--tf32"]) == 0
    assert "| cartpole-swingup | 40 (4,000) | 2 |" in capsys.readouterr().out
    assert not (tmp_path / "docs").exists()
    assert learning.main(call) == 0
    stores = [ResultsFolder(tmp_path / "results" / name) for name in ("tf32", "learning")]
    (cut,), (whole,) = (list(store.root.glob("runs/*/seed-1/checkpoints/*.pt")) for store in stores)
    found = [torch.load(path, weights_only=True)["agent"]["modules"]["policy"]["net.numbers"] for path in (cut, whole)]
    assert 0 < (found[0] - found[1]).norm() < found[1].norm()
