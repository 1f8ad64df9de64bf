"""C kernels on the CPU: `stack.c`, and here `kernels.c`, with plain torch where they do not serve.

Softmax over bins and Adam are long chains of small torch operations. The C is built once per machine by the compiler
that is there, in a few seconds, and kept in the user's cache; without a compiler, or with SWEEPS_KERNELS=torch, the
same formulas run as torch operations, to rounding.
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
from torch import Tensor

from tdmpc import math as tm
from tdmpc import processor

SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "stack.c")]
HEADER = Path(__file__).with_name("rows.h")
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
    texts = [path.read_bytes() for path in (*SOURCES, HEADER)]
    key = hashlib.sha256(b"\0".join([*texts, *map(str.encode, (compiler, *FLAGS, torch.__version__, _processor()))]))
    root = cache()
    path = root / f"kernels-{key.hexdigest()[:16]}.so"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=root) as folder:
            run = functools.partial(subprocess.run, check=True, capture_output=True, timeout=120, cwd=folder)
            run([compiler, *FLAGS, *COMPILE, *map(str, SOURCES)])
            run([compiler, *LINK, *(path.with_suffix(".o").name for path in SOURCES), "-lm", "-o", "kernels.so"])
            library = Path(folder) / "kernels.so"
            os.replace(library, path)
    return path


def cache() -> Path:
    """Where what is compiled on this machine is kept, for all jobs of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweeps"


def _processor() -> str:
    """What `-march=native` means here."""
    return processor.name() + processor.told().get("flags", "")


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    size, pointer, threads = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    library.two_hot.argtypes = [*[size] * 2, *[pointer] * 3, threads]
    library.two_hot_inverse.argtypes = [*[size] * 2, *[pointer] * 4, threads]
    library.cross_entropy.argtypes = [*[size] * 4, *[pointer] * 4, threads]
    library.adam.argtypes = [size, *[pointer] * 6, *[ctypes.c_float] * 5, threads]
    library.scale_seeds.argtypes = [size, *[pointer] * 2, size, pointer]
    for of in (library.two_hot, library.two_hot_inverse, library.cross_entropy, library.adam, library.scale_seeds):
        of.restype = None
    return library


def compiled() -> bool:
    """Whether this machine has the kernels."""
    return _library() is not None


def compiled_for(x: Tensor) -> bool:
    """Whether the kernels take `x`."""
    return not torch.compiler.is_compiling() and x.is_cpu and x.dtype == torch.float32 and compiled()


def kernels() -> ctypes.CDLL:
    """The kernels, where `compiled` holds."""
    library = _library()
    assert library is not None
    return library


def at(x: Tensor | None) -> int:
    """Where the numbers of `x` lie, as ctypes takes a pointer; 0 for none."""
    return 0 if x is None else x.data_ptr()


# --- bins -------------------------------------------------------------------------------------------------


@torch.no_grad()
def two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """(...) returns -> (..., K) weights on the two bins around symlog(x), summing to 1; clamped at the ends."""
    if not compiled_for(x):
        return tm.two_hot(x, bins)
    x, y = x.contiguous(), x.new_empty(*x.shape, bins.numel())
    kernels().two_hot(x.numel(), bins.numel(), *map(at, (bins, x, y)), torch.get_num_threads())
    return y


def two_hot_inverse(logits: Tensor, bins: Tensor) -> Tensor:
    """(..., K) logits -> (...) the return their distribution stands for: symexp of the mean bin."""
    if not compiled_for(logits):
        return tm.two_hot_inverse(logits, bins)
    found: Tensor = _TwoHotInverse.apply(logits.contiguous(), bins)
    return found


class _OfLogits(torch.autograd.Function):
    """A number a row of logits (..., K), whose slope the kernel gives together with it."""

    @staticmethod
    def prepared(ctx: Any, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where result and slope go; no slope where nothing asks for a gradient."""
        slope = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(slope)
        return logits.new_empty(logits.shape[:-1]), slope

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad.unsqueeze(-1), None


class _TwoHotInverse(_OfLogits):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, bins: Tensor) -> Tensor:
        y, slope = _OfLogits.prepared(ctx, logits)
        pointers = map(at, (logits, bins, y, slope))
        kernels().two_hot_inverse(y.numel(), logits.shape[-1], *pointers, torch.get_num_threads())
        return y


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(..., K) logits, (..., K) distributions -> (...) cross-entropy in nats.

    target: as logits, or with size 1 on neighbouring axes over which it is shared.
    """
    if not compiled_for(logits):
        return tm.soft_cross_entropy(logits, target)
    found: Tensor = _CrossEntropy.apply(logits.contiguous(), target.contiguous())
    return found


class _CrossEntropy(_OfLogits):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        y, slope = _OfLogits.prepared(ctx, logits)
        pointers = map(at, (logits, target, y, slope))
        kernels().cross_entropy(*_shared(logits, target), *pointers, torch.get_num_threads())
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


def _sizes(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_long * len(tensors))(*[x.numel() for x in tensors])


def _places(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*map(at, tensors))


def scale_seeds(tensors: Sequence[Tensor], factors: Tensor) -> None:
    """Multiplies contiguous tensors (S, ...) by their seed's factor (S,), in place, where `compiled_for` holds."""
    kernels().scale_seeds(len(tensors), _sizes(tensors), _places(tensors), factors.numel(), at(factors))


def adam(
    parameters: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    *numbers: float,
) -> None:
    """One step of Adam along their gradients, in place, on parameters, their moments and the counts of their steps,
    where `compiled_for` holds.

    numbers: beta1, beta2, learning rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t), epsilon.
    """
    grads = [p.grad.contiguous() for p in parameters if p.grad is not None]
    lists = map(_places, (parameters, grads, means, squares, steps))
    kernels().adam(len(parameters), _sizes(parameters), *lists, *numbers, torch.get_num_threads())
