"""From configurations and seeds to tasks of a backend: only what is missing, written down before it is handed over."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import handover, local, process, profiles, slurm
from jobs.entry import SNAPSHOTS, TrainJob
from jobs.errors import JobsError
from jobs.expand import Expanded
from jobs.lock import Lock
from jobs.plan import Plan
from jobs.profiles import Profile
from jobs.records import Submission, TaskRuns, View, ViewConfig
from jobs.state import RunState, State
from jobs.status import survey
from jobs.store import RunRef, Store, write_bytes
from tdmpc.config import TrainConfig

BACKENDS = ("auto", "slurm", "local", "debug")
MISSING: frozenset[State] = frozenset({"new", "interrupted", "lost"})


@dataclass(frozen=True)
class Options:
    """How runs are executed. cluster: see `BACKENDS`. seeds_per_job: seeds of one configuration in one process.

    snapshots: how often a run keeps its weights for `sweeps evaluate`, evenly spaced, the last at its end.
    option: `key=value`, instead of what the profile says.
    """

    cluster: str = "auto"
    profile: str | None = None
    max_parallel: int | None = None
    seeds_per_job: int = 1
    snapshots: int = SNAPSHOTS
    option: Sequence[str] = ()


@dataclass(frozen=True)
class How:
    """What is asked of one submit, and not repeated by `rerun`."""

    dry_run: bool = False
    wait: bool = False


@dataclass(frozen=True)
class Choice:
    """A run that was asked for. wanted: whether it goes into the submission."""

    run: RunRef
    label: str
    steps: int
    state: RunState
    wanted: bool


@dataclass(frozen=True)
class Target:
    """Where tasks go, and what each asks for.

    throttle, array_size, cluster: with Slurm, tasks at a time, tasks of an array at most, its name of itself.
    """

    backend: str
    profile: Profile | None
    gpus: int
    throttle: int = 1
    array_size: int = slurm.ARRAY_SIZE
    cluster: str = ""


# --- what is missing --------------------------------------------------------------------------------------


def difference(store: Store, sweeps: Sequence[Expanded], states: frozenset[State] = MISSING) -> list[Choice]:
    """Every run of `sweeps`, each once, with its state; those in `states` are wanted.

    A run whose steps may be raised counts as unfinished until it has the steps asked for now.
    """
    labels: dict[RunRef, str] = {}
    steps: dict[RunRef, int] = {}
    for sweep in sweeps:
        for found in sweep.configurations:
            needed = _steps(store, found.config_id, found.config)
            for seed in sweep.seeds:
                run = RunRef(found.config_id, seed)
                labels.setdefault(run, found.label)
                steps[run] = needed
    return choose(store, labels, steps, states)


def choose(store: Store, labels: dict[RunRef, str], steps: dict[RunRef, int], states: frozenset[State]) -> list[Choice]:
    """The runs of `labels` with their states; those in `states` are wanted."""
    found = survey(store, steps)
    return [
        Choice(run, label, steps[run], found[run].state, found[run].state.state in states)
        for run, label in labels.items()
    ]


def _steps(store: Store, identity: str, config: TrainConfig) -> int:
    if not store.config_path(identity).exists():
        return config.steps
    return max(config.steps, store.check_config(identity).steps)


def pack(runs: Iterable[RunRef], seeds_per_job: int) -> list[TaskRuns]:
    """Tasks of at most `seeds_per_job` seeds; the first of every configuration before the second of any."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.config_id, []).append(run.seed)
    packs = [
        (start, TaskRuns(config, sorted(found)[start : start + seeds_per_job]))
        for config, found in seeds.items()
        for start in range(0, len(found), seeds_per_job)
    ]
    return [task for _, task in sorted(packs, key=lambda pack: pack[0])]


# --- where it goes ----------------------------------------------------------------------------------------


def target(options: Options) -> Target:
    """The backend of `options`. Raises `JobsError` for a GPU that is not there."""
    backend = options.cluster
    if backend == "auto":
        backend = "slurm" if shutil.which("sbatch") else "local"
    if backend == "slurm":
        profile = profiles.load(options.profile or "gpu", options.option)
        settings = slurm.cluster_settings()
        size = int(settings.get("MaxArraySize", slurm.ARRAY_SIZE))
        throttle = options.max_parallel or profile.max_parallel
        return Target(backend, profile, profile.gpus, throttle, size, settings.get("ClusterName", ""))
    if options.option and not options.profile:
        raise JobsError("--option changes a profile and there is none on this machine; name one with --profile")
    chosen = profiles.load(options.profile, options.option) if options.profile else None
    there = len(process.gpus())
    if chosen is not None and chosen.gpus and not there:
        raise JobsError(f"profile {chosen.name!r} asks for a GPU and this machine shows none; use --profile cpu")
    return Target(backend, chosen, (1 if chosen.gpus else 0) if chosen is not None else min(1, there))


def slots(tasks: int, options: Options, place: Target) -> local.Slots:
    """Of this machine, for so many tasks; the debug backend runs them one by one."""
    count = tasks if place.backend == "local" else 1
    cpus = place.profile.cpus if place.profile else None
    return local.plan_slots(count, options.max_parallel, bool(place.gpus), cpus)


def preview(store: Store, sweep: str, tasks: Sequence[TaskRuns], options: Options, place: Target) -> str:
    """What would be submitted: the exact batch scripts, or the exact commands."""
    name = store.submission_name(sweep)
    if place.backend != "slurm":
        shared = slots(len(tasks), options, place)
        return "\n".join(local.shell_line(store, name, index, shared) for index in range(len(tasks)))
    submission = _written(name, sweep, tasks, options, place)
    return "\n".join(scripts(store, submission, place))


# --- the submission ---------------------------------------------------------------------------------------


def record_sweeps(store: Store, plan: Plan, sweeps: Sequence[Expanded]) -> list[str]:
    """Store configurations and views of `sweeps`; lines to tell the user."""
    notes = []
    for sweep in sweeps:
        for found in sweep.configurations:
            store.write_config(found.config)
        old = store.read_view(sweep.sweep.name)
        new = _view(plan, sweep, old)
        if old is not None:
            gone = {c.config_id for c in old.configs} - {c.config_id for c in new.configs}
            if gone:
                notes.append(
                    f"{sweep.sweep.name}: {len(gone)} configurations of the submit before are no longer part of it "
                    "(other settings); their runs stay on disk"
                )
        store.write_view(new)
    return notes


def _view(plan: Plan, expanded: Expanded, old: View | None) -> View:
    """The sweep as asked for now, with the seeds that were asked for before."""
    before = {c.config_id: c.seeds for c in old.configs} if old is not None else {}
    sweep = expanded.sweep
    return View(
        name=sweep.name,
        plan=plan.name,
        goal=sweep.goal,
        questions=list(sweep.questions),
        factors=list(sweep.factors),
        configs=[
            ViewConfig(
                config_id=c.config_id,
                label=c.label,
                factors=dict(c.factors),
                is_baseline=c.is_baseline,
                seeds=sorted({*expanded.seeds, *before.get(c.config_id, [])}),
            )
            for c in expanded.configurations
        ],
        time=time.time(),
    )


def submit(
    store: Store, sweep: str, tasks: Sequence[TaskRuns], options: Options, place: Target, lock: Lock
) -> Submission:
    """Hand `tasks` to the backend of `place`; all of it is on disk before. Raises `JobsError` if it refuses."""
    if place.backend == "slurm":
        slurm.check()
    submission = _written(store.new_submission(sweep), sweep, tasks, options, place)
    for position, script in enumerate(scripts(store, submission, place)):
        write_bytes(store.script_path(submission.id, position), script.encode())
    lock.renew()
    store.write_submission(submission)  # from here on it counts, and whoever comes next completes it
    if place.backend == "slurm":
        return handover.proceed(store, submission, lock, asked=False)
    if place.backend == "local":
        return handover.start_local(store, submission)
    return submission  # debug: the command runs the tasks itself


def _written(name: str, sweep: str, tasks: Sequence[TaskRuns], options: Options, place: Target) -> Submission:
    """The record of a submission of which nothing was handed over yet."""
    recorded: dict[str, Any] = dataclasses.asdict(options)
    job_name = f"{sweep}-{secrets.token_hex(4)}"
    chunks = []
    threads = place.profile.cpus if place.profile else 1
    if place.backend == "slurm":
        chunks = handover.chunks(job_name, handover.split([len(tasks)], place.array_size), place.throttle)
    else:
        shared = slots(len(tasks), options, place)
        threads, recorded = shared.threads, {**recorded, "slots": shared.count}
    return Submission(
        id=name,
        sweep=sweep,
        backend=place.backend,
        host=process.host(),
        user=process.user(),
        time=time.time(),
        tasks=list(tasks),
        gpus=place.gpus,
        threads=threads,
        job_name=job_name,
        options=recorded,
        chunks=chunks,
        cluster=place.cluster,
    )


def scripts(store: Store, submission: Submission, place: Target) -> list[str]:
    """The batch script of every chunk of `submission`."""
    if place.profile is None or not submission.chunks:
        return []
    folder, logs = store.submission_folder(submission.id), store.log_folder(submission.id)
    throttles = handover.shares([chunk.count for chunk in submission.chunks], place.throttle)
    return [
        slurm.script(place.profile, logs, chunk.job_name, slurm.task_command(folder, chunk), throttle, chunk.count)
        for chunk, throttle in zip(submission.chunks, throttles, strict=True)
    ]


def jobs_of(store: Store, submission: Submission) -> list[TrainJob]:
    return [TrainJob(str(store.root), submission.id, index) for index in range(len(submission.tasks))]
