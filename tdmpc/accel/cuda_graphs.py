"""CUDA graphs: the operations of a function are recorded once and then launched together.

A graph repeats the same operations on the same memory. Values that change between calls must therefore be in input
tensors, and random numbers must be drawn outside (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

WARM_UPS = 3  # eager calls before the recording, which must not contain allocations of a first use


class CudaGraph:
    """A recorded `function`. Each call overwrites the outputs of the previous one.

    function: takes tensors, tuples of tensors, and constants. Other tensors that it uses must keep their memory. It
    must not wait for the GPU.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._calls = function, 0
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        self._inputs: tuple[Any, ...] = ()
        self._outputs: Any = None

    def __call__(self, *inputs: Any) -> Any:
        self._copy_inputs(inputs)
        self._calls += 1
        if self._calls <= WARM_UPS:
            return self._warm_up()
        if self._calls == WARM_UPS + 1:
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._outputs = self._function(*self._inputs)
        self._graph.replay()
        return self._outputs

    def _copy_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Into the same tensors from the first call on, since `torch.compile` specialises on strides too."""
        if not self._calls:
            self._inputs = tree_map_only(torch.Tensor, torch.clone, inputs)
            return
        for static, new in zip(tree_leaves(self._inputs), tree_leaves(inputs), strict=True):
            if isinstance(static, torch.Tensor):
                static.copy_(new)

    def _warm_up(self) -> Any:
        """An eager call on the stream of the recording: gradients accumulate on the stream of their first use."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = self._function(*self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs
