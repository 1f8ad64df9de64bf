"""Hyperparameters of an agent as a whole: values from a plan -> one configuration with its ID."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sweepwise.core import yaml_scalars
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import near
from sweepwise.core.hyperparameters import ConfigError, Hyperparameter

IDENTITY_VERSION = 1
_HEALTHY_SHARE = 0.05  # of the steps, after which a run counts as healthy where the agent says nothing else


class Memory(NamedTuple):
    """That a training needs, in bytes: once, and for each seed that its process trains."""

    process: float
    seed: float

    def of(self, seeds: int) -> float:
        return self.process + seeds * self.seed


class ExpectedMemory(NamedTuple):
    """of_cpu: where a CPU trains. of_gpu: the GPU's own, where a GPU trains."""

    of_cpu: Memory
    of_gpu: Memory


@dataclass(frozen=True)
class ResolvedConfig:
    """The values of all hyperparameters of one training.

    values: checked, by name; lists are tuples. steps: of training. inactive: hyperparameters without effect here.
    healthy_step: the step from which a run counts as healthy, for `--canary`. version: of the agent that trains it,
    part of the ID. hashed: the hyperparameters that `config_id` is a hash of, where the agent is known by its
    description only; else empty. memory: None where nothing is known of it.
    """

    agent: str
    values: Mapping[str, Any]
    config_id: str
    steps: int
    inactive: frozenset[str]
    healthy_step: int
    version: int
    hashed: tuple[str, ...] = ()
    memory: ExpectedMemory | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values of all hyperparameters."""
        return {name: _as_json(value) for name, value in self.values.items()}


class Schema(Protocol):
    """The hyperparameters of one agent."""

    @property
    def description(self) -> AgentDescription: ...

    def parse_value(self, name: str, raw: Any) -> Any:
        """`raw` (text, or a YAML or JSON value) as the type of the hyperparameter `name`; limits are checked by
        `resolve`. Raises `ConfigError`, for an unknown name with near matches."""
        ...

    def resolve(self, values: Mapping[str, Any], hashed: Collection[str] = (), version: int = 0) -> ResolvedConfig:
        """The configuration with `values`, the others at their defaults. Raises `ConfigError`.

        hashed, version: of a stored configuration, see `ResolvedConfig`. Its ID is then that of when it was stored, and
        its values are taken as they are, whatever the agent has declared since. 0: the present version.
        """
        ...


@dataclass(frozen=True)
class DeclaredSchema:
    """The schema of an agent that is known by its description only.

    late: hyperparameters that were added after runs were trained without them. They are part of the configuration ID
    only where they differ from their default, so that those runs keep their ID.
    """

    description: AgentDescription
    late: Collection[str] = ()

    def _parameter(self, name: str) -> Hyperparameter:
        by_name = {parameter.name: parameter for parameter in self.description.hyperparameters}
        if name not in by_name:
            raise ConfigError(unknown_name(name, by_name))
        return by_name[name]

    def parse_value(self, name: str, raw: Any) -> Any:
        return self._parameter(name).parse(raw)

    def resolve(self, values: Mapping[str, Any], hashed: Collection[str] = (), version: int = 0) -> ResolvedConfig:
        version = version or self.description.version
        defaults = {p.name: p.default for p in self.description.hyperparameters}
        read = self._stored if hashed else self.parse_value
        resolved = {**defaults, **{name: read(name, raw) for name, raw in values.items()}}
        # Without a number of steps a run is done once it has ended: it has reached the first.
        steps = resolved[self.description.steps] if self.description.steps else 1
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ConfigError(f"{self.description.steps}={steps!r}: must be a whole number of at least 1")
        names = tuple(hashed) or self._hashed(resolved)
        return ResolvedConfig(
            agent=self.description.name,
            values=resolved,
            config_id=self._config_id({name: resolved.get(name) for name in names}, version),
            steps=steps,
            inactive=frozenset(),
            healthy_step=max(1, round(_HEALTHY_SHARE * steps)),
            version=version,
            hashed=names,
        )

    def _stored(self, name: str, raw: Any) -> Any:
        """A stored value, of a hyperparameter that may have been removed, or have had other limits."""
        try:
            return self.parse_value(name, raw)
        except ConfigError:
            return yaml_scalars.frozen(raw)

    def _hashed(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The hyperparameters that make the ID of a new configuration."""
        return tuple(
            p.name
            for p in self.description.hyperparameters
            if p.identity and not (p.name in self.late and values[p.name] == p.default)
        )

    def _config_id(self, hashed: Mapping[str, Any], version: int) -> str:
        """Ten hex digits of a hash over name and version of the agent and everything that changes the result."""
        head = {"identity": IDENTITY_VERSION, "agent": self.description.name, "version": version}
        text = json.dumps({**head, "values": hashed}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


def unknown_name(name: str, legal: Iterable[str]) -> str:
    """The error message for an unknown hyperparameter."""
    return f"unknown hyperparameter {name!r}; {near(name, legal)}"
