"""Builds and loads the C kernels for CPUs, `kernels.c` and `stack.c`, and `clang.c`, for that compiler's threads.

They are compiled once per machine, in a few seconds, into the user's cache. Without a C compiler, or with
SWEEPS_KERNELS=torch, the same formulas run as torch operations, equal to rounding.
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

SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "stack.c", "clang.c")]
HEADERS = [Path(__file__).with_name(name) for name in ("rows.h", "vectors.h")]
# Nothing here may let a compiler change a result: vectors.h says why every one gives the same bits.
FLAGS = ("-O3", "-march=native", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
# Not linked with an OpenMP library: the one that torch has loaded is used. Two would compete for the cores.
COMPILE, LINK = ("-fopenmp", "-c"), ("-shared",)


def _library() -> ctypes.CDLL | None:
    """The kernels of this machine; None where there are none."""
    loaded = _load()
    return None if isinstance(loaded, str) else loaded


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The kernels of this machine, or the reason why there are none; "" where they are switched off."""
    if os.environ.get("SWEEPS_KERNELS") == "torch":
        return ""
    names = (os.environ.get("CC", "cc"), "gcc", "clang")
    compiler = next((path for name in names if (path := shutil.which(name))), None)
    if compiler is None:
        return "there is no C compiler (cc, gcc, clang, or CC)"
    try:
        return built_by(compiler)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {error.returncode}"]
        return f"{compiler}: {next((line for line in lines if 'error' in line), lines[-1])}"
    except (OSError, subprocess.SubprocessError) as error:  # a cache that cannot be written, a library without OpenMP
        return f"{compiler}: {error}"


def built_by(compiler: str) -> ctypes.CDLL:
    """The kernels as this compiler builds them."""
    return _declare_signatures(ctypes.CDLL(str(_build(compiler))))


def _build(compiler: str) -> Path:
    """Path of the shared library, built unless the cache has it. Its name is a hash of all that it depends on."""
    texts = [path.read_bytes() for path in (*SOURCES, *HEADERS)]
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, timeout=120).stdout
    options = (compiler, *FLAGS, *COMPILE, *LINK, torch.__version__, _processor())
    key = hashlib.sha256(b"\0".join([*texts, version, *map(str.encode, options)]))
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
    """The user's cache of compiled code on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweeps"


def _processor() -> str:
    """Identifies what `-march=native` means on this machine."""
    return processor.name() + processor.cpu_info().get("flags", "")


def _declare_signatures(loaded: ctypes.CDLL) -> ctypes.CDLL:
    size, address, threads = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    number = ctypes.c_float
    signatures = {
        "two_hot": [*[size] * 4, *[address] * 3, threads],
        "two_hot_inverse": [*[size] * 2, *[address] * 3, threads],
        "cross_entropy": [*[size] * 5, *[address] * 6, threads],
        "squared_errors": [*[size] * 4, *[address] * 6, threads],
        "squash": [*[size] * 2, *[number] * 2, *[address] * 3],
        "squash_grad": [*[size] * 2, *[number] * 2, *[address] * 4],
        "gaussian": [*[size] * 2, *[address] * 3, *[number] * 2, *[address] * 5],
        "gaussian_grad": [*[size] * 2, *[address] * 8],
        "clip": [size, *[address] * 2, size, number, address, threads],
        "adam": [size, *[address] * 8, *[number] * 3, threads],
    }  # fmt: skip
    for name, types in signatures.items():
        kernel = getattr(loaded, name)
        kernel.argtypes, kernel.restype = types, None
    return loaded


def compiled() -> bool:
    """Whether this machine has the kernels."""
    return _library() is not None


def missing() -> str:
    """Why this machine has no kernels, in one line; "" where it has them or they are switched off."""
    loaded = _load()
    return " ".join(loaded.split()) if isinstance(loaded, str) else ""


def compiled_for(x: Tensor) -> bool:
    """Whether the kernels support `x`: float32 on the CPU, and not traced by torch.compile."""
    return not torch.compiler.is_compiling() and x.is_cpu and x.dtype == torch.float32 and compiled()


def library() -> ctypes.CDLL:
    """The kernels. Only where `compiled` holds."""
    loaded = _library()
    assert loaded is not None
    return loaded


def pointer(x: Tensor | None) -> int:
    """Address of the elements of `x` for ctypes; 0 for None."""
    return 0 if x is None else x.data_ptr()
