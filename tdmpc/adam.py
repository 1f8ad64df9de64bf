"""Adam (Kingma & Ba 2015, alg. 1), a group of parameters and their moments in one pass on a CPU with the kernels."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from tdmpc import fused


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

    def __init__(self, params: Any, lr: float = 1e-3, eps: float = 1e-8) -> None:
        super().__init__(params, lr=lr, eps=eps, foreach=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay, and so do their moments."""
        assert closure is None
        given = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        if not all(fused.compiled_for(group[0]) for group in given if group):  # a group is of one kind
            super().step()
            return
        for options, parameters in zip(self.param_groups, given, strict=True):
            if parameters:
                self._step_group(options, parameters)

    def _step_group(self, options: dict[str, Any], parameters: list[Tensor]) -> None:
        states = [self.state[parameter] or self._begin(parameter) for parameter in parameters]
        count = states[0]["step"].item() + 1  # the parameters of a group are stepped together or not at all
        first, second = (1 - beta**count for beta in options["betas"])
        numbers = (*options["betas"], options["lr"] / first, 1 / math.sqrt(second), options["eps"])
        means, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        fused.adam(parameters, means, squares, steps, *numbers)

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        """Moments of a parameter that was never stepped."""
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        self.state[parameter] = {"step": torch.tensor(0.0), **moments}
        return self.state[parameter]
