"""The agent: networks, moving averages, optimisers, and one update (docs/algorithm.md, "One update").

S seeds are updated together, by the same operations. Their parameters, gradients, gradient clipping and noise are
separate.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tdmpc import math as tm
from tdmpc.accel.adam import Adam
from tdmpc.accel.execution import Execution
from tdmpc.agent.batch import Batch
from tdmpc.agent.losses import (
    Metrics,
    PolicyNoise,
    PolicyPass,
    PolicyTerms,
    draw_noise,
    draw_policy_noise,
    model_losses,
    policy_loss,
    policy_metrics,
    policy_pass,
)
from tdmpc.agent.mppi import MppiPlan, PlanNoise, draw_plan_noise, plan_with, score
from tdmpc.agent.networks import Policy, TargetValues, WorldModel, move_average
from tdmpc.agent.ops import clip_per_seed, per_seed_norm
from tdmpc.agent.value_targets import Gaussian, Networks, Noise
from tdmpc.config import TrainConfig
from tdmpc.metrics import GRADIENT_FLOW
from tdmpc.rng import Streams

VALUE_LR_UNIT = 5  # TD-MPC2's five value heads are the unit of the value learning rates


@dataclass(frozen=True)
class Schedule:
    """Values that depend on the agent step."""

    encoder_frozen: bool
    entropy_coeff: float

    @classmethod
    def at(cls, step: int, config: TrainConfig) -> Schedule:
        c = config
        coeff = tm.scheduled(
            step / c.steps, c.start_entropy_coeff, c.end_entropy_coeff,
            c.start_dynamic_entropy_ratio, c.end_dynamic_entropy_ratio, c.entropy_schedule,
        )  # fmt: skip
        return cls(step >= freeze_step(c), coeff)


def freeze_step(config: TrainConfig) -> int:
    """First agent step with the encoder frozen; beyond the last step where it is never frozen."""
    if config.detach_encoder_ratio == 0:
        return config.steps + 1
    return round((1 - config.detach_encoder_ratio) * config.steps)


class _UpdateResult(NamedTuple):
    metrics: Metrics  # of the model; empty unless logged
    policy_metrics: Callable[[], Metrics] | None  # None where the policy was not updated


class Agent:
    """S seeds of one configuration. `update` trains on a batch, `act` plans an action for training.

    compiled: the model's losses, the policy's objective and the planner's scores run through `torch.compile`.
    cuda_graphs: updates and plans are recorded as CUDA graphs and replayed, on a GPU. Logged updates run eagerly.
    """

    def __init__(
        self,
        config: TrainConfig,
        obs_size: int,
        action_size: int,
        seeds: Sequence[int],
        device: str,
        compiled: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        self.config, self.action_size = config, action_size
        self.model = WorldModel(config, obs_size, action_size, seeds).to(device)
        self.policy = Policy(config, action_size, seeds).to(device)
        self.targets = TargetValues(self.model)
        self.policy_ema = copy.deepcopy(self.policy).requires_grad_(False) if config.policy_ema_enabled else None
        self.scale = torch.ones(len(seeds), device=device)
        # (S,) NaN once a loss or gradient norm of the seed was not finite, otherwise 0
        self._nonfinite = torch.zeros(len(seeds), device=device)
        self._entropy_coeff = torch.zeros((), device=device)
        self._execution = Execution(compiled, cuda_graphs)
        self._model_losses = self._execution.compile(model_losses)
        self._policy_pass = self._execution.compile(policy_pass)
        self._score = self._execution.compile(score)
        self._frozen = False
        self.update_index = 0  # counts every gradient update, including those on the data of the seed phase
        self._policy_metrics: Callable[[], Metrics] = dict  # computed on access only: most updates are not logged
        # lists, because iterating over modules takes longer than the operations on their parameters
        self._model_parameters, self._policy_parameters = list(self.model.parameters()), list(self.policy.parameters())
        averages = [(self.targets.value, self.model.value, config.tau)]
        if self.model.num_gammas:
            averages.append((self.targets.aux, self.model.aux, config.aux_value_tau))
        if self.policy_ema:
            averages.append((self.policy_ema.net, self.policy.net, config.policy_ema_tau))
        self._averages = averages
        self.optimisers = {
            "model": Adam(self._model_groups(), capturable=cuda_graphs),
            "policy": Adam(self.policy.parameters(), config.lr * config.pi_lr_scale, eps=1e-5, capturable=cuda_graphs),
        }

    def _model_groups(self) -> list[dict[str, object]]:
        """Parameter groups with the learning rates of docs/algorithm.md, "Networks"."""
        c = self.config
        scales = {"encoder": c.enc_lr_scale}
        if c.ensemble_lr_scaling:
            scales |= {
                "dynamics": float(c.planner_num_dynamics_heads),
                "reward": float(c.num_reward_heads),
                "value": c.num_q / VALUE_LR_UNIT,
                "aux": self.model.num_gammas / VALUE_LR_UNIT,
            }
        modules = self.model.trained_modules().items()
        return [{"params": list(module.parameters()), "lr": c.lr * scales.get(name, 1.0)} for name, module in modules]

    @property
    def acting_policy(self) -> Policy:
        """The policy used in imagination, in the planner and for acting: the moving average where it is enabled."""
        return self.policy_ema or self.policy

    @property
    def networks(self) -> Networks:
        return Networks(self.model, self.targets, self.acting_policy)

    @property
    def finite(self) -> Tensor:
        """(S,) whether all losses and gradient norms of a seed have been finite so far."""
        return self._nonfinite == 0

    def modules(self) -> dict[str, nn.Module]:
        """All modules with parameters, by their names in checkpoints."""
        parts: dict[str, nn.Module] = {"model": self.model, "policy": self.policy, "targets": self.targets}
        return {**parts, "policy_ema": self.policy_ema} if self.policy_ema else parts

    def update(self, batch: Batch, schedule: Schedule, streams: Streams, log: bool = False) -> Metrics:
        """One gradient update of the model, of the policy every `pi_update_freq` updates, and of the moving averages.

        log: return the model's metrics, otherwise {}. Those of the policy are read by `take_policy_metrics`.
        """
        noise, policy_noise = draw_noise(self.config, self.action_size, streams), None
        if self.update_index % self.config.pi_update_freq == 0:
            policy_noise = draw_policy_noise(self.config, self.action_size, streams)
            self._entropy_coeff.fill_(schedule.entropy_coeff)
        if schedule.encoder_frozen != self._frozen:
            self._frozen = schedule.encoder_frozen
            self._execution.discard_graphs()  # none is running: the previous action has been read from the device
        update: Callable[..., _UpdateResult] = functools.partial(self._update, frozen=self._frozen, log=log)
        if not log:
            update = self._execution.record("update" if policy_noise else "update without policy", update)
        result = update(batch, noise, policy_noise)
        if result.policy_metrics:
            self._policy_metrics = result.policy_metrics
        self.update_index += 1
        return result.metrics

    @torch.no_grad()
    def act(self, obs: Tensor, warm: Tensor, streams: Streams) -> MppiPlan:
        """Plan from obs (S, O), as in training, starting at the mean `warm` (S, 1, T, A)."""
        noise = draw_plan_noise(self.config, 1, self.action_size, streams, best=False)
        return self._execution.record("plan", self._plan)(obs, warm, noise)

    def _plan(self, obs: Tensor, warm: Tensor, noise: PlanNoise) -> MppiPlan:
        z = self.model.encode(obs.unsqueeze(1))
        return plan_with(noise, self.networks, z, warm, self.config, None, self._score)

    def _update(
        self, batch: Batch, noise: Noise, policy_noise: PolicyNoise | None, frozen: bool, log: bool
    ) -> _UpdateResult:
        """The update with noise that was drawn. A CUDA graph repeats it, so whatever changes is in a tensor."""
        losses_of, pass_of = (model_losses, policy_pass) if log else (self._model_losses, self._policy_pass)
        losses = losses_of(self.networks, batch, noise, self.config, frozen, full=log)
        metrics = {**losses.metrics, **self._gradient_norms(losses.weighted)} if log else {}
        total = losses.total
        grad_norm = self._step_model(total)
        self._nonfinite.add_(total.detach() + grad_norm, alpha=0)
        metrics_of_policy = None
        if policy_noise:
            metrics_of_policy = self._update_policy(
                losses.states, self._entropy_coeff, policy_noise, losses.acted, pass_of
            )
        self._move_averages()
        return _UpdateResult({**metrics, "grad_norm": grad_norm} if log else {}, metrics_of_policy)

    @property
    def policy_metrics(self) -> Metrics:
        """Metrics of the newest policy update since `take_policy_metrics`; empty where there was none."""
        return self._policy_metrics()

    @policy_metrics.setter
    def policy_metrics(self, metrics: Metrics) -> None:
        self._policy_metrics = lambda: metrics

    def take_policy_metrics(self) -> Metrics:
        """Return `policy_metrics` and clear them."""
        metrics, self.policy_metrics = self.policy_metrics, {}
        return metrics

    @torch.no_grad()
    def validate(self, batch: Batch, streams: Streams) -> Metrics:
        """All losses of the model on validation data, without dropout. Does not change the agent."""
        noise = draw_noise(self.config, self.action_size, streams, dropout=False)
        return model_losses(self.networks, batch, noise, self.config, frozen=True, full=True).metrics

    def _gradient_norms(self, weighted: dict[str, Tensor]) -> Metrics:
        """(S,) gradient norm of each weighted loss in each module that it trains."""
        modules = self.model.trained_modules()
        norms = {}
        for loss, module_names in GRADIENT_FLOW.items():
            if loss not in weighted or not weighted[loss].requires_grad:
                continue
            for name in module_names:
                params = list(modules[name].parameters())
                grads = torch.autograd.grad(weighted[loss].sum(), params, retain_graph=True, allow_unused=True)
                if any(g is not None for g in grads):  # a frozen encoder has none
                    norms[f"grad_norm/{loss}/{name}"] = per_seed_norm(g for g in grads if g is not None)
        return norms

    def _step_model(self, total: Tensor) -> Tensor:
        """Adam step on the total loss (S,); returns the gradient norms (S,) before clipping."""
        for parameter in self._model_parameters:
            parameter.grad = None  # stays None for a frozen encoder, which Adam then skips
        total.sum().backward()
        grads = [p.grad for p in self._model_parameters if p.grad is not None]
        norm = clip_per_seed(grads, self.config.grad_clip_norm)
        self.optimisers["model"].step()
        return norm

    def _update_policy(
        self,
        states: Tensor,
        entropy_coeff: Tensor | float,
        noise: PolicyNoise,
        acted: Gaussian | None = None,
        pass_of: Callable[..., PolicyPass] = policy_pass,
    ) -> Callable[[], Metrics]:
        """One step of the policy on states (S, T+1, B, L); returns a function that computes its metrics.

        acted: the policy's mean and log std at these states, where they were computed before. pass_of: `policy_pass`,
        or its compiled form.
        """
        c, (eps, dropout) = self.config, noise
        with _without_gradients(self._model_parameters):
            passed = pass_of(self.model, self.policy, states, eps, dropout, c, acted)
        spread = tm.percentile_range(passed.terms.q[:, 0].detach()).clamp(min=1.0)
        self.scale.lerp_(spread, c.scale_tau)
        loss = policy_loss(passed.terms, self.scale, self.action_size, entropy_coeff, c.hinge_coef, c.rho)
        grads = torch.autograd.grad(loss.sum(), self._policy_parameters)
        norm = clip_per_seed(grads, c.grad_clip_norm)
        for parameter, grad in zip(self._policy_parameters, grads, strict=True):
            parameter.grad = grad
        self.optimisers["policy"].step()
        loss = loss.detach()
        self._nonfinite.add_(loss + norm, alpha=0)
        passed = PolicyPass(PolicyTerms(*(x.detach() for x in passed.terms)), *(x.detach() for x in passed[1:]))

        def metrics() -> Metrics:
            of_step = {"pi_loss": loss, "pi_grad_norm": norm, "pi_scale": self.scale}
            of_step = {name: value.clone() for name, value in of_step.items()}  # the next update may overwrite these
            return {**policy_metrics(passed, eps), **of_step, "entropy_coeff": torch.ones_like(norm) * entropy_coeff}

        return metrics

    def _move_averages(self) -> None:
        for target, online, tau in self._averages:
            move_average(target, online, tau)


@contextlib.contextmanager
def _without_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Functions called inside do not compute gradients with respect to `parameters`."""
    for parameter in parameters:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad = True
