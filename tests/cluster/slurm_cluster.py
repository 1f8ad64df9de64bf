"""A throw-away Slurm on this machine: two nodes of four CPUs and four pretended GPUs each. Standard library only.

    python tests/cluster/slurm_cluster.py start [--accounting]   prints `export SLURM_CONF=...`, for `eval`
    python tests/cluster/slurm_cluster.py env [--folder F]       prints it again
    python tests/cluster/slurm_cluster.py stop [--folder F]      the folder of $SLURM_CONF where none is given

Needs root and Debian's slurm-wlm and munge, which it installs where they are absent. Everything it makes lies in
its folder; it has ports, a munge socket and a key of its own, so several run side by side, and beside a real one.
Which Slurm: the first on PATH, tried from 22.05 to 26.05; it needs neither systemd nor cgroups, so a container or a
chroot will do (`benchmarks/slurm_versions.py` tries other versions in chroots).
Partition `low` is the default; a job in `high` takes a node from it, and what ran there is queued again.

Without --accounting sacct answers nothing, as on many clusters; with it there are slurmdbd and a MariaDB too. Any
user may submit: `setpriv --reuid=nobody --regid=nogroup --clear-groups sweeps submit ...`, with an interpreter and a
results folder that this user can read and write.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

NODES = ("n1", "n2")
GPUS = 4
PACKAGES = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
ACCOUNTING_PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}
LONGEST_PAUSE_S = 2.0
START_SECONDS = 60.0

# cred_expire and the intervals are short so that requeues take seconds; KillWait is Slurm's own, so that a job on a
# busy machine saves its state before it is killed; without DefMemPerCPU every job would take a node's whole memory.
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
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
MpiDefault=none
{accounting}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=5,bf_interval=5
ReturnToService=2
KillWait=30
SlurmdTimeout={slurmd_timeout}
MaxArraySize={max_array_size}
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
NO_ACCOUNTING = """\
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none"""
ACCOUNTING = """\
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
DATABASE = (
    "CREATE DATABASE slurm_acct_db; CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm'; "
    "CREATE USER slurm@localhost IDENTIFIED BY 'slurm'; "
    "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'; GRANT ALL ON slurm_acct_db.* TO slurm@localhost"
)


@dataclass(frozen=True)
class Settings:
    """port_base: the first of five ports in a row, free ones otherwise. max_array_size: Slurm's bound of an index.

    slurmd_timeout: seconds until a silent node counts as down; one on a busy machine may be silent for some.
    proctrack: how Slurm finds the processes of a job: linuxproc (by parents) or pgid (by the process group).
    nodes: the names of two nodes. enforce: the limits of the accounts hold; with accounting only.
    """

    accounting: bool = False
    port_base: int | None = None
    max_array_size: int = 1001
    slurmd_timeout: int = 30
    proctrack: str = "linuxproc"
    nodes: tuple[str, ...] = NODES
    enforce: bool = False


class ClusterError(RuntimeError):
    """Why there is no cluster, in one line."""


def missing_programs(accounting: bool = False) -> dict[str, str]:
    """Programs that are absent, with the packages that hold them."""
    wanted = {**PACKAGES, **(ACCOUNTING_PACKAGES if accounting else {})}
    return {program: package for program, package in wanted.items() if program_path(program) is None}


def program_path(name: str) -> str | None:
    """Where a daemon lies; an ordinary user's path may lack its folder."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def install(accounting: bool = False) -> None:
    """Installs what is absent from the distribution."""
    missing = missing_programs(accounting)
    if not missing:
        return
    packages = sorted(set(missing.values()))
    if shutil.which("apt-get") is None:
        raise ClusterError(f"{', '.join(missing)} missing and no apt-get here: install {' '.join(packages)}")
    # RUNLEVEL=1: Debian would start the daemons, of which this script starts its own
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *words], env=environment, check=True, stdout=subprocess.DEVNULL)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, below those that the kernel gives to the next connection of any program."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(10000, 32768), 1000):
            with contextlib.suppress(OSError):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise ClusterError("no free ports between 10000 and 32767")


def write_files(folder: Path, settings: Settings) -> None:
    host = socket.gethostname().split(".")[0]
    base = settings.port_base
    ports = free_ports(5) if base is None else list(range(base, base + 5))  # slurmctld, nodes, slurmdbd, database
    nodes = [
        NODE_CONF.format(name=name, host=host, port=port, gpus=GPUS)
        for name, port in zip(settings.nodes, ports[1:3], strict=True)
    ]
    for name in ("munge", "state", "log", *(f"spool-{node}" for node in settings.nodes)):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    write_private(folder / "munge" / "key", os.urandom(1024))
    accounting = ACCOUNTING.format(port=ports[3], folder=folder) if settings.accounting else NO_ACCOUNTING
    accounting += "\nAccountingStorageEnforce=associations,limits,qos" if settings.enforce else ""
    conf = SLURM_CONF.format(
        host=host, ports=ports, folder=folder, nodes="\n".join(nodes), accounting=accounting,
        slurmd_timeout=settings.slurmd_timeout,
        proctrack=settings.proctrack, max_array_size=settings.max_array_size,
    )  # fmt: skip
    (folder / "slurm.conf").write_text(conf)
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={cgroup_plugin()}\n")
    (folder / "gres.conf").write_text(f"NodeName={','.join(settings.nodes)} Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    for index in range(GPUS):
        # Device nodes (of /dev/null): with plain files Slurm leaves CUDA_VISIBLE_DEVICES empty.
        os.mknod(folder / f"gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    if settings.accounting:
        (folder / "database").mkdir()
        shutil.chown(folder / "database", "mysql", "mysql")
        text = SLURMDBD_CONF.format(folder=folder, host=host, port=ports[3], database_port=ports[4])
        write_private(folder / "slurmdbd.conf", text.encode())


def version() -> tuple[int, int]:
    """Of the Slurm on PATH, such as (24, 11)."""
    said = subprocess.run([program_path("slurmctld") or "slurmctld", "-V"], capture_output=True, text=True, check=True)
    found = re.search(r"(\d+)\.(\d+)", said.stdout)
    if found is None:
        raise ClusterError(f"slurmctld -V says {said.stdout.strip()!r}, which names no version")
    return int(found[1]), int(found[2])


def cgroup_plugin() -> str:
    """Every slurmd loads one, used or not, and the default one ends it where no cgroups are mounted.

    Versions before 23.02 cannot be told to use none; their cgroup/v1 plugin starts without cgroups.
    """
    return "disabled" if version() >= (23, 2) else "cgroup/v1"


def write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}


def launch(folder: Path, name: str, *command: str) -> None:
    """Starts a daemon in a session of its own and notes its pid at once, so that stop() finds it."""
    with (folder / "log" / f"{name}.out").open("ab") as log:
        child = subprocess.Popen(
            [program_path(command[0]) or command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(folder),
        )
    (folder / f"{name}.launched").write_text(str(child.pid))


def wait_until(what: str, true: Callable[[], bool], seconds: float = START_SECONDS, pause: float = 0.1) -> None:
    """Polls, at most a fifth of the time; raises ClusterError naming what did not come about."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if true():
            return
        answered = time.monotonic()
        if answered > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s")
        time.sleep(max(pause, min(4 * (answered - asked), LONGEST_PAUSE_S)))


def wait_for(folder: Path, what: str, true: Callable[[], bool], pause: float = 0.1) -> None:
    """The same for what the daemons must bring about; one that ended will not, and its last words say why."""

    def alive_and_true() -> bool:
        for path in folder.glob("*.launched"):
            if has_ended(int(path.read_text())):
                lines = (folder / "log" / f"{path.stem}.out").read_text(errors="replace").splitlines()
                raise ClusterError(f"{path.stem} ended: {' / '.join(lines[-3:])}")
        return true()

    wait_until(what, alive_and_true, pause=pause)


def has_ended(pid: int) -> bool:
    """Not by `is_ours`: a process that is just being started has no environment yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def ask(folder: Path, *command: str) -> str:
    """What a Slurm client says of this cluster, empty where it fails."""
    return subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False).stdout


def start(folder: Path | None = None, settings: Settings = Settings()) -> Path:
    """Starts the daemons and returns the path of slurm.conf once both nodes are idle."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError("a throw-away Slurm needs Linux and root")
    install(settings.accounting)
    folder = Path(folder or tempfile.mkdtemp(prefix="sweeps-slurm-")).resolve()
    if (folder / "slurm.conf").exists():
        raise ClusterError(f"{folder} holds a cluster already: stop it or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    write_files(folder, settings)
    try:
        munge = folder / "munge"
        launch(
            folder, "munged", "munged", "--foreground", "--force", f"--socket={munge}/socket",
            f"--key-file={munge}/key", f"--pid-file={munge}/pid", f"--log-file={munge}/log",
            f"--seed-file={munge}/seed",
        )  # fmt: skip
        wait_for(folder, "the munge socket", (munge / "socket").exists)
        if settings.accounting:
            start_accounting(folder)
        for name in ("slurmctld", *settings.nodes):
            start_daemon(folder, name)
        wait_for(folder, "two idle nodes", lambda: node_states(folder).count("idle") >= len(settings.nodes))
    except BaseException:
        stop(folder)
        raise
    return folder / "slurm.conf"


def start_accounting(folder: Path) -> None:
    """MariaDB in the cluster's folder, slurmdbd on it, and the cluster's name in that."""
    data, port = folder / "database", setting(folder / "slurmdbd.conf", "StoragePort")
    place = ["--no-defaults", f"--datadir={data}", "--user=mysql"]
    subprocess.run(["mariadb-install-db", *place, "--skip-test-db"], check=True, stdout=subprocess.DEVNULL)
    unix = f"--socket={data}/socket"
    # slurmdbd fails with the default of newer MariaDBs; older ones do not know this option, hence "loose"
    isolation = "--loose-innodb-snapshot-isolation=OFF"
    launch(folder, "database", "mariadbd", *place, unix, isolation, f"--port={port}", "--bind-address=127.0.0.1")
    client = ["mariadb", "--no-defaults", unix, "--user=root"]
    wait_for(folder, "the database", lambda: subprocess.run([*client, "-e", ""], capture_output=True).returncode == 0)
    subprocess.run([*client, "-e", DATABASE], check=True)
    launch(folder, "slurmdbd", "slurmdbd", "-D")
    wait_for(
        folder, "slurmdbd", lambda: "sweeps" in ask(folder, "sacctmgr", "-i", "add", "cluster", "sweeps"), pause=0.2
    )


def setting(path: Path, name: str) -> str:
    return next(line.partition("=")[2] for line in path.read_text().splitlines() if line.startswith(f"{name}="))


def start_daemon(folder: Path, name: str) -> None:
    """Starts slurmctld or the slurmd of a node, for the first time or again."""
    conf, log = str(folder / "slurm.conf"), str(folder / f"log/{name}.log")
    if name == "slurmctld":
        launch(folder, name, name, "-D", "-f", conf, "-L", log)
    else:
        launch(folder, name, "slurmd", "-D", "-N", name, "-f", conf, "-L", log)


def start_blind(folder: Path, node: str, hidden: Path) -> None:
    """Starts the slurmd of `node` where `hidden` is an empty folder, as where a file system is not mounted."""
    slurmd = f"{program_path('slurmd')} -D -N {node} -f {folder}/slurm.conf -L {folder}/log/{node}.log"
    launch(folder, node, "unshare", "--mount", "sh", "-c", f"mount -t tmpfs none '{hidden}' && exec {slurmd}")


def kill_daemon(folder: Path, name: str) -> None:
    """SIGKILL to a daemon that `start` or `start_daemon` started, as when its machine dies; its jobs live on."""
    pid = int((folder / f"{name}.launched").read_text())
    if is_ours(pid, folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(f"the end of {name}", lambda: not is_ours(pid, folder), seconds=120)


def node_states(folder: Path) -> list[str]:
    return ask(folder, "sinfo", "-h", "-N", "-o", "%T").split()


def is_ours(pid: int, folder: Path) -> bool:
    """A process that was started with the folder's slurm.conf: pids recycle. A zombie has no environment."""
    return f"SLURM_CONF={folder}/slurm.conf" in process_environment(pid)


def process_environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def job_processes(folder: Path) -> Iterator[int]:
    """Jobs of this cluster and their slurmstepds, which outlive a killed slurmd."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not is_ours(int(entry.name), folder):
            continue
        inside = any(line.startswith("SLURM_JOB_ID=") for line in process_environment(int(entry.name)))
        try:
            if inside or (entry / "comm").read_text().strip() == "slurmstepd":
                yield int(entry.name)
        except OSError:
            continue


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
        for pid in [pid for pid in pids if is_ours(pid, folder)]:
            os.kill(pid, send)
        try:
            wait_until("the end of the daemons", lambda: not any(is_ours(pid, folder) for pid in pids), seconds=10)
            break
        except ClusterError:
            continue
    for pid in job_processes(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("start", "stop", "env"))
    parser.add_argument("--folder", type=Path, help="where everything lies; must be empty for start")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and a database, so that sacct answers")
    parser.add_argument("--port-base", type=int, metavar="N", help="ports N to N+4; free ones otherwise")
    parser.add_argument("--max-array-size", type=int, default=1001, metavar="N", help="indices are below this")
    parser.add_argument("--slurmd-timeout", type=int, default=30, metavar="S", help="a node silent for this is down")
    options = parser.parse_args()
    try:
        if options.command == "start":
            settings = Settings(options.accounting, options.port_base, options.max_array_size, options.slurmd_timeout)
            print(f"export SLURM_CONF={start(options.folder, settings)}")
            return 0
        conf = Path(options.folder / "slurm.conf" if options.folder else os.environ.get("SLURM_CONF", ""))
        if not conf.is_file():
            raise ClusterError("no cluster there: give its --folder, or set SLURM_CONF")
        if options.command == "stop":
            stop(conf.parent)
        else:
            print(f"export SLURM_CONF={conf.resolve()}")
    except ClusterError as error:
        print(f"slurm_cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
