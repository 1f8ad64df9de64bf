"""From configurations and seeds to tasks of a backend: only what is missing, written down before it is handed over."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import shlex
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import process
from jobs.backends import local
from jobs.backends.local import aggregate_command
from jobs.backends.slurm import commands, handover
from jobs.backends.slurm import profile as profiles
from jobs.backends.slurm.profile import Profile
from jobs.planning import interim_analyses
from jobs.planning.expand import ExpandedSweep
from jobs.planning.plan import Plan
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.lock import Lock
from jobs.results.records import Chunk, Submission, SubmittedConfiguration, SubmittedSweep, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import RunState, State
from jobs.runs.status import load_statuses
from jobs.worker.train_job import TrainJob
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Settings
from tdmpc.config import TrainConfig

BACKENDS = ("auto", "slurm", "local", "debug")
MISSING: frozenset[State] = frozenset({"new", "interrupted", "lost"})


@dataclass(frozen=True)
class ExecutionOptions(Settings):
    """How runs are executed. cluster: see `BACKENDS`. seeds_per_job: seeds of one configuration in one process.

    option: `key=value`, instead of what the profile says.
    """

    cluster: str = "auto"
    profile: str | None = None
    max_parallel: int | None = None
    seeds_per_job: int = 1
    option: Sequence[str] = ()


@dataclass(frozen=True)
class SubmitOptions:
    """What is asked of one submit, and not repeated by `rerun`.

    export: where the scripts go, to be submitted by hand. canary: the first seed of every configuration runs, the
    others wait until it is healthy (`jobs.runs.canary`). then_aggregate: the report is written when all have ended.
    max_gpu_hours: what costs more is refused.
    """

    dry_run: bool = False
    wait: bool = False
    export: Path | None = None
    canary: bool = False
    then_aggregate: bool = False
    max_gpu_hours: float | None = None


@dataclass(frozen=True)
class PlannedRun:
    """A run that was asked for. wanted: whether it goes into the submission."""

    run: RunRef
    label: str
    steps: int
    state: RunState
    wanted: bool


@dataclass(frozen=True)
class Target:
    """Where tasks go, and what each asks for.

    throttle, array_size, cluster: with Slurm, tasks at a time, tasks of an array at most, its name of itself. note: why
    it was chosen, where the user left that to the program.
    """

    backend: str
    profile: Profile | None
    gpus: int
    throttle: int = 1
    array_size: int = commands.ARRAY_SIZE
    cluster: str = ""
    note: str = ""

    @property
    def device(self) -> str:
        """cpu, cuda, or the type of GPU that the profile names."""
        return ((self.profile.gpu_type if self.profile else None) or "cuda") if self.gpus else "cpu"


@dataclass(frozen=True)
class Request:
    """A submit, decided. tasks: the `canaries` first."""

    sweep: str
    tasks: Sequence[TaskRuns]
    options: ExecutionOptions
    how: SubmitOptions
    place: Target

    @property
    def canaries(self) -> int:
        """Tasks that do not wait for a canary."""
        return len({task.config_id for task in self.tasks}) if self.how.canary else len(self.tasks)


# --- what is missing --------------------------------------------------------------------------------------


def plan_runs(
    store: ResultsFolder, sweeps: Sequence[ExpandedSweep], states: frozenset[State] = MISSING
) -> list[PlannedRun]:
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


def choose(
    store: ResultsFolder, labels: dict[RunRef, str], steps: dict[RunRef, int], states: frozenset[State]
) -> list[PlannedRun]:
    """The runs of `labels` with their states; those in `states` are wanted."""
    found = load_statuses(store, steps)
    return [
        PlannedRun(run, label, steps[run], found[run].state, found[run].state.state in states)
        for run, label in labels.items()
    ]


def _steps(store: ResultsFolder, identity: str, config: TrainConfig) -> int:
    if not store.config_path(identity).exists():
        return config.steps
    return max(config.steps, store.check_config(identity).steps)


def pack(runs: Iterable[RunRef], seeds_per_job: int, canary: bool = False) -> list[TaskRuns]:
    """Tasks of at most `seeds_per_job` seeds; the first of every configuration before the second of any.

    canary: the first seed of every configuration is a task of its own.
    """
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.config_id, []).append(run.seed)
    alone = 1 if canary else seeds_per_job
    packs = []
    for config, found in seeds.items():
        first, rest = sorted(found)[:alone], sorted(found)[alone:]
        packs.append((0, TaskRuns(config, first)))
        for start in range(0, len(rest), seeds_per_job):
            packs.append((1 + start, TaskRuns(config, rest[start : start + seeds_per_job])))
    return [task for _, task in sorted(packs, key=lambda pack: pack[0])]


# --- where it goes ----------------------------------------------------------------------------------------


def choose_backend() -> tuple[str, str]:
    """What `--cluster auto` takes, and a line that says why.

    Raises `JobsError` where there is a cluster that cannot be reached: what was meant for it does not start on its
    login node instead.
    """
    if shutil.which("sbatch") is not None:
        name = commands.cluster_settings().get("ClusterName")
        if name is None:
            raise JobsError(
                "sbatch is on PATH and Slurm's controller does not answer (`scontrol show config`); "
                "try again later, or train on this machine with --cluster local"
            )
        return "slurm", f"goes to the Slurm cluster {name!r}, since sbatch is on PATH"
    trace = commands.trace()
    if trace is not None:
        raise JobsError(
            f"{trace} tells of a Slurm cluster and sbatch is not on PATH; load its module, "
            "or train on this machine with --cluster local"
        )
    return "local", "goes to this machine, since sbatch is not on PATH"


def target(options: ExecutionOptions) -> Target:
    """The backend of `options`. Raises `JobsError` for a GPU that is not there."""
    backend, note = (options.cluster, "") if options.cluster != "auto" else choose_backend()
    if backend == "slurm":
        profile = profiles.load(options.profile or "gpu", options.option)
        settings = commands.cluster_settings()
        size = int(settings.get("MaxArraySize", commands.ARRAY_SIZE))
        throttle = options.max_parallel or profile.max_parallel
        return Target(backend, profile, profile.gpus, throttle, size, settings.get("ClusterName", ""), note)
    if options.option and not options.profile:
        raise JobsError("--option changes a profile and there is none on this machine; name one with --profile")
    chosen = profiles.load(options.profile, options.option) if options.profile else None
    there = len(process.gpus())
    if chosen is not None and chosen.gpus and not there:
        raise JobsError(f"profile {chosen.name!r} asks for a GPU and this machine shows none; use --profile cpu")
    return Target(backend, chosen, (1 if chosen.gpus else 0) if chosen is not None else min(1, there), note=note)


def slots(tasks: int, options: ExecutionOptions, place: Target) -> local.Slots:
    """Of this machine, for so many tasks; the debug backend runs them one by one."""
    cpus = place.profile.cpus if place.profile else None
    at_once = options.max_parallel if place.backend == "local" else 1
    return local.plan_slots(tasks, at_once, bool(place.gpus), cpus)


def check(how: SubmitOptions, place: Target) -> None:
    """Raises `JobsError` for what cannot be done together."""
    if place.backend != "slurm" and (how.canary or how.export):
        word = "--canary" if how.canary else "--export"
        raise JobsError(f"{word} needs Slurm, and this goes to {place.backend}; leave it out, or give --cluster slurm")
    if how.export and (how.canary or how.then_aggregate):
        raise JobsError("--export writes scripts to submit by hand; it goes without --canary and --then-aggregate")
    if how.then_aggregate and place.backend == "debug":
        raise JobsError("--then-aggregate adds a job, and debug has none; `sweeps aggregate` afterwards does the same")


def tasks_that_fit(tasks: Sequence[TaskRuns], place: Target) -> Sequence[TaskRuns]:
    """The first of `tasks`, as many as the cluster's queue takes of this user. Raises `JobsError` where it is full."""
    if place.backend != "slurm" or place.profile is None or not tasks:
        return tasks
    limit = place.profile.max_submit or commands.submit_limit(place.profile.account)
    if limit is None:
        return tasks
    room = limit - commands.queued()
    if room < 1:
        raise JobsError(
            f"Slurm lets you have {limit} tasks in its queue and they are there; submit again when some ended"
        )
    return tasks[:room]


def preview(store: ResultsFolder, request: Request) -> str:
    """What would be submitted: the exact batch scripts, or the exact commands."""
    name = store.submissions.new_name(request.sweep)
    code = code_snapshot.planned(store)
    if request.place.backend != "slurm":
        shared = slots(len(request.tasks), request.options, request.place)
        folder = process.ROOT if request.place.backend == "debug" else code.folder
        return "\n".join(local.shell_line(store, folder, name, index, shared) for index in range(len(request.tasks)))
    return "\n".join(scripts(store, _written(name, request, code.hash), request.place))


# --- the submission ---------------------------------------------------------------------------------------


def record_sweeps(store: ResultsFolder, plan: Plan, sweeps: Sequence[ExpandedSweep]) -> None:
    """Store configurations and views of `sweeps`."""
    for sweep in sweeps:
        for found in sweep.configurations:
            store.write_config(found.config)
        old = store.read_sweep(sweep.sweep.name)
        new = _view(plan, sweep, old)
        look = interim_analyses.before(store, old, new, "submit")
        if look is not None:
            interim_analyses.note(store, new.name, look)
        store.write_sweep(new)


def changed(store: ResultsFolder, plan: Plan, sweeps: Sequence[ExpandedSweep]) -> list[str]:
    """A line about each of `sweeps` that has other configurations than at the submit before, or seeds that are asked
    for after a look at its results."""
    notes = []
    for sweep in sweeps:
        old = store.read_sweep(sweep.sweep.name)
        look = interim_analyses.before(store, old, _view(plan, sweep, old), "submit")
        if look is not None:
            notes.append(interim_analyses.format_interim_analysis(store, sweep.sweep.name, sweep.sweep.looks, look))
        before = {c.config_id for c in old.configs} if old is not None else set()
        now = {c.config_id for c in sweep.configurations}
        if before - now:
            notes.append(
                f"{sweep.sweep.name} changed: {len(before - now)} configurations of the submit before are no longer "
                f"part of it (their runs stay on disk), {len(now - before)} are new"
            )
    return notes


def _view(plan: Plan, expanded: ExpandedSweep, old: SubmittedSweep | None) -> SubmittedSweep:
    """The sweep as asked for now, with the seeds that were asked for before."""
    before = {c.config_id: c.seeds for c in old.configs} if old is not None else {}
    sweep = expanded.sweep
    return SubmittedSweep(
        name=sweep.name,
        plan=plan.name,
        goal=sweep.goal,
        questions=[dataclasses.asdict(question) for question in sweep.questions],
        factors=list(sweep.factors),
        configs=[
            SubmittedConfiguration(
                config_id=c.config_id,
                label=c.label,
                factors=dict(c.factors),
                is_baseline=c.is_baseline,
                seeds=sorted({*expanded.seeds, *before.get(c.config_id, [])}),
            )
            for c in expanded.configurations
        ],
        time=time.time(),
        adopted=dict(plan.adopted.get(sweep.name, {})),
        asked=expanded.asked,
        looks=sweep.looks,
    )


def submit(store: ResultsFolder, request: Request, lock: Lock) -> Submission:
    """Hand the tasks of `request` to its backend; all of it is on disk before. Raises `JobsError` if it refuses."""
    backend = request.place.backend
    if backend == "slurm" and not request.how.export:
        commands.check()
    code = "" if backend == "debug" else code_snapshot.take(store).hash
    submission = _written(store.submissions.create(request.sweep), request, code)
    made = scripts(store, submission, request.place)
    for position, script in enumerate(made):
        write_bytes(store.submissions.script_path(submission.id, position), script.encode())
    lock.renew()
    store.submissions.write(submission)  # from here on it counts, and whoever comes next completes it
    if request.how.export:
        for path, script in zip(exports(request.how.export, len(made)), made, strict=True):
            write_bytes(path, script.encode())
        return submission
    if backend == "slurm":
        return handover.proceed(store, submission, lock, asked=False)
    if backend == "local":
        return handover.start_local(store, submission)
    return submission  # debug: the command runs the tasks itself


def exports(file: Path, count: int) -> list[Path]:
    """Where so many scripts go that are exported to `file`: `all.sh`, or `all-1.sh`, `all-2.sh`."""
    return [file] if count == 1 else [file.with_stem(f"{file.stem}-{number}") for number in range(1, count + 1)]


def _written(name: str, request: Request, code: str) -> Submission:
    """The record of a submission of which nothing was handed over yet."""
    place, tasks = request.place, request.tasks
    recorded: dict[str, Any] = dataclasses.asdict(request.options)
    recorded["profile"] = profiles.lasting(request.options.profile)
    job_name = f"{request.sweep}-{secrets.token_hex(4)}"
    chunks: list[Chunk] = []
    threads = place.profile.cpus if place.profile else 1
    if place.backend == "slurm":
        counts = handover.split([request.canaries, len(tasks) - request.canaries], place.array_size)
        chunks = handover.chunks(job_name, counts, request.canaries, place.throttle, request.how.then_aggregate)
    else:
        shared = slots(len(tasks), request.options, place)
        threads, recorded = shared.threads, {**recorded, "slots": shared.count}
    return Submission(
        id=name,
        sweep=request.sweep,
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
        report=request.how.then_aggregate,
        exported=request.how.export is not None,
        code=code,
    )


def scripts(store: ResultsFolder, submission: Submission, place: Target) -> list[str]:
    """The batch script of every chunk of `submission`."""
    if place.profile is None or not submission.chunks:
        return []
    folder, logs = store.submissions.folder(submission.id), store.submissions.log_folder(submission.id)
    write = functools.partial(commands.script, code=code_snapshot.folder(store, submission), folder=logs)
    arrays = [chunk for chunk in submission.chunks if chunk.count]
    throttles = handover.shares([chunk.count for chunk in arrays], place.throttle)
    made = [
        write(place.profile, chunk.job_name, commands.task_command(folder, chunk), throttle, chunk.count)
        for chunk, throttle in zip(arrays, throttles, strict=True)
    ]
    if submission.report:
        command = shlex.join(aggregate_command(store, submission.sweep))
        made.append(write(profiles.for_report(place.profile), submission.chunks[-1].job_name, command))
    return made


def jobs_of(store: ResultsFolder, submission: Submission) -> list[TrainJob]:
    return [TrainJob(str(store.root), submission.id, index) for index in range(len(submission.tasks))]
