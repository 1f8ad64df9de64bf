"""`sweeps check`: what one short run of a plan's program did, in lines, and what is wrong with it.

The run is made here, or in a job (`jobs.assist.cluster_check`).
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.assist import plan_text, trial
from jobs.assist.lines import OUTPUT, CheckLine
from jobs.assist.parsers import findings
from jobs.assist.trial import Trial, TrialRequest
from jobs.planning import plan as plans
from jobs.planning.expand import ExpandedSweep, expand
from jobs.planning.plan import Plan
from jobs.programs import override_styles
from jobs.programs.command import Program, ProgramSource
from jobs.terminal.tables import duration
from sweepwise.core.errors import JobsError, near
from sweepwise.core.metrics import ROLES
from sweepwise.core.schema import ResolvedConfig
from sweepwise.core.value_format import listed
from sweepwise.core.yaml_scalars import PlainText

_SHOWN = 12  # files, metrics or names in one list
TAIL_LINES = 15
_BRIEF_S = 1.0  # a shorter time between two rows says nothing about the speed


@dataclass(frozen=True)
class CheckRequest:
    """What is to be tried. trial, config: of the run. steps: of that run in the plan, 0 where it names none. run_steps:
    steps of every run of the sweeps that are asked for. is_plan: whether these are several sweeps."""

    trial: TrialRequest
    config: ResolvedConfig
    steps: int
    run_steps: Sequence[int]
    is_plan: bool


@dataclass(frozen=True)
class Checked:
    """How the run went."""

    request: CheckRequest
    trial: Trial

    @property
    def source(self) -> ProgramSource:
        return self.request.trial.source


def check(request: CheckRequest) -> Iterator[CheckLine]:
    """The lines of a run that is made here and now."""
    yield from lines(Checked(request, trial.run(request.trial)))


def request(plan_file: Path, sweep: str | None, steps: str | None, seconds: float) -> CheckRequest:
    """Raises `JobsError` where nothing can be run."""
    plan = plans.load(plan_file)
    source = plan.source
    if not isinstance(source, ProgramSource):
        raise JobsError(
            f"the plan trains {plan.schema.description.name} and has no `program:`; try it with `sweeps train`"
        )
    values, seed, sweeps = _configuration(plan, sweep)
    name = source.description.steps
    total = plan.schema.resolve(values).steps if name else 0
    if steps is not None:
        if not name:
            raise JobsError("--steps: the plan has no `steps:`; give --seconds instead")
        values = {**values, name: plan.schema.parse_value(name, PlainText(steps))}
    resolved = plan.schema.resolve(values)
    ran = resolved.steps if name else 0
    trial_request = TrialRequest(source, plan.folder, resolved.values, seed, ran, seconds, steps is not None)
    run_steps = [c.config.steps for one in sweeps for c in one.configurations for _ in one.seeds]
    return CheckRequest(trial_request, resolved, total, run_steps, len(sweeps) > 1)


def lines(checked: Checked) -> Iterator[CheckLine]:
    """What happened, and what is wrong."""
    for subject, text in _told(checked):
        yield CheckLine(subject, text)
    if _failed(checked.trial):
        last_lines = [line for line in checked.trial.output.splitlines() if line.strip()][-TAIL_LINES:]
        for line in last_lines:
            yield CheckLine(OUTPUT, line)
    problems = list(dict.fromkeys(_problems(checked)))
    for problem in problems:
        yield CheckLine("problem", problem, is_problem=True)
    if not problems:
        yield CheckLine("", "ok")


def _configuration(plan: Plan, sweep: str | None) -> tuple[dict[str, Any], int, list[ExpandedSweep]]:
    """Values and seed of the first run of the sweep, or the plan's base, with the first task where it names none."""
    if sweep is None:
        key, first = plan.schema.description.task, plan.sweeps[0]
        values = {key: first.fixed[key], **plan.base} if key in first.fixed else dict(plan.base)
        return values, first.seeds[0], [expand(plan, one) for one in plan.sweeps]
    expanded = [expand(plan, one) for one in plan.select(sweep)]
    return dict(expanded[0].configurations[0].config.values), expanded[0].seeds[0], expanded


# --- what happened ----------------------------------------------------------------------------------------


def _told(checked: Checked) -> Iterator[tuple[str, str]]:
    done = checked.trial
    yield "started", _started(done)
    yield "argv", shlex.join(done.line.argv)
    kind = (
        "{run}"
        if done.cwd == done.places.run
        else f"a copy of {checked.source.folder}, {done.copied} {'file' if done.copied == 1 else 'files'}"
    )
    yield "in", f"{done.cwd} ({kind})"
    yield from _passed(checked)
    yield "ended", _ended(done)
    files = [f"{name} ({_size(size)})" for name, size in done.files.items()]
    yield "files", listed(files, _SHOWN) or "none in {run}"
    yield from _metrics(checked)
    if done.metrics:
        yield from _roles(checked)
    if done.written:
        yield "in its code", f"wrote {listed(list(done.written), _SHOWN)} into the copy of the code, outside {{run}}"
    resume = checked.source.program.resume
    if resume is not None:
        yield "checkpoint", f"{{run}}/{resume.when} {'appeared' if done.saved else 'did not appear'}"
    yield from _cost(checked)


def _started(done: Trial) -> str:
    words = [word for word in done.line.argv if "=" not in word or "/" in word.partition("=")[0]]
    first = words[1] if words[:1] == ["env"] and len(words) > 1 else words[0]
    if "/" in first and not Path(first).is_absolute():
        return f"{first}, in the copy of the code"
    executable = first if "/" in first else shutil.which(first) or ""
    if not executable or not Path(executable).exists():
        return f"{first} (not found)"
    real = Path(executable).resolve()
    return executable if str(real) == executable else f"{executable} -> {real}"


def _passed(checked: Checked) -> Iterator[tuple[str, str]]:
    program, done = checked.source.program, checked.trial
    given = {**done.passed, **dict.fromkeys(program.seed, done.places.seed)}
    written = {name: text for name, value in given.items() if (text := _written(program, name, value))}
    if written:
        yield "passed", "; ".join(f"{name} as {text}" for name, text in written.items())
    rest = [name for name in program.defaults if name not in written]
    if rest:
        yield "not passed", f"at the program's default: {listed(rest, _SHOWN)}"


def _written(program: Program, name: str, value: Any) -> str:
    """How one hyperparameter reaches the program, "" where it does not: null and false may be no words."""
    written = override_styles.overrides(program.style, {name: value}, program.rules)
    if written.config:
        return f"{plan_text.value(value)} in {{config_file}}"
    variables = [f"the variable {variable}={text}" for variable, text in written.environment.items()]
    return shlex.join(written.argv) or ", ".join(variables)


def _ended(done: Trial) -> str:
    if done.end is None:
        return f"stopped after {done.seconds:.1f} s, as {done.stopped}"
    if done.end.reason:
        return done.end.reason
    code = done.end.exit_code
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    ended_early = done.steps and done.metrics and code == 0 and done.furthest != done.steps
    note = f"; the last logged step is {done.furthest:,} of {done.steps:,}" if ended_early else ""
    return f"{how} after {done.seconds:.1f} s{note}"


def _failed(done: Trial) -> bool:
    return done.end is not None and done.end.exit_code != 0


def _metrics(checked: Checked) -> Iterator[tuple[str, str]]:
    done = checked.trial
    mapped = {metric.name: role for role, metric in checked.source.description.catalogue.roles.items()}
    names = sorted(done.metrics, key=lambda name: (name not in mapped, name))
    for name in names[:_SHOWN]:
        seen = done.metrics[name]
        rows = f"{seen.rows:,} {'row' if seen.rows == 1 else 'rows'}"
        role = f", {mapped[name]}" if name in mapped else ""
        yield "metric", f"{name}: {rows}, step {seen.first:,} to {seen.last:,}{role}"
    if len(names) > _SHOWN:
        yield "metrics", f"and {listed(names[_SHOWN:], _SHOWN)}"
    if not names:
        yield "metrics", "none"


def _roles(checked: Checked) -> Iterator[tuple[str, str]]:
    roles, done = checked.source.description.catalogue.roles, checked.trial
    late = [f"{metric.name} ({role})" for role, metric in roles.items() if metric.name not in done.metrics]
    if late:
        yield "not seen", f"mapped, but not logged yet: {', '.join(late)}"
    left = [role for role in ROLES if role not in roles and not role.endswith(("_episodes", "_per_dim"))]
    yield "not mapped", f"{', '.join(left)}; what needs these metrics is not assessed"


def _cost(checked: Checked) -> Iterator[tuple[str, str]]:
    done = checked.trial
    speed = _speed(done)
    if not speed:
        return
    if not checked.request.steps:
        yield "speed", f"{speed:,.4g} steps/s; the plan has no `steps:`, so the duration of a run is unknown"
        return
    start = done.arrivals[0][0] if len(done.arrivals) > 1 else 0.0
    request = checked.request
    one = start + request.steps / speed
    runs = len(request.run_steps)
    all_s = sum(start + steps / speed for steps in request.run_steps)
    what = "the plan's" if request.is_plan else "the sweep's"
    yield (
        "speed",
        (
            f"{speed:,.4g} steps/s here: a run of {request.steps:,} steps takes {duration(one)}, "
            f"{what} {runs} runs {duration(all_s)} one after another"
        ),
    )


def _speed(done: Trial) -> float:
    """Steps per second between the first rows and the last; with the start where those came at once."""
    if not done.furthest:
        return 0.0
    (began, first), (ended, last) = done.arrivals[0], done.arrivals[-1]
    if ended - began >= _BRIEF_S and last > first:
        return (last - first) / (ended - began)
    return done.furthest / max(done.seconds, 1e-3)


def _size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


# --- what is wrong ----------------------------------------------------------------------------------------


def _problems(checked: Checked) -> Iterator[str]:
    done, program = checked.trial, checked.source.program
    if done.parser is not None:
        yield from findings.problems(program, done.parser)
    if done.end is not None and done.end.reason:
        yield f"the program did not start: {done.end.reason}; correct `command:`, or name its environment in `conda:`"
        return
    if done.end is not None and done.end.exit_code != 0:
        yield f"the program failed: {_ended(done)}; its last lines are above; to debug, run argv by hand"
    elif done.end is None and not done.metrics:
        yield f"nothing was logged within {done.seconds:.0f} s; give more --seconds, or correct `metrics:`"
    yield from _missing_metrics(checked)
    yield from (f"{line}; correct `metrics:`, or how the program logs" for line in done.problems)
    changed = [name for name, is_code in done.written.items() if is_code]
    if changed:
        yield f"the program changed its own code, {listed(changed, _SHOWN)}; let it write to {{run}}"
    if program.resume is not None and not done.saved and not _failed(done) and done.metrics:
        saved = "when it ended" if done.end is not None else f"on {program.resume.signal}"
        yield (
            f"no file matches resume.when, {{run}}/{program.resume.when}, and none was saved {saved}; "
            "correct `when:` or `signal:`, or give more --seconds"
        )


def _missing_metrics(checked: Checked) -> Iterator[str]:
    done, catalogue = checked.trial, checked.source.description.catalogue
    if not done.metrics:
        if done.end is not None and done.end.exit_code == 0:
            yield _nothing_logged(checked)
        return
    for role, metric in catalogue.roles.items():
        if metric.name in done.metrics:
            continue
        hint = near(metric.name, done.metrics)
        is_near, has_ended = hint.endswith("?"), done.end is not None and done.end.exit_code == 0
        where = "metrics.primary" if role == "primary" else f"metrics.roles.{role}"
        if is_near or has_ended:
            logged = f"logged: {listed(sorted(done.metrics), _SHOWN)}"
            yield f"{where}: {metric.name} never appeared; {hint if is_near else logged}"
        elif role == "primary" and not _failed(done):
            waited = f"did not appear within {done.seconds:.0f} s"
            yield f"{where}: {metric.name} {waited}; give more --seconds, or fewer --steps"


def _nothing_logged(checked: Checked) -> str:
    done = checked.trial
    sources = ", ".join(spec.path or spec.kind for spec in checked.source.program.metrics.read)
    if done.written:
        return (
            f"no metrics: nothing at {sources} in {{run}}, but {listed(list(done.written), _SHOWN)} was written where "
            'the program runs; pass {run} as its output folder, or give `cwd: "{run}"`'
        )
    return f"no metrics: nothing at {sources} in {{run}}; correct `metrics.read`, or pass {{run}} in `command:`"
