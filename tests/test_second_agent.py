"""A second agent, soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905), in this one file.

A plan names it, its runs are killed and resumed, and the report judges it by the roles that its metrics have.

The tests copy this file next to their plan, as a user's own module.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sweepwise.core.agent import AgentDescription, Capabilities, Diagnostics
from sweepwise.core.atomic import write
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.metrics import Catalogue, Metric
from sweepwise.core.trainable import Outcome, Progress, RunHandle, Settings

METRICS = (
    Metric("test/score", "eval", "score", "points", "up", "undiscounted sum of rewards of an evaluation",
           role="primary", title="test score"),
    Metric("train/score", "episode", "score", "points", "up", "sum of rewards of an episode", role="training_return"),
    Metric("actor/log_std", "train", "actor", "nat", "none", "log std of the actor", role="log_std"),
    Metric("actor/loss", "train", "actor", "1", "none", "loss of the actor", role="policy_loss"),
    Metric("critic/target", "train", "critic", "points", "none", "mean target of the critic", role="value_target"),
    Metric("critic/value", "train", "critic", "points", "none", "mean of both critics", role="value_prediction"),
)  # fmt: skip
LIMITS = (-5.0, 2.0)  # of log std
GAMMA, RATE, BATCH = 0.97, 0.01, 32

try:
    from driver import PATIENCE_S, Sweeps
    from slurm_cluster import wait_until
except ImportError:  # a job, which has no tests
    assert not TYPE_CHECKING

PLAN = """
plan: mine
agent: my_sac:SAC
seeds: 2
sweeps:
  rate:
    goal: find the learning rate
    grid: {learning_rate: [1e-3]}
"""


class SAC:
    """Soft actor-critic with two critics and a fixed temperature."""

    description = AgentDescription(
        name="sac",
        hyperparameters=(
            Hyperparameter("task", "cartpole-balance", "dm_control suite task"),
            Hyperparameter("steps", 600, "agent steps", low=1),
            Hyperparameter("learning_rate", 1e-3, "of Adam", above=0.0),
            Hyperparameter("temperature", 0.05, "weight of the entropy", low=0.0),
            Hyperparameter("log_std_low", LIMITS[0], "lower end of log std"),
            Hyperparameter("log_std_high", LIMITS[1], "upper end of log std"),
        ),
        catalogue=Catalogue({metric.name: metric for metric in METRICS}, {}),
        capabilities=Capabilities(resume="exact"),
        diagnostics=Diagnostics(log_std_limits=("log_std_low", "log_std_high")),
    )

    def train(
        self,
        handles: Sequence[RunHandle],
        *,
        device: str,
        threads: int,
        settings: Settings,
        should_stop: Callable[[], bool],
    ) -> list[Outcome]:
        import torch

        torch.set_num_threads(threads)
        return [Training(handle, device).run(should_stop) for handle in handles]


class Training:
    """One run. Its state is saved after every episode, so that an attempt resumes exactly."""

    def __init__(self, handle: RunHandle, device: str) -> None:
        import torch

        from sweepwise.core.shards import ShardWriter

        self.handle, self.config, self.device = handle, handle.config, device
        self.random = torch.Generator().manual_seed(handle.seed)
        self.env = self._environment()
        state_size = sum(math.prod(spec.shape) for spec in self.env.observation_spec().values())
        self.action_size = self.env.action_spec().shape[0]
        torch.manual_seed(handle.seed)  # of the initial weights
        net = lambda size_in, size_out: torch.nn.Sequential(  # noqa: E731
            torch.nn.Linear(size_in, 64), torch.nn.ReLU(), torch.nn.Linear(64, size_out)
        ).to(device)
        sizes = (state_size + self.action_size, 1)
        self.actor, self.critics, self.targets = (
            net(state_size, 2 * self.action_size),
            *(torch.nn.ModuleList([net(*sizes), net(*sizes)]) for _ in range(2)),
        )
        self.targets.load_state_dict(self.critics.state_dict())
        adam = lambda module: torch.optim.Adam(module.parameters(), self.config["learning_rate"])  # noqa: E731
        self.optimizers = {"actor": adam(self.actor), "critics": adam(self.critics)}
        self.memory: list[Any] = []
        self.step, self.episode = 0, 0
        self.path = handle.checkpoints / "newest.pt"
        if self.path.exists():
            self._restore(torch.load(self.path, weights_only=True, map_location=device))
        self.log = ShardWriter.of_run(handle, self.step, device)

    def _environment(self) -> Any:
        """With episodes of ten steps."""
        from dm_control import suite

        domain, task = self.config["task"].split("-", 1)
        return suite.load(domain, task, task_kwargs={"random": 0, "time_limit": 0.1})

    def run(self, should_stop: Callable[[], bool]) -> Outcome:
        import torch

        steps = self.config["steps"]
        while self.step < steps:
            score, diagnostics = 0.0, {}
            for state, action, reward, following in self._play(1000 * self.handle.seed + self.episode, explore=True):
                self.memory.append(torch.cat([state, action, torch.tensor([reward]), following]))
                score, self.step = score + reward, self.step + 1
                if len(self.memory) >= 2 * BATCH:
                    diagnostics = self._update()
                if not self.handle.on_progress(Progress(self.step, steps, 0.0, score)):
                    return Outcome("superseded", self.step, "a newer attempt has the run")
                if should_stop():
                    return Outcome("interrupted", self.step, "told to stop")
                if self.step >= steps:
                    break
            self.episode += 1
            self._log("episode", {"train/score": score})
            tested = [sum(r for *_, r, _ in self._play(7 + n, explore=False)) for n in range(2)]
            self._log("eval", {"test/score": sum(tested) / len(tested)})
            self._log("train", diagnostics)
            self.log.flush(end=self.step if self.step >= steps else None)
            state = self._state()
            write(self.path, lambda part, state=state: torch.save(state, part), self.handle.guard)
        return Outcome("finished", self.step, "")

    def _log(self, kind: Any, metrics: dict[str, float]) -> None:
        if metrics:
            self.log.log(kind, self.step, self.step, self.step, metrics)

    def _play(self, seed: int, explore: bool) -> Any:
        """The transitions of an episode: state, action, reward, next state."""
        import torch

        flat = lambda found: torch.cat([  # noqa: E731
            torch.as_tensor(part, dtype=torch.float32).reshape(-1) for part in found.observation.values()
        ])  # fmt: skip
        self.env.task.random.seed(seed)
        time_step = self.env.reset()
        while not time_step.last():
            state = flat(time_step)
            with torch.no_grad():
                action = self._act(state[None].to(self.device), explore)[0][0].cpu()
            time_step = self.env.step(action.numpy())
            yield state, action, float(time_step.reward), flat(time_step)

    def _act(self, state: Any, explore: bool) -> tuple[Any, Any, Any]:
        """Actions (n, A), their log-density (n,), and log std (n, A)."""
        import torch

        mean, raw = self.actor(state).chunk(2, dim=-1)
        low, high = self.config["log_std_low"], self.config["log_std_high"]
        log_std = low + 0.5 * (high - low) * (torch.tanh(raw) + 1)
        noise = torch.randn(mean.shape, generator=self.random).to(mean) if explore else torch.zeros_like(mean)
        action = torch.tanh(mean + log_std.exp() * noise)
        log_density = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi) - torch.log(1 - action**2 + 1e-6)
        return action, log_density.sum(-1), log_std

    def _update(self) -> dict[str, float]:
        import torch

        chosen = torch.randint(len(self.memory), (BATCH,), generator=self.random)
        batch = torch.stack([self.memory[int(i)] for i in chosen]).to(self.device)
        size = (batch.shape[1] - self.action_size - 1) // 2
        state, action, reward, following = batch.split([size, self.action_size, 1, size], dim=1)
        with torch.no_grad():
            next_action, next_density, _ = self._act(following, explore=True)
            pairs = torch.cat([following, next_action], 1)
            value = torch.minimum(*(target(pairs)[:, 0] for target in self.targets))
            target = reward[:, 0] + GAMMA * (value - self.config["temperature"] * next_density)
        predicted = [critic(torch.cat([state, action], 1))[:, 0] for critic in self.critics]
        self._step("critics", sum(((one - target) ** 2).mean() for one in predicted))
        now, density, log_std = self._act(state, explore=True)
        value = torch.minimum(*(critic(torch.cat([state, now], 1))[:, 0] for critic in self.critics))
        loss = (self.config["temperature"] * density - value).mean()
        self._step("actor", loss)
        with torch.no_grad():
            for slow, fast in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                slow.lerp_(fast, RATE)
        return {"actor/loss": float(loss), "actor/log_std": float(log_std.mean()),
                "critic/target": float(target.mean()), "critic/value": float(predicted[0].mean())}  # fmt: skip

    def _step(self, name: str, loss: Any) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def _state(self) -> dict[str, Any]:
        import torch

        modules = {"actor": self.actor, "critics": self.critics, "targets": self.targets, **self.optimizers_as("opt")}
        return {"step": self.step, "episode": self.episode, "random": self.random.get_state(),
                "memory": torch.stack(self.memory),
                "modules": {name: module.state_dict() for name, module in modules.items()}}  # fmt: skip

    def optimizers_as(self, prefix: str) -> dict[str, Any]:
        return {f"{prefix}/{name}": optimizer for name, optimizer in self.optimizers.items()}

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.episode, self.memory = state["step"], state["episode"], list(state["memory"])
        self.random.set_state(state["random"].cpu())
        modules = {"actor": self.actor, "critics": self.critics, "targets": self.targets, **self.optimizers_as("opt")}
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])


# --- tests ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    made = Sweeps(tmp_path)
    shutil.copy(__file__, tmp_path / "my_sac.py")
    (tmp_path / "plan.yaml").write_text(PLAN)
    return made


SUBMIT = ("submit", "rate", "--plan", "plan.yaml", "--profile", "cpu")


def rows(sweeps: Sweeps, results: str) -> dict[str, Any]:
    """By kind, the rows of the run, without what a clock says."""
    from aggregate.inputs.runs import load
    from jobs.reports.inputs import sweep_sources
    from jobs.results.results_folder import ResultsFolder

    (source,) = sweep_sources(ResultsFolder(sweeps.folder / results), ["rate"])
    run = load([source]).runs[source.configs[0].config_id, 1]
    return {kind: frame.drop(columns=["time", "attempt"]) for kind, frame in run.frames().items()}


def episodes(results: Path) -> int:
    """How many were logged: each is a shard. (Heartbeats are too far apart for a run of a few seconds.)"""
    return len(list(results.glob("runs/*/seed-1/metrics/*.parquet")))


def weights(folder: Path) -> dict[str, Any]:
    import torch

    (path,) = folder.glob("runs/*/seed-1/checkpoints/newest.pt")
    state = torch.load(path, weights_only=True)
    return dict(state["modules"]["actor"])


def flags_are_those_of_the_roles_that_it_maps(results: Path) -> None:
    from aggregate.analysis.summary import summarise
    from jobs.reports.inputs import sweep_sources
    from jobs.results.results_folder import ResultsFolder

    (summary,) = summarise(sweep_sources(ResultsFolder(results), ["rate"])).sweeps
    states = summary.findings.groupby("flag")["detail"].first()
    missing = {flag for flag, detail in states.items() if detail.startswith("not assessed")}
    assert {"log_std_oscillates", "log_std_at_floor", "pi_loss_spikes", "evaluation_collapse"} & missing == set()
    assert {"entropy_collapse", "value_bias", "consistency_spikes", "reward_degrades"} <= missing
    assert summary.scores["final_primary"].between(0, 11).all()


def test_killed_it_resumes_exactly_and_is_judged_after_its_code_is_gone(sweeps: Sweeps) -> None:
    import torch

    sweeps(*SUBMIT, "--cluster", "local", "--seeds", "1")
    results = sweeps.folder / "results"
    wait_until("a third of a run", lambda: episodes(results) >= 20, PATIENCE_S, pause=0.02)
    (attempt,) = results.glob("runs/*/seed-1/attempts/001.json")
    os.kill(int(json.loads(attempt.read_text())["pid"]), signal.SIGKILL)
    wait_until("the end", lambda: sweeps.states() == ["failed"], PATIENCE_S, pause=0.5)
    sweeps("rerun", "rate", "--failed", "--cluster", "local", "--wait")
    assert sweeps.attempts() == 2
    sweeps("--results", "whole", *SUBMIT, "--cluster", "debug", "--seeds", "1")
    resumed, whole = weights(results), weights(sweeps.folder / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    after, expected = rows(sweeps, "results"), rows(sweeps, "whole")
    assert after.keys() == expected.keys() == {"episode", "eval", "train"}
    assert all(after[kind].equals(expected[kind]) for kind in expected)

    flags_are_those_of_the_roles_that_it_maps(results)
    (sweeps.folder / "my_sac.py").unlink()  # from here on, the stored description is all there is
    sweeps.here("archive", "rate", "--out", "all.tar")
    sweeps.here("--results", "elsewhere", "unarchive", "all.tar")
    for folder, run in (("results", sweeps), ("elsewhere", sweeps.here)):
        assert "done" in run("--results", folder, "status")
        run("--results", folder, "aggregate", "--out", "report.html", "--format", "json")
        report = (sweeps.folder / "report.html").read_text()
        assert "test score" in report
        assert "policy_entropy: entropy collapses early" in report
        assert "eval_return" not in report
        assert "planning" not in report
    assert "ModuleNotFoundError: No module named 'my_sac'" in sweeps.refusal(*SUBMIT, "--cluster", "local")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("my_sac:PPO", "my_sac has no PPO"),
        ("no_such:SAC", "No module named 'no_such'"),
        ("my_sac", "give package.module:NAME"),
        ("os:path", "it has no 'description'"),
    ],
)
def test_an_agent_that_cannot_be_loaded_is_one_line_with_its_place(sweeps: Sweeps, words: str, said: str) -> None:
    (sweeps.folder / "plan.yaml").write_text(PLAN.replace("my_sac:SAC", words))
    refused = sweeps.refusal("plan", "--plan", "plan.yaml")
    assert said in refused
    assert "plan.yaml:3" in refused


def test_hyperparameters_are_checked_by_name_and_type(sweeps: Sweeps) -> None:
    assert "did you mean learning_rate?" in sweeps.refusal(*SUBMIT, "--set", "lerning_rate=1")
    assert "temperature='warm': not a number" in sweeps.refusal(*SUBMIT, "--set", "temperature=warm")
    assert "must be at least 0" in sweeps.refusal(*SUBMIT, "--set", "temperature=-1")
    assert "presets are for the packaged agent" in sweeps.refusal(*SUBMIT, "--preset", "small")
