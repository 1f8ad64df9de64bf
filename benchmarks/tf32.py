"""`sweeps` on a CPU with the matrix products of a GPU in TF32, for `python benchmarks/learning.py --tf32`.

The factors of every product, forward and backward, are truncated to TF32: 13 of the 23 bits of the mantissa are
dropped, as tensor cores do with unrounded inputs. Rounding, which a library may do first, would have half the error.
Sums are float32. Jobs run in this process (`--cluster debug`).
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

MASK = -1 << 13  # bits of a float32 that TF32 keeps
aten = torch.ops.aten
FACTORS = {aten.mm: (0, 1), aten.bmm: (0, 1), aten.addmm: (1, 2), aten.baddbmm: (1, 2)}  # indices of the arguments


class Truncated(TorchDispatchMode):
    """Truncates the factors of float32 matrix products to TF32, in the backward pass too."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        factors = FACTORS.get(op.overloadpacket, ())
        return op(*(truncated(x) if n in factors else x for n, x in enumerate(args)), **(kwargs or {}))


def truncated(x: Tensor) -> Tensor:
    """float32 (...) -> (...) truncated to TF32, towards zero."""
    return (x.contiguous().view(torch.int32) & MASK).view(torch.float32)


if __name__ == "__main__":
    from jobs.cli import main

    os.environ["SWEEPS_KERNELS"] = "torch"  # the products of the C kernels are no torch operations
    with Truncated():
        main()
