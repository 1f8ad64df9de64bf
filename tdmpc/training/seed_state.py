"""The state of one seed of an agent, for checkpoints and snapshots."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tdmpc.agent.agent import Agent


def agent_state(agent: Agent, s: int) -> dict[str, Any]:
    """Weights, averages, optimiser moments, scale and counters of seed index `s`."""
    return {
        "modules": weights(agent, s),
        "optimisers": {name: _moments(optimiser, s) for name, optimiser in agent.optimisers.items()},
        "scale": agent.scale[s].cpu().clone(),
        "update_index": agent.update_index,
        "policy_metrics": {name: value[s].cpu().clone() for name, value in agent.policy_metrics.items()},
    }


def weights(agent: Agent, s: int) -> dict[str, dict[str, Tensor]]:
    """All weights of seed index `s`, including moving averages: what acting and evaluation need."""
    return {
        name: {key: value[s].detach().cpu().clone() for key, value in module.named_parameters()}
        for name, module in agent.modules().items()
    }


def fits(agent: Agent, state: dict[str, dict[str, Tensor]]) -> bool:
    """Whether `state` has the modules, names, shapes and types of `weights`."""
    own, other = ({m: {k: (v.shape, v.dtype) for k, v in t.items()} for m, t in w.items()}
                  for w in (weights(agent, 0), state))  # fmt: skip
    return own == other


@torch.no_grad()
def restore_weights(agent: Agent, per_seed: list[dict[str, dict[str, Tensor]]]) -> None:
    """Set the weights of all seeds of `agent`, one `weights` each."""
    for name, module in agent.modules().items():
        for key, value in module.named_parameters():
            value.copy_(torch.stack([weights_of_seed[name][key] for weights_of_seed in per_seed]))


def _moments(optimiser: torch.optim.Optimizer, s: int) -> list[dict[str, Tensor]]:
    """Optimiser state of each parameter; empty for one without a step (an encoder frozen from the start)."""
    moments = []
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = optimiser.state.get(parameter, {})
            moments.append({k: (v if v.dim() == 0 else v[s]).cpu().clone() for k, v in state.items()})
    return moments


def restore_agent(agent: Agent, states: list[dict[str, Any]]) -> None:
    """Set the state of all seeds of `agent`, one `agent_state` each, all of the same update."""
    restore_weights(agent, [state["modules"] for state in states])
    for name, optimiser in agent.optimisers.items():
        _restore_moments(optimiser, [state["optimisers"][name] for state in states])
    agent.scale.copy_(torch.stack([state["scale"] for state in states]))
    agent.update_index = states[0]["update_index"]
    agent.policy_metrics = {
        key: torch.stack([state["policy_metrics"][key] for state in states]).to(agent.scale.device)
        for key in states[0]["policy_metrics"]
    }


def _restore_moments(optimiser: torch.optim.Optimizer, per_seed: list[list[dict[str, Tensor]]]) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    step_device = parameters[0].device if optimiser.defaults["capturable"] else "cpu"
    for n, parameter in enumerate(parameters):
        moments = [state[n] for state in per_seed]
        if moments[0]:
            optimiser.state[parameter] = {
                key: value.to(step_device, copy=True)
                if value.dim() == 0
                else torch.stack([m[key] for m in moments]).to(parameter.device)
                for key, value in moments[0].items()
            }
