"""`sweeps` with matrix products as a GPU has them in TF32, for `python benchmarks/learning.py --tf32`, on a CPU.

Every product's factors, forward and backward, lose what TF32 has no room for: 13 of the 23 bits behind the point. They
are cut off, as tensor cores do with numbers that nobody rounded before: the worse of what a library may do, twice the
error of rounding and towards zero. Sums are a CPU's float32. Its jobs run in this process (`--cluster debug`).
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

KEPT = -1 << 13  # of a float32's bits
aten = torch.ops.aten
FACTORS = {aten.mm: (0, 1), aten.bmm: (0, 1), aten.addmm: (1, 2), aten.baddbmm: (1, 2)}  # which arguments they are


class Truncated(TorchDispatchMode):
    """Matrix products of float32 tensors, their gradients' too, with factors cut to TF32."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        factors = FACTORS.get(op.overloadpacket, ())
        return op(*(truncated(x) if n in factors else x for n, x in enumerate(args)), **(kwargs or {}))


def truncated(x: Tensor) -> Tensor:
    """float32 numbers of any shape, each the nearest TF32 number towards zero."""
    return (x.contiguous().view(torch.int32) & KEPT).view(torch.float32)


if __name__ == "__main__":
    from jobs.cli import main

    os.environ["SWEEPS_KERNELS"] = "torch"  # the kernels' products are not torch's
    with Truncated():
        main()
