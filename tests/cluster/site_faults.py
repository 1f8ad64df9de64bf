"""Faults of sites with other settings, on a real Slurm: a node that lacks the results folder, limits of accounts."""

from __future__ import annotations

import slurm_cluster
from driver import PATIENCE_S, SUBMIT, Sweeps
from slurm_cluster import ask, wait_until

PADDED = ("gpu-node-001", "gpu-node-002")
SHORT = ("--steps", "40")


def blind_node(sweeps: Sweeps) -> str:
    """Three tasks, of which each takes a node: the one on the blind node ends at once, the rest is kept off it.

    The others are held until the node is excluded: Slurm would start them on it before the next `status`.
    """
    (sighted, blind), results = PADDED, sweeps.folder / "results"
    results.mkdir()
    slurm_cluster.kill_daemon(sweeps.cluster, blind)
    slurm_cluster.start_blind(sweeps.cluster, blind, results)

    def control(*words: str) -> None:
        ask(sweeps.cluster, "scontrol", *words)

    def set_nodes(state: str, *nodes: str) -> None:
        control("update", f"NodeName={','.join(nodes)}", f"State={state}", "Reason=tested")

    try:
        set_nodes("DRAIN", sighted, blind)
        sweeps.here("submit", "one", *SUBMIT, *SHORT, "--seeds", "1-3", "--option", "cpus=4")
        _, *others = (run["job"] for run in sweeps.runs())
        control("hold", ",".join(others))
        set_nodes("RESUME", blind)
        sweeps.until("failed", "stuck", "stuck")
        set_nodes("RESUME", sighted)
        sweeps.here("release", "one")
        sweeps.until("failed", "done", "done")
        assert [run["node"] for run in sweeps.runs()] == [blind, sighted, sighted]
        told = sweeps.here("status")
        assert f"node {blind} is excluded" in told, told
        assert "does not see the results folder" in told, told
        again = sweeps("rerun", "one", "--failed", "--wait")
        assert f"not on {blind}" in again, again
        assert sweeps.states() == ["done"] * 3, sweeps("status", "--runs")
        assert [run["attempts"] for run in sweeps.runs()] == [1] * 3
    finally:
        slurm_cluster.kill_daemon(sweeps.cluster, blind)
        slurm_cluster.start_daemon(sweeps.cluster, blind)
        set_nodes("RESUME", sighted, blind)
    return "one of 3 tasks ended on it, then it was excluded and named; done elsewhere after `rerun --failed`"


def limits(sweeps: Sweeps) -> str:
    """No more is submitted than fits."""

    def accounts(*words: str) -> None:
        ask(sweeps.cluster, "sacctmgr", "-i", *words)

    accounts("add", "cluster", "other")
    for cluster in ("sweeps", "other"):
        accounts("add", "account", "group", f"cluster={cluster}")
    accounts("add", "account", "lab", "parent=group", "cluster=sweeps")
    accounts("add", "user", "root", "account=lab", "cluster=sweeps")
    accounts("add", "user", "root", "account=group", "cluster=other")
    accounts("modify", "user", "root", "where", "account=group", "cluster=other", "set", "maxsubmitjobs=1")
    accounts("add", "qos", "small", "set", "maxsubmitjobsperuser=3")
    accounts("modify", "user", "root", "where", "account=lab", "cluster=sweeps", "set", "qos+=small")
    lab = ("--option", "account=lab", *SHORT, "--seeds", "1-3")
    told = []
    user = ("modify", "user", "root", "where", "account=lab", "cluster=sweeps", "set", "maxsubmitjobs=5")
    above = ("modify", "account", "group", "where", "cluster=sweeps", "set", "grpsubmitjobs=4")
    for name, words, room in (("of the user", user, 5), ("of the account above", above, 4), ("of the QOS", (), 3)):
        if words:
            accounts(*words)
        qos = () if words else ("--option", "qos=small")
        ask(sweeps.cluster, "scontrol", "reconfigure")
        wait_until("room", lambda: not ask(sweeps.cluster, "squeue", "-h").strip(), PATIENCE_S)
        said = sweeps.here("--results", name.replace(" ", "-"), "submit", "pair", *SUBMIT, *lab, *qos)
        assert f"takes {room} of 6 tasks now" in said, said
        assert len(ask(sweeps.cluster, "squeue", "-h", "-r").splitlines()) == room
        told.append(f"{room} of 6 with that {name}")
        ask(sweeps.cluster, "scancel", "--user=root")
    return f"submitted {', '.join(told)}"
