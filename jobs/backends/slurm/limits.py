"""How many tasks Slurm's accounting lets a user submit: the limits of the user and account on this cluster, of the
accounts above, of the QOS and of the partition's QOS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobs import process
from jobs.backends.base import NoResponse
from jobs.backends.formats import task_ids
from jobs.backends.profile import Profile
from jobs.backends.slurm import programs
from jobs.backends.slurm.squeue import EVERY_INDEX
from sweepwise.core.errors import JobsError

_ENFORCING = ("limits", "safe", "all")
_DEFAULT_QOS = "normal"  # of an association without a default QOS
_PARTITION = re.compile(r"^PartitionName=(?P<name>\S+) (?=.*\bDefault=(?P<default>\S+))(?=.*\bQoS=(?P<qos>\S+))", re.M)


@dataclass(frozen=True)
class SubmitLimit:
    """At most `tasks` in the queue, of those that match: None matches all. what: for the user."""

    what: str
    tasks: int
    user: str | None = None
    accounts: frozenset[str] | None = None
    qos: str | None = None

    def counts(self, user: str, account: str, qos: str) -> bool:
        return (
            self.user in (None, user)
            and (self.accounts is None or account in self.accounts)
            and self.qos in (None, qos)
        )


def remaining(profile: Profile, settings: Mapping[str, str]) -> int | None:
    """How many more tasks with `profile` Slurm accepts now; None for no limit. settings: of the cluster.

    Raises `JobsError` that names the limit if it accepts none, `NoResponse` if squeue does not respond.
    """
    limits = (
        [SubmitLimit("max_submit of the profile", profile.max_submit, process.user())] if profile.max_submit else []
    )
    enforced = settings.get("AccountingStorageEnforce")
    if enforced is None or any(word in enforced for word in _ENFORCING):
        limits += submit_limits(profile, settings.get("ClusterName", ""))
    if not limits:
        return None
    queued = _queued()
    rooms = [(limit.tasks - sum(limit.counts(*task) for task in queued), limit) for limit in limits]
    room, tightest = min(rooms, key=lambda pair: pair[0])
    if room < 1:
        raise JobsError(
            f"{tightest.what} allows {tightest.tasks} tasks in Slurm's queue, which is full; "
            "submit again when some have ended"
        )
    return room


def submit_limits(profile: Profile, cluster: str) -> list[SubmitLimit]:
    """The limits of tasks with `profile` on `cluster`; empty without accounting."""
    user = process.user()
    account = profile.account or _default_account(user, cluster)
    columns = "Account,Partition,MaxSubmitJobs,GrpSubmitJobs,DefaultQOS"
    own = [
        row
        for row in _sacctmgr(f"assoc cluster={cluster} user={user}", columns)
        if account in ("", row[0]) and row[1] in ("", *(profile.partition or row[1]).split(","))
    ]
    limits = [
        SubmitLimit(f"account {row[0]}", int(limit), user, frozenset({row[0]}))
        for row in own
        for limit in row[2:4]
        if limit.isdecimal()
    ]
    if account:
        limits += _group_limits(account, cluster)
    default = next((row[4] for row in own if row[4]), _DEFAULT_QOS)
    return limits + _qos_limits({profile.qos or default, *_partition_qos(profile.partition)}, user, account)


def _default_account(user: str, cluster: str) -> str:
    rows = _sacctmgr(f"user where name={user} cluster={cluster} withassoc", "Cluster,DefaultAccount")
    return next((account for name, account in rows if name == cluster), "")


def _group_limits(account: str, cluster: str) -> list[SubmitLimit]:
    """The limits of `account` and of the accounts above it; they count the tasks of all accounts below."""
    rows = _sacctmgr(f"assoc cluster={cluster} user=", "Account,ParentName,GrpSubmitJobs")
    parents = {name: parent for name, parent, _ in rows}
    limits = {name: limit for name, _, limit in rows}
    above = _up(account, parents)
    return [
        SubmitLimit(
            f"account {name}", int(limits[name]), None, frozenset(n for n in parents if name in _up(n, parents))
        )
        for name in above
        if limits.get(name, "").isdecimal()
    ]


def _up(account: str, parents: Mapping[str, str]) -> list[str]:
    """`account` and the accounts above it."""
    chain = [account]
    while (parent := parents.get(chain[-1], "")) and parent not in chain:
        chain.append(parent)
    return chain


def _partition_qos(partition: str | None) -> list[str]:
    """The QOS of the partitions, of the default one if None."""
    text = programs.run_quietly(["scontrol", "show", "partition", "--oneliner"]) or ""
    requested = partition.split(",") if partition else None
    return [
        match["qos"]
        for match in _PARTITION.finditer(text)
        if match["qos"] != "N/A" and (match["name"] in requested if requested else match["default"] == "YES")
    ]


def _qos_limits(names: Iterable[str], user: str, account: str) -> list[SubmitLimit]:
    rows = _sacctmgr(f"qos where name={','.join(sorted(names))}", "Name,MaxSubmitPU,GrpSubmit,MaxSubmitPA")
    limits = []
    for name, per_user, group, per_account in rows:
        scopes = ((per_user, user, None), (group, None, None), (per_account, None, frozenset({account})))
        limits += [SubmitLimit(f"QOS {name}", int(n), who, of, name) for n, who, of in scopes if n.isdecimal()]
    return limits


def _sacctmgr(question: str, columns: str) -> list[list[str]]:
    command = ["sacctmgr", "--noheader", "--parsable2", "show", *question.split(), f"format={columns}"]
    rows = [line.split("|") for line in (programs.run_quietly(command) or "").splitlines()]
    return [row for row in rows if len(row) == columns.count(",") + 1]


def _queued() -> list[tuple[str, str, str]]:
    """(user, account, QOS) of every task in Slurm's queue that this user may see."""
    text = programs.run_quietly(["squeue", "--noheader", "--format=%i|%u|%a|%q"], extra=EVERY_INDEX)
    if text is None:
        raise NoResponse("no answer from squeue; try again later")
    rows = [row for line in text.splitlines() if len(row := line.strip().split("|")) == 4]
    return [(user, account, qos) for job, user, account, qos in rows for _ in task_ids(job)]
