"""This machine and its processes: whether a process runs, CPU cores and GPUs, resource usage, subprocesses."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("sweepwise", "torch", "mujoco", "dm_control", "numpy")
ROOT = Path(__file__).resolve().parent.parent  # the folder that holds the packages
_TIMEOUT_S = 10
_ALMOST_FULL = 1_000_000  # bytes that are left


def host() -> str:
    return socket.gethostname()


def user() -> str:
    """The user name of the effective user ID, as Slurm reports it; LOGNAME may differ."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # the container has no entry for this user
        return str(os.geteuid())


def utc_now() -> str:
    """The current time as records store it: 2026-11-23T17:20:05Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def start_time(pid: int) -> str:
    """The start time of process `pid` in clock ticks since boot, to detect a reused pid; "" if it is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # field 22; the name in parentheses before it may hold spaces


def alive(pid: int, started: str) -> bool:
    """Whether the process with this `pid` and `start_time` still runs on this machine; "" matches any start time."""
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
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gb() -> int | None:
    """Memory that this process may use, in whole gigabytes as memory is sold; None where that is not known."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):  # "max" without a limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return math.ceil(total / 1024**3)


def gpus() -> list[str]:
    """GPU names for CUDA_VISIBLE_DEVICES: those it lists already, otherwise all that nvidia-smi lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    listed = run_quietly(["nvidia-smi", "-L"])
    lines = [line for line in (listed or "").splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))]


def is_full_disk(folder: Path) -> bool:
    """Whether hardly anything can be written to `folder`; False where that is not known."""
    try:
        return shutil.disk_usage(folder).free < _ALMOST_FULL
    except OSError:
        return False


def usage(on_gpu: bool) -> dict[str, float]:
    """Usage so far: cpu_s (with ended children), memory_gb (peak of one process) and, on a GPU, gpu_gb (in use now)."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    measured = {
        "cpu_s": sum(s.ru_utime + s.ru_stime for s in usages),
        "memory_gb": max(s.ru_maxrss for s in usages) / unit,
    }
    if on_gpu:
        first_gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
        gpu_option = ["-i", first_gpu] if first_gpu else []
        used = run_quietly(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", *gpu_option])
        line = (used or "").partition("\n")[0].strip()
        if line.isdigit():
            measured["gpu_gb"] = int(line) / 1024
    return {name: round(value, 3) for name, value in measured.items()}


def run(command: list[str], timeout_s: float, env: dict[str, str] | None = None) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a command; the code is None if it is missing, fails to start or times out."""
    if shutil.which(command[0]) is None:
        return None, "", f"{command[0]} is not on PATH"
    try:
        completed = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=env
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, "", str(error)
    return completed.returncode, completed.stdout, completed.stderr


def run_quietly(command: list[str], timeout_s: float = _TIMEOUT_S, env: dict[str, str] | None = None) -> str | None:
    """The stdout of a command; None if it is missing, fails or times out."""
    code, output, _ = run(command, timeout_s, env)
    return output if code == 0 else None


_STARTED = "SWEEPS_STARTED_FD"


def start_recorded(
    command: Sequence[str], record: Callable[[int], None], env: Mapping[str, str], pass_fds: Sequence[int] = (),
    **options: Any,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start a process that calls `is_recorded`, and have `record` store its process id.

    If this process ends before that is done, the other one ends too: what no record names, nothing could cancel.
    """
    reader, writer = os.pipe()
    try:
        child = subprocess.Popen(
            command, env={**env, _STARTED: str(reader)}, pass_fds=(reader, *pass_fds), **options
        )  # fmt: skip
        record(child.pid)
        with contextlib.suppress(BrokenPipeError):  # it ended already
            os.write(writer, b"1")
    finally:
        os.close(reader)
        os.close(writer)
    return child


@contextlib.contextmanager
def repeated(
    action: Callable[[], object], every_s: float, *, at_once: bool = False, until: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Calls `action` every `every_s` seconds inside the block, in a thread of its own, `at_once` for the first time. An
    error in `until` ends the calls."""
    ended = threading.Event()

    def repeat() -> None:
        with contextlib.suppress(*until):
            if at_once:
                action()
            while not ended.wait(every_s):
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_recorded(has_record: Callable[[], bool]) -> bool:
    """Whether this process may go on: wait until who started it has stored its id, or is gone.

    has_record: whether there is a record of this process, asked if it is gone. True for a process that was not started
    by `start_recorded`.
    """
    handle = os.environ.pop(_STARTED, None)
    if handle is None:
        return True
    try:
        byte = os.read(int(handle), 1)
        os.close(int(handle))
    except (OSError, ValueError):
        byte = b""
    return bool(byte) or has_record()


def signal_name(number: int) -> str:
    """As in SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def python() -> list[str]:
    """This interpreter without the working directory on its path, so that a user's `plots.py` is not imported."""
    return [sys.executable, "-P"]


def job_variables(code: Path) -> dict[str, str]:
    """Environment variables of every job on every backend. code: the folder to import the packages from."""
    return {"PYTHONSAFEPATH": "1", "MUJOCO_GL": os.environ.get("MUJOCO_GL", "disabled"), "PYTHONPATH": str(code)}


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that affect a run's results; missing packages are left out."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": ".".join(map(str, sys.version_info[:3])), **installed}


def gpu() -> tuple[str, str] | None:
    """(name, driver version) of the first GPU this process may use; None if nvidia-smi lists none."""
    first_gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    gpu_option = ["-i", first_gpu] if first_gpu else []
    listed = run_quietly(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", *gpu_option])
    name, _, driver = (listed or "").partition("\n")[0].partition(", ")
    return (name, driver.strip()) if driver else None


def file_system_time(folder: Path) -> float:
    """Unix seconds by the clock of the file system of `folder`, which all hosts that share it have in common. Raises
    `OSError` where no file can be written there."""
    probe = folder / f".{uuid.uuid4().hex}.part"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
