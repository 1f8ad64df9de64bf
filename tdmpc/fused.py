"""The agent's elementwise work between matrix products, fused: `kernels.c` on the CPU, plain torch elsewhere.

Layer norm with activation, and softmax over bins, are most of a small agent's time on a CPU as chains of torch
operations. The C is built once per machine by the compiler that is there, in under a second, and kept in the user's
cache; without a compiler, or with SWEEPS_KERNELS=torch, the same formulas run as torch operations, to rounding.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tdmpc import math as tm
from tdmpc import processor

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros")
# Not linked with an OpenMP library: the one torch has loaded serves both, where two would fight over the cores.
COMPILE, LINK = ("-fopenmp", "-c"), ("-shared",)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The kernels of this machine; None where they cannot be had."""
    compiler = next(
        (path for name in (os.environ.get("CC", "cc"), "gcc", "clang") if (path := shutil.which(name))), None
    )
    if compiler is None or os.environ.get("SWEEPS_KERNELS") == "torch":
        return None
    try:
        return _declared(ctypes.CDLL(str(_built(compiler))))
    except (OSError, subprocess.SubprocessError):  # a compiler that does not work here, a cache that cannot be written
        return None


def _built(compiler: str) -> Path:
    """Path of the shared library, built unless the cache has it; the name holds all that the result depends on."""
    source = SOURCE.read_bytes()
    key = hashlib.sha256(b"\0".join([source, *map(str.encode, (compiler, *FLAGS, torch.__version__, _processor()))]))
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweeps"
    path = root / f"kernels-{key.hexdigest()[:16]}.so"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=root) as folder:
            unit, library = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
            run = functools.partial(subprocess.run, check=True, capture_output=True, timeout=60)
            run([compiler, *FLAGS, *COMPILE, str(SOURCE), "-o", str(unit)])
            run([compiler, *LINK, str(unit), "-lm", "-o", str(library)])
            os.replace(library, path)
    return path


def _processor() -> str:
    """What `-march=native` means here."""
    return processor.name() + processor.told().get("flags", "")


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    size, pointer, threads = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    library.norm_forward.argtypes = [*[size] * 4, *[pointer] * 8, threads]
    library.norm_backward.argtypes = [*[size] * 4, *[pointer] * 8, threads]
    library.two_hot_inverse.argtypes = [*[size] * 2, *[pointer] * 4, threads]
    library.cross_entropy.argtypes = [*[size] * 4, *[pointer] * 4, threads]
    library.adam.argtypes = [size, *[pointer] * 5, *[ctypes.c_float] * 5, threads]
    for of in (library.norm_forward, library.two_hot_inverse, library.cross_entropy, library.adam):
        of.restype = None
    return library


def compiled() -> bool:
    """Whether this machine has the kernels."""
    return _library() is not None


def compiled_for(x: Tensor) -> bool:
    """Whether the kernels take `x`."""
    return _kernels(x) is not None


def _kernels(x: Tensor) -> ctypes.CDLL | None:
    return _library() if x.is_cpu and x.dtype == torch.float32 else None


def _at(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


# --- layer norm and activation ----------------------------------------------------------------------------


def norm_activation(
    x: Tensor, bias: Tensor, drop: Tensor | None, scale: Tensor, shift: Tensor, group: int = 0
) -> Tensor:
    """x (S, E, N, D) products; bias, scale, shift (S, E, 1, D); drop (S, E, N, D) factors -> (S, E, N, D).

    activation(LayerNorm((x + bias) * drop) * scale + shift); group 0: Mish, otherwise SimNorm. Where nothing asks for
    gradients the kernels overwrite x: hand over what nobody else reads. Where something does, they are `stack.run`'s.
    """
    if torch.is_grad_enabled() or _kernels(x) is None:
        x = x + bias if drop is None else (x + bias) * drop
        x = torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)
        return tm.simnorm(x, group) if group else F.mish(x)
    bias, scale, shift = bias.contiguous(), scale.contiguous(), shift.contiguous()
    return norm_forward(x, bias, drop, scale, shift, group, None, None, x)


def norm_forward(
    x: Tensor,
    bias: Tensor,
    drop: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    group: int,
    held: Tensor | None,
    rstd: Tensor | None,
    out: Tensor,
) -> Tensor:
    """`norm_activation` by the kernels, to `out`. held, rstd: where the normed rows and 1 / their standard deviations
    are left for `norm_backward`; x itself may be any of the two that are like it."""
    kernels = _kernels(x)
    assert kernels is not None
    sizes = (bias.numel() // x.shape[-1], x.shape[-2], x.shape[-1], group)
    kernels.norm_forward(*sizes, *map(_at, (x, bias, drop, scale, shift, held, rstd, out)), torch.get_num_threads())
    return out


def norm_backward(
    grad: Tensor, drop: Tensor | None, scale: Tensor, shift: Tensor, group: int, held: Tensor, rstd: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of x, bias, scale and shift from that of what `norm_forward` gave."""
    kernels = _kernels(grad)
    assert kernels is not None
    grad, rows, size = grad.contiguous(), grad.shape[-2], grad.shape[-1]
    nets = scale.numel() // size
    own, sums = torch.empty_like(grad), grad.new_empty(nets, 3, size)
    pointers = map(_at, (drop, scale, shift, held, rstd, grad, own, sums))
    if kernels.norm_backward(nets, rows, size, group, *pointers, torch.get_num_threads()):
        raise MemoryError("no memory for the gradient sums of a layer")
    return own, *(part.view(scale.shape) for part in sums.unbind(1))


# --- softmax over bins ------------------------------------------------------------------------------------


def two_hot_inverse(logits: Tensor, bins: Tensor) -> Tensor:
    """(..., K) logits -> (...) the return their distribution stands for: symexp of the mean bin."""
    if _kernels(logits) is None:
        return tm.two_hot_inverse(logits, bins)
    found: Tensor = _TwoHotInverse.apply(logits.contiguous(), bins)
    return found


class _OfLogits(torch.autograd.Function):
    """A number a row of logits (..., K), whose slope the kernel gives together with it."""

    @staticmethod
    def prepared(ctx: Any, logits: Tensor) -> tuple[ctypes.CDLL, Tensor, Tensor | None]:
        """Kernels, and where result and slope go; no slope where nothing asks for a gradient."""
        kernels = _kernels(logits)
        assert kernels is not None
        slope = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(slope)
        return kernels, logits.new_empty(logits.shape[:-1]), slope

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad.unsqueeze(-1), None


class _TwoHotInverse(_OfLogits):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, bins: Tensor) -> Tensor:
        kernels, y, slope = _OfLogits.prepared(ctx, logits)
        pointers = map(_at, (logits, bins, y, slope))
        kernels.two_hot_inverse(y.numel(), logits.shape[-1], *pointers, torch.get_num_threads())
        return y


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(..., K) logits, (..., K) distributions -> (...) cross-entropy in nats.

    target: as logits, or with size 1 on neighbouring axes over which it is shared.
    """
    if _kernels(logits) is None:
        return tm.soft_cross_entropy(logits, target)
    found: Tensor = _CrossEntropy.apply(logits.contiguous(), target.contiguous())
    return found


class _CrossEntropy(_OfLogits):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        kernels, y, slope = _OfLogits.prepared(ctx, logits)
        pointers = map(_at, (logits, target, y, slope))
        kernels.cross_entropy(*_shared(logits, target), *pointers, torch.get_num_threads())
        return y


def _shared(logits: Tensor, target: Tensor) -> tuple[int, int, int, int]:
    """Sets, sharers, rows and bins: the axes before, on and behind those over which `target` is shared."""
    axes = [a for a, (n, m) in enumerate(zip(logits.shape, target.shape, strict=True)) if n != m]
    first, last = (axes[0], axes[-1] + 1) if axes else (0, 0)
    if any(target.shape[a] != 1 for a in range(first, last)):
        raise ValueError(f"target {tuple(target.shape)} is not shared over neighbouring axes of {tuple(logits.shape)}")
    sizes = logits.shape
    return math.prod(sizes[:first]), math.prod(sizes[first:last]), math.prod(sizes[last:-1]), sizes[-1]


# --- optimiser --------------------------------------------------------------------------------------------


def _array(kind: Any, values: Sequence[int]) -> Any:
    return (kind * len(values))(*values)


def adam(parameters: Sequence[Tensor], means: Sequence[Tensor], squares: Sequence[Tensor], *numbers: float) -> None:
    """One step of Adam along their gradients, in place, on parameters and their moments, where `compiled_for` holds.

    numbers: beta1, beta2, learning rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t), epsilon.
    """
    kernels = _kernels(parameters[0])
    assert kernels is not None
    grads = [p.grad.contiguous() for p in parameters if p.grad is not None]
    sizes = _array(ctypes.c_long, [p.numel() for p in parameters])
    lists = [_array(ctypes.c_void_p, [x.data_ptr() for x in of]) for of in (parameters, grads, means, squares)]
    kernels.adam(len(parameters), sizes, *lists, *numbers, torch.get_num_threads())
