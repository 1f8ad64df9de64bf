"""This agent as data, and its hyperparameters as a schema. Standard library only: `import torch` is for jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from sweepwise.core.agent import AgentDescription, Capabilities
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.schema import ResolvedConfig
from tdmpc.config import AGENT_VERSION, TrainConfig, config_id, inactive_keys, key_types, parse_value
from tdmpc.diagnostics import DIAGNOSTICS
from tdmpc.memory import expected
from tdmpc.metrics import CATALOGUE

NAME = "tdmpc"
TRAINS_WITH = ("torch", "mujoco", "dm_control")  # imported by training, not by this module

DESCRIPTION = AgentDescription(
    name=NAME,
    hyperparameters=tuple(
        Hyperparameter.from_field(field, key_types()[field.name]) for field in dataclasses.fields(TrainConfig)
    ),
    catalogue=CATALOGUE,
    capabilities=Capabilities(resume="exact", evaluate=True, seeds_batched=True),
    diagnostics=DIAGNOSTICS,
    version=AGENT_VERSION,
)


class TdmpcSchema:
    """Checks combinations of hyperparameters too, and knows which have no effect."""

    description = DESCRIPTION

    def parse_value(self, name: str, raw: Any) -> Any:
        return parse_value(name, raw)

    def resolve(self, values: Mapping[str, Any], hashed: Collection[str] = (), version: int = 0) -> ResolvedConfig:
        version = version or AGENT_VERSION
        config = TrainConfig().with_overrides(values)
        first_evaluation = -(-config.seed_phase_steps // config.eval_freq) * config.eval_freq
        return ResolvedConfig(
            agent=NAME,
            values=dict(vars(config)),
            config_id=config_id(config, version),
            steps=config.steps,
            inactive=frozenset(inactive_keys(config)),
            # it has trained, was evaluated, and continued
            healthy_step=min(config.steps, first_evaluation + 1),
            version=version,
            memory=expected(config),
        )


SCHEMA = TdmpcSchema()
