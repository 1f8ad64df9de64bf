"""The text of a first plan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.assist import guess
from jobs.assist.plan_text import comment, key, mapping, value
from jobs.assist.plan_text import text as plain

if TYPE_CHECKING:
    from jobs.assist.first_plan import PlanDraft

_HEAD = """\
# A first plan, written by `sweeps init`. Check it, and replace what is marked "change me".
# `sweeps check --plan FILE` tries it, `sweeps submit SWEEP --plan FILE` trains.
"""


def text(draft: PlanDraft, code: str) -> str:
    """code: the program's folder as the plan names it, "" where it is the plan's own."""
    lines = [
        f"plan: {draft.name}",
        "program:",
        f"  name: {draft.name}  # part of the configuration ID: keep it when the folder moves",
        f"  command: {plain(_command(draft))}",
        *([f"  code: {plain(code)}"] if code else []),
        *_hyperparameters(draft),
        *_overrides(draft),
        f"  seed: {plain(draft.seed)}" if draft.seed else "  # seed: the hyperparameter that sets it",
        f"  steps: {plain(draft.steps)}" if draft.steps else "  # steps: the hyperparameter with the number of steps",
        *_optional(draft),
        *_metrics(draft),
        *_base(draft),
        "seeds: 6",
        *_sweep(draft),
    ]
    return _HEAD + "\n".join(lines) + "\n"


def code_line(code: Path, plan_folder: Path) -> str:
    if code == plan_folder:
        return ""
    return code.relative_to(plan_folder).as_posix() if code.is_relative_to(plan_folder) else str(code)


def _command(draft: PlanDraft) -> str:
    words = [] if draft.style in ("hydra", "omegaconf") else [f"--{name} {p}" for name, p in draft.folders.items()]
    after = [f"{name}={place}" for name, place in draft.folders.items()] if not words else []
    if draft.style == "hydra" and "hydra.run.dir" not in draft.command:
        after.append("hydra.run.dir={run}")
    needed = "{config_file}" if draft.style == "file" else "{overrides}"
    given = [] if needed in draft.command else [f"--config {needed}" if draft.style == "file" else needed]
    if not given and words:
        return " ".join([draft.command.replace(needed, " ".join([*words, needed])), *after])
    return " ".join([draft.command, *words, *given, *after])


def _hyperparameters(draft: PlanDraft) -> list[str]:
    if not draft.source or not draft.defaults:
        return []
    if draft.source != "hyperparameters":
        return [f"  {draft.source}: {plain(draft.source_text)}  # names and defaults of the hyperparameters"]
    lines = ["  hyperparameters:  # with the program's defaults"]
    for name, default in draft.defaults.items():
        said = f"  # {comment(draft.comments[name])}" if name in draft.comments else ""
        lines.append(f"    {key(name)}: {'null' if default is None else value(default)}{said}")
    return lines


def _overrides(draft: PlanDraft) -> list[str]:
    if not draft.rules:
        return [f"  overrides: {draft.style}"]
    rules = [f"      {key(name)}: {mapping(rule)}" for name, rule in draft.rules.items()]
    return ["  overrides:", f"    style: {draft.style}", "    keys:", *rules]


def _optional(draft: PlanDraft) -> list[str]:
    lines = []
    if draft.ignore:
        lines.append(f"  ignore: {value(draft.ignore)}  # guessed: they do not change results")
    if draft.environment:
        written = {name: value(text) for name, text in draft.environment.items()}
        lines.append(f"  environment: {mapping(written)}")
    add = f"--{draft.resume}" if draft.resume and draft.style == "argparse" else "--resume"
    lines.append(f'  # resume: {{when: "{{run}}/*.pt", add: {add}}}  # change me: if the program can resume')
    return lines


def _metrics(draft: PlanDraft) -> list[str]:
    logged = draft.logged
    if logged is None:
        return [
            "  metrics:",
            "    read: [{jsonl: metrics.jsonl}]  # change me: files in {run}; also csv, tensorboard, wandb, stdout",
            "    step: step  # change me: the name of the step in them",
            "    primary: {name: eval/return, better: up}  # change me: the metric that decides",
            "    # roles: {training_return: train/return}",
        ]
    read = []
    for spec in logged.sources:
        fields = {spec.kind: value(spec.path)}
        fields |= {"kind": "eval"} if spec.is_evaluation else {}
        read.append(mapping(fields | ({"step": value(spec.step)} if spec.step else {})))
    primary = guess.primary(logged.metrics)
    decides = {"name": value(primary or "eval/return"), "better": guess.better(primary)}
    unit = guess.unit(primary) if primary else "return"
    decides |= {"unit": value(unit)} if unit != "return" else {}
    roles = {role: value(name) for role, name in guess.roles(logged.metrics, primary).items()}
    return [
        "  metrics:",
        "    read:",
        *(f"      - {one}" for one in read),
        f"    step: {value(logged.step)}",
        f"    primary: {mapping(decides)}  # {'guessed' if primary else 'change me'}: the metric that decides",
        *(["    roles:  # guessed"] if roles else ["    # roles: {training_return: train/return}"]),
        *(f"      {role}: {name}" for role, name in roles.items()),
    ]


def _base(draft: PlanDraft) -> list[str]:
    lines = []
    if draft.steps and draft.defaults.get(draft.steps) is None:
        lines.append(f"  {key(draft.steps)}: 100000  # change me")
    missing = [name for name in draft.required if name in draft.defaults and name != draft.steps]
    shown = [f"  # {key(name)}: ...  # change me: the program requires it" for name in missing]
    return ["base:", *lines, *shown] if lines else [line.replace("  # ", "# base: ", 1) for line in shown]


def _sweep(draft: PlanDraft) -> list[str]:
    excluded = {draft.seed, draft.steps, *draft.ignore}
    name, levels = guess.varied(draft.defaults, excluded)
    said = ""
    if not name and not draft.defaults:
        name, levels, said = "lr", (3e-4, 1e-3, 3e-3), "  # change me: hyperparameters and their levels"
    elif not name:
        name = next((one for one in draft.defaults if one not in excluded), next(iter(draft.defaults)))
        levels, said = (draft.defaults[name],), "  # change me: no hyperparameter is a number"
    is_asked = len(levels) > 1 and re.fullmatch(r"[A-Za-z_][\w.-]*", name)
    title = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:64] or "first"
    listed = ", ".join("null" if level is None else value(level) for level in levels)
    return [
        "sweeps:",
        f"  {key(title)}:",
        f"    goal: {plain(f'which {name} is best')}",
        *([f'    questions: [{{ask: "Does a higher {name} help?", by: {name}}}]'] if is_asked else []),
        f"    grid: {{{key(name)}: [{listed}]}}{said}",
    ]
