"""A sweep of an agent that has nothing in common with the packaged one, as frames that are set by hand.

Its primary metric is a loss: lower is better. Names, units and helps of its other metrics try to break out of the page.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis.configuration_comparison import ConfigurationComparison
from aggregate.analysis.question_contrasts import contrasts_by_question
from aggregate.analysis.run_outcomes import FINISHED, OUTCOME_SCORES
from aggregate.analysis.run_scores import EVALUATION, SCORES
from aggregate.analysis.summary import Margin, RandomReference, Summary, SweepSummary, summarise
from aggregate.inputs.plan_questions import Question
from aggregate.statistics import estimates
from sweepwise.core.agent import AgentDescription, Confounding, Diagnostics
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.metrics import Catalogue, Metric

SCRIPT, FORMULA, PATH = "<script>alert(1)</script>", "=1+1", '../../x,"y"'
METRICS = (
    Metric("test/loss", "eval", "results", "nat", "down", "cross-entropy on the test set", role="primary"),
    Metric("spread", "train", "policy", "nat", "none", "log standard deviation", role="log_std"),
    Metric(SCRIPT, "train", "<b>group</b>", "<i>unit</i>", "down", "<img src=x onerror=alert(2)>"),
    Metric(FORMULA, "train", help="=HYPERLINK(1)"),
    Metric(PATH, "train", help="it's a 'path'"),
)
AGENT = AgentDescription(
    name="net",
    hyperparameters=(Hyperparameter("steps", 20_000), Hyperparameter("width", 1), Hyperparameter("wide", True)),
    catalogue=Catalogue({metric.name: metric for metric in METRICS}, {"warm": "end of the warm-up"}),
    diagnostics=Diagnostics(confounded=(Confounding("width", "width also changes the memory", "wide"),)),
)
# By width (1, 2), the final loss of each seed: means 0.41 and 0.62, standard deviations 0.01 and 0.02.
LOSSES = ((0.40, 0.41, 0.42), (0.60, 0.62, 0.64))
SEEDS = len(LOSSES[0])
RANDOM = RandomReference(mean=2.3, sd=0.1, best=0.615, n=10)
MISSING = {"entropy_collapse": "policy_entropy", "log_std_at_floor": "log_std_per_dim"}


def make_summary(root: Path, synthetic: ModuleType, agent: AgentDescription = AGENT) -> Summary:
    """Two configurations with three finished seeds each; the second is the baseline."""
    summary = summarise([synthetic.make_sweep(root, (600.0, 500.0), SEEDS, lean=True)])
    (base,) = summary.sweeps
    ids = [config.config_id for config in base.source.configs]
    configs = tuple(
        dataclasses.replace(c, factors={"width": i + 1}, label=f"width={i + 1}", is_baseline=i == 1,
                            config={"width": i + 1, "wide": True})
        for i, c in enumerate(base.source.configs)
    )  # fmt: skip
    questions = (Question("Does width help?", ("width",)), Question("And alone?", ("width",), on=("policy",)))
    source = dataclasses.replace(
        base.source, name="digits", goal="Find a width", agent=agent, configs=configs, factors=("width",),
        questions=questions,
    )  # fmt: skip
    scores, findings = _scores(ids), _findings(ids)
    empty = {field.name: getattr(base.effects, field.name).iloc[:0] for field in dataclasses.fields(base.effects)}
    seeds = _seeds(ids)
    sweep = dataclasses.replace(
        base, source=source, scores=scores, findings=findings, votes=flags.vote(findings), seeds=seeds,
        ranking=_ranking(scores, ids), contrasts=ConfigurationComparison(sign=-1)(scores),
        baseline=estimates.AgainstBaseline()(scores, "config_id", "final_primary", ids[1]),
        secondary=base.secondary.iloc[:0], diagnostics=base.diagnostics.iloc[:0], curves=_curves(seeds),
        effects=dataclasses.replace(base.effects, **empty), start_curves=base.start_curves.iloc[:0],
        margin=Margin(np.nan, declared=False), random=None,
        question_contrasts=contrasts_by_question(source, scores, findings), events=base.events.iloc[:0],
        variance=pd.DataFrame([(ids[0], "primary", 3.0, 0.0, 4.0)],
                              columns=["config_id", "mode", "episodes", "time", "seeds"]),
    )  # fmt: skip
    return Summary((sweep,), summary.loaded)


def with_random_actions(sweep: SweepSummary) -> SweepSummary:
    """The same for an agent that acts at random before it trains."""
    diagnostics = dataclasses.replace(AGENT.diagnostics, random_until="warm")
    agent = dataclasses.replace(AGENT, diagnostics=diagnostics)
    return dataclasses.replace(sweep, source=dataclasses.replace(sweep.source, agent=agent), random=RANDOM)


def _scores(ids: list[str]) -> pd.DataFrame:
    lines = [
        {"config_id": config_id, "seed": seed, "complete": True, **dict.fromkeys([*SCORES, *OUTCOME_SCORES], np.nan),
         "final_primary": loss, "healthy_primary": loss, "start_primary": loss, "outcome": FINISHED, EVALUATION: np.nan,
         "auc_primary": loss + 0.1, "so_far": loss, "final_points": 4}
        for config_id, losses in zip(ids, LOSSES, strict=True) for seed, loss in enumerate(losses, 1)
    ]  # fmt: skip
    return pd.DataFrame(lines)


def _ranking(scores: pd.DataFrame, ids: list[str]) -> pd.DataFrame:
    """The lowest loss first."""
    lines = []
    for place, config_id in enumerate(ids):
        line = {"config_id": config_id, "label": f"width={place + 1}", "is_baseline": place == 1, "planned": SEEDS}
        for name in (*SCORES, *OUTCOME_SCORES, "so_far"):
            values = scores.loc[scores["config_id"] == config_id, name].dropna().to_numpy()
            sd = float(values.std(ddof=1)) if values.size else np.nan
            half = float(estimates.Interval().half_width(np.array([sd]), np.array([values.size]))[0])
            mean = float(values.mean()) if values.size else np.nan
            line |= {f"{name}_mean": mean, f"{name}_sd": sd, f"{name}_low": mean - half, f"{name}_high": mean + half,
                     f"{name}_n": values.size}  # fmt: skip
        lines.append(line)
    return pd.DataFrame(lines)


def _findings(ids: list[str]) -> pd.DataFrame:
    """One flag that is raised, two that are not, and two that the agent cannot have."""
    lines = []
    for config_id in ids:
        for seed in range(1, SEEDS + 1):
            lines.append((config_id, seed, "pi_loss_spikes", flags.FLAG, SCRIPT, 9000.0, 0.7, 0.5, "x", "<u>seen</u>"))
            lines.append((config_id, seed, "evaluation_collapse", flags.OK, "test/loss", np.nan, 0.1, 0.3, "x", ""))
            lines.append((config_id, seed, "q_heads_disagree", flags.OK, FORMULA, np.nan, 0.1, 0.2, "x", ""))
            for name, role in MISSING.items():
                reason = f"not assessed: no metric has the role {role}"
                lines.append((config_id, seed, name, flags.NOT_ASSESSABLE, "", np.nan, np.nan, np.nan, "nat", reason))
    return pd.DataFrame(lines, columns=list(flags.COLUMNS))


def _seeds(ids: list[str]) -> dict[str, pd.DataFrame]:
    """Curves on ten steps."""
    steps = np.arange(2_000, 20_001, 2_000)
    frames: dict[str, pd.DataFrame] = {}
    for kind in ("eval", "train"):
        names = [metric.name for metric in METRICS if metric.kind == kind]
        frames[kind] = pd.concat(
            [pd.DataFrame({"config_id": config_id, "seed": seed, "step": steps,
                           **{name: loss + np.exp(-steps / 4_000) for name in names}})
             for config_id, losses in zip(ids, LOSSES, strict=True) for seed, loss in enumerate(losses, 1)],
            ignore_index=True,
        )  # fmt: skip
    return frames


def _curves(seeds: dict[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [
        estimates.Interval()(wide, ["config_id", "step"], list(wide.columns[3:])).assign(kind=kind)
        for kind, wide in seeds.items()
    ]
    return pd.concat(parts, ignore_index=True)
