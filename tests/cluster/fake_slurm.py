"""Stand-ins for sbatch, squeue, sacct, scontrol and scancel, for states that a real Slurm will not produce on demand.

    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.bin))
    fake.set("100_3", state="OUT_OF_MEMORY", node="n1")      # what the programs say from now on
    fake.fault("sbatch", "after")                            # the next sbatch is obeyed and then fails
    assert fake.calls("squeue") == [["--noheader", ...]]

The programs share one JSON file; an option or format code that they do not know ends the test.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun", "sinfo", "sacctmgr")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE")
CONFIG = {
    "MaxArraySize": "1001",
    "JobRequeue": "1",
    "MinJobAge": "300 sec",
    "KillWait": "5 sec",
    "ClusterName": "fake",
    "BOOT_TIME": "2026-01-01T00:00:00",
}

PROGRAM = """\
#!{python} -SE
import sys; sys.path.insert(0, {here!r}); import fake_slurm
sys.exit(fake_slurm.main({folder!r}, sys.argv))
"""

Task = dict[str, Any]


class FakeSlurm:
    """A folder with the programs in `bin` and all that they know in `state.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        if not (folder / "state.json").exists():
            empty = {"next": 100, "tasks": [], "faults": [], "calls": [], "answers": [], "accounting": True,
                     "config": CONFIG}  # fmt: skip
            (folder / "state.json").write_text(json.dumps(empty))
        for name in PROGRAMS:
            path = self.bin / name
            path.write_text(PROGRAM.format(python=sys.executable, here=str(Path(__file__).parent), folder=str(folder)))
            path.chmod(0o755)

    @contextmanager
    def open(self) -> Iterator[dict[str, Any]]:
        """The state, written back at the end; one at a time."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "state.json"
            state = json.loads(path.read_text())
            try:
                yield state
            finally:
                path.write_text(json.dumps(state))

    # --- what a test says -------------------------------------------------------------------------------------

    def set(self, job: str, **values: Any) -> None:
        """Change tasks: `100_3`, or `100` for all of it. Keys as in `new_task`."""
        with self.open() as state:
            for task in chosen(state["tasks"], job):
                task.update(values)

    def forget(self, job: str) -> None:
        """Purged from the controller after MinJobAge; sacct goes on knowing it."""
        self.set(job, purged=True)

    def add(self, name: str, tasks: int | None = None, **values: Any) -> str:
        """A job that somebody else submitted; tasks: of an array, None for a single job. Its id."""
        with self.open() as state:
            return add_job(state, name, None if tasks is None else list(range(tasks)), values)

    def fault(self, program: str, mode: str, times: int = 1) -> None:
        """The next calls of `program` fail: "before" anything is done, "after" all was done, or they "refuse"."""
        with self.open() as state:
            state["faults"] += [[program, mode]] * times

    def answer(self, program: str, text: str, asked: str = "") -> None:
        """What `program` prints where its arguments contain `asked`."""
        with self.open() as state:
            state["answers"] = [[program, asked, text], *state["answers"]]

    def configure(self, **values: str) -> None:
        """Lines of `scontrol show config`."""
        with self.open() as state:
            state["config"].update(values)

    def accounting(self, on: bool) -> None:
        with self.open() as state:
            state["accounting"] = on

    # --- what a test asks -------------------------------------------------------------------------------------

    def tasks(self, job: str | None = None) -> list[Task]:
        with self.open() as state:
            found: list[Task] = chosen(state["tasks"], job) if job else state["tasks"]
            return found

    def calls(self, program: str) -> list[list[str]]:
        """Arguments of every call so far."""
        with self.open() as state:
            return [call[1:] for call in state["calls"] if call[0] == program]


def new_task(job: str, index: int | None, name: str, **values: Any) -> Task:
    task = {
        "job": job, "index": index, "name": name, "user": user(), "state": "PENDING", "reason": "None", "node": "",
        "partition": "low", "exit": "0:0", "restarts": 0, "held": False, "throttle": 0, "purged": False, "script": "",
        "elapsed": "00:00:00", "elapsed_raw": 0, "max_rss": "", "total_cpu": "00:00:00", "req_mem": "1G", "cpus": 1,
        "comment": "", "submit": "2026-01-01T00:00:00", "exclude": "",
        "account": "lab", "qos": "normal",
    }  # fmt: skip
    unknown = set(values) - set(task)
    assert not unknown, f"a task has no {unknown}"
    return {**task, **values}


def user() -> str:
    """As `getpass.getuser`, which wants modules that `-S` leaves out."""
    import pwd

    return os.environ.get("LOGNAME") or os.environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name


def task_id(task: Task) -> str:
    return task["job"] if task["index"] is None else f"{task['job']}_{task['index']}"


def chosen(tasks: list[Task], job: str) -> list[Task]:
    """Tasks of `100`, `100_3` or `100_[3-5,7]`."""
    base, _, part = job.partition("_")
    wanted = None if not part else set(indices(part.strip("[]")))
    return [t for t in tasks if t["job"] == base and (wanted is None or t["index"] in wanted)]


def indices(text: str) -> list[int]:
    """Of an array specification: `0-3`, `1,5-9:2`."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        assert match, f"not an array specification: {text}"
        found += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1))
    return found


def add_job(state: dict[str, Any], name: str, array: list[int] | None, values: dict[str, Any]) -> str:
    job = str(state["next"])
    state["next"] += 1
    state["tasks"] += [new_task(job, index, name, **values) for index in (array if array is not None else [None])]
    return job


# --- the programs ---------------------------------------------------------------------------------------------


class Refused(Exception):
    """Said on standard error, with exit code 1."""


def main(folder: str, argv: list[str]) -> int:
    program, arguments = Path(argv[0]).name, argv[1:]
    fake = FakeSlurm.__new__(FakeSlurm)
    fake.folder = Path(folder)
    try:
        with fake.open() as state:
            state["calls"].append([program, *arguments])
            mode = next((m for p, m in state["faults"] if p == program), None)
            if mode is not None:
                state["faults"].remove([program, mode])
            if mode == "refuse":
                raise Refused("Batch job submission failed: Invalid qos specification")
            if mode != "before":
                asked = " ".join(arguments)
                said = (text for name, words, text in state["answers"] if name == program and words in asked)
                done = next(said, None)
                done = RUN[program](state, arguments) if done is None else done
    except Refused as error:
        sys.stderr.write(f"{program}: error: {error}\n")
        return 1
    if mode is not None:
        sys.stderr.write(f"{program}: error: Unable to contact slurm controller (connect failure)\n")
        return 1
    sys.stdout.write(done)
    return 0


def options(arguments: list[str], known: str) -> tuple[dict[str, str], list[str]]:
    """(`--name=value` and `--name value` by name, the rest); known: names, with = where a value follows."""
    takes = {word.rstrip("="): word.endswith("=") for word in known.split()}
    found, rest, left = {}, [], list(arguments)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            rest.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        assert name in takes, f"the stand-in does not know {word}"
        found[name] = value if equals or not takes[name] else left.pop(0)
    return found, rest


def sbatch(state: dict[str, Any], arguments: list[str]) -> str:
    """Takes a script's #SBATCH lines and the command line's options, of which the latter win."""
    script = next((a for a in arguments if not a.startswith("-")), None)
    text = sys.stdin.read() if script is None else Path(script).read_text()
    lines = re.findall(r"^#SBATCH\s+--(\S.*)$", text, re.M) + [a[2:] for a in arguments if a.startswith("--")]
    given = {line.partition("=")[0].strip(): line.partition("=")[2].strip().strip("'\"") for line in lines}
    if "test-only" in given:
        return ""
    array = indices(given["array"]) if "array" in given else None
    limit = int(state["config"]["MaxArraySize"])
    if array is not None and max(array) >= limit:
        raise Refused("Batch job submission failed: Invalid job array specification")
    held = "hold" in given
    job = add_job(state, given.get("job-name", "wrap"), array, {
        "held": held, "reason": "JobHeldUser" if held else "None", "script": text,
        "throttle": int(given.get("array", "").partition("%")[2] or 0), "comment": given.get("comment", ""),
        "partition": given.get("partition", "low"),
    })  # fmt: skip
    return f"{job}\n" if "parsable" in given else f"Submitted batch job {job}\n"


SQUEUE: dict[str, Callable[[Task], str]] = {
    "j": lambda t: t["name"], "i": task_id, "T": lambda t: t["state"], "r": lambda t: t["reason"],
    "u": lambda t: t["user"], "N": lambda t: t["node"], "P": lambda t: t["partition"], "M": lambda t: t["elapsed"],
    "A": lambda t: t["job"], "F": lambda t: t["job"], "K": lambda t: "N/A" if t["index"] is None else str(t["index"]),
    "a": lambda t: t["account"],
    "q": lambda t: t["qos"], "k": lambda t: t["comment"], "R": lambda t: t["node"] or f"({t['reason']})",
    "S": lambda t: "N/A",
}  # fmt: skip


def squeue(state: dict[str, Any], arguments: list[str]) -> str:
    """Waiting tasks of an array stand in one line, as there, with all their reasons."""
    given, _ = options(arguments, "noheader h name= n= format= o= user= u= states= t= jobs= j= me array r")
    names = (given.get("name") or given.get("n") or "").split(",")
    jobs = (given.get("jobs") or given.get("j") or "").split(",")
    users = (given.get("user") or given.get("u") or (user() if "me" in given else "")).split(",")
    seen = [
        t for t in state["tasks"]
        if not t["purged"] and t["state"] != "COMPLETED"
        and (t["state"] not in ENDED or "all" in (given.get("states"), given.get("t")))
        and (names == [""] or t["name"] in names) and (users == [""] or t["user"] in users)
        and (jobs == [""] or t["job"] in jobs or task_id(t) in jobs)
    ]  # fmt: skip
    pattern = given.get("format") or given.get("o") or "%i|%j|%T|%r"
    lines = []
    waiting: dict[tuple[str, ...], list[Task]] = {}
    for task in seen:
        if task["state"] == "PENDING" and task["index"] is not None and not {"array", "r"} & set(given):
            waiting.setdefault((task["job"], task["user"], task["name"]), []).append(task)
        else:
            lines.append(row(pattern, task, task_id(task)))
    for (job, *_), tasks in waiting.items():
        found = [t["index"] for t in tasks]
        throttle = f"%{tasks[0]['throttle']}" if tasks[0]["throttle"] else ""
        reasons = ",".join(dict.fromkeys(t["reason"] for t in tasks))
        lines.append(row(pattern, {**tasks[0], "reason": reasons}, f"{job}_[{spans(found)}{throttle}]"))
    return "".join(f"{line}\n" for line in lines)


def row(pattern: str, task: Task, shown: str) -> str:
    return re.sub(r"%\.?\d*([A-Za-z])", lambda m: shown if m[1] == "i" else SQUEUE[m[1]](task), pattern)


def spans(found: list[int]) -> str:
    """`0-3,5`, or `0-9:3` where all have one distance; cut as Slurm cuts it unless SLURM_BITSTR_LEN is 0."""
    found = sorted(found)
    strides = {b - a for a, b in zip(found, found[1:])}  # noqa: B905, RUF007 - neighbours
    if len(found) > 2 and len(strides) == 1 and strides != {1}:
        text = f"{found[0]}-{found[-1]}:{strides.pop()}"
    else:
        runs: list[list[int]] = []
        for index in found:
            if runs and index == runs[-1][1] + 1:
                runs[-1][1] = index
            else:
                runs.append([index, index])
        text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    limit = int(os.environ.get("SLURM_BITSTR_LEN", "64"))
    return text if not limit or len(text) <= limit else text[:limit].rpartition(",")[0] + ",..."


SACCT: dict[str, Callable[[Task], str]] = {
    "jobid": task_id, "jobname": lambda t: t["name"], "state": lambda t: t["state"], "user": lambda t: t["user"],
    "exitcode": lambda t: t["exit"], "nodelist": lambda t: t["node"], "partition": lambda t: t["partition"],
    "elapsed": lambda t: t["elapsed"], "elapsedraw": lambda t: str(t["elapsed_raw"]), "reqmem": lambda t: t["req_mem"],
    "submit": lambda t: t["submit"],
    "totalcpu": lambda t: t["total_cpu"], "alloccpus": lambda t: str(t["cpus"]), "maxrss": lambda t: "",
}  # fmt: skip


def sacct(state: dict[str, Any], arguments: list[str]) -> str:
    """One line a task, and one for its batch step unless -X; MaxRSS stands with the step, as there."""
    known = "parsable2 P noheader n jobs= j= format= o= allocations X starttime= S name= user= u= duplicates D units="
    given, _ = options(arguments, known)
    if not state["accounting"]:
        raise Refused("Slurm accounting storage is disabled")
    jobs = (given.get("jobs") or given.get("j") or "").split(",")
    names = given.get("name", "").split(",")
    fields = (given.get("format") or given.get("o") or "jobid,state").lower().split(",")
    lines = []
    for task in state["tasks"]:
        if (jobs == [""] or task["job"] in jobs or task_id(task) in jobs) and (names == [""] or task["name"] in names):
            lines.append("|".join(SACCT[field](task) for field in fields))
            if not {"X", "allocations"} & set(given) and task["state"] != "PENDING":
                step = {**SACCT, "jobid": lambda t: f"{task_id(t)}.batch", "jobname": lambda t: "batch",
                        "maxrss": lambda t: t["max_rss"], "reqmem": lambda t: "", "user": lambda t: ""}  # fmt: skip
                lines.append("|".join(step[field](task) for field in fields))
    return "".join(f"{line}\n" for line in lines)


def scontrol(state: dict[str, Any], arguments: list[str]) -> str:
    """release, hold, requeue, update JobId=.. ArrayTaskThrottle=.. | Priority=.., show config, ping."""
    verb, *words = arguments
    if verb == "show" and words == ["config"]:
        return "".join(f"{key:23} = {value}\n" for key, value in state["config"].items())
    if verb == "show" and words == ["partition", "--oneliner"]:
        names = ((name, grace) for name, grace in (("low", 0), ("high", 120)))
        return "".join(f"PartitionName={name} AllowGroups=ALL GraceTime={grace} Hidden=NO\n" for name, grace in names)
    if verb == "show" and words[:2] == ["job", "--oneliner"]:
        of_array = {t["index"]: f"ArrayTaskId={t['index']} " for t in state["tasks"] if t["index"] is not None}
        shown = (
            f"JobId={t['job']} {of_array.get(t['index'], '')}Restarts={t['restarts']} Partition={t['partition']} "
            f"ExcNodeList={t['exclude'] or '(null)'}"
            for t in chosen(state["tasks"], words[2])
        )
        return "".join(f"{line}\n" for line in shown)
    if verb == "ping":
        return "Slurmctld(primary) at here is UP\n"
    jobs, values = words, {}
    if verb == "update":
        values = {key.lower(): value for key, _, value in (word.partition("=") for word in words)}
        jobs = [values.pop("jobid", "")]
    for job in re.split(r",(?![^\[]*\])", ",".join(jobs)):
        tasks = [t for t in chosen(state["tasks"], job) if not t["purged"]]
        if not tasks:
            raise Refused(f"Invalid job id specified for job {job}")
        for task in tasks:
            change(task, verb, values)
    return ""


def change(task: Task, verb: str, values: dict[str, str]) -> None:
    if verb in ("release", "hold", "uhold"):
        task.update(held=verb != "release", reason="None" if verb == "release" else "JobHeldUser")
    elif verb == "requeue":
        task.update(state="PENDING", reason="BeginTime", node="", restarts=task["restarts"] + 1)
    elif verb == "update" and set(values) == {"excnodelist"}:
        task.update(exclude=values["excnodelist"])
    elif verb == "update" and set(values) == {"arraytaskthrottle"}:
        task.update(throttle=int(values["arraytaskthrottle"]))
    else:
        raise AssertionError(f"the stand-in does not know scontrol {verb} {values}")


def scancel(state: dict[str, Any], arguments: list[str]) -> str:
    given, jobs = options(arguments, "name= n= user= u= cluster= M= clusters= quiet Q signal= s= state= t= me")
    name, owner = given.get("name") or given.get("n"), given.get("user") or given.get("u")
    for task in [t for job in jobs for t in chosen(state["tasks"], job)] if jobs else state["tasks"]:
        if name in (None, task["name"]) and owner in (None, task["user"]) and task["state"] not in ENDED:
            task.update(state="CANCELLED", reason="None")
    return ""


def silent(state: dict[str, Any], arguments: list[str]) -> str:
    return ""


RUN: dict[str, Callable[[dict[str, Any], list[str]], str]] = {
    "sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scontrol": scontrol, "scancel": scancel, "srun": silent,
    "sinfo": silent, "sacctmgr": silent,
}  # fmt: skip
