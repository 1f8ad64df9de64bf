"""CUDA graphs: what a GPU is told to do, recorded once and from then on started all at once.

A graph repeats the same operations on the same memory. So whatever changes between two calls has to come in through
tensors, and what is drawn at random is drawn outside (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

WARM_UPS = 3  # calls that run as they are: what is made at a first use must not be made in the recording


class CudaGraph:
    """`work`, replayed. Its outputs are overwritten by the next call.

    work: takes tensors, or tuples of them, and what never changes; works on tensors that stay where they are, and
    never waits for the GPU.
    """

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work, self._calls = work, 0
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        self._inputs: tuple[Any, ...] = ()
        self._outputs: Any = None

    def __call__(self, *inputs: Any) -> Any:
        self._take(inputs)
        self._calls += 1
        if self._calls <= WARM_UPS:
            return self._warm_up()
        if self._calls == WARM_UPS + 1:
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._outputs = self._work(*self._inputs)
        self._graph.replay()
        return self._outputs

    def _take(self, inputs: tuple[Any, ...]) -> None:
        """From the first call on into the same tensors: what is compiled is compiled for their strides too."""
        if not self._calls:
            self._inputs = tree_map_only(torch.Tensor, torch.clone, inputs)
            return
        for own, given in zip(tree_leaves(self._inputs), tree_leaves(inputs), strict=True):
            if isinstance(own, torch.Tensor):
                own.copy_(given)

    def _warm_up(self) -> Any:
        """Once as it is, on the stream that will be recorded: gradients accumulate on the stream they were first on."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            found = self._work(*self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return found
