"""A throw-away Slurm on this machine: two nodes of four CPUs and four pretended GPUs each. Standard library only.

    python tests/cluster/slurm_cluster.py start [--folder F]     prints `export SLURM_CONF=...`
    python tests/cluster/slurm_cluster.py stop [--folder F]      the folder of $SLURM_CONF by default

Needs root and Debian's slurm-wlm and munge, which it installs where they are absent. Everything it makes lies in
its folder; it has ports, a munge socket and a key of its own, so several run side by side, and beside a real one.
There is no accounting: sacct answers nothing, as on many clusters.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

NODES = ("n1", "n2")
GPUS = 4
PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
START_SECONDS = 60.0

# cred_expire, KillWait and SlurmdTimeout are short so that requeues, kills and lost nodes take seconds; without
# DefMemPerCPU every job would take a node's whole memory.
SLURM_CONF = """\
ClusterName=sweeps
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=5,bf_interval=5
ReturnToService=2
KillWait=5
SlurmdTimeout=30
MinJobAge=300
DefMemPerCPU=100
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10
"""
NODE_CONF = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=32000 Gres=gpu:{gpus} "
    "State=UNKNOWN"
)


class ClusterError(RuntimeError):
    """Why there is no cluster, in one line."""


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def install() -> None:
    """Installs Slurm and munge from the distribution where they are absent."""
    if not missing_programs():
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(f"{', '.join(missing_programs())} missing and no apt-get here: install {PACKAGES}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *words], env=environment, check=True, stdout=subprocess.DEVNULL)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all held together so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def write_files(folder: Path) -> None:
    host, ports = socket.gethostname().split(".")[0], free_ports(1 + len(NODES))
    nodes = [
        NODE_CONF.format(name=name, host=host, port=port, gpus=GPUS)
        for name, port in zip(NODES, ports[1:], strict=True)
    ]
    for name in ("munge", "state", "log", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    key = folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    (folder / "slurm.conf").write_text(SLURM_CONF.format(host=host, ports=ports, folder=folder, nodes="\n".join(nodes)))
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    for index in range(GPUS):
        # Device nodes (of /dev/null): with plain files Slurm leaves CUDA_VISIBLE_DEVICES empty.
        os.mknod(folder / f"gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def launch(folder: Path, name: str, *command: str) -> None:
    """Starts a daemon in a session of its own and notes its pid at once, so that stop() finds it."""
    program = shutil.which(command[0]) or f"/usr/sbin/{command[0]}"
    with (folder / "log" / f"{name}.out").open("ab") as log:
        child = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
        )
    (folder / f"{name}.launched").write_text(str(child.pid))


def wait_until(what: str, true: Callable[[], bool], seconds: float = START_SECONDS, pause: float = 0.1) -> None:
    """Polls; raises ClusterError naming what did not come about."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def ask(folder: Path, *command: str) -> str:
    """What a Slurm client says of this cluster, empty where it fails."""
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def start(folder: Path | None = None) -> Path:
    """Starts the daemons and returns the path of slurm.conf once both nodes are idle."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError("a throw-away Slurm needs Linux and root")
    install()
    folder = Path(folder or tempfile.mkdtemp(prefix="sweeps-slurm-")).resolve()
    if (folder / "slurm.conf").exists():
        raise ClusterError(f"{folder} holds a cluster already: stop it or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    write_files(folder)
    try:
        start_daemons(folder)
    except BaseException:
        stop(folder)
        raise
    return folder / "slurm.conf"


def start_daemons(folder: Path) -> None:
    munge = folder / "munge"
    launch(
        folder,
        "munged",
        "munged",
        "--foreground",
        "--force",
        f"--socket={munge}/socket",
        f"--key-file={munge}/key",
        f"--pid-file={munge}/pid",
        f"--log-file={munge}/log",
        f"--seed-file={munge}/seed",
    )
    wait_until("the munge socket", (munge / "socket").exists)
    conf = str(folder / "slurm.conf")
    launch(folder, "slurmctld", "slurmctld", "-D", "-f", conf, "-L", str(folder / "log/slurmctld.log"))
    for node in NODES:
        launch(folder, node, "slurmd", "-D", "-N", node, "-f", conf, "-L", str(folder / f"log/{node}.log"))
    wait_until("two idle nodes", lambda: ask(folder, "sinfo", "-h", "-N", "-o", "%T").split().count("idle") >= 2)


def is_ours(pid: int, folder: Path) -> bool:
    """A process whose command line names the folder: pids recycle."""
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def stop(folder: Path) -> None:
    """Cancels the cluster's jobs, ends its daemons and removes its folder."""
    folder = Path(folder).resolve()
    if not (folder / "slurm.conf").exists():
        raise ClusterError(f"{folder} holds no cluster: name the folder given to start")
    # No --user: that needs the names of users, and every job of this cluster is to go.
    for job in ask(folder, "squeue", "-h", "-o", "%A").split():
        ask(folder, "scancel", job)
    try:
        wait_until("the end of the jobs", lambda: not ask(folder, "squeue", "-h").strip(), seconds=20)
    except ClusterError as error:
        print(error, file=sys.stderr)
    pids = [int(path.read_text()) for path in sorted(folder.glob("*.launched"))]
    for send in (signal.SIGTERM, signal.SIGKILL):
        alive = [pid for pid in pids if is_ours(pid, folder)]
        for pid in alive:
            os.kill(pid, send)
        try:
            wait_until("the end of the daemons", lambda: not any(is_ours(pid, folder) for pid in pids), seconds=10)
            break
        except ClusterError:
            continue
    shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("start", "stop"))
    parser.add_argument("--folder", type=Path, help="where everything lies; must be empty for start")
    options = parser.parse_args()
    try:
        if options.command == "start":
            print(f"export SLURM_CONF={start(options.folder)}")
        else:
            conf = os.environ.get("SLURM_CONF", "")
            if not (options.folder or conf):
                raise ClusterError("which one? give --folder, or set SLURM_CONF")
            stop(options.folder or Path(conf).parent)
    except ClusterError as error:
        print(f"slurm_cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
