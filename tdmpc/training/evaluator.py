"""Evaluation: episodes with planning and with the policy alone, for all seeds side by side.

"planner" is the evaluation planner, "train" the planner as training uses it, "policy" the policy alone.

Everything random here is derived from (seed, step, episode), never from training's streams, so evaluating
more or less changes nothing in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tdmpc.agent.agent import Agent
from tdmpc.agent.mppi import plan, shift
from tdmpc.config import TrainConfig
from tdmpc.rng import Draws, derive_seed
from tdmpc.training.environment import Env

Mode = Literal["planner", "policy", "train"]
MODES: tuple[Mode, ...] = ("planner", "policy")  # measured during training
BIAS_STEPS = 200  # later states have too little of the episode left for their return to be their value


class Episode(NamedTuple):
    obs: np.ndarray  # (n+1, O)
    actions: np.ndarray  # (n, A)
    rewards: np.ndarray  # (n,)
    terminated: bool  # the last step ended it for good

    @property
    def total(self) -> float:
        return float(self.rewards.sum())


class Evaluator:
    """Plays evaluation episodes, `eval_episodes` at once for every seed, on environments it keeps."""

    def __init__(self, config: TrainConfig, seeds: Sequence[int], device: str) -> None:
        self._config, self._seeds, self._device = config, seeds, device
        self._envs = [[Env(config.task, config.action_repeat, 0) for _ in range(config.eval_episodes)] for _ in seeds]

    def play(self, agent: Agent, mode: Mode, step: int, episodes: int, live: Sequence[int]) -> dict[int, list[Episode]]:
        """`episodes` episodes of every seed index in `live`; both modes start from the same states."""
        found: dict[int, list[Episode]] = {s: [] for s in live}
        width = self._config.eval_episodes
        for first in range(0, episodes, width):
            count = min(width, episodes - first)
            for s, played in self._play_some(agent, mode, step, first, count, live).items():
                found[s] += played
        return found

    @torch.no_grad()
    def _play_some(
        self, agent: Agent, mode: Mode, step: int, first: int, count: int, live: Sequence[int]
    ) -> dict[int, list[Episode]]:
        c = self._config
        draws = Draws.fresh(self._seeds, "eval", mode, step, first, device=self._device)
        warm = torch.zeros(len(self._seeds), count, c.horizon, agent.action_size, device=self._device)
        obs = np.zeros((len(self._seeds), count, self._envs[0][0].obs_size), np.float32)
        rolls = {
            (s, e): _Roll(begin(self._envs[s][e], self._seeds[s], step, first + e)) for s in live for e in range(count)
        }
        while any(not roll.over for roll in rolls.values()):
            for (s, e), roll in rolls.items():
                obs[s, e] = roll.obs[-1]
            z = agent.model.encode(torch.from_numpy(obs).to(self._device))
            if mode == "policy":
                actions = agent.acting_policy.act(z)
            else:
                # evaluation plans with one dynamics head, training with all of them and samples among the elites
                as_trained = mode == "train"
                heads = None if as_trained else slice(0, 1)
                chosen = plan(agent.networks, z, warm, c, draws, heads=heads, best=not as_trained)
                actions, warm = chosen.action, shift(chosen.mean)
            native = actions.cpu().numpy()
            for (s, e), roll in rolls.items():
                if not roll.over:
                    roll.advance(self._envs[s][e], native[s, e])
        return {s: [rolls[s, e].episode() for e in range(count)] for s in live}


def begin(env: Env, seed: int, step: int, episode: int) -> np.ndarray:
    """Start evaluation episode number `episode` of run `seed` at `step`; returns its first observation (O,)."""
    env.reseed(derive_seed(seed, "eval episode", step, episode))
    return env.reset()


class _Roll:
    """One running episode."""

    def __init__(self, obs: np.ndarray) -> None:
        self.obs, self.over, self.terminated = [obs], False, False
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []

    def advance(self, env: Env, action: np.ndarray) -> None:
        found = env.step(action)
        self.obs.append(found.obs)
        self._actions.append(action)
        self._rewards.append(found.reward)
        self.over, self.terminated = found.last, found.terminated

    def episode(self) -> Episode:
        rewards = np.array(self._rewards, np.float32)
        return Episode(np.stack(self.obs), np.stack(self._actions), rewards, self.terminated)


def returns_to_go(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """(n,) rewards -> (n,) discounted return from each step to the end of the episode."""
    found = np.zeros(len(rewards), np.float64)
    running = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        running = float(rewards[t]) + gamma * running
        found[t] = running
    return found


@torch.no_grad()
def value_bias(agent: Agent, episodes: dict[int, list[Episode]], device: str) -> dict[int, float]:
    """Per seed index: value (mean over value heads) at the states of policy-alone episodes minus the discounted
    return that followed, mean over the first 200 steps. Positive is optimism."""
    bias = {}
    for s, played in episodes.items():
        gaps = []
        for episode in played:
            head = slice(0, min(BIAS_STEPS, len(episode.rewards)))
            values = _values_of(agent, s, torch.from_numpy(episode.obs[head]).to(device))
            gaps.append(values - returns_to_go(episode.rewards, agent.config.gamma)[head])
        bias[s] = float(np.mean(np.concatenate(gaps)))
    return bias


def _values_of(agent: Agent, s: int, obs: Tensor) -> np.ndarray:
    """(n, O) observations of seed index s -> (n,) values; the other seeds see zeros beside it."""
    padded = obs.new_zeros(agent.scale.shape[0], *obs.shape)
    padded[s] = obs
    values = agent.model.values(agent.model.encode(padded)).mean(1)
    found: np.ndarray = values[s].cpu().numpy()
    return found
