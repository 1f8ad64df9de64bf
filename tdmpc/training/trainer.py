"""The training loop for the seeds of one configuration, trained together (docs/algorithm.md, "Training loop").

Each iteration is either one environment step of all live seeds or one gradient update. A checkpoint can be taken
between any two iterations.
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
from tdmpc.agent.mppi import MppiPlan, shift
from tdmpc.config import ConfigError, TrainConfig
from tdmpc.metrics import CATALOGUE, METRICS, VALIDATION_PREFIXES
from tdmpc.rng import Streams, derive_seed
from tdmpc.training.checkpoint import Checkpoints, save_weights
from tdmpc.training.environment import Env, SimulationError
from tdmpc.training.evaluator import MODES, Episode, Evaluator, Mode, value_bias
from tdmpc.training.replay_buffer import Replay
from tdmpc.training.seed_state import agent_state, restore_agent, weights

GROWING = ("replay", "validation/")  # buffers whose rows are never removed


class SeedRun:
    """The run of one seed: its environment, shards, checkpoints, running episode, and how it ended."""

    def __init__(self, index: int, handle: RunHandle, metadata: dict[str, str]) -> None:
        c = handle.config
        self.index, self.handle = index, handle
        self.env = Env(c.task, c.action_repeat, derive_seed(handle.seed, "env"))
        self.writer = ShardWriter(handle.folder, handle.tag, metadata, handle.guard, CATALOGUE)
        self.checkpoints = Checkpoints(handle.folder, handle.tag, handle.guard, GROWING)
        self.frames = 0  # environment steps so far
        self.episode_return, self.episode_length = 0.0, 0
        self.last_return: float | None = None
        self.outcome: Outcome | None = None


class Trainer:
    """Trains the runs of `handles`, which share a configuration except for the seed.

    snapshots: number of times, evenly spaced and the last at the end, that weights are kept for evaluation.
    compiled, cuda_graphs: as for `Agent`.
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
        self.runs = [SeedRun(i, h, m) for i, (h, m) in enumerate(zip(handles, metadata, strict=True))]
        seeds = [h.seed for h in handles]
        env = self.runs[0].env
        sizes = (env.obs_size, env.action_size)
        self.agent = Agent(c, *sizes, seeds, device, compiled, cuda_graphs)
        self.replay = Replay(len(seeds), *sizes, c.horizon, device, c.hot_windows, c.hot_buffer_windows)
        self.validation = {prefix: Replay(len(seeds), *sizes, c.horizon, device) for prefix in VALIDATION_PREFIXES}
        self.streams = {
            "cpu": Streams(seeds),
            "update": Streams(seeds, "update", device=device),
            "plan": Streams(seeds, "plan", device=device),
        }
        self.evaluator = Evaluator(c, seeds, device)
        self.warm = torch.zeros(len(seeds), 1, c.horizon, env.action_size, device=device)
        self.obs = np.zeros((len(seeds), env.obs_size), np.float32)
        self.step, self.updates_due = 0, 0
        self._metrics: Metrics = {}
        self._clock = _Clock()

    @property
    def _buffers(self) -> dict[str, Replay]:
        return {"replay": self.replay, **self.validation}

    @property
    def live(self) -> list[SeedRun]:
        """Runs that are still trained."""
        return [run for run in self.runs if run.outcome is None]

    # --- the loop --------------------------------------------------------------------------------------

    def run(self, should_stop: Callable[[], bool], checkpoint_seconds: float) -> list[Outcome]:
        """Train until every run has an outcome."""
        if self.step == 0 and not self.updates_due:
            for run in self.live:
                self._reset(run)
        self._clock.mark(self.step, self.agent.update_index)
        saved = time.monotonic()
        while self.live and not (self.step >= self.config.steps and self.updates_due == 0):
            if should_stop():
                self._finish("interrupted", "asked to stop; state saved")
                break
            if time.monotonic() - saved >= checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            self._iterate()
        self._finish("finished", "all steps trained")
        return [run.outcome for run in self.runs if run.outcome is not None]

    def _iterate(self) -> None:
        if self.updates_due:
            self._update()
            self.updates_due -= 1
        else:
            self._environment_step()
            seed_phase = self.config.seed_phase_steps
            if self.step == seed_phase:
                self.updates_due = seed_phase  # as many updates on the data of the seed phase as it has steps
            elif self.step > seed_phase:
                self.updates_due = self.config.utd_ratio
        if not self.updates_due:
            self._after_step()
        self._report()

    def _update(self) -> None:
        log = self.updates_due == 1 and self._due(self.config.log_freq)
        batch = self.replay.sample(self.config.batch_size, self.streams["cpu"])
        metrics = self.agent.update(batch, Schedule.at(self.step, self.config), self.streams["update"], log)
        if log:
            self._metrics |= metrics

    def _after_step(self) -> None:
        """Logging, evaluation and snapshots after a step and its updates. Does not change training."""
        self._stop_diverged()
        self._log_events()
        if self._due(self.config.log_freq) and self.step >= self.config.seed_phase_steps:
            self._log_diagnostics()
        final = self.step == self.config.steps
        if final or (self._due(self.config.eval_freq) and self.step >= self.config.seed_phase_steps):
            self._evaluate(final)
        if self.step in self._snapshot_steps:
            for run in self.live:
                self._publish(run, functools.partial(self._save_weights, run))

    def _due(self, every: int) -> bool:
        return self.step % every == 0

    def _report(self) -> None:
        """Report progress, and end the runs that a newer attempt has taken over."""
        rate = self._clock.rate(self.step)
        for run in self.live:
            if not run.handle.on_progress(Progress(self.step, self.config.steps, rate, run.last_return)):
                self._end(run, "superseded", "a newer attempt owns the run")

    def _end(self, run: SeedRun, state: State, message: str) -> None:
        run.outcome = Outcome(state, self.step, message)
        for buffer in self._buffers.values():
            buffer.stop(run.index)

    def _finish(self, state: State, message: str) -> None:
        """Save and end all live runs."""
        if not self.live:
            return
        self.save(end=self.step if state == "finished" else None)
        for run in self.live:
            self._end(run, state, message)
            if state == "finished":
                run.checkpoints.prune(keep=1)

    def _publish(self, run: SeedRun, write: Callable[[], None]) -> None:
        """Call `write`, which writes into the run's folder. A superseded run ends; the other seeds continue."""
        try:
            write()
        except Superseded as reason:
            self._end(run, "superseded", str(reason))

    # --- acting ----------------------------------------------------------------------------------------

    def _environment_step(self) -> None:
        actions = self._explore() if self.step < self.config.seed_phase_steps else self._planned()
        self.step += 1
        for run in self.live:
            self._advance(run, actions[run.index])

    def _explore(self) -> np.ndarray:
        uniform: np.ndarray = self.streams["cpu"]["explore"].uniform(self.agent.action_size).numpy()
        return uniform * 2 - 1

    def _planned(self) -> np.ndarray:
        obs = torch.from_numpy(self.obs).to(self.device)
        plan = self.agent.act(obs, self.warm, self.streams["plan"])
        self.warm = shift(plan.mean)
        if (self.step + 1) % self.config.log_freq == 0:
            self._metrics |= self._planner_metrics(plan, obs)
        actions: np.ndarray = plan.action.squeeze(1).cpu().numpy()
        return actions

    @torch.no_grad()
    def _planner_metrics(self, plan: MppiPlan, obs: Tensor) -> Metrics:
        z = self.agent.model.encode(obs.unsqueeze(1))
        distance = (plan.action - self.agent.acting_policy.act(z)).abs().mean(dim=(1, 2))
        return {
            "planner_pi_elite_share": plan.policy_share.mean(1),
            "planner_std": plan.std.mean(dim=(1, 2)),
            "planner_policy_distance": distance,
        }

    def _reset(self, run: SeedRun) -> None:
        s = run.index
        self.obs[s] = run.env.reset()
        self.warm[s] = 0
        self.replay.begin(s, self.obs[s])
        run.episode_return, run.episode_length = 0.0, 0

    def _advance(self, run: SeedRun, action: np.ndarray) -> None:
        """One environment step of one seed. A simulation that fails ends this seed only."""
        try:
            step = run.env.step(action)
        except SimulationError as error:
            self._diverge(run, str(error))
            return
        s = run.index
        self.obs[s] = step.obs
        run.frames += step.frames
        if step.terminated and not self.config.episodic:
            raise ConfigError(f"task={self.config.task!r}: its episodes terminate; set episodic=true")
        self.replay.add(s, action, step.reward, step.obs, step.terminated)
        run.episode_return += step.reward
        run.episode_length += 1
        if step.last:
            run.last_return = run.episode_return
            self._log(run, "episode", {"episode_return": run.episode_return, "episode_length": run.episode_length})
            self._reset(run)

    # --- measuring -------------------------------------------------------------------------------------

    def _log(self, run: SeedRun, kind: Kind, metrics: dict[str, Any], event: str | None = None) -> None:
        update = self.agent.update_index
        self._publish(run, lambda: run.writer.log(kind, self.step, run.frames, update, metrics, event))

    def _log_diagnostics(self) -> None:
        self._metrics |= self.agent.take_policy_metrics()
        rates = self._clock.lap(self.step, self.agent.update_index)
        per_seed = _by_seed(self._metrics, len(self.runs))
        self._metrics = {}
        for run in self.live:
            self._log(run, "train", {**per_seed[run.index], **rates})

    def _log_events(self) -> None:
        for event in schedule_events(self.config).get(self.step, []):
            for run in self.live:
                self._log(run, "event", {}, event)

    def _stop_diverged(self) -> None:
        finite = self.agent.finite.tolist()
        for run in self.live:
            if not finite[run.index]:
                self._diverge(run, "a loss or gradient became NaN or infinite")

    def _diverge(self, run: SeedRun, reason: str) -> None:
        self._log(run, "event", {}, "diverged")
        self._end(run, "diverged", reason)
        self._publish(run, run.writer.flush)

    def _evaluate(self, final: bool) -> None:
        c, rate = self.config, self._clock.rate(self.step)  # before the evaluation, which makes no steps
        live = [run.index for run in self.live]
        episodes = c.final_eval_episodes if final else c.eval_episodes
        played = {mode: self.evaluator.play(self.agent, mode, self.step, episodes, live) for mode in MODES}
        self._stop_failed(played)
        live = [run.index for run in self.live]
        bias = value_bias(self.agent, {s: played["policy"][s] for s in live}, self.device)
        for run in self.live:
            metrics: dict[str, Any] = {"eval_is_final": float(final), "value_bias": bias[run.index]}
            for mode in MODES:
                metrics |= _return_metrics(mode, played[mode][run.index])
            self._log(run, "eval", metrics)
            progress = Progress(self.step, c.steps, rate, run.last_return)
            run.handle.tell(progress.evaluation_line("return", metrics["eval_return_planner"]))
        # not for a last step that is no multiple of eval_freq, so that a longer run has the same validation data
        if self._due(c.eval_freq):
            self._validate({s: [e for mode in MODES for e in played[mode][s][: c.eval_episodes]] for s in live})
        if not final:  # make the evaluation available to aggregation during training
            for run in self.live:
                self._publish(run, run.writer.flush)
        self._clock.mark(self.step, self.agent.update_index)

    def _stop_failed(self, played: dict[Mode, dict[int, list[Episode]]]) -> None:
        """End the runs in whose evaluation a simulation failed."""
        for run in self.live:
            errors = [e.error for by_seed in played.values() for e in by_seed[run.index] if e.error]
            if errors:
                self._diverge(run, f"in an evaluation, {errors[0]}")

    def _validate(self, episodes: dict[int, list[Episode]]) -> None:
        """Add episodes (seed index -> episodes) to the validation buffers and log all losses on both."""
        recent = self.validation["validation_recent/"]
        for run in self.live:
            recent.clear(run.index)
            for buffer in self.validation.values():
                for episode in episodes[run.index]:
                    buffer.add_episode(run.index, episode.obs, episode.actions, episode.rewards, episode.terminated)
        seeds = [run.handle.seed for run in self.runs]
        validated: Metrics = {}
        for prefix, buffer in self.validation.items():
            batch = buffer.sample(self.config.batch_size, Streams(seeds, prefix, self.step))
            metrics = self.agent.validate(batch, Streams(seeds, prefix, "noise", self.step, device=self.device))
            validated |= {prefix + name: value for name, value in metrics.items() if prefix + name in METRICS}
        per_seed = _by_seed(validated, len(self.runs))
        for run in self.live:
            self._log(run, "validation", per_seed[run.index])

    # --- state -----------------------------------------------------------------------------------------

    def save(self, end: int | None = None) -> None:
        """Write rows and a checkpoint of every live run. end: the last step of the runs, where it has been reached."""
        for run in self.live:
            self._publish(run, functools.partial(self._save, run, end))

    def _save(self, run: SeedRun, end: int | None) -> None:
        run.writer.flush(end)
        run.checkpoints.save(self._state(run), self.step, self.agent.update_index)

    def _save_weights(self, run: SeedRun) -> None:
        handle = run.handle
        save_weights(handle.folder, weights(self.agent, run.index), self.step, handle.guard)

    def _state(self, run: SeedRun) -> dict[str, Any]:
        s = run.index
        return {
            "seed": run.handle.seed,
            "step": self.step,
            "owed": self.updates_due,
            "agent": agent_state(self.agent, s),
            "streams": {name: streams.state(s) for name, streams in self.streams.items()},
            "buffers": {name: buffer.state(s, run.checkpoints.on_disk(name)) for name, buffer in self._buffers.items()},
            "env": run.env.state(),
            "warm": self.warm[s].cpu().clone(),
            "metrics": {name: value[s].cpu().clone() for name, value in self._metrics.items()},
            "frames": run.frames,
            "episode": [run.episode_return, run.episode_length, run.last_return],
        }

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Restore checkpoints, one for each run and all of the same update."""
        restore_agent(self.agent, [state["agent"] for state in states])
        self.step, self.updates_due = states[0]["step"], states[0]["owed"]
        self._metrics = {
            name: torch.stack([state["metrics"][name] for state in states]).to(self.device)
            for name in states[0]["metrics"]
        }
        for run, state in zip(self.runs, states, strict=True):
            s = run.index
            for name, streams in self.streams.items():
                streams.set_state(s, state["streams"][name])
            run.checkpoints.resume(state)
            for name, buffer in self._buffers.items():
                buffer.set_state(s, state["buffers"][name])
            self.obs[s] = run.env.restore(state["env"])
            self.warm[s] = state["warm"].to(self.device)
            run.frames = state["frames"]
            run.episode_return, run.episode_length, run.last_return = state["episode"]


def schedule_events(config: TrainConfig) -> dict[int, list[str]]:
    """Agent step -> names of the events that the configuration schedules there."""
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
    """(S,) and (S, n) tensors -> for each seed a dict of numbers and lists."""
    plain = {name: value.detach().double().cpu().tolist() for name, value in metrics.items()}
    return [{name: values[s] for name, values in plain.items()} for s in range(seeds)]


class _Clock:
    """Steps and updates per second, without the time of evaluations."""

    WINDOW = 2.0  # seconds over which the reported rate is measured

    def __init__(self) -> None:
        self._lap = self._window = (time.monotonic(), 0, 0)
        self._rate = 0.0

    def mark(self, step: int, update: int) -> None:
        """Start measuring here."""
        self._lap = self._window = (time.monotonic(), step, update)

    def rate(self, step: int) -> float:
        """Steps per second over the newest complete window."""
        start, first_step, first_update = self._window
        elapsed = time.monotonic() - start
        if elapsed >= self.WINDOW:
            self._rate = (step - first_step) / elapsed
            self._window = (time.monotonic(), step, first_update)
        return self._rate

    def lap(self, step: int, update: int) -> dict[str, float]:
        """Rates since the last `mark` or `lap`."""
        start, first_step, first_update = self._lap
        elapsed = max(time.monotonic() - start, 1e-9)
        self._lap = (time.monotonic(), step, update)
        return {"steps_per_s": (step - first_step) / elapsed, "updates_per_s": (update - first_update) / elapsed}
