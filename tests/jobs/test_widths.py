"""What is printed fits the terminal: columns give way before a name breaks, and no line is too long."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

from jobs.backends.base import Usage
from jobs.cli import cli
from jobs.doctor import probe
from jobs.results.attempts import RunRef
from jobs.results.records import AttemptOutcome, Status, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.runs.usage import Report
from jobs.terminal import tables
from jobs.terminal.wrap import ELLIPSIS, shortened_word, split, wrap
from sweepwise.core.trainable import Evaluation

RATES = ("0.0003", "0.001", "0.003")
LABELS = [f"algorithm.optimizer.learning_rate={rate}, algorithm.replay.batch_size=256" for rate in RATES]
PLAN = """
plan: mine
title: A plan with names as long as those of Hydra, which say where a hyperparameter belongs
program:
  name: trained
  command: python train.py {overrides}
  overrides: hydra
  hyperparameters:
    algorithm.optimizer.learning_rate: 1e-3
    algorithm.replay.batch_size: 256
    algorithm.exploration.schedule.initial_fraction: 0.5
    steps: 1000
  seed: seed
  steps: steps
  metrics: {read: [{csv: log.csv}], primary: eval/episode_return_of_the_deterministic_policy}
seeds: 3
sweeps:
  optimizer-ablation:
    options:
      learning-rate: {goal: which rate, grid: {algorithm.optimizer.learning_rate: [3e-4, 1e-3, 3e-3]}}
      batch-size: {grid: {algorithm.replay.batch_size: [64, 128, 256], algorithm.optimizer.learning_rate: [1e-3, 3e-3]}}
  exploration: {priority: 2, grid: {algorithm.exploration.schedule.initial_fraction: [0.25, 0.5]}}
"""
REASON = "RuntimeError: CUDA error: device-side assert triggered in algorithm/networks/critic_ensemble.py line 1234"
NAME = "optimizer-ablation.learning-rate"
# Command -> beginnings of lines that are never wrapped, for a command or a path, or not in a pipe.
COMMANDS: dict[str, tuple[str, ...]] = {
    "status": (), "status --runs": (), "plan": ("base: ", "  20"), f"plan {NAME}": (), "plan optimizer-ablation": (),
    "keys": (), f"compare {NAME}:A {NAME}:B": (), f"aggregate {NAME} --out OUT": ("wrote ",),
    "next": ("  sweeps ", "then "), "evaluate RUN": (), "doctor --no-job": (),
    f"rerun {NAME} --all --dry-run --cluster local": ("PYTHONSAFEPATH",),
    "import FILES --name p --map MAP": (), "import FILES --dry-run --map MAP": (),
}  # fmt: skip
EVERYTHING = 2000  # columns: nothing gives way


@pytest.fixture(scope="module")
def judged(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with long labels: done runs, one that failed for a long reason, one without a result."""
    root: Path = tmp_path_factory.mktemp("widths") / "results"
    store = synthetic.submitted(root, (600.0, 580.0, 100.0), 3)
    sweep = store.read_sweep("ensemble")
    configs = [dataclasses.replace(c, label=label) for c, label in zip(sweep.configs, LABELS, strict=True)]
    store.write_sweep(dataclasses.replace(sweep, name=NAME, configs=configs))
    store.sweep_path("ensemble").unlink()
    run = RunRef(configs[2].config_id, 3)
    shutil.rmtree(store.attempts.folder(run) / "metrics")
    store.attempts.write_status(run, Status(1, 12_000, 20_000, 12.5, 250.0, 1000.0))
    (store.attempts.folder(run) / "outcome" / "001.json").unlink()
    store.attempts.write_outcome(run, 1, AttemptOutcome("failed", 12_000, REASON, 1000.0))
    return root


@pytest.fixture
def printed(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: Any) -> Callable[..., list[str]]:
    """The lines of `sweeps ...` on a terminal of a width, or through a pipe for None."""
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    monkeypatch.setattr("jobs.backends.registry.choose", lambda: ("local", ""))
    monkeypatch.setattr(probe, "facts", lambda: {"host": "a-node-with-a-long-name.cluster.example.org", "cores": 2,
                        "gpus": 1, "torch": "2.4", "cuda": "", "mujoco": "3"})  # fmt: skip
    agent.evaluate = lambda config, seed, folder, **how: iter([Evaluation(seed, 20_000, "eval", (431.5, 802.25), ())])
    (tmp_path / "mine.yaml").write_text(PLAN)
    for algorithm in ("model_predictive_control/with_terminal_value", "soft_actor_critic/with_layer_norm"):
        path = tmp_path / "published" / algorithm.replace("/", "-") / "quadruped-walk.csv"
        path.parent.mkdir(parents=True)
        path.write_text("step,reward,seed\n" + "".join(f"{s},{s / 90:.2f},1\n" for s in range(0, 20_001, 5000)))
    run = f"{ResultsFolder(judged).read_sweep(NAME).configs[0].config_id}/seed-1"  # type: ignore[union-attr]
    places = {"OUT": tmp_path / "r.html", "RUN": run, "FILES": tmp_path / "published",
              "MAP": "step=step,eval_return=reward,seed=seed"}  # fmt: skip
    shutil.copytree(judged, tmp_path / "results")

    def printed(command: str, width: int | None) -> list[str]:
        words = [str(places.get(word, word)) for word in command.split()]
        words += ["--plan", str(tmp_path / "mine.yaml")] if words[0] in ("plan", "keys", "next", "adopt") else []
        terminal = {"COLUMNS": str(width), "FORCE_COLOR": "1"} if width else {"COLUMNS": None, "FORCE_COLOR": None}
        result = CliRunner(env=terminal).invoke(cli, ["--results", str(tmp_path / "results"), *words])
        assert result.exit_code == (words[0] == "doctor"), result.output
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", result.stdout).splitlines()

    printed(f"adopt {NAME} --keep", None)
    return printed


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_too_long_and_no_name_breaks(printed: Callable[..., list[str]], command: str) -> None:
    whole = {word for line in printed(command, EVERYTHING) for word in line.split()}
    for width in (80, 120, 200, None):
        lines = [line for line in printed(command, width) if not line.startswith(COMMANDS[command])]
        assert [line for line in lines if cell_len(line.rstrip()) > (width or 120)] == [], width
        words = {word for line in lines if not line.startswith("not shown on") for word in line.split()}
        assert {word for word in words - whole if not word.startswith(ELLIPSIS)} == set(), width
        assert {word for word in words - whole if not any(known.endswith(word[1:]) for known in whole)} == set(), width


def test_ids_and_scores_stay_where_columns_are_left_out(printed: Callable[..., list[str]]) -> None:
    narrow, wide = printed("status --runs", 80), printed("status --runs", 200)
    runs = [line.split()[1] for line in wide if re.match(r"\d  \w+/seed-", line)]
    assert len(runs) == 9
    assert [line.split()[1] for line in narrow if re.match(r"\d  \w+/seed-", line)] == runs
    assert "not shown on 80 columns: attempt, node, last return" in narrow
    assert not any(line.startswith("not shown") for line in wide)
    assert any("…" in line for line in narrow)
    assert not any("…" in line for line in wide)
    assert "5585e3f9fb  …optimizer.learning_rate=0.0003,  3 done                100%" in printed("status", 80)


def test_what_was_used_fits_80_columns() -> None:
    submission = Submission("20261130-235959-123-optimizer-ablation", NAME, "slurm", "h", "u", 0.0, [], 1, 16, "j", {})
    report = Report(submission, (Usage(90_000.0, 700_000.0, 31.5),), 12.3, 64.0, 2880)
    for width in (80, 120, 200):
        console = Console(file=io.StringIO(), width=width)
        console.print(tables.usage_table([report]))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, text.splitlines())) <= width
        assert {"20261130-235959-123-optimizer-ablation", "cpus=8", "mem_gb=40"} <= set(text.split())


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("a b", 80, ["a b"]),
        ("", 80, []),
        ("one  two three", 8, ["one  two", "  three"]),
        ("a\nb", 80, ["a", "  b"]),
        ("algorithm.lr=0.1 x", 10, ["…lr=0.1 x"]),
        ("abcdefghij", 6, ["…hij"]),
        ("日本日本 xyz", 6, ["…本", "  xyz"]),
    ],
)
def test_text_is_wrapped_at_blanks(text: str, width: int, lines: list[str]) -> None:
    assert wrap(text, width) == lines


@hypothesis.given(hypothesis.strategies.text(min_size=1, max_size=60), hypothesis.strategies.integers(4, 40))
def test_any_text_fits(text: str, width: int) -> None:
    assert all(cell_len(line) <= width for line in wrap(text, width))
    word = "".join(text.split())
    assert cell_len(shortened_word(word, width)) <= width
    assert all(cell_len(part) <= width for part in split(word, width))
    assert "".join(split(word, width)) == word


def test_a_program_without_tasks_has_its_sweep_shown(printed: Callable[..., list[str]]) -> None:
    lines = printed(f"plan {NAME}", 120)
    assert any("algorithm.optimizer.learning_rate=3e-4" in line for line in lines)
    assert lines[-2] == "3 configurations, 9 runs"
