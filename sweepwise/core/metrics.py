"""Declarations of logged metrics: which exist, in which rows they stand, and what they mean. Standard library only."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweepwise.core.errors import SweepsError, near

Better = Literal["up", "down", "none"]
Kind = Literal["train", "episode", "eval", "validation", "event"]

KINDS: tuple[Kind, ...] = ("train", "episode", "eval", "validation", "event")
DIRECTIONS: tuple[Better, ...] = ("up", "down", "none")

# A metric that agents may log with evaluations: 1 for the larger one after the last step, which may share a step with
# another, else 0.
IS_FINAL = "eval_is_final"

# What a metric can stand for, whatever its name. Endpoints, flags, figures and texts ask for a role.
ROLES: dict[str, str] = {
    "primary": "result of an evaluation; decides ranking, questions and verdict",
    "primary_episodes": "the primary metric of each episode of an evaluation (list)",
    "policy_without_mpc": "result of an evaluation of the policy without MPC, for agents that plan",
    "policy_without_mpc_episodes": "the result of each episode of the policy without MPC (list)",
    "training_return": "result of a training episode, in the unit of the primary metric",
    "log_std": "log standard deviation of the policy, mean over action dimensions",
    "log_std_per_dim": "log standard deviation of the policy per action dimension (list)",
    "policy_entropy": "entropy of the policy",
    "policy_loss": "loss of the policy",
    "value_prediction": "predicted value",
    "value_target": "target of the predicted value",
    "value_lag": "prediction minus target",
    "value_bias": "predicted value minus the discounted return that followed",
    "value_error": "absolute difference between prediction and target",
    "value_spread": "spread of the prediction over an ensemble of values",
    "target_spread": "spread of the target over an ensemble of dynamics models",
    "consistency": "loss of the learned dynamics on training data",
    "validation_consistency": "loss of the learned dynamics on data that is not trained on",
    "reward_error": "error of predicted rewards",
}


RESULTS = ("primary", "policy_without_mpc", "training_return")  # roles of results; all others are diagnostics


class MetricError(SweepsError, ValueError):
    """Declarations of metrics that contradict each other. The message is one line."""


@dataclass(frozen=True)
class Metric:
    """One column of the shards.

    name: column name. kind: the kind of row it stands in. group: the part of the agent it describes. unit: for the
    axis. better: which direction is good. is_list: one value per action dimension, discount or episode. formula: what
    is computed, in the symbols of docs/algorithm.md; "" where `help` says it all. role: one of `ROLES`, or "". title:
    the metric in a sentence, as in "final return"; "" for the name.
    """

    name: str
    kind: Kind
    group: str = "other"
    unit: str = "1"
    better: Better = "none"
    help: str = ""
    is_list: bool = False
    formula: str = ""
    role: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        for field, value, legal in (
            ("kind", self.kind, KINDS),
            ("better", self.better, DIRECTIONS),
            ("role", self.role, ("", *ROLES)),
        ):
            if value not in legal:
                raise MetricError(f"metric {self.name!r}: {field} {value!r}: {near(value, filter(None, legal))}")

    @property
    def words(self) -> str:
        """The metric in a sentence."""
        return self.title or self.name


@dataclass(frozen=True)
class Catalogue:
    """All that an agent may log. metrics: by name. events: name -> what happens there.

    Raises `MetricError` where two metrics have one role.
    """

    metrics: Mapping[str, Metric]
    events: Mapping[str, str]

    def __post_init__(self) -> None:
        by_role: dict[str, str] = {}
        for metric in self.metrics.values():
            if metric.role in by_role:
                raise MetricError(f"role {metric.role!r}: {by_role[metric.role]} and {metric.name} have it; keep one")
            if metric.role:
                by_role[metric.role] = metric.name

    def metric(self, name: str) -> Metric:
        """The declaration of `name`; raises `KeyError` naming near matches."""
        if name not in self.metrics:
            close = ", ".join(difflib.get_close_matches(name, self.metrics, n=3)) or "none near"
            raise KeyError(f"metric {name!r} is not in the catalogue; near matches: {close}")
        return self.metrics[name]

    @functools.cached_property
    def roles(self) -> Mapping[str, Metric]:
        """Role -> the metric that has it."""
        return {metric.role: metric for metric in self.metrics.values() if metric.role}

    @functools.cached_property
    def curves(self) -> Mapping[str, Sequence[str]]:
        """Kind -> the metrics that are drawn over the steps: numbers, no lists and no answers yes or no."""
        return {
            kind: [m.name for m in self.metrics.values() if m.kind == kind and not m.is_list and m.unit != "bool"]
            for kind in {m.kind for m in self.metrics.values()}
        }

    @property
    def primary(self) -> Metric:
        """The metric that decides. Raises `MetricError` where none is declared."""
        if "primary" not in self.roles:
            raise MetricError("no metric has the role 'primary'; give it to the result of an evaluation")
        return self.roles["primary"]

    @property
    def sign(self) -> int:
        """-1 where a lower primary metric is better, else 1: sign x value rises with quality."""
        return -1 if "primary" in self.roles and self.primary.better == "down" else 1

    def to_json(self) -> dict[str, Any]:
        return {"metrics": [dict(vars(metric)) for metric in self.metrics.values()], "events": dict(self.events)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Catalogue:
        """Raises `MetricError`, `TypeError` or `KeyError` for other content. Fields of later versions are ignored."""
        metrics = [_metric(one) for one in stored["metrics"]]
        return cls({metric.name: metric for metric in metrics}, dict(stored["events"]))


def _metric(stored: Mapping[str, Any]) -> Metric:
    """Raises `MetricError` for a field of another type: metrics of an archive are not to be trusted."""
    known = {field: value for field, value in stored.items() if field in Metric.__dataclass_fields__}
    for field, value in known.items():
        if not isinstance(value, bool if field == "is_list" else str):
            raise MetricError(f"metric {stored.get('name')!r:.80}: {field} is {value!r:.80}")
    return Metric(**known)
