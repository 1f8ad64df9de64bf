"""The common part of the commands that start runs: show the difference, submit or preview, wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from jobs.backends import registry
from jobs.backends.base import ExecutionOptions, Request, SubmitOptions, Target
from jobs.planning.expand import Configuration, ExpandedSweep, label
from jobs.planning.plan import Plan, Sweep
from jobs.results.attempts import RunRef
from jobs.results.lock import alone
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs import cost_estimate, recover
from jobs.runs.status import load_statuses
from jobs.submit import submit
from jobs.submit.rerun import RerunGroup
from jobs.submit.submit import PlannedRun
from jobs.terminal import tables
from jobs.worker.train_job import AttemptRunner, RunFailed, TrainJob
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Progress, Settings


@dataclass(frozen=True)
class Launch:
    """What a command submitted, or with --dry-run would submit. choices: the requested runs. request: None where
    nothing is submitted. cost: expected, None if it is unknown. preview: the scripts or commands of a dry run. files:
    the scripts that were exported. code: exit code."""

    choices: Sequence[PlannedRun]
    request: Request | None = None
    cost: cost_estimate.Cost | None = None
    preview: str = ""
    submission: Submission | None = None
    files: Sequence[Path] = ()
    code: int = 0


def launch(
    store: ResultsFolder,
    sweep: str,
    choose: Callable[[], list[PlannedRun]],
    options: ExecutionOptions,
    submit_options: SubmitOptions,
    prepare: Callable[[], None] = lambda: None,
    changed: Callable[[], list[str]] = list,
) -> Launch:
    """Submit the wanted runs of `choose`.

    prepare: writes the files that they need. changed: lines about changed sweeps for the user.
    """
    target = submit.choose_target(options)
    submit.check(options, submit_options, target)
    options.check("cuda" if target.gpus else "cpu")
    if target.note:
        tables.console().print(Text(target.note))
    if submit_options.dry_run:
        return _choose_and_show(store, sweep, choose, changed, options, submit_options, target)
    console = tables.console()
    store.prepare()
    with alone(store) as lock:
        for note in recover.recover(store, lock):
            console.print(Text(note))
        made = _choose_and_show(store, sweep, choose, changed, options, submit_options, target)
        prepare()
        submission = submit.submit(store, made.request, lock) if made.request else None
    if submission is not None and registry.get(target.backend).in_process:
        return replace(made, submission=submission, code=_run_here(store, submission))
    if submission is not None:
        _report_submission(store, submission, submit_options, target, console)
    code = _wait(store, made.choices, target.backend, sweep) if submit_options.wait else 0
    return replace(made, submission=submission, files=_exported(submission, submit_options), code=code)


def _exported(submission: Submission | None, submit_options: SubmitOptions) -> list[Path]:
    if submission is None or submit_options.export is None:
        return []
    return submit.exports(submit_options.export, len(submission.chunks))


def rerun(
    store: ResultsFolder,
    sweep: str,
    choose: Callable[[], list[PlannedRun]],
    split: Callable[[Sequence[PlannedRun]], list[RerunGroup]],
    submit_options: SubmitOptions,
) -> list[Launch]:
    """Resubmit the wanted runs of `choose`, in one batch for each set of options."""
    console = tables.console()
    batches = split(choose())
    if not batches:
        choices = choose()
        console.print(tables.difference_text(choices))
        return [Launch(choices)]
    launches = []
    for batch in batches:
        if batch.note:
            console.print(Text(f"{len(batch.runs)} runs are submitted again with {batch.note}"))
        last = batch is batches[-1]  # the last batch lists all requested runs and is the one to wait for

        def chosen(batch: RerunGroup = batch, last: bool = last) -> list[PlannedRun]:
            choices = choose()
            marked = [replace(c, wanted=c.wanted and c.run in batch.runs) for c in choices]
            return marked if last else [c for c in marked if c.run in batch.runs]

        once = replace(submit_options, wait=submit_options.wait and last)
        launches.append(launch(store, sweep, chosen, batch.options, once))
    return launches


def _choose_and_show(
    store: ResultsFolder,
    sweep: str,
    choose: Callable[[], list[PlannedRun]],
    changed: Callable[[], list[str]],
    options: ExecutionOptions,
    submit_options: SubmitOptions,
    target: Target,
) -> Launch:
    """Show what is to be submitted, and return it. Raises `JobsError` if it may not be submitted."""
    console = tables.console()
    choices = choose()
    if submit_options.dry_run:
        console.print(tables.choice_table(choices, unit_of(store)))
    to_submit = [c.run for c in choices if c.wanted]
    if not store.evaluation and (others := store.other_version(dict.fromkeys(run.config_id for run in to_submit))):
        raise JobsError(f"{others} and would give other results; `sweeps submit` trains the plan again, under new IDs")
    for note in changed():
        console.print(Text(note), soft_wrap=True)  # commands can be copied
    console.print(tables.difference_text(choices))
    _advise(choices, sweep, console)
    tasks = submit.pack(to_submit, options.seeds_per_job, submit_options.canary)
    fitting = submit.tasks_that_fit(tasks, target)
    if len(fitting) < len(tasks):
        line = f"Slurm's queue takes {len(fitting)} of {len(tasks)} tasks now; submit again when they have ended"
        console.print(Text(line))
    request = Request(sweep, fitting, options, submit_options, target)
    if not fitting:
        return Launch(choices)
    cost = _show_cost(store, choices, request, console)
    cost_estimate.check(cost, submit_options.max_gpu_hours, target.device)
    preview = submit.preview(store, request) if submit_options.dry_run else ""
    if submit_options.dry_run:
        console.print(Text(f"\n{len(fitting)} tasks for {target.backend}:"))
        sys.stdout.write(preview + "\n")
    return Launch(choices, request, cost, preview)


def _show_cost(
    store: ResultsFolder, choices: Sequence[PlannedRun], request: Request, console: Any
) -> cost_estimate.Cost | None:
    """Show what the tasks are expected to take, and the memory that they need; returns the cost."""
    tasks, target = request.tasks, request.target
    width = registry.get(target.backend).width(len(tasks), request.options, target)
    cost = cost_estimate.expected(store, tasks, {c.run: c.steps for c in choices}, target.device, target.gpus, width)
    runs = sum(len(task.seeds) for task in tasks)
    console.print(Text(cost_estimate.format_cost(cost, target.device, store.evaluation.get("episodes", 0) * runs)))
    memory = {c.run.config_id: c.memory for c in choices if c.memory and not store.evaluation}
    if line := cost_estimate.format_memory(tasks, memory, target):
        console.print(Text(line))
    return cost


def unit_of(store: ResultsFolder) -> str:
    """What the length of a run counts."""
    return "episodes" if store.evaluation else "steps"


def _report_submission(
    store: ResultsFolder, submission: Submission, submit_options: SubmitOptions, target: Target, console: Any
) -> None:
    """Print the result of a submit."""
    count, code = len(submission.tasks), store.read_code(submission.code)
    if code is not None and code.note:
        console.print(Text(f"the code differs from its commit; {code.note}"))
    if submit_options.export:
        files = _exported(submission, submit_options)
        console.print(
            Text(f"wrote {count} tasks as {submission.id}; submit by hand: sbatch {' '.join(map(str, files))}")
        )
        return
    console.print(Text(f"submitted {count} tasks to {submission.backend} as {submission.id}"))
    if note := submit.grace_note(submission.program, target):
        console.print(Text(note))
    if submit_options.canary:
        console.print(Text("the first seed of every configuration runs; the others are held until it is healthy"))
    if submit_options.then_aggregate:
        console.print(Text(f"when all have ended, the report is written to {store.report_path(submission.sweep)}"))
    if not submit_options.wait:
        console.print(Text("follow with `sweeps status`"))


def _advise(choices: Sequence[PlannedRun], sweep: str, console: Any) -> None:
    for cause in ("failed", "diverged", "stopped"):
        count = sum(c.state.state == cause and not c.wanted for c in choices)
        if count:
            console.print(Text(f"{count} {cause} are not run again; `sweeps rerun {sweep} --{cause}` runs them again"))


def _wait(store: ResultsFolder, choices: Sequence[PlannedRun], backend: str, sweep: str) -> int:
    """Show progress until the runs have ended. Returns the exit code: 0 if all are done, 1 if not, 130 after Ctrl-C."""
    from jobs.submit import watch

    console = tables.console()
    awaited = [c for c in choices if c.wanted or c.state.state in ACTIVE]
    if not awaited:
        return 0
    try:
        ended = watch.wait(store, awaited, backend, console)
    except KeyboardInterrupt:
        console.print("stopped waiting; the runs continue, follow them with `sweeps status`")
        return 130
    console.print(Text.assemble("ended: ", tables.counts_text(ended)))
    if ended["done"] == sum(ended.values()):
        return 0
    again = "the same command" if store.evaluation else f"`sweeps rerun {sweep} --all`"
    console.print(Text(f"reasons: `sweeps status {sweep} --runs`; again: {again}"))
    return 1


def _run_here(store: ResultsFolder, submission: Submission) -> int:
    """Run the tasks one after another in this process (debug backend); an error ends only its own task."""
    import traceback

    failed = 0
    for task in range(len(submission.tasks)):
        try:
            TrainJob(str(store.root), submission.id, task)()
        except RunFailed:  # said in one line already
            failed += 1
        except Exception:  # noqa: BLE001 - recorded in the run's outcome; shown here, since debugging is the point
            traceback.print_exc()
            failed += 1
    steps = {RunRef(t.config_id, s): store.run_length(t.config_id) for t in submission.tasks for s in t.seeds}
    done = sum(run.record.done for run in load_statuses(store, steps).values())
    tables.console().print(Text(f"{done} of {len(steps)} runs done"))
    return 0 if done == len(steps) and not failed else 1


# --- in the foreground ------------------------------------------------------------------------------------


def train(
    store: ResultsFolder,
    plan: Plan,
    values: Mapping[str, Any],
    seeds: tuple[int, ...],
    device: str,
    threads: int,
    settings: Settings,
) -> None:
    """Train one configuration in this process, with a progress bar per seed. Raises `JobsError` if it stops early."""
    settings.check(device)
    config = plan.schema.resolve(values)
    identity = config.config_id
    name = f"train-{identity}"
    sweep = Sweep(name, "", (), (), 0, False, "", {}, {}, {}, seeds, "")
    shown = {key: value for key, value in values.items() if plan.base.get(key) != value}
    only = Configuration(identity, config, label(shown, plan.names), {}, True)
    store.prepare()
    with alone(store):
        submit.record_sweeps(store, plan, [ExpandedSweep(sweep, (only,), seeds)])
    console = tables.console()
    console.print(
        Text(f"{only.label} ({identity}), seeds {', '.join(map(str, seeds))}, on {device}: Ctrl-C saves a checkpoint")
    )
    runs = [RunRef(identity, seed) for seed in seeds]
    steps_before = {run: store.attempts.load(run, config.steps).step for run in runs}
    with Bars(steps_before, config.steps, console, store.agents.result_words(config.agent)) as listen:
        outcomes = AttemptRunner(store, device, threads, settings=settings, listen=listen).train(runs)
    stopped = [o for o in outcomes if o.state != "finished"]
    if stopped:
        raise JobsError(
            f"{stopped[0].state} at step {stopped[0].step:,}: {stopped[0].message or 'the same command continues'}"
        )
    console.print(Text(f"done; runs are in {store.attempts.folder(runs[0]).parent}"))


class Bars:
    """Progress bars, one per run, that start at its current step; entering returns the listener that updates them."""

    def __init__(self, steps_before: Mapping[RunRef, int], total: int, console: Any, result_words: str) -> None:
        from rich import progress as bars

        self._result_words = result_words

        self._progress = bars.Progress(
            bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[detail]}"), bars.TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._ids = {
            run: self._progress.add_task(f"seed {run.seed}", completed=step, total=total, detail="")
            for run, step in steps_before.items()
        }

    def __enter__(self) -> Callable[[RunRef, Progress], None]:
        self._progress.start()
        return self._listen

    def __exit__(self, *details: object) -> None:
        self._progress.stop()

    def _listen(self, run: RunRef, progress: Progress) -> None:
        last = ""
        if progress.last_return is not None:
            last = f"{self._result_words} {tables.format_last(progress.last_return, self._result_words)}"
        detail = f"{progress.steps_per_s:.1f} steps/s {last}"
        self._progress.update(self._ids[run], completed=progress.step, total=progress.total, detail=detail)
