"""`sweeps evaluate SWEEP`: evaluate the kept weights of all runs of a sweep, as tasks of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.reports.inputs import ENDPOINT_PLANNER, sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.evaluations import EvaluationFolder, EvaluationSpec
from jobs.results.results_folder import ResultsFolder
from jobs.runs.evaluations import REPEATED
from jobs.runs.status import SweepStatus, only_sweep
from jobs.submit.submit import PlannedRun, choose
from jobs.worker.evaluate import check_evaluable, late_snapshots
from sweepwise.core.errors import AggregateError, JobsError
from sweepwise.core.trainable import NoWeights
from sweepwise.core.value_format import percent

EPISODES = 100  # of an evaluation of a sweep, where none are given
LATE = 0.1  # of training: from here on its end
SHOWN = 3  # runs that an error names


@dataclass(frozen=True)
class SweepEvaluation:
    """An evaluation of a sweep to submit. labels: of the configuration of every run to evaluate. left_out: runs that
    have not come so far. snapshots: steps of the weights, ascending, where there are several."""

    folder: EvaluationFolder
    sweep: str
    labels: dict[RunRef, str]
    left_out: int
    snapshots: tuple[int, ...] = ()

    def choices(self) -> list[PlannedRun]:
        """The runs with the state of their evaluation; those without returns that are not under way are wanted."""
        episodes = dict.fromkeys(self.labels, self.folder.spec.episodes)
        return choose(self.folder, self.labels, episodes, REPEATED)

    def notes(self) -> list[str]:
        """Messages to show before the submit: runs that are left out, and what the evaluation can show."""
        spec = self.folder.spec
        needed = f"have not reached step {spec.at:,}" if spec.at else "have not finished"
        notes = [f"{self.left_out} runs {needed}; they are left out"] if self.left_out else []
        return [*notes, *self._span(), *([text] if (text := self.gain()) else [])]

    def _span(self) -> list[str]:
        """Over how much of training several snapshots are spread."""
        if not self.snapshots:
            return []
        *earlier, last = (f"{step:,}" for step in self.snapshots)
        share = 1 - self.snapshots[0] / self.snapshots[-1]
        steps = f"snapshots of steps {', '.join(earlier)} and {last}"
        line = f"{steps}: the mean is over the last {percent(share)} of training"
        closer = "; `--snapshots N` of `submit` keeps some that are closer to the end"
        return [line + (closer if share > LATE else "")]

    def gain(self) -> str:
        """What the evaluation changes in the smallest difference that can be detected: measured if it is complete, else
        expected; "" if nothing is known, and for an evaluation that no endpoint is made of."""
        from aggregate.analysis.summary import summarise
        from aggregate.verdict.evaluation_gain import format_expected, format_measured

        spec = self.folder.spec
        if spec.at is not None or spec.planner != ENDPOINT_PLANNER:
            return ""
        try:
            (summary,) = summarise(sweep_sources(ResultsFolder(self.folder.root), [self.sweep])).sweeps
        except AggregateError:
            return ""
        of = spec.episodes, spec.snapshots
        return format_measured(summary, *of) or format_expected(summary, *of)

    def is_complete(self) -> bool:
        return all(choice.state.state == "done" for choice in self.choices())


def plan_evaluation(store: ResultsFolder, name: str, spec: EvaluationSpec) -> SweepEvaluation:
    """The evaluation of the sweep `name`: of its finished runs, or of those that have reached step `spec.at`, without
    excluded ones.

    Raises `JobsError` for several sweeps, for an agent that cannot be evaluated, if there is no such run, and if the
    runs have not kept as many snapshots, of the same steps.
    """
    sweep = only_sweep(store, name, "evaluated")
    check_evaluable(store, sweep.view.agent)
    labels = _runs_that_reached(sweep, spec)
    if not labels:
        condition = f"reached step {spec.at:,}" if spec.at else "finished"
        raise JobsError(f"{name}: no run has {condition}; see `sweeps status {name}`")
    folder = EvaluationFolder(store.root, spec)
    snapshots = _common_snapshots(store, folder, list(labels)) if spec.snapshots > 1 else ()
    analysed = sum(not run.is_excluded for run in sweep.runs)
    return SweepEvaluation(folder, name, labels, analysed - len(labels), snapshots)


def divided(episodes: int | None, snapshots: int) -> int:
    """The number of episodes as given, else 100 or the next multiple of `snapshots`. Raises `JobsError` for a
    number that is none."""
    if episodes is None:
        return -(-EPISODES // snapshots) * snapshots
    if rest := episodes % snapshots:
        fits = [str(number) for number in (episodes - rest, episodes - rest + snapshots) if number]
        raise JobsError(
            f"--episodes {episodes}: not a multiple of --last-snapshots {snapshots}; give {' or '.join(fits)}"
        )
    return episodes


def _common_snapshots(store: ResultsFolder, folder: EvaluationFolder, runs: Sequence[RunRef]) -> tuple[int, ...]:
    """Steps of the snapshots that all runs are evaluated with. Raises `JobsError` naming runs that have too few, or two
    runs whose steps differ."""
    spec, run_by_steps, lacking = folder.spec, dict[tuple[int, ...], RunRef](), list[str]()
    for run in runs:
        done = folder.attempts.read_returns(run)  # its weights need not be there any more
        try:
            last = spec.at or store.check_config(run.config_id).steps
            steps = tuple(done.snapshots) if done else late_snapshots(store, run, last, spec.snapshots)
        except NoWeights as error:
            lacking.append(str(error))
        else:
            run_by_steps.setdefault(steps, run)
    fix = "give a smaller --last-snapshots, or train with more (`--snapshots` of `submit`)"
    if lacking:
        rest = f"; {len(lacking) - SHOWN} other runs lack some too" if len(lacking) > SHOWN else ""
        raise JobsError(f"{'; '.join(lacking[:SHOWN])}{rest}; {fix}")
    if len(run_by_steps) > 1:
        one, other = (
            f"{run} has {', '.join(f'{step:,}' for step in steps)}" for steps, run in list(run_by_steps.items())[:2]
        )
        raise JobsError(f"the last {spec.snapshots} snapshots of the runs differ: {one}, {other}; {fix}")
    return next(iter(run_by_steps))


def _runs_that_reached(sweep: SweepStatus, spec: EvaluationSpec) -> dict[RunRef, str]:
    return {
        run.record.ref: config.label
        for config, runs in sweep.rows
        for run in runs
        if not run.is_excluded and (run.record.done if spec.at is None else run.record.step >= spec.at)
    }
