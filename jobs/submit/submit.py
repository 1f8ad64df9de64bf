"""Submits missing runs as tasks of a backend. The submission is recorded before it is handed over."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import process
from jobs.backends import job_command, profile, registry
from jobs.backends.base import Backend, ExecutionOptions, Request, SubmitOptions, Target, notify_command
from jobs.planning import confirmations, interim_analyses
from jobs.planning.expand import ExpandedSweep
from jobs.planning.plan import Plan
from jobs.programs import registry as registry_of_agents
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.lock import Lock
from jobs.results.records import AgentFile, Submission, SubmittedConfiguration, SubmittedSweep, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import RunState, State
from jobs.runs import notify
from jobs.runs.status import load_statuses
from sweepwise.core import atomic
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError
from sweepwise.core.schema import ExpectedMemory, ResolvedConfig

MISSING: frozenset[State] = frozenset({"new", "interrupted", "lost"})


@dataclass(frozen=True)
class PlannedRun:
    """A requested run. wanted: whether it is part of the submission. memory: of its configuration, None if unknown."""

    run: RunRef
    label: str
    steps: int
    state: RunState
    wanted: bool
    memory: ExpectedMemory | None = None


# --- planned runs -----------------------------------------------------------------------------------------


def plan_runs(
    store: ResultsFolder, sweeps: Sequence[ExpandedSweep], states: frozenset[State] = MISSING
) -> list[PlannedRun]:
    """Every run of `sweeps`, each once, with its state; those in `states` are wanted.

    If more steps are requested than before, a run is unfinished until it has reached them.
    """
    labels: dict[RunRef, str] = {}
    steps: dict[RunRef, int] = {}
    memory: dict[str, ExpectedMemory | None] = {}
    for sweep in sweeps:
        for configuration in sweep.configurations:
            memory[configuration.config_id] = configuration.config.memory
            needed = _steps(store, configuration.config_id, configuration.config)
            for seed in sweep.seeds:
                run = RunRef(configuration.config_id, seed)
                labels.setdefault(run, sweep.sweep.run_label(configuration.label))
                steps[run] = needed
    return [
        dataclasses.replace(chosen, memory=memory[chosen.run.config_id])
        for chosen in choose(store, labels, steps, states)
    ]


def choose(
    store: ResultsFolder, labels: dict[RunRef, str], steps: dict[RunRef, int], states: frozenset[State]
) -> list[PlannedRun]:
    """The runs of `labels` with their states; those in `states` that are not excluded are wanted."""
    statuses = load_statuses(store, steps)
    return [
        PlannedRun(run, label, steps[run], own.state, own.state.state in states and not own.is_excluded)
        for run, label in labels.items()
        for own in [statuses[run]]
    ]


def _steps(store: ResultsFolder, identity: str, config: ResolvedConfig) -> int:
    if not store.config_path(identity).exists():
        return config.steps
    return max(config.steps, store.check_config(identity).steps)


def pack(runs: Iterable[RunRef], seeds_per_job: int, canary: bool = False) -> list[TaskRuns]:
    """Tasks of at most `seeds_per_job` seeds, ordered: the first of every configuration, then the others.

    canary: the first seed of every configuration is a task of its own.
    """
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.config_id, []).append(run.seed)
    first_size = 1 if canary else seeds_per_job
    packs = []
    for config, config_seeds in seeds.items():
        first, rest = sorted(config_seeds)[:first_size], sorted(config_seeds)[first_size:]
        packs.append((0, TaskRuns(config, first)))
        for start in range(0, len(rest), seeds_per_job):
            packs.append((1 + start, TaskRuns(config, rest[start : start + seeds_per_job])))
    return [task for _, task in sorted(packs, key=lambda pack: pack[0])]


# --- the target -------------------------------------------------------------------------------------------


def choose_target(options: ExecutionOptions) -> Target:
    """The target of tasks with `options`. Raises `JobsError` for a missing GPU."""
    name, note = (options.cluster, "") if options.cluster != registry.AUTO else registry.choose()
    return dataclasses.replace(registry.get(name).target(options), note=note)


def check(options: ExecutionOptions, submit_options: SubmitOptions, target: Target) -> None:
    """Raises `JobsError` for options that conflict with each other or with the backend."""
    backend = registry.get(target.backend)
    if command := notify_command(options, target):
        notify.check_command(command)
    if options.notify and not backend.can_report:
        raise _needs("--notify", target, lambda other: other.can_report)
    if submit_options.canary and not backend.can_hold:
        raise _needs("--canary", target, lambda other: other.can_hold)
    if submit_options.export and not backend.can_export:
        raise _needs("--export", target, lambda other: other.can_export)
    if submit_options.export and (submit_options.canary or submit_options.then_aggregate):
        raise JobsError(
            "--export writes scripts to submit by hand; it cannot be combined with --canary and --then-aggregate"
        )
    if submit_options.then_aggregate and not backend.can_report:
        raise JobsError(
            f"--then-aggregate is not available with {target.backend}; run `sweeps aggregate` when the runs have ended"
        )


def _needs(option: str, target: Target, able: Callable[[Backend], bool]) -> JobsError:
    """The error for an `option` that the backend of `target` does not support; it names the backends that do."""
    others = [other for other in map(registry.get, registry.names()) if able(other)]
    titles = " or ".join(other.title or other.name for other in others)
    return JobsError(
        f"{option} needs {titles}, and the target is {target.backend}; leave it out, or give --cluster {others[0].name}"
    )


def tasks_that_fit(tasks: Sequence[TaskRuns], target: Target) -> Sequence[TaskRuns]:
    """The first of `tasks`, as many as the backend accepts from this user. Raises `JobsError` if it accepts none."""
    remaining = registry.get(target.backend).remaining_tasks(target) if tasks else None
    return tasks if remaining is None else tasks[:remaining]


def preview(store: ResultsFolder, request: Request) -> str:
    """The exact batch scripts or commands that would be submitted."""
    backend = registry.get(request.target.backend)
    code = "" if backend.in_process else code_snapshot.planned(store).hash
    submission = _record(store, store.submissions.new_name(request.sweep), request, code)
    return backend.preview(store, submission, request.target)


# --- the submission ---------------------------------------------------------------------------------------


def record_sweeps(store: ResultsFolder, plan: Plan, sweeps: Sequence[ExpandedSweep]) -> None:
    """Store the agent, the configurations and the records of `sweeps`; note an interim analysis if seeds were
    added. Raises `JobsError`, see `_check`."""
    _check(store, sweeps)
    store.agents.record(plan.source, plan.folder)
    for sweep in sweeps:
        for configuration in sweep.configurations:
            store.write_config(configuration.config)
        old = store.read_sweep(sweep.sweep.name)
        new = _view(plan, sweep, old)
        analysis = interim_analyses.before(store, old, new, "submit")
        if analysis is not None:
            interim_analyses.note(store, new.name, analysis)
        store.write_sweep(new)


def changed(store: ResultsFolder, plan: Plan, sweeps: Sequence[ExpandedSweep]) -> list[str]:
    """A line about each of `sweeps` whose configurations changed since the last submit, or whose seeds are added after
    an interim analysis. Raises `JobsError`, see `_check`."""
    _check(store, sweeps)
    notes = []
    for sweep in sweeps:
        old = store.read_sweep(sweep.sweep.name)
        analysis = interim_analyses.before(store, old, _view(plan, sweep, old), "submit")
        if analysis is not None:
            notes.append(
                interim_analyses.format_interim_analysis(
                    store, sweep.sweep.name, sweep.sweep.interim_analyses, analysis
                )
            )
        old_ids = {c.config_id for c in old.configs} if old is not None else set()
        ids = {c.config_id for c in sweep.configurations}
        if old_ids - ids:
            notes.append(
                f"{sweep.sweep.name} changed: {len(old_ids - ids)} configurations of the submit before are no longer "
                f"part of it (their runs stay on disk), {len(ids - old_ids)} are new"
            )
            if others := store.other_version(old_ids - ids):
                notes.append(f"{others}: the same hyperparameters give other results, so all runs are trained again")
    return notes


def _check(store: ResultsFolder, sweeps: Sequence[ExpandedSweep]) -> None:
    """Raises `JobsError` for seeds of a confirmation, for several tasks under the name of a sweep of one, and for
    another test than the plan declared before there were results."""
    confirmations.check_submit(store, sweeps)
    for sweep in (expanded.sweep for expanded in sweeps):
        old = store.read_sweep(sweep.name)
        if old is not None and old.paired != sweep.paired and interim_analyses.has_results(store, old):
            was, now = (f"`paired: {str(value).lower()}`" for value in (old.paired, sweep.paired))
            raise JobsError(
                f"{sweep.where}: {now}: {sweep.name} was submitted with {was} and has results; a test that is chosen "
                f"after seeing results has more false positives: keep {was}, or give the sweep another name"
            )
    for name in {expanded.sweep.tasks_of for expanded in sweeps} & set(store.sweep_names()):
        raise JobsError(
            f"{name} was submitted as a sweep of one task, {store.sweep_path(name)}; give the sweep of several tasks "
            "another name: runs that both have are shared"
        )


def _view(plan: Plan, expanded: ExpandedSweep, old: SubmittedSweep | None) -> SubmittedSweep:
    """The record of the sweep as requested now, including the seeds of earlier submits."""
    earlier_seeds = {c.config_id: c.seeds for c in old.configs} if old is not None else {}
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
                seeds=sorted({*expanded.seeds, *earlier_seeds.get(c.config_id, [])}),
            )
            for c in expanded.configurations
        ],
        time=time.time(),
        adopted=dict(plan.adopted.get(sweep.name, {})),
        asked=expanded.asked,
        looks=sweep.interim_analyses,
        margin=sweep.margin,
        paired=sweep.paired,
        agent=plan.schema.description.name,
        tasks_of=sweep.tasks_of,
        reference=list(sweep.reference),
        position=plan.position(sweep.tasks_of or sweep.name),
    )


def submit(
    store: ResultsFolder, request: Request, lock: Lock, prepare: Callable[[Submission], None] = lambda submission: None
) -> Submission:
    """Record the tasks of `request`, then hand them to its backend. prepare: writes further files of the submission.

    Raises `JobsError` if the backend refuses.
    """
    backend = registry.get(request.target.backend)
    if not request.submit_options.export:
        backend.check()
    code = "" if backend.in_process else code_snapshot.take(store).hash
    submission = _record(store, store.submissions.create(request.sweep), request, code)
    scripts = backend.scripts(store, submission, request.target)
    for position, script in enumerate(scripts):
        write_bytes(store.submissions.script_path(submission.id, position), script.encode())
    to_export = _exported(request.submit_options.export, scripts)
    prepare(submission)
    lock.renew()
    # from here on, the next command completes the submission if this one is interrupted
    store.submissions.write(submission)
    if request.submit_options.export:
        for path, content in to_export.items():
            write_bytes(path, content)
        return submission
    return backend.submit(store, submission, lock)


def _exported(file: Path | None, scripts: Sequence[str]) -> dict[Path, bytes]:
    """Path -> content of the scripts for `--export`. Raises `OutputError` before one of them is written."""
    if file is None:
        return {}
    return {
        atomic.output(path, job_command.is_script, "--export"): script.encode()
        for path, script in zip(exports(file, len(scripts)), scripts, strict=True)
    }


def exports(file: Path, count: int) -> list[Path]:
    """The paths of `count` scripts that are exported to `file`: `all.sh`, or `all-1.sh`, `all-2.sh`."""
    return [file] if count == 1 else [file.with_stem(f"{file.stem}-{number}") for number in range(1, count + 1)]


def _record(store: ResultsFolder, name: str, request: Request, code: str) -> Submission:
    """The record of a submission that is not handed over yet."""
    target, agent = request.target, _agent(store, request)
    grace_note(agent.program if agent else {}, target)
    job_name = f"{request.sweep}-{secrets.token_hex(4)}"
    allocation = registry.get(target.backend).allocate(request, job_name)
    options: dict[str, Any] = dataclasses.asdict(request.options)
    options["profile"] = profile.lasting(request.options.profile)
    options["notify"] = request.notify
    return Submission(
        id=name,
        sweep=request.sweep,
        backend=target.backend,
        host=process.host(),
        user=process.user(),
        time=time.time(),
        tasks=list(request.tasks),
        gpus=target.gpus,
        threads=allocation.threads,
        job_name=job_name,
        options={**options, **allocation.recorded},
        chunks=list(allocation.chunks),
        cluster=target.cluster,
        report=request.submit_options.then_aggregate,
        exported=request.submit_options.export is not None,
        code=code,
        agent=agent.reference if agent else "",
        agent_code=agent.code if agent else "",
        program=agent.program if agent else {},
        evaluation=dict(store.evaluation),
    )


def grace_note(program: Mapping[str, Any], target: Target) -> str:
    """See `Backend.grace_note`. program: as in `Submission`."""
    resume = program.get("resume")
    return registry.get(target.backend).grace_note(float(resume["grace"]), target) if resume else ""


def _agent(store: ResultsFolder, request: Request) -> AgentFile | None:
    """What the tasks train, as of the newest submit of its plan; None for the packaged agent, and before the first
    submit, of which only a preview is made."""
    config = store.read_config(request.tasks[0].config_id) if request.tasks else None
    if config is None or config.agent == registry_of_agents.PACKAGED:
        return None
    return store.agents.read(config.agent)
