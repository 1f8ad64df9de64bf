"""Adam (Kingma & Ba 2015, alg. 1). On a CPU with the C kernels, all parameters are updated in one call."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from tdmpc.accel import fused, kernels


class Adam(torch.optim.Adam):
    """torch's Adam: the same state and, to rounding, the same steps.

    torch's fused implementation is not used: it rounds the last elements of a tensor differently, so a seed would train
    differently next to others than alone.
    """

    # torch wraps these methods to exclude them from torch.compile. Calling the wrappers imports torch._dynamo, which
    # takes more than a third of a run's start, and memory.
    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)

    def __init__(self, params: Any, lr: float = 1e-3, eps: float = 1e-8, capturable: bool = False) -> None:
        """capturable: count steps on the GPU, as a CUDA graph requires."""
        super().__init__(params, lr=lr, eps=eps, foreach=True, capturable=capturable)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step. Parameters without a gradient and their moments do not change."""
        assert closure is None
        to_update = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not all(kernels.compiled_for(p) for p, _ in to_update):
            super().step()
            return
        states = [self._adam_state(p, group) for p, group in to_update]
        beta1, beta2 = self.defaults["betas"]
        fused.adam(states, beta1, beta2, self.defaults["eps"])

    def _adam_state(self, parameter: Tensor, group: dict[str, Any]) -> fused.AdamState:
        state = self.state[parameter] or self._initial_state(parameter)
        first, second = (1 - beta ** (state["step"].item() + 1) for beta in group["betas"])
        rates = group["lr"] / first, 1 / math.sqrt(second)
        return fused.AdamState(parameter, state["exp_avg"], state["exp_avg_sq"], state["step"], *rates)

    def _initial_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Step count and moments before the first step."""
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        self.state[parameter] = {"step": torch.tensor(0.0), **moments}
        return self.state[parameter]
