"""Agents with other metrics: few roles, other names and units, and a primary metric of which less is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aggregate import flags
from aggregate.analysis.baseline_contrasts import secondary
from aggregate.analysis.configuration_comparison import ConfigurationComparison
from aggregate.analysis.factor_effects import diagnostics_of
from aggregate.analysis.median_stopping import judge_configuration, underperforming
from aggregate.analysis.question_contrasts import contrasts_by_question
from aggregate.analysis.run_outcomes import FINISHED, with_outcomes
from aggregate.analysis.run_scores import SCORES, run_scores
from aggregate.analysis.start_curves import start_curves
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.flags import (
    BY_NAME,
    FLAG,
    NOT_ASSESSABLE,
    OK,
    RunView,
    Series,
    SweepReference,
    levels_of,
    sweep_reference,
)
from aggregate.inputs.metric_words import value_text, with_unit
from aggregate.inputs.plan_questions import Question, endpoint
from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource
from aggregate.statistics.alpha_spending import ONE_ANALYSIS
from aggregate.statistics.estimates import AgainstBaseline
from sweepwise.core import shards
from sweepwise.core.agent import AgentDescription, Diagnostics
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.metrics import Better, Catalogue, Metric
from sweepwise.core.shard_name import FOLDER
from tdmpc.description import DESCRIPTION

STEPS = Hyperparameter("steps", 1000)
NOTHING_KNOWN = Diagnostics()


def agent_of(
    *metrics: Metric, diagnostics: Diagnostics = NOTHING_KNOWN, keys: Sequence[Hyperparameter] = ()
) -> AgentDescription:
    catalogue = Catalogue({metric.name: metric for metric in metrics}, {"warm": "end of the random actions"})
    return AgentDescription("sac", (STEPS, *keys), catalogue, diagnostics=diagnostics)


def score(better: Better = "up", unit: str = "1", is_list: bool = False) -> Metric:
    return Metric("test/score", "validation", unit=unit, better=better, is_list=is_list, role="primary")


def downward(agent: AgentDescription) -> AgentDescription:
    """The same agent, but less of the primary metric is better."""
    metrics = dict(agent.catalogue.metrics)
    primary = agent.catalogue.primary
    metrics[primary.name] = dataclasses.replace(primary, better="down")
    return dataclasses.replace(agent, catalogue=Catalogue(metrics, agent.catalogue.events))


def scored(values: Sequence[float], agent: AgentDescription, **reference: float) -> RunView:
    """A run of 1000 steps with these evaluations, and the sweep's `low` and `best`."""
    steps = np.linspace(1000 / len(values), 1000, len(values))
    rows = {"validation": {"step": steps, "test/score": np.asarray(values, dtype=float)}}
    return RunView(rows, 1000, "done", agent, reference=SweepReference(**reference))


LOSS = agent_of(score("down"))
UP_AND_DOWN = (agent_of(score()), LOSS)


# --- less is better, by hand ----------------------------------------------------------------------------


def test_a_loss_falls_back_by_how_much_it_rose_again() -> None:
    # pairs 9, 6, 3, 3, 3, 6; means of three: 6, 4, 3, 4: it gained 3 and lost 1 of it
    values = np.repeat([9.0, 6.0, 3.0, 3.0, 3.0, 6.0], 2)
    scores = run_scores(scored(values, LOSS))
    assert (scores["fall_primary"], scores["final_primary"]) == (1.0, 4.5)
    assert run_scores(scored(-values, UP_AND_DOWN[0]))["fall_primary"] == 1.0
    assert run_scores(scored(values, UP_AND_DOWN[0]))["fall_primary"] == 2.0  # from 6 down to 4


def seeds(values: Sequence[float], name: str) -> pd.DataFrame:
    return pd.DataFrame({"config_id": name, "m": values})


def finals(**values: Sequence[float]) -> pd.DataFrame:
    """Runs that finished, none of them unstable."""
    lines = [(name, seed, value) for name, own in values.items() for seed, value in enumerate(own, 1)]
    frame = pd.DataFrame(lines, columns=["config_id", "seed", "final_primary"])
    return frame.assign(outcome=FINISHED, healthy_primary=frame["final_primary"], start_primary=frame["final_primary"])


def test_the_best_has_the_lowest_loss() -> None:
    out = ConfigurationComparison(sign=-1)(finals(far=[10.0, 11, 12], near=[0.5, 1.5, 2.5], best=[0.0, 1, 2]))
    assert out["config_id"].tolist() == ["best", "near", "far"]
    assert out["difference"].tolist() == [0.0, -0.5, -10.0]  # raw
    assert out["distinct"].tolist() == [False, False, True]
    assert out[["first", "last"]].to_numpy().tolist() == [[1, 2], [1, 2], [3, 3]]


def test_the_probability_of_being_better_is_that_of_a_lower_loss() -> None:
    frame = pd.concat([seeds([3.0, 4.0], "base"), seeds([1.0, 3.0], "lower")])
    # of four pairs, three are lower and one is equal
    assert AgainstBaseline(sign=-1)(frame, "config_id", "m", "base")["better"].tolist() == [3.5 / 4]
    assert AgainstBaseline()(frame, "config_id", "m", "base")["better"].tolist() == [0.5 / 4]


def test_secondary_endpoints_go_their_own_way() -> None:
    line = {"final_primary": 0.0, "auc_primary": 1.0, "fall_primary": 1.0, "final_policy": 1.0}
    scores = pd.DataFrame([
        {"config_id": name, "outcome": "finished", **{k: v * size + seed / 10 for k, v in line.items()}}
        for name, size in (("base", 2.0), ("low", 1.0)) for seed in (0, 1)
    ])  # fmt: skip
    better = secondary(scores, "base", ONE_ANALYSIS, -1).set_index("outcome")["better"]
    assert better.to_dict() == {"auc_primary": 1.0, "final_policy": 1.0, "fall_primary": 0.0}


@pytest.mark.parametrize(("floor", "counted"), [(np.nan, 7.0), (5.0, 5.0), (9.0, 9.0)])
def test_a_diverged_run_counts_as_random_actions_or_as_the_highest_loss(floor: float, counted: float) -> None:
    scores = pd.DataFrame({"config_id": "c", "seed": [1, 2, 3], "final_primary": [7.0, 3.0, np.nan]})
    runs = [RunSource("c", seed, Path(), state, 1) for seed, state in ((1, "done"), (2, "done"), (3, "diverged"))]
    findings = pd.DataFrame([("c", 2, flags.COLLAPSE, FLAG)], columns=["config_id", "seed", "flag", "state"])
    out = with_outcomes(scores, runs, findings, floor, -1)
    assert out["start_primary"].tolist() == [7.0, 3.0, counted]
    assert out["healthy_primary"].fillna(-1).tolist() == [7.0, -1.0, -1.0]
    assert out["outcome"].tolist() == ["finished", "collapsed", "diverged"]


@pytest.mark.parametrize(("floor", "expected"), [(np.nan, [11.0, 20.0, 40.0]), (60.0, [11.0, 40.0, 45.0])])
def test_a_diverged_run_goes_on_at_random_actions_or_at_the_highest_loss(floor: float, expected: list[float]) -> None:
    runs = {("a", 1): [10.0, 20.0, 30.0], ("a", 2): [12.0], ("b", 1): [11.0, 4.0, 50.0]}
    lines = [(*run, 10 * (i + 1), value) for run, values in runs.items() for i, value in enumerate(values)]
    curves = {"validation": pd.DataFrame(lines, columns=["config_id", "seed", "step", "test/score"])}
    starts = start_curves(curves, {("a", 2)}, floor, LOSS.catalogue)
    assert starts["mean"].tolist() == expected
    assert set(starts["kind"]) == {"validation"}


@pytest.mark.parametrize(("values", "hopeless"), [((31.0, 90.0, 40.0), True), ((90.0, 29.9, 90.0), False)])
def test_a_configuration_is_hopeless_whose_lowest_loss_is_above_the_median(
    values: tuple[float, ...], hopeless: bool
) -> None:
    def curve(*values: float) -> pd.Series:
        return pd.Series(values, index=[1, 2, 3], dtype=float)

    # averages 20, 30 and 50
    curves = {"a": curve(*values), "b": curve(10, 20, 30), "c": curve(10, 30, 50), "d": curve(30, 50, 70)}
    judged = judge_configuration("a", curves, 0, LOSS.catalogue)
    assert (judged and (judged.best, judged.median, judged.metric.name)) == (
        (31.0, 30.0, "test/score") if hopeless else None
    )


NOTHING = Series(np.empty(0), np.empty(0))


def test_the_reference_of_a_loss_is_its_highest_start_and_its_lowest_level() -> None:
    # windows of three, at the ends over the points inside: starts 9 and 6, ends 2 and 1
    runs = [np.array([10.0, 8.0, 3.0, 2.0]), np.array([6.0, 6.0, 1.0, 1.0])]
    for sign in (-1, 1):
        levels = [levels_of(Series(np.arange(4), -values), NOTHING) for values in runs]  # quality: sign x metric
        reference = sweep_reference(levels, (), sign)
        assert (reference.low, reference.best) == (-sign * 9.0, -sign * 1.0)
    empty = sweep_reference([levels_of(NOTHING, NOTHING)], (), -1)
    assert np.isnan([empty.low, empty.best, empty.jitter_growth]).all()


def test_an_inner_level_is_set_against_the_better_end_of_a_loss() -> None:
    names = [f"c{i}" for i in range(3)]
    configs = [ConfigSource(name, "", {"tau": i}, i == 0, {}, 100, ()) for i, name in enumerate(names)]
    lines = [(name, mean + off) for name, mean in zip(names, (20.0, 2.0, 9.0), strict=True) for off in (-1.0, 0.0, 1.0)]
    scores = pd.DataFrame(lines, columns=["config_id", "final_primary"]).assign(outcome=FINISHED)
    scores = scores.assign(healthy_primary=scores["final_primary"])
    none = pd.DataFrame(columns=["config_id", "seed", "flag", "state"])
    found = {}
    for agent in UP_AND_DOWN:
        sweep = SweepSource("s", "", (Question("?", ("tau",)),), ("tau",), tuple(configs), agent)
        table = contrasts_by_question(sweep, scores, none)
        (found[agent.catalogue.sign],) = table[table["inner"] != ""].to_dict("records")
    assert (found[-1]["low"], found[-1]["estimate"]) == ("2", pytest.approx(2 - 9))
    assert found[-1]["p_raw"] < 0.01
    assert (found[1]["low"], found[1]["p_raw"]) == ("0", 1.0)  # 2 is no better than either end


def test_endpoints_are_called_and_directed_as_the_agent_says() -> None:
    packaged = DESCRIPTION.catalogue
    assert [endpoint(name, packaged).title for name in ("final", "policy", "fall")] == [
        "final return", "final return of the policy without MPC", "fall at the end",
    ]  # fmt: skip
    assert endpoint("final", LOSS.catalogue).title == "final test/score"
    directions = {name: endpoint(name, LOSS.catalogue).better for name in ("final", "area", "policy", "fall", "noise")}
    assert directions == {"final": "down", "area": "down", "policy": "down", "fall": "down", "noise": "down"}
    assert endpoint("final", packaged).better == endpoint("final", agent_of(score("none")).catalogue).better == "up"


def test_a_primary_metric_is_no_diagnostic_whichever_direction_it_has() -> None:
    assert diagnostics_of(LOSS.catalogue) == frozenset()
    assert diagnostics_of(downward(DESCRIPTION).catalogue) == diagnostics_of(DESCRIPTION.catalogue)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("return", 34.4, "34 return points"),
        ("return", 1234.0, "1234 return points"),
        ("nats", 12.34, "12.3 nats"),
        ("1", 0.4123, "0.412"),
        ("", 0.00041, "0.00041"),
        ("points", 12345.0, "12345 points"),
    ],
)
def test_values_read_well_in_any_unit(unit: str, value: float, text: str) -> None:
    assert with_unit(value, score(unit=unit)) == text
    assert value_text(value, score(unit=unit), "+").startswith("+")


# --- flags ----------------------------------------------------------------------------------------------

RISE = 1 - np.exp(-6 * np.linspace(0, 1, 40))
NOISE = np.random.default_rng(3).normal(0, 0.002, 40)
COLLAPSE = np.where(np.arange(40) >= 30, 0.5, 1.0) * RISE + NOISE


@pytest.mark.parametrize("agent", UP_AND_DOWN, ids=["up", "down"])
@pytest.mark.parametrize(("curve", "state"), [(COLLAPSE, FLAG), (RISE + NOISE, OK)])
def test_one_number_per_evaluation_is_enough_to_see_a_collapse(
    agent: AgentDescription, curve: np.ndarray, state: str
) -> None:
    finding = BY_NAME["evaluation_collapse"].assess(scored(agent.catalogue.sign * curve, agent))
    assert finding.state == state
    if state == FLAG:
        first, best, last = (float(part.mean()) for part in (RISE[:6], RISE[24:30], RISE[34:] / 2))
        assert finding.measured == pytest.approx((best - last) / (best - first), abs=0.01)
        assert finding.detail == "0.486 of 0.688 gained lost at the end"
    few = BY_NAME["evaluation_collapse"].assess(scored(curve[:11], agent))
    assert (few.state, few.detail) == (NOT_ASSESSABLE, "11 points, needs 12")


def test_a_loss_that_stays_high_is_stuck_on_a_plateau() -> None:
    stuck = 10 - 2 * RISE
    finding = BY_NAME["plateau"].assess(scored(stuck, LOSS, low=10.0, best=0.5))
    assert finding.state == FLAG
    assert finding.measured == pytest.approx(1 - 2 / 9.5, abs=0.01)
    assert finding.detail == "8.01 at the end, -0.226 since the second quarter; sweep's best: 0.5"
    assert BY_NAME["plateau"].assess(scored(10 - 9 * RISE, LOSS, low=10.0, best=0.5)).state == OK
    nowhere = BY_NAME["plateau"].assess(scored(stuck, LOSS, low=1.0, best=2.0))
    assert (nowhere.state, nowhere.detail) == (NOT_ASSESSABLE, "test/score improves nowhere in the sweep")


def test_an_agent_with_one_metric_is_judged_by_what_it_has() -> None:
    run = scored(RISE + NOISE, UP_AND_DOWN[0], low=0.0, best=1.0)
    judged = {line[2]: line for line in flags.judge_run("c", 1, run)}
    assessed = {name for name, line in judged.items() if line[3] != NOT_ASSESSABLE}
    assert assessed == {"diverged", "stopped_early", "evaluation_collapse", "evaluation_noise", "plateau"}
    missing = {name: line[-1].removeprefix("not assessed: no metric has the role ")
               for name, line in judged.items() if name not in assessed}  # fmt: skip
    assert missing == {
        "training_collapse": "training_return", "training_above_evaluation": "training_return",
        "few_episodes": "primary_episodes",
        "policy_without_mpc_noise": "policy_without_mpc",
        "log_std_oscillates": "log_std", "log_std_at_floor": "log_std",
        "entropy_collapse": "policy_entropy", "pi_loss_spikes": "policy_loss", "pi_loss_variance": "policy_loss",
        "value_bias": "value_bias", "value_off_target": "value_lag", "value_overshoots": "value_prediction",
        "targets_swing": "value_target", "value_error_stays": "value_error", "heads_disagree": "target_spread",
        "q_heads_disagree": "value_spread", "consistency_spikes": "consistency", "consistency_rises": "consistency",
        "validation_spikes": "validation_consistency", "validation_rises": "validation_consistency",
        "reward_degrades": "reward_error",
    }  # fmt: skip
    metric = {name: line[4] for name, line in judged.items()}
    assert [metric[name] for name in ("diverged", "stopped_early", "plateau", "value_bias")] == [
        "nonfinite", "step", "test/score", "",
    ]  # fmt: skip
    assert judged["evaluation_noise"][-1].endswith(" from one evaluation to the next")  # no luck of episodes is known


@pytest.mark.parametrize(
    ("flag", "has", "lacks"),
    [
        ("value_bias", "value_bias", "value_target"),
        ("entropy_collapse", "policy_entropy", "primary"),
        ("training_above_evaluation", "training_return", "primary"),
    ],
)
def test_a_detector_says_which_further_role_it_lacks(flag: str, has: str, lacks: str) -> None:
    agent = agent_of(Metric("m", "train", role=has))
    finding = BY_NAME[flag].assess(RunView({}, 1000, "done", agent))
    assert (finding.state, finding.detail) == (NOT_ASSESSABLE, f"not assessed: no metric has the role {lacks}")


def test_log_std_needs_no_dimensions_but_its_limits() -> None:
    wave = -4 + 0.4 * np.sin(20 * np.linspace(0, 1, 200))
    rows = {"episode": {"step": np.arange(1, 201), "spread": wave}}
    metric = Metric("spread", "episode", role="log_std")
    view = RunView(rows, 200, "done", agent_of(metric))
    assert BY_NAME["log_std_oscillates"].assess(view).state == FLAG
    assert BY_NAME["log_std_oscillates"].of(view.agent).metric == "spread"
    floor = BY_NAME["log_std_at_floor"]
    assert floor.assess(view).detail == "not assessed: the agent declares no limits of log_std"
    keys = (Hyperparameter("least", -4.0), Hyperparameter("most", 2.0))
    limited = agent_of(metric, diagnostics=Diagnostics(log_std_limits=("least", "most")), keys=keys)
    assert floor.assess(dataclasses.replace(view, agent=limited)).state == FLAG
    assert floor.assess(dataclasses.replace(view, agent=limited, config={"least": -20.0})).state == OK


def test_thresholds_and_the_smallest_change_are_those_of_the_agent() -> None:
    detector = BY_NAME["evaluation_collapse"]
    plain = detector.assess(scored(COLLAPSE, UP_AND_DOWN[0]))
    for diagnostics, least in (
        (Diagnostics(thresholds={"evaluation_collapse": 0.9}), 0.9),
        (Diagnostics(smallest_change=0.6), 0.6 / 0.688),
    ):
        agent = agent_of(score(), diagnostics=diagnostics)
        finding = detector.assess(scored(COLLAPSE, agent))
        assert (plain.state, finding.state) == (FLAG, OK)
        assert finding.least == pytest.approx(least, rel=0.01)
    assert "30 % of the gain;" in detector.of(UP_AND_DOWN[0]).help
    assert "30 % of the gain and 0.6;" in detector.of(agent).help
    assert "30 % of the gain and 50 return points;" in detector.of(DESCRIPTION).help


@pytest.mark.parametrize(("gained", "state"), [(8.0, FLAG), (2.0, OK), (0.5, OK)])
def test_training_is_above_evaluation_where_its_loss_is_lower(gained: float, state: str) -> None:
    """Evaluation falls from 10 to 8, training to 2, to 8 or to 9.5."""
    train = Metric("train/score", "episode", better="down", role="training_return")
    agent = agent_of(score("down"), train, diagnostics=Diagnostics(training_differs="training is easier"))
    tested = scored(10 - 2 * RISE + NOISE, agent)
    episodes = {"step": np.arange(1, 201), "train/score": 10 - gained * np.repeat(RISE + NOISE, 5)}
    finding = BY_NAME["training_above_evaluation"].assess(
        dataclasses.replace(tested, rows={**tested.rows, "episode": episodes})
    )
    assert finding.state == state
    if state == FLAG:
        # in the last quarters, of what training gained since its first window
        assert finding.measured == pytest.approx((8 - 2) / (10 - 8 * RISE[:2].mean() - 2), abs=0.02)
        assert finding.detail == "training 2.05, evaluation 8.01 (training is easier)"


# --- whole sweeps ---------------------------------------------------------------------------------------


def write_shard(folder: Path, **columns: Any) -> None:
    """A shard of evaluations at steps 100, 200, ... with these columns."""
    count = len(next(iter(columns.values())))
    steps = [100 * (i + 1) for i in range(count)]
    index = {"kind": ["validation"] * count, "step": steps, "frames": steps, "update": steps, "time": [1.7e9] * count,
             "event": pa.nulls(count, pa.string())}  # fmt: skip
    (folder / FOLDER).mkdir(parents=True)
    table = pa.table({**index, **columns}).replace_schema_metadata({"schema_version": str(shards.SCHEMA_VERSION)})
    shards.write_table(table, folder / FOLDER / "a001-p00000.parquet")


def sweep_at(root: Path, agent: AgentDescription, curves: dict[str, list[Any]], seeds: int = 3) -> SweepSource:
    """Configuration -> the primary metric of its evaluations, the same for every seed; done after 100 steps each."""
    configs = []
    for place, (name, curve) in enumerate(curves.items()):
        runs = tuple(RunSource(name, seed, root / name / str(seed), "done", 1) for seed in range(seeds))
        for run in runs:
            write_shard(run.folder, **{"test/score": curve, "undeclared": [float("nan")] * len(curve)})
        configs.append(ConfigSource(name, name, {"tau": place}, place == 0, {}, 100 * len(curve), runs))
    return SweepSource("s", "", (), ("tau",), tuple(configs), agent)


def test_a_sweep_of_an_agent_with_one_metric(tmp_path: Path) -> None:
    curves = {"high": list(10 - 2 * RISE), "low": list(10 - 9 * RISE), "middle": list(10 - 5 * RISE)}
    sweep = sweep_at(tmp_path, LOSS, curves)
    (summary,) = summarise([sweep]).sweeps
    assert summary.ranking["config_id"].tolist() == ["low", "middle", "high"]
    assert summary.ranking["final_primary_mean"].tolist() == pytest.approx([1.03, 5.02, 8.01], abs=0.01)
    assert summary.curves["metric"].unique().tolist() == ["test/score"]  # what was not declared is not looked at
    empty = {"final_policy", "auc_policy", "noise_policy", "large_primary", "large_policy", "training"}
    assert {name for name in SCORES if summary.scores[name].isna().all()} == empty
    raised = summary.votes[summary.votes["state"] == FLAG]
    assert raised[["config_id", "flag"]].to_numpy().tolist() == [["high", "plateau"]]
    assert summary.random is None
    assert underperforming(sweep, 0.5) == []  # two others are too few
    more = sweep_at(tmp_path / "more", LOSS, {**curves, "last": [10.0] * 40})
    assert [line.config_id for line in underperforming(more, 0.5)] == ["high", "last"]


@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize("value", [[1.0, 2.0], float("nan"), float("inf")])
def test_a_primary_metric_that_is_no_curve_breaks_nothing(tmp_path: Path, is_list: bool, value: Any) -> None:
    sweep = sweep_at(tmp_path, agent_of(score(is_list=is_list)), {"a": [value] * 20, "b": [value] * 20})
    (summary,) = summarise([sweep]).sweeps
    assert summary.scores["final_primary"].isna().all()
    of = summary.votes.set_index(["config_id", "flag"])["state"]
    assert of["a", "plateau"] == NOT_ASSESSABLE
    assert of["a", "diverged"] == (OK if isinstance(value, list) else FLAG)
    assert underperforming(sweep, 0.5) == []


# --- upside down ----------------------------------------------------------------------------------------

RESULTS = ("eval_return_planner", "eval_return_policy", "episode_return")


def upside_down(sweep: SweepSource, root: Path) -> SweepSource:
    """The same sweep with results times -1, of an agent that is better when they are lower."""
    configs = []
    for config in sweep.configs:
        runs = tuple(dataclasses.replace(run, folder=root / config.config_id / str(run.seed)) for run in config.runs)
        for before, after in zip(config.runs, runs, strict=True):
            (after.folder / FOLDER).mkdir(parents=True)
            for path in (before.folder / FOLDER).glob("*.parquet"):
                shards.write_table(negated(shards.read_shard(path)), after.folder / FOLDER / path.name)
        configs.append(dataclasses.replace(config, runs=runs))
    return dataclasses.replace(sweep, configs=tuple(configs), agent=downward(sweep.agent))


def negated(table: pa.Table) -> pa.Table:
    names = [name for name in table.column_names if name.removesuffix("_episodes") in RESULTS]
    for name in names:
        values = [None if v is None else [-x for x in v] if isinstance(v, list) else -v
                  for v in table[name].to_pylist()]  # fmt: skip
        index = table.column_names.index(name)
        table = table.set_column(index, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


def both_ways(sweep: SweepSource, root: Path) -> tuple[SweepSummary, SweepSummary]:
    (up,), (down,) = (summarise([one]).sweeps for one in (sweep, upside_down(sweep, root)))
    return up, down


SPECIAL: list[dict[int, dict[str, bool]]] = [
    {}, {0: {"collapse": True}}, {1: {"collapse": True}, 2: {"oscillate": True}}
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("finals", [(600.0, 500.0, 90.0), (300.0, 310.0, 900.0)])
def test_results_times_minus_one_are_judged_alike(
    tmp_path: Path, synthetic: ModuleType, finals: tuple[float, ...], special: dict[int, dict[str, bool]]
) -> None:
    states = {(1, 2): "diverged", (2, 1): "running"}
    sweep = synthetic.make_sweep(tmp_path, finals, 4, states=states, special=special)
    up, down = both_ways(sweep, tmp_path / "down")
    assert down.ranking["config_id"].tolist() == up.ranking["config_id"].tolist()
    of_primary = [name for name in (*SCORES, "healthy_primary", "start_primary", "so_far")
                  if not name.startswith(("fall", "noise"))]  # fmt: skip
    signs = {name: -1 if name in of_primary else 1 for name in (*of_primary, "fall_primary", "noise_primary")}
    for name, sign in signs.items():
        pd.testing.assert_series_equal(sign * down.scores[name], up.scores[name], rtol=1e-12)
    told = ["config_id", "seed", "flag", "state", "metric", "onset", "measured", "threshold"]
    pd.testing.assert_frame_equal(down.findings[told], up.findings[told])
    assert FLAG in up.findings["state"].to_numpy()
    tests = {
        "contrasts": ["config_id", "n", "p", "p_alike", "relation", "distinct", "first", "last"],
        "baseline": ["config_id", "p", "permutation", "better", "detectable", "needed", "distinct"],
        "secondary": ["outcome", "config_id", "p", "permutation", "better", "distinct"],
        "question_contrasts": ["endpoint", "inner", "low", "high", "p_raw", "p", "detectable", "needed", "distinct"],
        "diagnostics": ["outcome", "config_id", "difference", "p"],
    }
    for name, columns in tests.items():
        one, other = getattr(down, name), getattr(up, name)
        assert len(other)
        pd.testing.assert_frame_equal(one[columns], other[columns], rtol=1e-9)
    assert down.effects.returns["p"].to_numpy() == pytest.approx(up.effects.returns["p"].to_numpy(), nan_ok=True)
    pd.testing.assert_series_equal(-down.start_curves["mean"], up.start_curves["mean"])
    assert down.random is not None
    assert up.random is not None
    assert (-down.random.mean, -down.random.best) == (up.random.mean, up.random.best)
