"""What this machine and its cluster offer, checked one by one; and a first profile written from it."""

from __future__ import annotations

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
from jobs.backends import profile as profiles
from jobs.backends.profile import Profile
from jobs.backends.slurm import batch_script, commands, job_environment
from jobs.doctor import probe
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError

_ASK_S = 20.0
_GPUS = re.compile(r"gpu:(?:(?P<type>[A-Za-z0-9_.-]+):)?(?P<count>\d+)")
_GRACE = re.compile(r"^PartitionName=(\S+) .*?\bGraceTime=(\d+)", re.M)
_HOURS = 12  # of a first profile, where the partition allows as many


@dataclass(frozen=True)
class CheckResult:
    """One row. fine: None where it is only told. advice: what to do about what is not fine."""

    what: str
    found: str
    fine: bool | None = None
    advice: str = ""


@dataclass(frozen=True)
class Partition:
    """As sinfo lists it. limit_min: None for infinite. gpus, cpus, memory_gb: of a node."""

    name: str
    default: bool
    limit_min: int | None
    nodes: int
    cpus: int
    memory_gb: float
    gpus: int
    gpu_type: str


# --- this machine ---------------------------------------------------------------------------------------------


def machine(found: dict[str, Any], where: str) -> Iterator[CheckResult]:
    """Rows of `probe.facts`."""
    yield CheckResult(f"{where}: host", f"{found['host']}, {found['cores']} cores, {found['gpus']} GPUs")
    torch = found.get("torch_error") or f"{found['torch']}, {found['cuda'] or 'no GPU reached'}"
    broken = found["gpus"] > 0 and not found.get("cuda")
    advice = "python3 bootstrap.py setup --torch cuda" if broken else ""
    yield CheckResult(f"{where}: torch", torch, "torch_error" not in found and not broken, advice)
    why = found.get("kernels_missing")
    if why is not None and not found.get("cuda"):  # they are a CPU's
        advice = "install gcc: without them training on a CPU takes up to three times as long" if why else ""
        yield CheckResult(f"{where}: C kernels", why or "built", None if why else True, advice)
    fine = "mujoco_error" not in found
    yield CheckResult(
        f"{where}: MuJoCo", found.get("mujoco") or found["mujoco_error"], fine,
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
    """Rows about Slurm's settings, as far as it says."""
    if shutil.which("sbatch") is None:
        yield CheckResult("Slurm", "sbatch is not on PATH: jobs run on this machine (--cluster local)")
        return
    settings = commands.cluster_settings()
    if not settings:
        yield CheckResult("Slurm", "its controller does not answer", False, "try again later; is SLURM_CONF right?")
        return
    yield CheckResult(
        "Slurm", f"{settings.get('ClusterName')}, version {settings.get('SLURM_VERSION', 'unknown')}", True
    )
    yield CheckResult("limits", _told(settings, "MaxArraySize", "MaxJobCount", "MinJobAge"))
    requeue = settings.get("JobRequeue") == "1"
    yield CheckResult("requeue", "on" if requeue else "off for jobs that do not ask; ours do", True)
    yield CheckResult("preemption", _told(settings, "PreemptMode", "PreemptType", "KillWait"))
    listed = process.run_quietly(["scontrol", "show", "partition", "--oneliner"], _ASK_S) or ""
    grace = ", ".join(f"{name} {seconds} s" for name, seconds in _GRACE.findall(listed))
    yield CheckResult("grace time", grace or "unknown")  # from the signal of a preemption to the kill
    yield from _accounting(settings)
    for partition in partitions():
        yield CheckResult(f"partition {partition.name}{' (default)' if partition.default else ''}", _words(partition))


def _told(settings: dict[str, str], *names: str) -> str:
    return ", ".join(f"{name} {settings[name]}" for name in names if name in settings)


def _accounting(settings: dict[str, str]) -> Iterator[CheckResult]:
    kind = settings.get("AccountingStorageType", "")
    answer = process.run_quietly(["sacct", "--noheader", "--allocations", "--format=JobID"], _ASK_S)
    if answer is None:
        storage = kind.rpartition("/")[2] or "unknown"
        text = f"sacct does not answer ({storage}): states come from squeue, the logs and the runs"
        yield CheckResult("accounting", text)
        return
    yield CheckResult("accounting", "sacct answers", True)
    form = "format=Account,Partition,QOS,MaxJobs,MaxSubmit,GrpTRES"
    rows = process.run_quietly(["sacctmgr", "-nP", "show", "assoc", f"user={process.user()}", form], _ASK_S)
    for row in (rows or "").splitlines():
        account, partition, qos, jobs, submit, tres = [*row.split("|"), *[""] * 6][:6]
        limits = {"partition": partition, "qos": qos, "at a time": jobs, "in the queue": submit, "together": tres}
        told = ", ".join(f"{name} {value}" for name, value in limits.items() if value) or "no limits"
        yield CheckResult(f"account {account}", told)


def partitions() -> list[Partition]:
    """Those that are up, the default one first."""
    listed = process.run_quietly(["sinfo", "--noheader", "--format=%P|%l|%D|%c|%m|%G|%a"], _ASK_S) or ""
    found = []
    for line in listed.splitlines():
        name, limit, nodes, cpus, memory, gres, up = [*line.split("|"), *[""] * 7][:7]
        gpus = _GPUS.search(gres)
        if up == "up":
            found.append(
                Partition(
                    name.rstrip("*"), name.endswith("*"), _minutes(limit), _number(nodes), _number(cpus),
                    _number(memory) / 1024, int(gpus["count"]) if gpus else 0, (gpus["type"] or "") if gpus else "",
                )
            )  # fmt: skip
    return sorted(found, key=lambda p: not p.default)


def _number(text: str) -> int:
    """sinfo writes `4+` where nodes differ."""
    return int(re.sub(r"\D", "", text) or 0)


def _minutes(limit: str) -> int | None:
    try:
        return profiles.minutes(limit)
    except ValueError:
        return None


def _words(partition: Partition) -> str:
    gpus = f"{partition.gpus} {partition.gpu_type} GPUs".replace("  ", " ") if partition.gpus else "no GPU"
    limit = f"at most {partition.limit_min / 60:g} h" if partition.limit_min else "no time limit"
    return f"{partition.nodes} nodes of {partition.cpus} CPUs, {partition.memory_gb:.0f} GB, {gpus}; {limit}"


# --- a job that looks around ----------------------------------------------------------------------------------


def try_a_job(
    store: ResultsFolder, profile: Profile, patience_s: float, pause: Callable[[float], None]
) -> Iterator[CheckResult]:
    """Submit `probe`, send it the signal, queue it again; a row for each as it comes. Job and files go again."""
    store.prepare()
    folder = store.root / f".probe.{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    job = None
    try:
        script = folder / "probe.sh"
        command = shlex.join([*process.python(), "-u", "-m", "jobs.doctor.probe", str(folder)])
        name = f"sweeps-probe-{folder.name[-8:]}"
        write_bytes(script, batch_script.script(profile, name, command, code=process.ROOT, folder=folder).encode())
        job = commands.sbatch(script, [])
        commands.release([job])
        yield from _steps(folder, job, patience_s, pause)
    finally:
        if job is not None:
            process.run_quietly(["scancel", job], _ASK_S)
        shutil.rmtree(folder, ignore_errors=True)


def _steps(folder: Path, job: str, patience_s: float, pause: Callable[[float], None]) -> Iterator[CheckResult]:
    begun = time.monotonic()
    if not _appears(folder / probe.FACTS, patience_s, pause):
        said = (process.run_quietly(["squeue", "-h", "-j", job, "-o", "%T %r"], _ASK_S) or "").strip()
        log = "".join(path.read_text(errors="replace")[-300:] for path in folder.glob("*_log.err"))
        advice = " ".join(log.split()) or "give it more time with --patience"
        yield CheckResult("job", f"job {job} wrote nothing in {patience_s:.0f} s: {said or 'it ended'}", False, advice)
        return
    yield CheckResult("job", f"began and wrote to the results folder after {time.monotonic() - begun:.0f} s", True)
    yield from machine(json.loads((folder / probe.FACTS).read_text()), "job")
    process.run_quietly(["scancel", "--signal=USR2", job], _ASK_S)
    told = _appears(folder / probe.TOLD, patience_s, pause)
    advice = "" if told else "checkpoints are written on a timer only; choose a shorter checkpoint interval"
    yield CheckResult("signals", "arrive" if told else "SIGUSR2 did not arrive", told, advice)
    if not job_environment.requeue(job):
        yield CheckResult(
            "requeue", "refused", False, "tasks end at their time limit; `sweeps submit` again continues them"
        )
        return
    again = _appears(folder / probe.AGAIN, patience_s, pause)
    text = "a job that was queued again began again" if again else "a job that was queued again did not begin in time"
    yield CheckResult("requeue", text, again, "" if again else "the queue may be full; try again with --patience")


def _appears(path: Path, patience_s: float, pause: Callable[[float], None]) -> bool:
    waited = 0.0
    while not path.exists():
        if waited >= patience_s:
            return False
        pause(0.5)
        waited += 0.5
        os.listdir(path.parent)  # noqa: PTH208 - a network file system looks again
    return True


# --- a first profile ------------------------------------------------------------------------------------------


def first_profile(found: list[Partition]) -> str:
    """YAML for the partition with GPUs, else the default one; a share of its node that fits one task."""
    if not found:
        raise JobsError("sinfo lists no partition that is up; copy a packaged profile instead (`slurm_templates`)")
    chosen = next((p for p in found if p.gpus), found[0])
    share = max(1, chosen.gpus or chosen.cpus // 2)
    minutes = min(_HOURS * 60, chosen.limit_min or _HOURS * 60)
    lines = [
        "# Written by `sweeps doctor` from what Slurm says of itself; look it over, and fill in what it cannot know.",
        f"partition: {chosen.name}",
        "# account: my-group",
        f"gpus: {1 if chosen.gpus else 0}",
        *([f"gpu_type: {chosen.gpu_type}"] if chosen.gpu_type else []),
        f"cpus: {max(1, min(8, chosen.cpus // share))}",
        f"mem_gb: {max(1, int(min(32.0, 0.9 * chosen.memory_gb / share)))}",
        f"time: {minutes}",
        "checkpoint_signal_s: 120",
        "# modules: []",
        "# activate: source /path/to/environment/bin/activate",
    ]
    return "\n".join(lines) + "\n"


def write_profile(path: Path) -> None:
    """Raises `JobsError` where a file is there already."""
    if path.suffix not in (".yaml", ".yml"):
        raise JobsError(f"--write {path}: a profile's name ends in .yaml")
    if path.exists():
        raise JobsError(f"--write {path}: there is a file already; name another or move it away")
    write_bytes(path, first_profile(partitions()).encode())
