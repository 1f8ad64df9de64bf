"""How the agent's functions are executed: eagerly, through `torch.compile`, as recorded CUDA graphs, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from tdmpc.accel.cuda_graphs import CudaGraph

Function = TypeVar("Function", bound=Callable[..., Any])


class Execution:
    """compiled: `compile` uses `torch.compile`. cuda_graphs: `record` uses CUDA graphs. Where one is off, its method
    returns the function itself."""

    def __init__(self, compiled: bool = False, cuda_graphs: bool = False) -> None:
        self.compiled, self.cuda_graphs = compiled, cuda_graphs
        self._graphs: dict[str, CudaGraph] = {}

    def compile(self, function: Function) -> Function:
        """The function compiled as one graph; an error where that is not possible, since a part left out is slow."""
        if not self.compiled:
            return function
        return cast(Function, torch.compile(function, fullgraph=True, dynamic=False))

    def record(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as the CUDA graph `name`: recorded at the first calls under that name, then replayed."""
        if not self.cuda_graphs:
            return function
        if name not in self._graphs:
            self._graphs[name] = CudaGraph(function)
        return self._graphs[name]

    def discard_graphs(self) -> None:
        """Record anew from here on. No graph may be running."""
        self._graphs.clear()
