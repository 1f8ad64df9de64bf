"""Questions of a plan, the endpoints that answer them, and the terms that they compare.

Standard library only, so that a plan is checked before pandas is loaded.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sweepwise.core.metrics import Catalogue


@dataclass(frozen=True)
class Endpoint:
    """What runs are compared on. column: a score of `run_scores.run_scores`, or with `rate` a flag, of which the share
    of runs is compared. title: as in "final return +34". of_primary: whether it is a value of the primary metric, so
    that the better direction is that metric's. Titles and directions of an agent are those of `endpoint`."""

    column: str
    title: str
    better: Literal["up", "down"]
    help: str
    rate: bool = False
    of_primary: bool = False


ENDPOINTS: dict[str, Endpoint] = {
    "final": Endpoint("final_primary", "final {primary}", "up", "mean over the last 10 % of training", of_primary=True),
    "area": Endpoint("auc_primary", "area under the curve", "up",
                     "mean height of the evaluation curve, early learning", of_primary=True),
    "evaluation": Endpoint("evaluation_primary", "{primary} evaluated after training", "up",
                           "mean over equally many episodes of the same late weights, by `sweeps evaluate SWEEP`",
                           of_primary=True),
    "fall": Endpoint("fall_primary", "{fall} at the end", "down", "from the best window of evaluations to the last"),
    "policy": Endpoint("final_policy", "final {policy}", "up", "the same without planning", of_primary=True),
    "noise": Endpoint("noise_primary", "jumps of evaluation", "down",
                      "from one evaluation to the next in the second half"),
    "collapse": Endpoint("evaluation_collapse", "runs that collapse", "down", "share of runs", rate=True),
    "oscillation": Endpoint("log_std_oscillates", "runs whose log_std oscillates", "down", "share of runs", rate=True),
    "lag": Endpoint("training_above_evaluation", "runs whose evaluation lags behind training", "down",
                    "share of runs", rate=True),
}  # fmt: skip


def endpoint(name: str, catalogue: Catalogue) -> Endpoint:
    """The endpoint `name` for an agent: its title in the agent's words, and which direction is good."""
    plain, roles = ENDPOINTS[name], catalogue.roles
    primary = roles["primary"].words if "primary" in roles else "result"
    policy = (
        roles["policy_without_mpc"].words if "policy_without_mpc" in roles else f"{primary} of the policy without MPC"
    )
    better = "down" if plain.of_primary and catalogue.sign < 0 else plain.better
    fall = "rise" if catalogue.sign < 0 else "fall"
    title = plain.title.format(primary=primary, policy=policy, fall=fall)
    return dataclasses.replace(plain, title=title, better=better)


# A name that holds an operator is quoted: 'algo/lr' * batch.
_WORD = r"""('[^']+'|"[^"]+"|[\w.@+~-]+)"""
_PLAIN = re.compile(r"[\w.@+~-]+")
_TERM = re.compile(rf"{_WORD}(?:\s*(/|\*|==)\s*{_WORD})?")
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "/": lambda a, b: float(f"{a / b:.9g}"),  # equal where only rounding differs
    "*": lambda a, b: float(f"{a * b:.9g}"),
    "==": lambda a, b: "equal" if a == b else "different",
}


def term_of(key: str) -> str:
    """The term that is one key, quoted where the key holds an operator."""
    return key if _PLAIN.fullmatch(key) else json.dumps(key)


@dataclass(frozen=True)
class Term:
    """A hyperparameter, or two with /, * or == between them. Raises `ValueError` for any other text."""

    text: str

    def __post_init__(self) -> None:
        if not _TERM.fullmatch(self.text.strip()):
            raise ValueError(
                f"{self.text!r}: give a key, or two with / or * or == between them; quote a key that holds / or *"
            )

    @property
    def keys(self) -> tuple[str, ...]:
        match = _TERM.fullmatch(self.text.strip())
        return tuple(key.strip("'\"") for key in (match[1], match[3]) if key) if match else ()

    def value(self, of: Callable[[str], Any]) -> Any:
        """The term's value in a configuration. of: hyperparameter -> value there; None where one has none."""
        values = [of(key) for key in self.keys]
        match = _TERM.fullmatch(self.text.strip())
        if None in values or match is None:
            return None
        return _OPERATIONS[match[2]](*values) if match[2] else values[0]


@dataclass(frozen=True)
class Question:
    """A question of the plan, and the contrast that answers it.

    by: terms whose effect is asked for; empty for all swept hyperparameters. alike: terms that are equal in compared
    configurations, None for all other swept hyperparameters. on: endpoints; the first is the primary one. levels: the
    two levels to compare where there are more. low, high: the answer as text where the low or the high end does better;
    either: where they are alike. beside: other sweeps whose configurations the question needs.
    """

    text: str
    by: tuple[str, ...] = ()
    alike: tuple[str, ...] | None = None
    on: tuple[str, ...] = ("final",)
    levels: tuple[Any, ...] = ()
    low: str = ""
    high: str = ""
    either: str = ""
    beside: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All hyperparameters that it names."""
        return tuple(dict.fromkeys(key for text in (*self.by, *(self.alike or ())) for key in Term(text).keys))


def question(stored: str | Mapping[str, Any]) -> Question:
    """A question from its stored form, a text or a mapping of the fields. Raises `ValueError` for anything else."""
    if isinstance(stored, str):
        return Question(stored)
    legal = [field.name for field in fields(Question)]
    if not isinstance(stored, Mapping) or "text" not in stored or set(stored) - set(legal):
        raise ValueError(f"{stored!r:.60} is no question; it has {', '.join(legal)}")
    made = Question(**{name: _frozen(value) for name, value in stored.items()})
    if unknown := [name for name in made.on if name not in ENDPOINTS]:
        raise ValueError(f"unknown endpoint {unknown[0]!r}; legal: {', '.join(ENDPOINTS)}")
    for text in (*made.by, *(made.alike or ())):
        Term(text)
    return made


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
