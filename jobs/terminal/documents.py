"""The documents of `--json`, command by command: plain values with stable keys. docs/json.md lists every field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.planning.decisions import values
from jobs.planning.expand import ExpandedSweep
from jobs.planning.plan import Plan
from jobs.results.attempts import RunRef
from jobs.results.decision_records import Annotations, Decision
from jobs.results.records import Import
from sweepwise.core.agent import AgentDescription
from sweepwise.core.hyperparameters import Hyperparameter

if TYPE_CHECKING:
    from aggregate.importers import Collected
    from aggregate.importers.read_runs import RunFile
    from jobs.assist.lines import CheckLine
    from jobs.decide.next_steps import Agenda
    from jobs.doctor.checks import CheckResult
    from jobs.runs.cost_estimate import Cost
    from jobs.runs.usage import Report
    from jobs.submit.cancel import Ending, Kept
    from jobs.submit.launch import Launch
    from jobs.submit.submit import PlannedRun

Document = dict[str, Any]


# --- annotations ----------------------------------------------------------------------------------------------


def annotated(annotations: Mapping[str | RunRef, Annotations]) -> Document:
    return {
        "targets": [
            {
                "target": str(target),
                "tags": own.tags,
                "notes": [dataclasses.asdict(note) for note in own.notes],
                "exclusions": [dataclasses.asdict(one) for one in own.exclusions],
            }
            for target, own in annotations.items()
        ]
    }


# --- the plan -------------------------------------------------------------------------------------------------


def plan(loaded: Plan, expanded: Sequence[ExpandedSweep], decided: Sequence[Decision]) -> Document:
    """decided: of the plan, including undone ones."""
    runs = {(config.config_id, seed) for one in expanded for config in one.configurations for seed in one.seeds}
    return {
        "plan": loaded.name,
        "title": loaded.title,
        "agent": loaded.schema.description.name,
        "base": base(loaded, decided),
        "sweeps": [_planned_sweep(loaded, one) for one in expanded],
        "configurations": len({config_id for config_id, _ in runs}),
        "runs": len(runs),
        "decisions": decisions(decided)["decisions"],
    }


def base(loaded: Plan, decided: Sequence[Decision]) -> Document:
    """The base with the values of all decisions in force."""
    return {**loaded.base, **{key: v for one in decided if not one.undone for key, v in values(loaded, one).items()}}


def _planned_sweep(loaded: Plan, expanded: ExpandedSweep) -> Document:
    sweep, task = expanded.sweep, loaded.schema.description.task
    return {
        "name": sweep.name,
        "tasks_of": sweep.tasks_of or None,
        "goal": sweep.goal,
        "why": sweep.why,
        "questions": [question.text for question in sweep.questions],
        "priority": sweep.priority,
        "parallel": sweep.parallel,
        "factors": sweep.levels,
        "fixed": sweep.fixed,
        "adopted": loaded.adopted.get(sweep.name, {}),
        "seeds": expanded.seeds,
        "configurations": [
            {
                "config_id": config.config_id,
                "label": config.label,
                "is_baseline": config.is_baseline,
                "factors": config.factors,
                "task": config.config.values.get(task),
                "steps": config.config.steps,
            }
            for config in expanded.configurations
        ],
    }


def keys(agent: AgentDescription, chosen: Iterable[Hyperparameter]) -> Document:
    listed = [
        {"name": p.name, "type": p.type, "optional": p.optional, "choices": p.choices, "default": p.default,
         "meaning": p.help}
        for p in chosen
    ]  # fmt: skip
    return {"agent": agent.name, "hyperparameters": listed}


def decisions(decided: Iterable[Decision]) -> Document:
    return {"decisions": [{**dataclasses.asdict(one), "undone": one.undone or None} for one in decided]}


def next_steps(agenda: Agenda, as_submitted: str) -> Document:
    """as_submitted: the sweep whose options are used, "" for none."""
    return {
        "stage": agenda.stage,
        "stages": agenda.stages,
        "done": not agenda.items,
        "sweeps": [{"name": item.name, "state": item.state, "details": item.details} for item in agenda.items],
        "commands": agenda.commands,
        "options_of": as_submitted or None,
        "missing_runs": agenda.missing_runs,
        "expected": _cost(agenda.expected),
        "then": list(dict.fromkeys(expanded.sweep.decided_as for expanded in agenda.after)),
        "waits_for": agenda.undecided,
    }


# --- runs -----------------------------------------------------------------------------------------------------


def launches(sweep: str, unit: str, made: Sequence[Launch]) -> Document:
    """What a command submitted, or would. unit: of the length of a run. made: one per submission, or one without a
    request where nothing is to be submitted."""
    planned: dict[RunRef, PlannedRun] = {}
    for choice in (choice for one in made for choice in one.choices):
        first = planned.setdefault(choice.run, choice)
        planned[choice.run] = dataclasses.replace(first, wanted=first.wanted or choice.wanted)
    return {
        "sweep": sweep,
        "unit": unit,
        "runs": [
            {
                "run": str(choice.run),
                "config_id": choice.run.config_id,
                "seed": choice.run.seed,
                "label": choice.label,
                "length": choice.steps,
                "state": choice.state.state,
                "reason": choice.state.reason,
                "submit": choice.wanted,
            }
            for choice in planned.values()
        ],
        "submissions": [_submission(one) for one in made if one.request is not None and one.request.tasks],
    }


def _submission(made: Launch) -> Document:
    assert made.request is not None
    target = made.request.target
    return {
        "submission": made.submission.id if made.submission is not None else None,
        "backend": target.backend,
        "device": target.device,
        "tasks": len(made.request.tasks),
        "runs": sum(len(task.seeds) for task in made.request.tasks),
        "expected": _cost(made.cost),
        "script": made.preview or None,
        "files": made.files,
    }


def _cost(cost: Cost | None) -> Document | None:
    if cost is None:
        return None
    return {
        "gpu_hours": cost.gpu_hours, "task_hours": sum(cost.hours), "elapsed_h": cost.elapsed_h, "bytes": cost.size,
        "files": cost.files, "samples": cost.samples,
    }  # fmt: skip


def cancelled(endings: Iterable[Ending], kept: Kept, dry_run: bool) -> Document:
    return {
        "dry_run": dry_run,
        "cancelled": [
            {"run": str(run), "submission": ending.submission.id, "task": ending.task}
            for ending in endings
            for run in ending.runs
        ],
        "continue": [{"run": str(run), "reason": reason} for run, reason in kept],
    }


def pruned(stopped: Iterable[tuple[str, str, str]], cancelled_runs: Document) -> Document:
    """stopped: config_id, label and reason of the underperforming configurations. cancelled_runs: see `cancelled`."""
    listed = [{"config_id": config_id, "label": label, "reason": reason} for config_id, label, reason in stopped]
    return {"configurations": listed, **cancelled_runs}


def usage(reports: Iterable[Report]) -> Document:
    return {
        "submissions": [
            {
                "submission": report.submission.id,
                "sweep": report.submission.sweep,
                "tasks": len(report.uses),
                "cpus": report.submission.threads,
                "cpus_used": sum(use.cpus for use in report.uses) / len(report.uses),
                "memory_gb": report.mem_gb,
                "memory_gb_used": max(use.memory_gb for use in report.uses),
                "gpus": report.submission.gpus,
                "gpu_memory_gb_used": report.gpu_gb or None,
                "time_limit_s": 60 * report.time_min if report.time_min else None,
                "time_s_used": max(use.seconds for use in report.uses),
                "suggestion": report.suggestion,
            }
            for report in reports
        ]
    }


# --- this machine ---------------------------------------------------------------------------------------------


def checks(results: Iterable[CheckResult], profile: Path | None) -> Document:
    """profile: the file that was written, None for none."""
    listed = [{"check": one.what, "found": one.result, "ok": one.fine, "advice": one.advice or None} for one in results]
    return {"checks": listed, "profile": profile}


def trial(lines: Sequence[CheckLine]) -> Document:
    """Of `sweeps check`."""
    return {
        "ok": not any(line.is_problem for line in lines),
        "problems": [line.text for line in lines if line.is_problem],
        "findings": [{"subject": line.subject, "text": line.text} for line in lines if line.is_finding],
        "output": [line.text for line in lines if line.is_output],
    }


# --- imports --------------------------------------------------------------------------------------------------


def imports(listed: Iterable[Import] = (), recognised_files: Collected | None = None) -> Document:
    """recognised_files: of a dry run."""
    return {
        "imports": [{"name": one.name, "time": one.time, "curves": _curves(one)} for one in listed],
        "recognised": recognised(recognised_files) if recognised_files is not None else [],
        "refused": recognised_files.refusals if recognised_files is not None else [],
    }


def _curves(imported: Import) -> list[Document]:
    return [
        {"config_id": config.config_id, "algorithm": config.algorithm, "task": config.task, "seeds": config.seeds,
         "last_step": config.last_step}
        for config in imported.configs
    ]  # fmt: skip


def recognised(collected: Collected) -> list[Document]:
    """One entry per layout and map of the files that were read."""
    groups: dict[tuple[str, str, str], list[RunFile]] = {}
    for file in collected.files:
        metrics = {name: "|".join(column.name for column in columns) for name, columns in file.metrics.items()}
        pairs = ",".join(f"{key}={column}" for key, column in (file.index | metrics).items())
        groups.setdefault((file.layout.name if file.layout else "by --map", pairs, file.counts), []).append(file)
    listed = []
    for (layout, pairs, unit), files in groups.items():
        curves = set().union(*(file.keys for file in files))
        listed.append(
            {
                "layout": layout,
                "files": [file.path for file in files],
                "map": pairs,
                "unit": unit,
                "algorithms": sorted({key.algorithm for key in curves}),
                "tasks": sorted({key.task for key in curves}),
                "curves": len(curves),
            }
        )
    return listed
