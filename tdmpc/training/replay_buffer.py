"""Replay: float32, contiguous per episode, one lane per seed, sampled by each seed's own stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tdmpc.agent.batch import Batch

FIRST_ROWS = 4096  # storage starts here and doubles


@dataclass
class Lane:
    """One seed's episodes. Row i holds o_i and the action and reward of the transition that leaves it; an
    episode of n transitions takes n + 1 rows, the last with an observation alone."""

    starts: list[int] = field(default_factory=list)  # first row of each episode
    lengths: list[int] = field(default_factory=list)  # transitions of each episode; the last one may be running
    rows: int = 0  # rows in use
    retired: bool = False  # its seed has stopped; its siblings are still sampled together with it

    def begin(self) -> None:
        self.starts.append(self.rows)
        self.lengths.append(0)
        self.rows += 1

    def extend(self) -> int:
        """Count one more transition; returns the row it leaves."""
        self.lengths[-1] += 1
        self.rows += 1
        return self.rows - 2


class Replay:
    """S lanes of (obs, action, reward). Every step is sampled from as soon as it is added.

    hot_share of a batch comes from the newest `hot_windows` windows; the rest draws an episode uniformly, the
    running one included, then a start within it.
    """

    def __init__(
        self,
        seeds: int,
        obs_size: int,
        action_size: int,
        horizon: int,
        device: str = "cpu",
        hot_share: float = 0.0,
        hot_windows: int = 1,
    ) -> None:
        self.lanes = [Lane() for _ in range(seeds)]
        self._horizon, self._device = horizon, device
        self._hot_share, self._hot_windows = hot_share, hot_windows
        self._obs = torch.zeros(seeds, FIRST_ROWS, obs_size, device=device)
        self._actions = torch.zeros(seeds, FIRST_ROWS, action_size, device=device)
        self._rewards = torch.zeros(seeds, FIRST_ROWS, device=device)
        self._terminated = torch.zeros(seeds, FIRST_ROWS, device=device)

    def begin(self, lane: int, obs: np.ndarray) -> None:
        """Start an episode with its reset observation (O,)."""
        self.lanes[lane].begin()
        self._reserve(self.lanes[lane].rows)
        self._obs[lane, self.lanes[lane].rows - 1] = torch.from_numpy(obs)

    def add(self, lane: int, action: np.ndarray, reward: float, obs: np.ndarray, terminated: bool = False) -> None:
        """Append one transition of the running episode: action (A,), reward, the observation after it (O,)."""
        row = self.lanes[lane].extend()
        self._reserve(row + 2)
        self._actions[lane, row] = torch.from_numpy(action)
        self._rewards[lane, row] = reward
        self._terminated[lane, row] = float(terminated)
        self._obs[lane, row + 1] = torch.from_numpy(obs)

    def add_episode(
        self, lane: int, obs: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: bool = False
    ) -> None:
        """A whole episode: obs (n+1, O), actions (n, A), rewards (n,), whether its last step ended it for good."""
        self.begin(lane, obs[0])
        last = len(rewards) - 1
        for t, (action, reward, after) in enumerate(zip(actions, rewards, obs[1:], strict=True)):
            self.add(lane, action, float(reward), after, terminated and t == last)

    def retire(self, lane: int) -> None:
        self.lanes[lane].retired = True

    def clear(self, lane: int) -> None:
        self.lanes[lane] = Lane()

    def sample(self, batch_size: int, streams: Sequence[torch.Generator]) -> Batch:
        """`batch_size` windows of every lane, lane s by `streams[s]` (CPU generators) alone."""
        rows = [self._window_rows(lane, batch_size, g) for lane, g in zip(self.lanes, streams, strict=True)]
        first = torch.stack(rows)  # (S, B), all that is sent anywhere: rows lie on the device
        if self._device != "cpu":  # a copy of pageable memory waits for the device
            first = first.pin_memory().to(self._device, non_blocking=True)
        steps = torch.arange(self._horizon + 1, device=self._device)
        index = first[:, None] + steps[:, None]  # (S, T+1, B)
        seeds = torch.arange(len(self.lanes), device=self._device)[:, None, None]
        taken = index[:, :-1]
        return Batch(
            self._obs[seeds, index],
            self._actions[seeds, taken],
            self._rewards[seeds, taken],
            self._terminated[seeds, taken],
        )

    def _window_rows(self, lane: Lane, count: int, stream: torch.Generator) -> Tensor:
        """(count,) first rows of the windows drawn from one lane; nobody reads a retired lane's."""
        if lane.retired:
            return torch.zeros(count, dtype=torch.int64)
        lengths = torch.tensor(lane.lengths)
        eligible = torch.nonzero(lengths >= self._horizon).squeeze(1)
        if not len(eligible):
            raise RuntimeError(f"no episode has the {self._horizon} transitions of a window: lower horizon")
        hot = round(self._hot_share * count)
        pick = eligible[torch.randint(len(eligible), (count - hot,), generator=stream)]
        within = (lengths[pick] - self._horizon + 1) * torch.rand(count - hot, generator=stream, dtype=torch.float64)
        rows = torch.tensor(lane.starts)[pick] + within.long()
        if not hot:
            return rows
        newest = int(eligible[-1])  # the running episode as soon as it holds a window
        last = lane.lengths[newest] - self._horizon
        back = torch.randint(min(self._hot_windows, last + 1), (hot,), generator=stream)
        return torch.cat([rows, lane.starts[newest] + last - back])

    def _reserve(self, rows: int) -> None:
        have = self._obs.shape[1]
        if rows <= have:
            return
        for name in ("_obs", "_actions", "_rewards", "_terminated"):
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, torch.zeros_like(old)], dim=1))

    def state(self, lane: int, first: int = 0) -> dict[str, Tensor]:
        """One lane's episodes, and its rows from `first` on: (n, O + A + 2) of obs, action, reward, terminated."""
        own = self.lanes[lane]
        part = slice(first, own.rows)
        columns = (
            self._obs[lane, part],
            self._actions[lane, part],
            self._rewards[lane, part, None],
            self._terminated[lane, part, None],
        )
        return {
            "starts": torch.tensor(own.starts, dtype=torch.int64),
            "lengths": torch.tensor(own.lengths, dtype=torch.int64),
            "rows": torch.cat(columns, dim=1).cpu(),
        }

    def set_state(self, lane: int, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave, all rows of it."""
        rows = state["rows"].to(self._device)
        while self._obs.shape[1] < len(rows):
            self._reserve(self._obs.shape[1] + 1)
        self.lanes[lane] = Lane(state["starts"].tolist(), state["lengths"].tolist(), len(rows))
        sizes = [self._obs.shape[2], self._actions.shape[2], 1, 1]
        obs, actions, rewards, terminated = rows.split(sizes, dim=1)
        self._obs[lane, : len(rows)] = obs
        self._actions[lane, : len(rows)] = actions
        self._rewards[lane, : len(rows)] = rewards.squeeze(1)
        self._terminated[lane, : len(rows)] = terminated.squeeze(1)
