"""`sweeps evaluate SWEEP`: evaluate the kept weights of all runs of a sweep, as tasks of a backend."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.reports.inputs import ENDPOINT_PLANNER, sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.evaluations import EvaluationFolder, EvaluationSpec
from jobs.results.results_folder import ResultsFolder
from jobs.runs.evaluations import REPEATED
from jobs.runs.status import SweepStatus, only_sweep
from jobs.submit.submit import PlannedRun, choose
from jobs.worker.evaluate import check_evaluable
from sweepwise.core.errors import AggregateError, JobsError


@dataclass(frozen=True)
class SweepEvaluation:
    """An evaluation of a sweep to submit. labels: of the configuration of every run to evaluate. left_out: runs that
    have not come so far."""

    folder: EvaluationFolder
    sweep: str
    labels: dict[RunRef, str]
    left_out: int

    def choices(self) -> list[PlannedRun]:
        """The runs with the state of their evaluation; those without returns that are not under way are wanted."""
        episodes = dict.fromkeys(self.labels, self.folder.spec.episodes)
        return choose(self.folder, self.labels, episodes, REPEATED)

    def notes(self) -> list[str]:
        """Messages to show before the submit: runs that are left out, and what the evaluation can show."""
        spec = self.folder.spec
        needed = f"have not reached step {spec.at:,}" if spec.at else "have not finished"
        notes = [f"{self.left_out} runs {needed}; they are left out"] if self.left_out else []
        return [*notes, *([text] if (text := self.gain()) else [])]

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
        return format_measured(summary, spec.episodes) or format_expected(summary, spec.episodes)

    def is_complete(self) -> bool:
        return all(choice.state.state == "done" for choice in self.choices())


def plan_evaluation(store: ResultsFolder, name: str, spec: EvaluationSpec) -> SweepEvaluation:
    """The evaluation of the sweep `name`: of its finished runs, or of those that have reached step `spec.at`.

    Raises `JobsError` for several sweeps, for an agent that cannot be evaluated, and if there is no such run.
    """
    sweep = only_sweep(store, name, "evaluated")
    check_evaluable(store, sweep.view.agent)
    labels = _runs_that_reached(sweep, spec)
    if not labels:
        wanted = f"reached step {spec.at:,}" if spec.at else "finished"
        raise JobsError(f"{name}: no run has {wanted}; see `sweeps status {name}`")
    return SweepEvaluation(EvaluationFolder(store.root, spec), name, labels, len(sweep.runs) - len(labels))


def _runs_that_reached(sweep: SweepStatus, spec: EvaluationSpec) -> dict[RunRef, str]:
    return {
        run.record.ref: config.label
        for config, runs in sweep.rows
        for run in runs
        if (run.record.done if spec.at is None else run.record.step >= spec.at)
    }
