"""Results of runs that are kept beside their rows: the same numbers, and made anew only where something changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from aggregate import flags
from aggregate.analysis import judged_cache, judged_runs
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.inputs.runs import ConfigSource, SweepSource, load

TOTAL = 20_000


class Counted:
    """How often runs are judged by themselves, and compared with their sweep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.single: list[tuple[str, int]] = []
        self.compared: list[tuple[str, int]] = []
        known = flags.judge_run

        def judge(config_id: str, seed: int, view: Any, among: Any) -> Any:
            (self.compared if among is flags.COMPARING else self.single).append((config_id, seed))
            return known(config_id, seed, view, among)

        monkeypatch.setattr(judged_runs.flags, "judge_run", judge)

    def of(self, sweep: SweepSource) -> tuple[int, int]:
        """Runs judged by themselves and compared, to summarise the sweep."""
        self.single.clear()
        self.compared.clear()
        summarise([sweep])
        return len(self.single), len(self.compared)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def make(synthetic: ModuleType, tmp_path: Path) -> Callable[..., SweepSource]:
    """A sweep whose runs have caches."""

    def sweep(finals: tuple[float, ...] = (600.0, 500.0), **options: Any) -> SweepSource:
        made = synthetic.make_sweep(tmp_path, finals, 2, **options)
        return cached(made, tmp_path)

    return sweep


def cached(sweep: SweepSource, root: Path) -> SweepSource:
    def of(config: ConfigSource) -> ConfigSource:
        folder = root / "cache" / config.config_id
        runs = (dataclasses.replace(run, cache=folder / f"seed-{run.seed}.rows") for run in config.runs)
        return dataclasses.replace(config, runs=tuple(runs))

    return dataclasses.replace(sweep, configs=tuple(map(of, sweep.configs)))


def equal(one: SweepSummary, other: SweepSummary) -> None:
    """Every frame of two summaries is the same."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert one.seeds.keys() == other.seeds.keys()
    for kind, curves in one.seeds.items():
        pd.testing.assert_frame_equal(curves, other.seeds[kind], check_exact=True)
    assert one.random == other.random


def test_what_is_kept_gives_the_same_summary(make: Callable[..., SweepSource], counted: Counted) -> None:
    states = {(0, 2): "running", (1, 1): "diverged"}
    sweep = make((600.0, 500.0, 300.0), special={2: {"collapse": True}}, states=states)
    without = cached(sweep, Path("/nonexistent"))
    uncached = dataclasses.replace(without, configs=tuple(
        dataclasses.replace(c, runs=tuple(dataclasses.replace(r, cache=None) for r in c.runs)) for c in without.configs
    ))  # fmt: skip
    (plain,), (first,), (second,) = (summarise([one]).sweeps for one in (uncached, sweep, sweep))
    equal(plain, first)
    equal(first, second)
    assert counted.of(sweep) == (0, 0)


def test_one_new_shard_judges_its_run_alone(make: Callable[..., SweepSource], counted: Counted, synthetic: Any) -> None:
    sweep = make((700.0, 550.0, 400.0), lean=True)
    assert counted.of(sweep) == (6, 6)
    synthetic.write_run(sweep.configs[1].runs[1].folder, 2, total=TOTAL, final=551.0, rng_key=1, tag="a002", lean=True)
    assert counted.of(sweep) == (1, 1)
    assert counted.single == [(sweep.configs[1].config_id, 2)]


def test_sweeps_with_other_seeds_of_a_configuration_share_its_file(
    make: Callable[..., SweepSource], counted: Counted
) -> None:
    sweep = make((600.0,), lean=True)
    (config,) = sweep.configs
    alone = [dataclasses.replace(sweep, configs=(dataclasses.replace(config, runs=(run,)),)) for run in config.runs]
    assert [counted.of(one)[0] for one in (*alone, *alone, sweep)] == [1, 1, 0, 0, 0]


def test_a_new_best_run_compares_all_and_judges_one(
    make: Callable[..., SweepSource], counted: Counted, synthetic: Any
) -> None:
    sweep = make(lean=True)
    counted.of(sweep)
    synthetic.write_run(sweep.configs[1].runs[1].folder, 2, total=TOTAL, final=950.0, rng_key=1, tag="a002", lean=True)
    assert counted.of(sweep) == (1, 4)


def test_other_states_steps_agents_or_rules_are_other_results(
    make: Callable[..., SweepSource], counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make(lean=True)
    counted.of(sweep)
    first = sweep.configs[0]
    stopped = dataclasses.replace(
        first, runs=(dataclasses.replace(first.runs[0], state="interrupted"), *first.runs[1:])
    )
    assert counted.of(dataclasses.replace(sweep, configs=(stopped, *sweep.configs[1:]))) == (1, 1)
    assert counted.of(sweep) == (1, 1)  # and back
    shorter = tuple(dataclasses.replace(config, total_steps=TOTAL // 2) for config in sweep.configs)
    assert counted.of(dataclasses.replace(sweep, configs=shorter)) == (4, 4)
    counted.of(sweep)
    diagnostics = dataclasses.replace(sweep.agent.diagnostics, thresholds={"plateau": 0.4})
    assert counted.of(dataclasses.replace(sweep, agent=dataclasses.replace(sweep.agent, diagnostics=diagnostics))) == (
        4,
        4,
    )
    counted.of(sweep)
    monkeypatch.setattr(judged_cache, "rules", lambda: 7)
    assert counted.of(sweep) == (4, 4)


@pytest.mark.parametrize("name", [judged_cache.SINGLE, judged_cache.COMPARED])
@pytest.mark.parametrize("damage", [b"", b"x" * 200, None])
def test_a_damaged_file_is_made_again(
    make: Callable[..., SweepSource], counted: Counted, name: str, damage: bytes | None
) -> None:
    sweep = make(lean=True)
    (whole,) = summarise([sweep]).sweeps
    cache = sweep.configs[0].runs[0].cache
    assert cache is not None
    path = cache.with_name(name)
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    again = counted.of(sweep)
    assert again == ((2, 0) if name == judged_cache.SINGLE else (0, 2))  # the runs of one configuration
    equal(whole, summarise([sweep]).sweeps[0])


def test_a_run_with_a_file_that_cannot_be_read_is_not_kept(make: Callable[..., SweepSource], counted: Counted) -> None:
    """The cause may be temporary."""
    sweep = make(lean=True)
    (sweep.configs[0].runs[0].folder / "metrics" / "a001-p00001.parquet").write_bytes(b"no shard")
    assert counted.of(sweep) == (4, 4)
    assert counted.of(sweep) == (1, 1)


@pytest.mark.parametrize("detector", flags.SINGLE, ids=lambda detector: detector.name)
def test_only_declared_detectors_depend_on_the_sweep(
    detector: flags.Detector, synthetic: ModuleType, tmp_path: Path
) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0,), 1, special={0: {"collapse": True, "oscillate": True}})
    (config,), (run,) = sweep.configs, sweep.configs[0].runs
    rows = load([sweep]).runs[run.config_id, run.seed].columns()
    found = [
        detector.assess(flags.RunView(rows, TOTAL, "done", sweep.agent, config.config, reference))
        for reference in (flags.SweepReference(), flags.SweepReference(-50.0, 5000.0, 0.1))
    ]
    assert repr(found[0]) == repr(found[1])
