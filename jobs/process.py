"""Facts of this machine and its processes: who is alive, which processors there are, how a child is started."""

from __future__ import annotations

import functools
import os
import pwd
import resource
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("sweepwise", "torch", "mujoco", "dm_control", "numpy")
ROOT = Path(__file__).resolve().parent.parent  # the folder that holds the packages
_TIMEOUT_S = 10


def host() -> str:
    return socket.gethostname()


def user() -> str:
    """Who runs this process, as Slurm sees it; LOGNAME may say something else."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container
        return str(os.geteuid())


def start_time(pid: int) -> str:
    """When process `pid` started, in a form that tells a recycled pid apart; "" where that cannot be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # field 22, counted behind the parenthesised name


def alive(pid: int, started: str) -> bool:
    """Whether the process that had `pid` when `start_time` said `started` still runs on this machine."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        fields = stat.rpartition(")")[2].split()
        return fields[0] not in ("Z", "X") and (not started or fields[19] == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """Names of the GPUs for CUDA_VISIBLE_DEVICES: those it allows already, else all that nvidia-smi lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    listed = run_quietly(["nvidia-smi", "-L"])
    lines = [line for line in (listed or "").splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))]


def usage(on_gpu: bool) -> dict[str, float]:
    """Of this process so far: cpu_s, memory_gb (the most at a time) and, on a GPU, gpu_gb in use on it now."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    found = {"cpu_s": sum(s.ru_utime + s.ru_stime for s in spent), "memory_gb": spent[0].ru_maxrss / unit}
    if on_gpu:
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        chosen = ["-i", first] if first else []
        used = run_quietly(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", *chosen])
        line = (used or "").partition("\n")[0].strip()
        if line.isdigit():
            found["gpu_gb"] = int(line) / 1024
    return {name: round(value, 3) for name, value in found.items()}


def run(command: list[str], timeout_s: float, env: dict[str, str] | None = None) -> tuple[int | None, str, str]:
    """Exit code, output and errors of a command; no code where it is missing, cannot be started or hangs."""
    if shutil.which(command[0]) is None:
        return None, "", f"{command[0]} is not on PATH"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=env
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, "", str(error)
    return done.returncode, done.stdout, done.stderr


def run_quietly(command: list[str], timeout_s: float = _TIMEOUT_S, env: dict[str, str] | None = None) -> str | None:
    """The output of a command, None where it is missing, fails or hangs."""
    code, output, _ = run(command, timeout_s, env)
    return output if code == 0 else None


def python() -> list[str]:
    """This interpreter, not looking for modules in the working directory: the user's `plots.py` does no harm."""
    return [sys.executable, "-P"]


def job_variables(code: Path) -> dict[str, str]:
    """Environment that every job needs, whatever starts it. code: the folder to import the packages from."""
    return {"PYTHONSAFEPATH": "1", "MUJOCO_GL": os.environ.get("MUJOCO_GL", "disabled"), "PYTHONPATH": str(code)}


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of what decides a run's numbers; a missing package is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": ".".join(map(str, sys.version_info[:3])), **found}


def gpu() -> tuple[str, str] | None:
    """(name, driver) of the first GPU this process may use; None where nvidia-smi shows none."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    chosen = ["-i", first] if first else []
    listed = run_quietly(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", *chosen])
    name, _, driver = (listed or "").partition("\n")[0].partition(", ")
    return (name, driver.strip()) if driver else None
