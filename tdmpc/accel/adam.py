"""Adam (Kingma & Ba 2015, alg. 1), a group of parameters and their moments in one pass on a CPU with the kernels."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from tdmpc.accel import fused, kernels


class Adam(torch.optim.Adam):
    """torch's Adam without its extras: the same state and, to rounding, the same steps.

    torch's own fused form rounds the last numbers of a tensor differently, so a seed would train differently beside
    others than alone.
    """

    # torch wraps these to keep torch.compile off them, which is not used here, and imports all of it to do so: more
    # than a third of a run's start, and memory
    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)

    def __init__(self, params: Any, lr: float = 1e-3, eps: float = 1e-8, capturable: bool = False) -> None:
        """capturable: count steps on the GPU, where a CUDA graph can."""
        super().__init__(params, lr=lr, eps=eps, foreach=True, capturable=capturable)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay, and so do their moments."""
        assert closure is None
        given = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not all(kernels.compiled_for(p) for p, _ in given):
            super().step()
            return
        stepped = [self._stepped(p, options) for p, options in given]
        beta1, beta2 = self.defaults["betas"]
        fused.adam(stepped, beta1, beta2, self.defaults["eps"])

    def _stepped(self, parameter: Tensor, options: dict[str, Any]) -> fused.Stepped:
        state = self.state[parameter] or self._begin(parameter)
        first, second = (1 - beta ** (state["step"].item() + 1) for beta in options["betas"])
        rates = options["lr"] / first, 1 / math.sqrt(second)
        return fused.Stepped(parameter, state["exp_avg"], state["exp_avg_sq"], state["step"], *rates)

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        """Moments of a parameter that was never stepped."""
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        self.state[parameter] = {"step": torch.tensor(0.0), **moments}
        return self.state[parameter]
