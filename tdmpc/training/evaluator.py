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
from tdmpc.rng import Streams, derive_seed
from tdmpc.training.environment import Env, SimulationError

Mode = Literal["planner", "policy", "train"]
MODES: tuple[Mode, ...] = ("planner", "policy")  # measured during training
BIAS_STEPS = 200  # after later states too little of the episode remains for its return to estimate the value


class Episode(NamedTuple):
    obs: np.ndarray  # (n+1, O)
    actions: np.ndarray  # (n, A)
    rewards: np.ndarray  # (n,)
    terminated: bool  # whether it ended by termination, not by the time limit
    error: str = ""  # why the simulation failed in its last step, "" where it did not

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
        streams = Streams(self._seeds, "eval", mode, step, first, device=self._device)
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
                # evaluation: the first dynamics and reward head and the best elite, as in the research code; training:
                # all heads, and an elite sampled by weight
                as_in_training = mode == "train"
                heads = None if as_in_training else slice(0, 1)
                planned = plan(agent.networks, z, warm, c, streams, heads=heads, best=not as_in_training)
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
        self.obs, self.over, self.terminated, self._error = [obs], False, False, ""
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []

    def advance(self, env: Env, action: np.ndarray) -> None:
        try:
            step = env.step(action)
        except SimulationError as error:
            self.over, self._error = True, str(error)
            return
        self.obs.append(step.obs)
        self._actions.append(action)
        self._rewards.append(step.reward)
        self.over, self.terminated = step.last, step.terminated

    def finished(self) -> Episode:
        rewards = np.array(self._rewards, np.float32)
        actions = np.array(self._actions, np.float32)
        return Episode(np.stack(self.obs), actions, rewards, self.terminated, self._error)


def returns_to_go(rewards: np.ndarray, gamma: float, after: float = 0.0) -> np.ndarray:
    """(n,) rewards -> (n,) discounted return from each step on. after: the value of the state after the last reward."""
    returns = np.zeros(len(rewards), np.float64)
    discounted = after
    for t in range(len(rewards) - 1, -1, -1):
        discounted = float(rewards[t]) + gamma * discounted
        returns[t] = discounted
    return returns


@torch.no_grad()
def value_bias(agent: Agent, episodes: dict[int, list[Episode]], device: str) -> dict[int, float]:
    """Seed index -> value (mean over value heads) minus the discounted return that followed, mean over the first 200
    steps of episodes of the policy without MPC. Positive: the value is optimistic.

    The time limit cuts the returns, although the task continues. What is missing, 2 % of the value of a constant reward
    at 500 steps and discount 0.99, is added as the value of the last state.
    """
    bias = {}
    for s, played in episodes.items():
        gaps = []
        for episode in played:
            states = min(BIAS_STEPS, len(episode.rewards))
            measured = np.concatenate([episode.obs[:states], episode.obs[-1:]])
            *values, last = _values_of(agent, s, torch.from_numpy(measured).to(device))
            after = 0.0 if episode.terminated else float(last)
            gaps.append(np.array(values) - returns_to_go(episode.rewards, agent.config.gamma, after)[:states])
        bias[s] = float(np.mean(np.concatenate(gaps)))
    return bias


def _values_of(agent: Agent, s: int, obs: Tensor) -> np.ndarray:
    """(n, O) observations of seed index s -> (n,) values. The observations of the other seeds are set to zero."""
    padded = obs.new_zeros(agent.scale.shape[0], *obs.shape)
    padded[s] = obs
    values = agent.model.values(agent.model.encode(padded)).mean(1)
    values_of_seed: np.ndarray = values[s].cpu().numpy()
    return values_of_seed
