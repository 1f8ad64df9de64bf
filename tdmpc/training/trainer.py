"""The training loop of the seeds of one configuration, side by side (docs/algorithm.md, "Training loop").

The loop advances in ticks: one environment step of every live seed, or one gradient update that is owed for
it. A checkpoint can be taken between any two ticks.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweepwise.core.atomic import Superseded
from sweepwise.core.metrics import Kind
from sweepwise.core.shards import ShardWriter
from sweepwise.core.trainable import Outcome, Progress, RunHandle, State
from tdmpc.agent.agent import Agent, Schedule, freeze_step
from tdmpc.agent.losses import Metrics
from tdmpc.agent.mppi import Plan, shift
from tdmpc.config import ConfigError, TrainConfig
from tdmpc.metrics import CATALOGUE, METRICS, VALIDATION_PREFIXES
from tdmpc.rng import Draws, derive_seed, generator
from tdmpc.training.checkpoint import Checkpoints, save_weights
from tdmpc.training.environment import Env
from tdmpc.training.evaluator import MODES, Episode, Evaluator, value_bias
from tdmpc.training.replay_buffer import Replay
from tdmpc.training.seed_state import agent_state, restore_agent, weights

CPU_STREAMS = ("explore", "replay")
GROWING = ("replay", "validation/")  # buffers that only ever gain rows
DEVICE_STREAMS = ("update", "plan")


class Lane:
    """One seed beside its siblings: environment, shards, running episode, and how it ended."""

    def __init__(self, index: int, handle: RunHandle, metadata: dict[str, str]) -> None:
        c = handle.config
        self.index, self.handle = index, handle
        self.env = Env(c.task, c.action_repeat, derive_seed(handle.seed, "env"))
        self.writer = ShardWriter(handle.folder, handle.tag, metadata, handle.guard, CATALOGUE)
        self.checkpoints = Checkpoints(handle.folder, handle.tag, handle.guard, GROWING)
        self.episode_return, self.episode_length = 0.0, 0
        self.last_return: float | None = None
        self.outcome: Outcome | None = None


class Trainer:
    """Trains the runs of `handles`, which share a configuration up to the seed.

    snapshots: how many times, evenly spaced and the last at the end, the weights are kept for evaluation.
    compiled, cuda_graphs: as the agent's.
    """

    def __init__(
        self,
        handles: Sequence[RunHandle],
        device: str,
        metadata: Sequence[dict[str, str]],
        snapshots: int,
        compiled: bool,
        cuda_graphs: bool,
    ) -> None:
        self.config = c = handles[0].config
        self._snapshot_steps = {round(n * c.steps / snapshots) for n in range(1, snapshots + 1)}
        self.device = device
        self.lanes = [Lane(i, h, m) for i, (h, m) in enumerate(zip(handles, metadata, strict=True))]
        seeds = [h.seed for h in handles]
        env = self.lanes[0].env
        sizes = (env.obs_size, env.action_size)
        self.agent = Agent(c, *sizes, seeds, device, compiled, cuda_graphs)
        self.replay = Replay(
            len(seeds), *sizes, c.horizon, device, hot_share=c.hot_buffer_ratio, hot_windows=c.hot_buffer_size
        )
        self.validation = {prefix: Replay(len(seeds), *sizes, c.horizon, device) for prefix in VALIDATION_PREFIXES}
        self.draws = {
            **{name: Draws.fresh(seeds, name) for name in CPU_STREAMS},
            **{name: Draws.fresh(seeds, name, device=device) for name in DEVICE_STREAMS},
        }
        self.evaluator = Evaluator(c, seeds, device)
        self.warm = torch.zeros(len(seeds), 1, c.horizon, env.action_size, device=device)
        self.obs = np.zeros((len(seeds), env.obs_size), np.float32)
        self.step, self.owed = 0, 0
        self._metrics: Metrics = {}
        self._clock = _Clock()

    @property
    def _buffers(self) -> dict[str, Replay]:
        return {"replay": self.replay, **self.validation}

    @property
    def live(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.outcome is None]

    # --- the loop --------------------------------------------------------------------------------------

    def run(self, should_stop: Callable[[], bool], checkpoint_seconds: float) -> list[Outcome]:
        """Train until every lane has an outcome."""
        if self.step == 0 and not self.owed:
            for lane in self.live:
                self._reset(lane)
        self._clock.mark(self.step, self.agent.update_index)
        saved = time.monotonic()
        while self.live and not (self.step >= self.config.steps and self.owed == 0):
            if should_stop():
                self._finish("interrupted", "asked to stop; state saved")
                break
            if time.monotonic() - saved >= checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            self._tick()
        self._finish("finished", "all steps trained")
        return [lane.outcome for lane in self.lanes if lane.outcome is not None]

    def _tick(self) -> None:
        if self.owed:
            self._update()
            self.owed -= 1
        else:
            self._environment_step()
            seed_phase = self.config.seed_phase_steps
            if self.step == seed_phase:
                self.owed = seed_phase  # as many updates on the seed data as it has steps
            elif self.step > seed_phase:
                self.owed = self.config.utd_ratio
        if not self.owed:
            self._after_step()
        self._report()

    def _update(self) -> None:
        log = self.owed == 1 and self._due(self.config.log_freq)
        batch = self.replay.sample(self.config.batch_size, self.draws["replay"].generators)
        found = self.agent.update(batch, Schedule.at(self.step, self.config), self.draws["update"], log)
        if log:
            self._metrics |= found

    def _after_step(self) -> None:
        """Everything that follows a step and the updates owed for it; changes nothing in training."""
        self._stop_diverged()
        self._log_events()
        if self._due(self.config.log_freq) and self.step >= self.config.seed_phase_steps:
            self._log_diagnostics()
        final = self.step == self.config.steps
        if final or (self._due(self.config.eval_freq) and self.step >= self.config.seed_phase_steps):
            self._evaluate(final)
        if self.step in self._snapshot_steps:
            for lane in self.live:
                self._publish(lane, functools.partial(self._save_weights, lane))

    def _due(self, every: int) -> bool:
        return self.step % every == 0

    def _report(self) -> None:
        rate = self._clock.rate(self.step)
        for lane in self.live:
            if not lane.handle.on_progress(Progress(self.step, self.config.steps, rate, lane.last_return)):
                self._end(lane, "superseded", "a newer attempt owns the run")

    def _end(self, lane: Lane, state: State, message: str) -> None:
        lane.outcome = Outcome(state, self.step, message)
        for buffer in self._buffers.values():
            buffer.retire(lane.index)

    def _finish(self, state: State, message: str) -> None:
        """Save and close every lane that still runs."""
        if not self.live:
            return
        self.save(end=self.step if state == "finished" else None)
        for lane in self.live:
            self._end(lane, state, message)
            if state == "finished":
                lane.checkpoints.prune(keep=1)

    def _publish(self, lane: Lane, act: Callable[[], None]) -> None:
        """Do what writes into a run's folder; a lane that was superseded stops, its siblings go on."""
        try:
            act()
        except Superseded as reason:
            self._end(lane, "superseded", str(reason))

    # --- acting ----------------------------------------------------------------------------------------

    def _environment_step(self) -> None:
        actions = self._explore() if self.step < self.config.seed_phase_steps else self._planned()
        self.step += 1
        for lane in self.live:
            self._advance(lane, actions[lane.index])

    def _explore(self) -> np.ndarray:
        uniform: np.ndarray = self.draws["explore"].uniform(self.agent.action_size).numpy()
        return uniform * 2 - 1

    def _planned(self) -> np.ndarray:
        obs = torch.from_numpy(self.obs).to(self.device)
        chosen = self.agent.act(obs, self.warm, self.draws["plan"])
        self.warm = shift(chosen.mean)
        if (self.step + 1) % self.config.log_freq == 0:
            self._metrics |= self._planner_metrics(chosen, obs)
        actions: np.ndarray = chosen.action.squeeze(1).cpu().numpy()
        return actions

    @torch.no_grad()
    def _planner_metrics(self, chosen: Plan, obs: Tensor) -> Metrics:
        z = self.agent.model.encode(obs.unsqueeze(1))
        distance = (chosen.action - self.agent.acting_policy.act(z)).abs().mean(dim=(1, 2))
        return {
            "planner_pi_elite_share": chosen.policy_share.mean(1),
            "planner_std": chosen.std.mean(dim=(1, 2)),
            "planner_policy_distance": distance,
        }

    def _reset(self, lane: Lane) -> None:
        s = lane.index
        self.obs[s] = lane.env.reset()
        self.warm[s] = 0
        self.replay.begin(s, self.obs[s])
        lane.episode_return, lane.episode_length = 0.0, 0

    def _advance(self, lane: Lane, action: np.ndarray) -> None:
        found = lane.env.step(action)
        s = lane.index
        self.obs[s] = found.obs
        if found.terminated and not self.config.episodic:
            raise ConfigError(f"task={self.config.task!r}: its episodes terminate; set episodic=true")
        self.replay.add(s, action, found.reward, found.obs, found.terminated)
        lane.episode_return += found.reward
        lane.episode_length += 1
        if found.last:
            lane.last_return = lane.episode_return
            self._log(lane, "episode", {"episode_return": lane.episode_return, "episode_length": lane.episode_length})
            self._reset(lane)

    # --- measuring -------------------------------------------------------------------------------------

    def _log(self, lane: Lane, kind: Kind, metrics: dict[str, Any], event: str | None = None) -> None:
        frames = self.step * self.config.action_repeat
        update = self.agent.update_index
        self._publish(lane, lambda: lane.writer.log(kind, self.step, frames, update, metrics, event))

    def _log_diagnostics(self) -> None:
        self._metrics |= self.agent.take_policy_metrics()
        rates = self._clock.lap(self.step, self.agent.update_index)
        per_seed = _by_seed(self._metrics, len(self.lanes))
        self._metrics = {}
        for lane in self.live:
            self._log(lane, "train", {**per_seed[lane.index], **rates})

    def _log_events(self) -> None:
        for event in schedule_events(self.config).get(self.step, []):
            for lane in self.live:
                self._log(lane, "event", {}, event)

    def _stop_diverged(self) -> None:
        finite = self.agent.finite.tolist()
        for lane in self.live:
            if not finite[lane.index]:
                self._log(lane, "event", {}, "diverged")
                self._end(lane, "diverged", "a loss or gradient became NaN or infinite")
                self._publish(lane, lane.writer.flush)

    def _evaluate(self, final: bool) -> None:
        c = self.config
        live = [lane.index for lane in self.live]
        episodes = c.final_eval_episodes if final else c.eval_episodes
        played = {mode: self.evaluator.play(self.agent, mode, self.step, episodes, live) for mode in MODES}
        bias = value_bias(self.agent, played["policy"], self.device)
        for lane in self.live:
            metrics: dict[str, Any] = {"eval_is_final": float(final), "value_bias": bias[lane.index]}
            for mode in MODES:
                metrics |= _return_metrics(mode, played[mode][lane.index])
            self._log(lane, "eval", metrics)
        if self._due(c.eval_freq):  # an end off the grid adds no episodes, so that a longer run goes on exactly
            self._validate({s: [e for mode in MODES for e in played[mode][s][: c.eval_episodes]] for s in live})
        for lane in self.live if not final else []:  # whoever aggregates while runs go on sees it at once
            self._publish(lane, lane.writer.flush)
        self._clock.mark(self.step, self.agent.update_index)

    def _validate(self, episodes: dict[int, list[Episode]]) -> None:
        """Fill the validation buffers and log every loss on both. Rows of a diverged seed stay as they were."""
        recent = self.validation["validation_recent/"]
        for lane in self.live:
            recent.clear(lane.index)
            for buffer in self.validation.values():
                for episode in episodes[lane.index]:
                    buffer.add_episode(lane.index, *episode)
        seeds = [lane.handle.seed for lane in self.lanes]
        found: Metrics = {}
        for prefix, buffer in self.validation.items():
            streams = [generator(seed, prefix, self.step) for seed in seeds]
            draws = Draws.fresh(seeds, prefix, "noise", self.step, device=self.device)
            metrics = self.agent.validate(buffer.sample(self.config.batch_size, streams), draws)
            found |= {prefix + name: value for name, value in metrics.items() if prefix + name in METRICS}
        per_seed = _by_seed(found, len(self.lanes))
        for lane in self.live:
            self._log(lane, "validation", per_seed[lane.index])

    # --- state -----------------------------------------------------------------------------------------

    def save(self, end: int | None = None) -> None:
        """Publish rows and a checkpoint of every live lane. end: the step that ends the runs, where it is reached."""
        for lane in self.live:
            self._publish(lane, functools.partial(self._save, lane, end))

    def _save(self, lane: Lane, end: int | None) -> None:
        lane.writer.flush(end)
        lane.checkpoints.save(self._state(lane), self.step, self.agent.update_index)

    def _save_weights(self, lane: Lane) -> None:
        handle = lane.handle
        save_weights(handle.folder, weights(self.agent, lane.index), self.step, handle.guard)

    def _state(self, lane: Lane) -> dict[str, Any]:
        s = lane.index
        return {
            "seed": lane.handle.seed,
            "step": self.step,
            "owed": self.owed,
            "agent": agent_state(self.agent, s),
            "streams": {name: draws.state(s) for name, draws in self.draws.items()},
            "buffers": {
                name: buffer.state(s, lane.checkpoints.on_disk(name)) for name, buffer in self._buffers.items()
            },
            "env": lane.env.state(),
            "warm": self.warm[s].cpu().clone(),
            "metrics": {name: value[s].cpu().clone() for name, value in self._metrics.items()},
            "episode": [lane.episode_return, lane.episode_length, lane.last_return],
        }

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Stand where the checkpoints `states`, one a lane and all at the same update, were taken."""
        restore_agent(self.agent, [state["agent"] for state in states])
        self.step, self.owed = states[0]["step"], states[0]["owed"]
        self._metrics = {
            name: torch.stack([state["metrics"][name] for state in states]).to(self.device)
            for name in states[0]["metrics"]
        }
        for lane, state in zip(self.lanes, states, strict=True):
            s = lane.index
            for name, draws in self.draws.items():
                draws.set_state(s, state["streams"][name])
            lane.checkpoints.resume(state)
            for name, buffer in self._buffers.items():
                buffer.set_state(s, state["buffers"][name])
            self.obs[s] = lane.env.restore(state["env"])
            self.warm[s] = state["warm"].to(self.device)
            lane.episode_return, lane.episode_length, lane.last_return = state["episode"]


def schedule_events(config: TrainConfig) -> dict[int, list[str]]:
    """Agent step -> what the configuration schedules there."""
    c = config
    events = {"seed_phase_end": c.seed_phase_steps, "encoder_freeze": freeze_step(c)}
    if not c.entropy_is_fixed:
        events["entropy_start"] = round(c.start_dynamic_entropy_ratio * c.steps)
        events["entropy_end"] = round(c.end_dynamic_entropy_ratio * c.steps)
    by_step: dict[int, list[str]] = {}
    for event, step in events.items():
        by_step.setdefault(max(step, 1), []).append(event)
    return by_step


def _return_metrics(mode: str, episodes: Sequence[Episode]) -> dict[str, Any]:
    returns = [episode.total for episode in episodes]
    name = f"eval_return_{mode}"
    return {name: float(np.mean(returns)), f"{name}_std": float(np.std(returns)), f"{name}_episodes": returns}


def _by_seed(metrics: Metrics, seeds: int) -> list[dict[str, Any]]:
    """(S,) and (S, n) tensors -> one dict of numbers and lists a seed."""
    plain = {name: value.detach().double().cpu().tolist() for name, value in metrics.items()}
    return [{name: values[s] for name, values in plain.items()} for s in range(seeds)]


class _Clock:
    """Steps and updates a second, evaluation left out."""

    WINDOW = 2.0  # seconds over which the reported rate is taken

    def __init__(self) -> None:
        self._row = self._window = (time.monotonic(), 0, 0)
        self._rate = 0.0

    def mark(self, step: int, update: int) -> None:
        """Count from here: what came before was not training."""
        self._row = self._window = (time.monotonic(), step, update)

    def rate(self, step: int) -> float:
        """Steps a second over the newest full window."""
        began, first, update = self._window
        elapsed = time.monotonic() - began
        if elapsed >= self.WINDOW:
            self._rate = (step - first) / elapsed
            self._window = (time.monotonic(), step, update)
        return self._rate

    def lap(self, step: int, update: int) -> dict[str, float]:
        """Rates since the last mark or lap."""
        began, first_step, first_update = self._row
        elapsed = max(time.monotonic() - began, 1e-9)
        self._row = (time.monotonic(), step, update)
        return {"steps_per_s": (step - first_step) / elapsed, "updates_per_s": (update - first_update) / elapsed}
