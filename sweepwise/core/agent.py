"""What is known of an agent without importing its code: hyperparameters, metrics, capabilities, diagnostics.

An `AgentDescription` is data. It is stored in the results folder at submit, so that reports can be made where the
agent's code no longer exists. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweepwise.core.errors import SweepsError
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.metrics import Catalogue

Resume = Literal["exact", "checkpoint", "none"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class DescriptionError(SweepsError, ValueError):
    """A description that is not usable. The message is one line."""


@dataclass(frozen=True)
class Capabilities:
    """resume: whether a resumed run equals an uninterrupted one (exact), continues from a checkpoint of its own, or
    starts again (none). evaluate: whether kept weights can be evaluated (`sweeps evaluate`). seeds_batched: whether one
    process trains several seeds faster than one after another."""

    resume: Resume = "none"
    evaluate: bool = False
    seeds_batched: bool = False


@dataclass(frozen=True)
class Cause:
    """A hypothesis about what goes wrong. signs: flags that support it. knob: the recommended change. keys:
    hyperparameters whose value is reported. against: flags that rule it out. events: of the schedule; the hypothesis is
    that one of them causes the signs, so these must begin there. question: the hypothesis as a question; default:
    whether the part that has its name is updated too fast."""

    name: str
    signs: tuple[str, ...]
    knob: str
    keys: tuple[str, ...]
    against: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    question: str = ""

    @property
    def as_question(self) -> str:
        return self.question or f"is its {self.name} updated too fast?"


@dataclass(frozen=True)
class Confounding:
    """A hyperparameter that also changes something else. note: as in "num_q also scales the value learning rate".
    switch: the hyperparameter that turns this on, "" for always."""

    key: str
    note: str
    switch: str = ""


@dataclass(frozen=True)
class Diagnostics:
    """What the flags and the verdict need to know of an agent.

    thresholds: flag -> threshold, in place of the detector's. smallest_change: of the primary metric, in its unit,
    that a flag about it may count. causes: hypotheses. confounded: see `Confounding`. log_std_limits: the
    hyperparameters with the lower and the upper end of log_std; None where it has no limits. training_differs: how
    training episodes differ from evaluation, for a text; "" where they do not. random_until: the event that ends the
    random actions before training, "" where there are none.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    smallest_change: float = 0.0
    causes: tuple[Cause, ...] = ()
    confounded: tuple[Confounding, ...] = ()
    log_std_limits: tuple[str, str] | None = None
    training_differs: str = ""
    random_until: str = ""


@dataclass(frozen=True)
class AgentDescription:
    """name: of the agent, part of the configuration ID. version: raise it to train again after a change of the code
    that matters; part of the configuration ID too. steps: the hyperparameter with the number of training steps; ""
    for a program whose runs end by themselves. step_words: what a step is called in figures, as in "agent steps".
    task: the hyperparameter that says what is learnt; an agent without one of the default's name has none."""

    name: str
    hyperparameters: tuple[Hyperparameter, ...]
    catalogue: Catalogue
    capabilities: Capabilities = Capabilities()
    diagnostics: Diagnostics = Diagnostics()
    version: int = 1
    steps: str = "steps"
    step_words: str = "agent steps"
    task: str = "task"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DescriptionError(f"agent name {self.name!r}: use letters, digits, - and _ only")
        names = [parameter.name for parameter in self.hyperparameters]
        if double := {name for name in names if names.count(name) > 1}:
            raise DescriptionError(f"agent {self.name!r}: hyperparameter {min(double)!r} is declared twice")
        if self.task not in (*names, AgentDescription.task):
            raise DescriptionError(f"agent {self.name!r}: declares no hyperparameter {self.task!r}, the task")
        if self.steps and self.steps not in names:
            raise DescriptionError(
                f"agent {self.name!r}: declares no hyperparameter {self.steps!r}, the number of training steps"
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "steps": self.steps,
            "step_words": self.step_words,
            "task": self.task,
            "hyperparameters": [parameter.to_json() for parameter in self.hyperparameters],
            **self.catalogue.to_json(),
            "capabilities": dataclasses.asdict(self.capabilities),
            "diagnostics": dataclasses.asdict(self.diagnostics),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> AgentDescription:
        """Raises `DescriptionError` for anything but what `to_json` gives. Fields of later versions are ignored."""
        try:
            return cls(
                name=str(stored["name"]),
                version=int(stored["version"]),
                steps=str(stored["steps"]),
                step_words=str(stored.get("step_words", cls.step_words)),
                task=str(stored.get("task", cls.task)),
                hyperparameters=tuple(map(Hyperparameter.from_json, stored["hyperparameters"])),
                catalogue=Catalogue.from_json(stored),
                capabilities=Capabilities(**_known(Capabilities, stored["capabilities"])),
                diagnostics=_diagnostics(stored["diagnostics"]),
            )
        except SweepsError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DescriptionError(f"not a description of an agent: {error!r}") from error


def _known(record: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `stored` that the dataclass `record` has."""
    return {name: value for name, value in stored.items() if name in record.__dataclass_fields__}


def _cause(stored: Mapping[str, Any]) -> Cause:
    known = _known(Cause, stored)
    lists = ("signs", "keys", "against", "events")
    return Cause(**{**known, **{name: tuple(known[name]) for name in lists if name in known}})


def _diagnostics(stored: Mapping[str, Any]) -> Diagnostics:
    limits = stored.get("log_std_limits")
    return Diagnostics(**{
        **_known(Diagnostics, stored),
        "causes": tuple(map(_cause, stored.get("causes", ()))),
        "confounded": tuple(Confounding(**_known(Confounding, one)) for one in stored.get("confounded", ())),
        "log_std_limits": tuple(limits) if limits else None,
    })  # fmt: skip
