"""Checks of this machine and its cluster, and a first profile written from the partitions."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import process
from jobs.backends import formats
from jobs.backends.base import NoResponse
from jobs.backends.profile import Profile
from jobs.backends.slurm import batch_script, commands, job_environment, programs
from jobs.doctor import probe
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError

_GRACE = re.compile(r"^PartitionName=(\S+) .*?\bGraceTime=(\d+)", re.M)
_PROBE_MIN = 15
_HOURS = 12  # time limit of a first profile, if the partition allows it


@dataclass(frozen=True)
class CheckResult:
    """One row. fine: None if the row is for information only. advice: what to do if the check failed."""

    what: str
    result: str
    fine: bool | None = None
    advice: str = ""


@dataclass(frozen=True)
class Partition:
    """A partition as sinfo lists it. limit_min: minutes, None for infinite. gpus, cpus, memory_gb: per node."""

    name: str
    default: bool
    limit_min: int | None
    nodes: int
    cpus: int
    memory_gb: float
    gpus: int
    gpu_type: str


# --- this machine ---------------------------------------------------------------------------------------------


def machine(facts: dict[str, Any], where: str) -> Iterator[CheckResult]:
    """Rows for the results of `probe.facts`. where: "here" or "job"."""
    yield CheckResult(f"{where}: host", f"{facts['host']}, {facts['cores']} cores, {facts['gpus']} GPUs")
    torch = facts.get("torch_error") or f"{facts['torch']}, {facts['cuda'] or 'no GPU found'}"
    gpu_unreached = facts["gpus"] > 0 and not facts.get("cuda")
    advice = "python3 bootstrap.py setup --torch cuda" if gpu_unreached else ""
    yield CheckResult(f"{where}: torch", torch, "torch_error" not in facts and not gpu_unreached, advice)
    missing_reason = facts.get("kernels_missing")
    if missing_reason is not None and not facts.get("cuda"):  # the C kernels are for training on a CPU
        advice = (
            "install gcc: without the C kernels training on a CPU takes up to three times as long"
            if missing_reason
            else ""
        )
        yield CheckResult(f"{where}: C kernels", missing_reason or "built", None if missing_reason else True, advice)
    fine = "mujoco_error" not in facts
    yield CheckResult(
        f"{where}: MuJoCo", facts.get("mujoco") or facts["mujoco_error"], fine,
        "" if fine else "try mujoco_gl: disabled in the profile",
    )  # fmt: skip


def results_folder(store: ResultsFolder) -> Iterator[CheckResult]:
    try:
        store.prepare()
    except JobsError as error:
        yield CheckResult("results folder", str(error), False, "name another with --results")
        return
    free = shutil.disk_usage(store.root).free / 1e9
    kind = (process.run_quietly(["stat", "-f", "-c", "%T", str(store.root)]) or "unknown").strip()
    yield CheckResult(
        "results folder", f"{store.root}, {kind}, {free:.0f} GB free", free > 1, "" if free > 1 else "make room"
    )


# --- Slurm ----------------------------------------------------------------------------------------------------


def cluster() -> Iterator[CheckResult]:
    """Rows for Slurm's settings, as far as Slurm reports them."""
    if shutil.which("sbatch") is None:
        yield CheckResult("Slurm", "sbatch is not on PATH: jobs run on this machine (--cluster local)")
        return
    settings = commands.cluster_settings()
    if not settings:
        yield CheckResult("Slurm", "its controller does not answer", False, "try again later, or check SLURM_CONF")
        return
    yield CheckResult(
        "Slurm", f"{settings.get('ClusterName')}, version {settings.get('SLURM_VERSION', 'unknown')}", True
    )
    yield CheckResult("limits", _format_settings(settings, "MaxArraySize", "MaxJobCount", "MinJobAge"))
    requeue = settings.get("JobRequeue") == "1"
    yield CheckResult("requeue", "on" if requeue else "off by default; jobs of sweeps request it", True)
    yield CheckResult("preemption", _format_settings(settings, "PreemptMode", "PreemptType", "KillWait"))
    listing = programs.run_quietly(["scontrol", "show", "partition", "--oneliner"]) or ""
    grace_text = ", ".join(f"{name} {seconds} s" for name, seconds in _GRACE.findall(listing))
    yield CheckResult("grace time", grace_text or "unknown")  # seconds between the preemption signal and the kill
    yield from _accounting(settings)
    for partition in partitions():
        yield CheckResult(
            f"partition {partition.name}{' (default)' if partition.default else ''}", _describe_partition(partition)
        )


def _format_settings(settings: dict[str, str], *names: str) -> str:
    return ", ".join(f"{name} {settings[name]}" for name in names if name in settings)


def _accounting(settings: dict[str, str]) -> Iterator[CheckResult]:
    storage_type = settings.get("AccountingStorageType", "")
    answer = programs.run_quietly(["sacct", "--noheader", "--allocations", "--format=JobID"])
    if answer is None:
        storage = storage_type.rpartition("/")[2] or "unknown"
        text = f"sacct does not answer ({storage}): states come from squeue, the logs and the runs"
        yield CheckResult("accounting", text)
        return
    yield CheckResult("accounting", "sacct answers", True)
    association = [f"cluster={settings.get('ClusterName', '')}", f"user={process.user()}"]
    columns = "format=Account,Partition,QOS,MaxJobs,MaxSubmit,GrpTRES"
    rows = programs.run_quietly(["sacctmgr", "-nP", "show", "assoc", *association, columns])
    for row in (rows or "").splitlines():
        account, partition, qos, jobs, submit, tres = [*row.split("|"), *[""] * 6][:6]
        limits = {"partition": partition, "qos": qos, "at a time": jobs, "in the queue": submit, "together": tres}
        limits_text = ", ".join(f"{name} {value}" for name, value in limits.items() if value) or "no limits"
        yield CheckResult(f"account {account}", limits_text)


def partitions() -> list[Partition]:
    """The partitions that are up, the default one first."""
    listing = programs.run_quietly(["sinfo", "--noheader", "--format=%P|%l|%D|%c|%m|%G|%a"]) or ""
    available = []
    for line in listing.splitlines():
        if line.count("|") != 6:
            continue  # a wrapper's banner
        name, limit, nodes, cpus, memory, gres, up = line.split("|")
        gpus, gpu_type = formats.gpus(gres)
        if up == "up":
            available.append(
                Partition(
                    name.rstrip("*"), name.endswith("*"), _parse_minutes(limit), formats.count(nodes) or 0,
                    formats.count(cpus) or 0, formats.gigabytes(memory, unit="M"), gpus, gpu_type,
                )
            )  # fmt: skip
    return sorted(available, key=lambda p: not p.default)


def _parse_minutes(limit: str) -> int | None:
    try:
        return formats.minutes(limit)
    except ValueError:
        return None


def _describe_partition(partition: Partition) -> str:
    gpus = f"{partition.gpus} {partition.gpu_type} GPUs".replace("  ", " ") if partition.gpus else "no GPU"
    limit = f"at most {partition.limit_min / 60:g} h" if partition.limit_min else "no time limit"
    return f"{partition.nodes} nodes of {partition.cpus} CPUs, {partition.memory_gb:.0f} GB, {gpus}; {limit}"


# --- a probe job ----------------------------------------------------------------------------------------------


def try_a_job(
    store: ResultsFolder, profile: Profile, patience_s: float, pause: Callable[[float], None]
) -> Iterator[CheckResult]:
    """Submit `probe` as a job, send it SIGUSR2 and requeue it; yields a row per step. Removes the job and its files."""
    store.prepare()
    profile = _within_limits(profile)
    folder = store.root / f".probe.{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    name = f"sweeps-probe-{folder.name[-8:]}"
    try:
        script = folder / "probe.sh"
        command = shlex.join([*process.python(), "-u", "-m", "jobs.doctor.probe", str(folder)])
        write_bytes(script, batch_script.script(profile, name, command, code=process.ROOT, folder=folder).encode())
        try:
            commands.sbatch(script, [])
            job = commands.find(name, time.time())
            if job is None:
                raise NoResponse("sbatch accepted a job, but squeue does not list it")
            commands.release([job])
        except JobsError as error:
            yield CheckResult("job", str(error), False, "change the profile, or name another with --profile")
            return
        yield from _probe_steps(folder, job, patience_s, pause)
    finally:
        programs.run_quietly(["scancel", f"--name={name}", f"--user={process.user()}"])
        shutil.rmtree(folder, ignore_errors=True)


def _within_limits(profile: Profile) -> Profile:
    """`profile` with no more time than the probe takes and its partition gives."""
    requested = profile.partition.split(",") if profile.partition else None
    chosen = [p for p in partitions() if (p.name in requested if requested else p.default)]
    times = [profile.time_min, _PROBE_MIN, *(p.limit_min for p in chosen)]
    return dataclasses.replace(profile, time_min=min(minutes for minutes in times if minutes), checkpoint_signal_s=10)


def _probe_steps(folder: Path, job: str, patience_s: float, pause: Callable[[float], None]) -> Iterator[CheckResult]:
    started = time.monotonic()
    if not _wait_for_file(folder / probe.FACTS, patience_s, pause):
        queue_state = (programs.run_quietly(["squeue", "-h", "-j", job, "-o", "%T %r"]) or "").strip()
        log = "".join(path.read_text(errors="replace")[-300:] for path in folder.glob("*_log.err"))
        advice = " ".join(log.split()) or "give it more time with --patience"
        yield CheckResult(
            "job", f"job {job} wrote nothing in {patience_s:.0f} s: {queue_state or 'it ended'}", False, advice
        )
        return
    yield CheckResult("job", f"started and wrote to the results folder after {time.monotonic() - started:.0f} s", True)
    yield from machine(json.loads((folder / probe.FACTS).read_text()), "job")
    programs.run_quietly(["scancel", "--signal=USR2", job])
    signalled = _wait_for_file(folder / probe.TOLD, patience_s, pause)
    advice = "" if signalled else "checkpoints are written on a timer only; choose a shorter checkpoint interval"
    yield CheckResult("signals", "arrive" if signalled else "SIGUSR2 did not arrive", signalled, advice)
    if not job_environment.requeue(job):
        yield CheckResult(
            "requeue", "refused", False, "tasks end at their time limit; `sweeps submit` again continues them"
        )
        return
    requeued = _wait_for_file(folder / probe.AGAIN, patience_s, pause)
    text = "a requeued job started again" if requeued else "a requeued job did not start again in time"
    yield CheckResult("requeue", text, requeued, "" if requeued else "the queue may be full; try again with --patience")


def _wait_for_file(path: Path, patience_s: float, pause: Callable[[float], None]) -> bool:
    waited = 0.0
    while not path.exists():
        if waited >= patience_s:
            return False
        pause(0.5)
        waited += 0.5
        os.listdir(path.parent)  # noqa: PTH208 - listing refreshes the cache of a network file system
    return True


# --- a first profile ------------------------------------------------------------------------------------------


def first_profile(available: list[Partition]) -> str:
    """Profile YAML for the first partition with GPUs, else the first one; requests the share of a node for one task."""
    if not available:
        raise JobsError("sinfo lists no partition that is up; copy a packaged profile instead (`slurm_templates`)")
    chosen = next((p for p in available if p.gpus), available[0])
    tasks_per_node = max(1, chosen.gpus or chosen.cpus // 2)
    minutes = min(_HOURS * 60, chosen.limit_min or _HOURS * 60)
    lines = [
        "# Written by `sweeps doctor` from the settings of Slurm; check it, and fill in what Slurm does not report.",
        f"partition: {chosen.name}",
        "# account: my-group",
        f"gpus: {1 if chosen.gpus else 0}",
        *([f"gpu_type: {chosen.gpu_type}"] if chosen.gpu_type else []),
        f"cpus: {max(1, min(8, chosen.cpus // tasks_per_node))}",
        f"mem_gb: {max(1, int(min(32.0, 0.9 * chosen.memory_gb / tasks_per_node)))}",
        f"time: {minutes}",
        "checkpoint_signal_s: 120",
        "# modules: []",
        "# activate: source /path/to/environment/bin/activate",
    ]
    return "\n".join(lines) + "\n"


def write_profile(path: Path) -> None:
    """Write `first_profile`. Raises `JobsError` for a name that does not end in .yaml, and if the file exists."""
    if path.suffix not in (".yaml", ".yml"):
        raise JobsError(f"--write {path}: a profile's name ends in .yaml")
    if path.exists():
        raise JobsError(f"--write {path}: the file exists already; name another or move it away")
    write_bytes(path, first_profile(partitions()).encode())
