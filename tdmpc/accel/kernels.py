"""The C kernels for CPUs, `kernels.c` and `stack.c`: built, loaded, and the memory they are told of.

The C is built once per machine by the compiler that is there, in a few seconds, and kept in the user's cache; without a
compiler, or with SWEEPS_KERNELS=torch, the same formulas run as torch operations, to rounding.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from tdmpc.accel import processor

SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "stack.c")]
HEADER = Path(__file__).with_name("rows.h")
FLAGS = ("-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros")
# Not linked with an OpenMP library: the one torch has loaded serves both, where two would fight over the cores.
COMPILE, LINK = ("-fopenmp", "-c"), ("-shared",)


def _library() -> ctypes.CDLL | None:
    """The kernels of this machine; None where they cannot be had."""
    found = _found()
    return None if isinstance(found, str) else found


@functools.cache
def _found() -> ctypes.CDLL | str:
    """The kernels of this machine, or why they cannot be had; an empty string where they are not wanted."""
    if os.environ.get("SWEEPS_KERNELS") == "torch":
        return ""
    names = (os.environ.get("CC", "cc"), "gcc", "clang")
    compiler = next((path for name in names if (path := shutil.which(name))), None)
    if compiler is None:
        return "there is no C compiler (cc, gcc, clang, or CC)"
    try:
        return _declared(ctypes.CDLL(str(_built(compiler))))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {error.returncode}"]
        return f"{compiler}: {next((line for line in said if 'error' in line), said[-1])}"
    except (OSError, subprocess.SubprocessError) as error:  # a cache that cannot be written, a library without OpenMP
        return f"{compiler}: {error}"


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
            os.replace(Path(folder) / "kernels.so", path)
    return path


def cache() -> Path:
    """Where what is compiled on this machine is kept, for all jobs of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweeps"


def _processor() -> str:
    """What `-march=native` means here."""
    return processor.name() + processor.cpu_info().get("flags", "")


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    size, pointer, threads = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    number = ctypes.c_float
    signatures = {
        "two_hot": [*[size] * 4, *[pointer] * 3, threads],
        "two_hot_inverse": [*[size] * 2, *[pointer] * 3, threads],
        "cross_entropy": [*[size] * 5, *[pointer] * 6, threads],
        "squared_errors": [*[size] * 4, *[pointer] * 6, threads],
        "squash": [*[size] * 2, *[number] * 2, *[pointer] * 3],
        "squash_grad": [*[size] * 2, *[number] * 2, *[pointer] * 4],
        "gaussian": [*[size] * 2, *[pointer] * 3, *[number] * 2, *[pointer] * 5],
        "gaussian_grad": [*[size] * 2, *[pointer] * 8],
        "clip": [size, *[pointer] * 2, size, number, pointer, threads],
        "adam": [size, *[pointer] * 8, *[number] * 3, threads],
    }  # fmt: skip
    for name, types in signatures.items():
        kernel = getattr(loaded, name)
        kernel.argtypes, kernel.restype = types, None
    return loaded


def compiled() -> bool:
    """Whether this machine has the kernels."""
    return _library() is not None


def missing() -> str:
    """Why this machine has none though they were wanted, in one line; else empty."""
    found = _found()
    return " ".join(found.split()) if isinstance(found, str) else ""


def compiled_for(x: Tensor) -> bool:
    """Whether the kernels take `x`."""
    return not torch.compiler.is_compiling() and x.is_cpu and x.dtype == torch.float32 and compiled()


def library() -> ctypes.CDLL:
    """The kernels, where `compiled` holds."""
    found = _library()
    assert found is not None
    return found


def at(x: Tensor | None) -> int:
    """Where the numbers of `x` lie, as ctypes takes a pointer; 0 for none."""
    return 0 if x is None else x.data_ptr()
