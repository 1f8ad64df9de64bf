"""The replay buffer: for each seed its own transitions, in float32, sampled by its own generator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tdmpc.agent.batch import Batch
from tdmpc.memory import FIRST_ROWS
from tdmpc.rng import Streams


@dataclass
class SeedEpisodes:
    """Where the episodes of one seed are stored.

    Row i holds o_i and the action and reward of the transition from it. An episode of n transitions takes n + 1
    consecutive rows, the last with an observation only.
    """

    starts: list[int] = field(default_factory=list)  # first row of each episode
    lengths: list[int] = field(default_factory=list)  # transitions of each episode; the last episode may be running
    rows: int = 0  # rows in use
    stopped: bool = False  # the training of this seed has ended, while other seeds are still sampled

    def begin(self) -> None:
        self.starts.append(self.rows)
        self.lengths.append(0)
        self.rows += 1

    def extend(self) -> int:
        """Count one more transition; returns the row it starts from."""
        self.lengths[-1] += 1
        self.rows += 1
        return self.rows - 2


class Replay:
    """Transitions of S seeds. Each can be sampled as soon as it is added.

    An episode is drawn uniformly, including the running one, then the start of a window within it. The last `hot`
    windows of a batch are drawn in the same way from the rows of the newest `hot_buffer` windows.
    """

    def __init__(
        self,
        seeds: int,
        obs_size: int,
        action_size: int,
        horizon: int,
        device: str = "cpu",
        hot: int = 0,
        hot_buffer: int = 1,
    ) -> None:
        self.episodes = [SeedEpisodes() for _ in range(seeds)]
        self._horizon, self._device = horizon, device
        self._hot, self._hot_rows = hot, hot_buffer + horizon
        self._obs = torch.zeros(seeds, FIRST_ROWS, obs_size, device=device)
        self._actions = torch.zeros(seeds, FIRST_ROWS, action_size, device=device)
        self._rewards = torch.zeros(seeds, FIRST_ROWS, device=device)
        self._terminated = torch.zeros(seeds, FIRST_ROWS, device=device)

    def begin(self, seed_index: int, obs: np.ndarray) -> None:
        """Start an episode with its reset observation (O,)."""
        self.episodes[seed_index].begin()
        self._reserve(self.episodes[seed_index].rows)
        self._obs[seed_index, self.episodes[seed_index].rows - 1] = torch.from_numpy(obs)

    def add(
        self, seed_index: int, action: np.ndarray, reward: float, obs: np.ndarray, terminated: bool = False
    ) -> None:
        """Append one transition of the running episode: action (A,), reward, the observation after it (O,)."""
        row = self.episodes[seed_index].extend()
        self._reserve(row + 2)
        self._actions[seed_index, row] = torch.from_numpy(action)
        self._rewards[seed_index, row] = reward
        self._terminated[seed_index, row] = float(terminated)
        self._obs[seed_index, row + 1] = torch.from_numpy(obs)

    def add_episode(
        self, seed_index: int, obs: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: bool = False
    ) -> None:
        """Add a whole episode: obs (n+1, O), actions (n, A), rewards (n,), whether it ended by termination."""
        self.begin(seed_index, obs[0])
        last = len(rewards) - 1
        for t, (action, reward, after) in enumerate(zip(actions, rewards, obs[1:], strict=True)):
            self.add(seed_index, action, float(reward), after, terminated and t == last)

    def stop(self, seed_index: int) -> None:
        """From now on, sample arbitrary windows for this seed."""
        self.episodes[seed_index].stopped = True

    def clear(self, seed_index: int) -> None:
        """Remove all episodes of one seed."""
        self.episodes[seed_index] = SeedEpisodes()

    def sample(self, batch_size: int, streams: Streams) -> Batch:
        """`batch_size` windows of each seed, drawn by generators of the CPU."""
        generators = zip(streams["replay"].generators, streams["hot replay"].generators, strict=True)
        rows = [self._window_rows(own, batch_size, *pair) for own, pair in zip(self.episodes, generators, strict=True)]
        first = torch.stack(rows)  # (S, B), the only data copied to the device, where the rows are stored
        if self._device != "cpu":  # a copy from memory that is not pinned would wait for the device
            first = first.pin_memory().to(self._device, non_blocking=True)
        steps = torch.arange(self._horizon + 1, device=self._device)
        index = first[:, None] + steps[:, None]  # (S, T+1, B)
        seeds = torch.arange(len(self.episodes), device=self._device)[:, None, None]
        transitions = index[:, :-1]
        return Batch(
            self._obs[seeds, index],
            self._actions[seeds, transitions],
            self._rewards[seeds, transitions],
            self._terminated[seeds, transitions],
        )

    def _window_rows(
        self, episodes: SeedEpisodes, count: int, stream: torch.Generator, hot_stream: torch.Generator
    ) -> Tensor:
        """(count,) first rows of the windows drawn from one seed; those of a stopped seed are not used."""
        if episodes.stopped:
            return torch.zeros(count, dtype=torch.int64)
        lengths = torch.tensor(episodes.lengths)
        eligible = torch.nonzero(lengths >= self._horizon).squeeze(1)
        if not len(eligible):
            raise RuntimeError(f"no episode has the {self._horizon} transitions of a window: lower horizon")
        rows = _draw(torch.tensor(episodes.starts)[eligible], lengths[eligible] - self._horizon + 1,
                     count - self._hot, stream)  # fmt: skip
        if not self._hot:
            return rows
        newest = int(eligible[-1])  # for when the newest episodes are all shorter than a window
        windows = self._hot_windows(episodes) or [
            (episodes.starts[newest] + episodes.lengths[newest] - self._horizon, 1)
        ]
        starts, counts = torch.tensor(windows).unbind(1)
        return torch.cat([rows, _draw(starts, counts, self._hot, hot_stream)])

    def _hot_windows(self, episodes: SeedEpisodes) -> list[tuple[int, int]]:
        """(first row, windows from there on) of each episode that has windows within the newest rows."""
        oldest, windows = episodes.rows - self._hot_rows, []
        for start, length in zip(reversed(episodes.starts), reversed(episodes.lengths), strict=True):
            first, last = max(start, oldest), start + length - self._horizon
            if last >= first:
                windows.append((first, last - first + 1))
            if start <= oldest:
                break
        return windows

    def _reserve(self, rows: int) -> None:
        if rows <= self._obs.shape[1]:
            return
        for name in ("_obs", "_actions", "_rewards", "_terminated"):
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, torch.zeros_like(old)], dim=1))

    def state(self, seed_index: int, first: int = 0) -> dict[str, Tensor]:
        """The episodes of one seed, and its rows from `first` on: (n, O + A + 2) obs, action, reward, terminated."""
        own = self.episodes[seed_index]
        part = slice(first, own.rows)
        columns = (
            self._obs[seed_index, part],
            self._actions[seed_index, part],
            self._rewards[seed_index, part, None],
            self._terminated[seed_index, part, None],
        )
        return {
            "starts": torch.tensor(own.starts, dtype=torch.int64),
            "lengths": torch.tensor(own.lengths, dtype=torch.int64),
            "rows": torch.cat(columns, dim=1).cpu(),
        }

    def set_state(self, seed_index: int, state: dict[str, Tensor]) -> None:
        """Restore a `state` with all of its rows."""
        rows = state["rows"].to(self._device)
        while self._obs.shape[1] < len(rows):
            self._reserve(self._obs.shape[1] + 1)
        self.episodes[seed_index] = SeedEpisodes(state["starts"].tolist(), state["lengths"].tolist(), len(rows))
        sizes = [self._obs.shape[2], self._actions.shape[2], 1, 1]
        obs, actions, rewards, terminated = rows.split(sizes, dim=1)
        self._obs[seed_index, : len(rows)] = obs
        self._actions[seed_index, : len(rows)] = actions
        self._rewards[seed_index, : len(rows)] = rewards.squeeze(1)
        self._terminated[seed_index, : len(rows)] = terminated.squeeze(1)


def _draw(starts: Tensor, counts: Tensor, size: int, stream: torch.Generator) -> Tensor:
    """(size,) first rows of windows: one of the episodes, then one of its `counts` windows from `starts` on."""
    pick = torch.randint(len(starts), (size,), generator=stream)
    within = counts[pick] * torch.rand(size, generator=stream, dtype=torch.float64)
    return starts[pick] + within.long()
