"""Evaluation: episodes with MPC and with the policy without MPC, for all seeds together.

Modes: "planner" is the planner of evaluation, "train" the planner as in training, "policy" the policy without MPC.
All randomness is derived from (seed, step, episode), so evaluating more or less does not change training.
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
BIAS_STEPS = 200  # after later states too little of the episode remains for its return to estimate the value


class Episode(NamedTuple):
    obs: np.ndarray  # (n+1, O)
    actions: np.ndarray  # (n, A)
    rewards: np.ndarray  # (n,)
    terminated: bool  # whether it ended by termination, not by the time limit

    @property
    def total(self) -> float:
        return float(self.rewards.sum())


class Evaluator:
    """Runs evaluation episodes, `eval_episodes` at a time for each seed, and keeps the environments."""

    def __init__(self, config: TrainConfig, seeds: Sequence[int], device: str) -> None:
        self._config, self._seeds, self._device = config, seeds, device
        self._envs = [[Env(config.task, config.action_repeat, 0) for _ in range(config.eval_episodes)] for _ in seeds]

    def play(self, agent: Agent, mode: Mode, step: int, episodes: int, live: Sequence[int]) -> dict[int, list[Episode]]:
        """Seed index -> `episodes` episodes, for the seed indices in `live`. All modes start from the same states."""
        by_seed: dict[int, list[Episode]] = {s: [] for s in live}
        width = self._config.eval_episodes
        for first in range(0, episodes, width):
            count = min(width, episodes - first)
            for s, played in self._play_some(agent, mode, step, first, count, live).items():
                by_seed[s] += played
        return by_seed

    @torch.no_grad()
    def _play_some(
        self, agent: Agent, mode: Mode, step: int, first: int, count: int, live: Sequence[int]
    ) -> dict[int, list[Episode]]:
        c = self._config
        draws = Draws.fresh(self._seeds, "eval", mode, step, first, device=self._device)
        warm = torch.zeros(len(self._seeds), count, c.horizon, agent.action_size, device=self._device)
        obs = np.zeros((len(self._seeds), count, self._envs[0][0].obs_size), np.float32)
        running = {
            (s, e): _RunningEpisode(begin(self._envs[s][e], self._seeds[s], step, first + e))
            for s in live
            for e in range(count)
        }
        while any(not episode.over for episode in running.values()):
            for (s, e), episode in running.items():
                obs[s, e] = episode.obs[-1]
            z = agent.model.encode(torch.from_numpy(obs).to(self._device))
            if mode == "policy":
                actions = agent.acting_policy.act(z)
            else:
                # evaluation: one dynamics head and the best elite; training: all heads, and an elite sampled by weight
                as_in_training = mode == "train"
                heads = None if as_in_training else slice(0, 1)
                planned = plan(agent.networks, z, warm, c, draws, heads=heads, best=not as_in_training)
                actions, warm = planned.action, shift(planned.mean)
            actions_of = actions.cpu().numpy()
            for (s, e), episode in running.items():
                if not episode.over:
                    episode.advance(self._envs[s][e], actions_of[s, e])
        return {s: [running[s, e].finished() for e in range(count)] for s in live}


def begin(env: Env, seed: int, step: int, episode: int) -> np.ndarray:
    """Start evaluation episode number `episode` of run `seed` at `step`; returns its first observation (O,)."""
    env.reseed(derive_seed(seed, "eval episode", step, episode))
    return env.reset()


class _RunningEpisode:
    """The data of an episode while it runs."""

    def __init__(self, obs: np.ndarray) -> None:
        self.obs, self.over, self.terminated = [obs], False, False
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []

    def advance(self, env: Env, action: np.ndarray) -> None:
        step = env.step(action)
        self.obs.append(step.obs)
        self._actions.append(action)
        self._rewards.append(step.reward)
        self.over, self.terminated = step.last, step.terminated

    def finished(self) -> Episode:
        rewards = np.array(self._rewards, np.float32)
        return Episode(np.stack(self.obs), np.stack(self._actions), rewards, self.terminated)


def returns_to_go(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """(n,) rewards -> (n,) discounted return from each step to the end of the episode."""
    returns = np.zeros(len(rewards), np.float64)
    discounted = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        discounted = float(rewards[t]) + gamma * discounted
        returns[t] = discounted
    return returns


@torch.no_grad()
def value_bias(agent: Agent, episodes: dict[int, list[Episode]], device: str) -> dict[int, float]:
    """Seed index -> value (mean over value heads) minus the discounted return that followed, mean over the first 200
    steps of episodes of the policy without MPC. Positive: the value is optimistic."""
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
    """(n, O) observations of seed index s -> (n,) values. The observations of the other seeds are set to zero."""
    padded = obs.new_zeros(agent.scale.shape[0], *obs.shape)
    padded[s] = obs
    values = agent.model.values(agent.model.encode(padded)).mean(1)
    values_of_seed: np.ndarray = values[s].cpu().numpy()
    return values_of_seed
