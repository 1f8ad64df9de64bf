"""`sweeps init`: what can be guessed of a program, and what cannot, for a first plan."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import process
from jobs.assist import guess, logged_files, plan_writer
from jobs.assist.lines import said
from jobs.assist.parsers import options as parser_options
from jobs.assist.parsers import program_parser, program_style
from jobs.assist.parsers.program_parser import ScriptCall
from jobs.planning import plan, program_config
from jobs.programs.command import LoggedMetrics, Places, Program
from jobs.worker import program_environment
from jobs.yaml_reader import Entry, parse
from sweepwise.core.errors import JobsError

_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*")
_SHELL = ("|", "||", "&&", ";", "&", ">", ">>", "<", "2>&1")
_CHANGES = ("${now:", "${hydra:", "${oc.env:")  # values that differ from run to run
_GIVES_CONFIG = (
    "list them in the plan, as in `hyperparameters: {lr: 3e-4, steps: 100000}`; or give --config FILE, or "
    "--config-command COMMAND that prints them"
)


@dataclass(frozen=True)
class ProgramRequest:
    """The options of `sweeps init`. code: the program's folder. like: the folder of a finished run. out: the plan."""

    command: str
    code: Path
    out: Path
    config: str = ""
    config_command: str = ""
    style: str = ""
    like: Path | None = None


@dataclass
class PlanDraft:
    """What a first plan says.

    source: key of the plan that lists the hyperparameters, "" for none, with source_text, the file or the command.
    defaults: hyperparameter -> default. comments: hyperparameter -> what else is known of it. rules: hyperparameter ->
    its exceptions. required: hyperparameters without a default. folders: hyperparameter -> its place in {run}.
    resume: a flag that goes on from a checkpoint. logged: of a finished run. notes: subject and text of every line that
    is told.
    """

    name: str
    command: str
    style: str = "argparse"
    is_style_known: bool = False
    source: str = ""
    source_text: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    rules: dict[str, dict[str, str]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    ignore: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    seed: str = ""
    steps: str = ""
    resume: str = ""
    logged: logged_files.Logged | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)

    def note(self, subject: str, text: str) -> None:
        self.notes.append((subject, text))


def write(request: ProgramRequest) -> list[str]:
    """Writes the plan; what was guessed and what is not known, in lines. Raises `JobsError`."""
    if request.out.exists():
        raise JobsError(f"{request.out} exists already; give another --out, or move it away")
    if not request.out.absolute().parent.is_dir():
        raise JobsError(f"--out: there is no folder {request.out.absolute().parent}")
    if not request.code.is_dir():
        raise JobsError(f"--code: there is no folder {request.code}")
    words, environment = _words(request.command)
    code = request.code.resolve()
    draft = PlanDraft(
        _name(code), shlex.join(words) if environment else request.command.strip(), environment=environment
    )
    call = program_parser.script_call(words, code)
    _guess_style(draft, request, call)
    _read_hyperparameters(draft, request, call, code)
    _guess_meanings(draft)
    _read_metrics(draft, request)
    text = plan_writer.text(draft, plan_writer.code_line(code, request.out.absolute().parent.resolve()))
    problem = _publish(text, request.out)
    if problem:
        draft.note("not loaded", problem)
    return [f"wrote {request.out}", *(said(*note) for note in draft.notes),
            f"next: check it, then `sweeps check --plan {shlex.quote(str(request.out))}`"]  # fmt: skip


def _words(command: str) -> tuple[list[str], dict[str, str]]:
    """The words of the command, and the variables that are set before it."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise JobsError(f"--command: {error}; quote it as in a shell") from None
    environment = {}
    while words and _ASSIGNED.fullmatch(words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if not words:
        raise JobsError("--command: is empty; give the program and its arguments, such as python train.py")
    for word in words:
        if word in _SHELL or word.endswith(";"):
            raise JobsError(
                f"--command: runs without a shell, so {word!r} does not work; put the commands into a script"
            )
    if words[0] == "cd":
        raise JobsError("--command: give the folder as --code FOLDER instead of cd")
    return words, environment


def _name(code: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", code.name).strip("-_")[:64]
    return f"my-{name or 'program'}"[:64] if name in ("", "tdmpc") else name


def _guess_style(draft: PlanDraft, request: ProgramRequest, call: ScriptCall | None) -> None:
    if request.style:
        draft.style, draft.is_style_known = request.style, True
        draft.note("style", f"{request.style}, as given")
        return
    if call is None or call.file is None:
        what = (
            f"there is no script {call.target[-1]} in {request.code}" if call else "the command names no Python script"
        )
        draft.note("style", f"unknown: {what}; argparse is assumed: change `overrides:`, or give --style")
        return
    style, shown_by = program_style.of_script(call.file)
    draft.style = style or draft.style
    draft.is_style_known = bool(style)
    draft.note("style", f"guessed {style}: {shown_by} imports it" if style else
               f"unknown: {call.file.name} imports no known argument parser; argparse is assumed. The script is not "
               "started to list its arguments, since it might train: give --style argparse if it uses it")  # fmt: skip


# --- hyperparameters --------------------------------------------------------------------------------------


def _read_hyperparameters(draft: PlanDraft, request: ProgramRequest, call: ScriptCall | None, code: Path) -> None:
    if request.config and request.config_command:
        raise JobsError("--config and --config-command both list the hyperparameters; keep one")
    if request.config:
        _take_config(draft, _inside(request.config, code), code)
    elif request.config_command:
        _take_printed(draft, request.config_command, code)
    elif draft.style == "hydra":
        _try_hydra(draft, code)
    elif draft.style in program_parser.ASKED and call is not None and draft.is_style_known:
        _ask_parser(draft, call, code)
    else:
        draft.note("unknown", f"the hyperparameters: {_GIVES_CONFIG}")


def _inside(config: str, code: Path) -> str:
    for path in (code / Path(config).expanduser(), Path(config).expanduser().absolute()):
        if path.is_file() and path.resolve().is_relative_to(code):
            return path.resolve().relative_to(code).as_posix()
    raise JobsError(f"--config: there is no file {config} in {code}; give one in the program's folder")


def _option(name: str, text: str = "x") -> Entry:
    return dataclasses.replace(parse("x", "sweeps init"), name=name)


def _take_config(draft: PlanDraft, config: str, code: Path) -> None:
    draft.defaults = program_config.of_file(_option("--config"), code / config, draft.style)
    draft.source, draft.source_text = "config", config
    draft.note("parameters", f"{len(draft.defaults)}, from {config}")


def _take_printed(draft: PlanDraft, command: str, code: Path) -> None:
    words = shlex.split(command)
    draft.defaults = program_config.of_command(_option("--config-command"), words, code, (), draft.style)
    draft.source, draft.source_text = "config_command", command
    draft.note("parameters", f"{len(draft.defaults)}, from the output of `{command}`")


def _try_hydra(draft: PlanDraft, code: Path) -> None:
    """Hydra prints its configuration and ends. Resolved, values have their types; but those that name the time of the
    run would change what a run is."""
    printing = f"{draft.command.replace('{overrides}', '').strip()} --cfg all"
    try:
        _take_printed(draft, printing, code)
        texts = [value for value in draft.defaults.values() if isinstance(value, str)]
        if any("${" in text for text in texts) and not any(sign in text for text in texts for sign in _CHANGES):
            draft.notes.pop()
            _take_printed(draft, f"{printing} --resolve", code)
    except JobsError as error:
        draft.defaults, draft.source = {}, ""
        draft.note("unknown", f"the hyperparameters: {_without_place(error)}; {_GIVES_CONFIG}")


def _without_place(error: JobsError) -> str:
    return re.sub(r"^sweeps init:1: ", "", str(error))


def _ask_parser(draft: PlanDraft, call: ScriptCall, code: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="sweeps-init-") as folder:
        places = Places(Path(folder) / "run", code, seed=1)
        places.run.mkdir()
        program = Program(("true",), "argparse", LoggedMetrics(()), environment=draft.environment)
        arguments = tuple(word for word in call.arguments if word not in ("{overrides}", "{run}", "{seed}"))
        variables = program_environment.environment(program, places, "init", process.cores(), None, {})
        answer = program_parser.ask(
            program, dataclasses.replace(call, arguments=arguments), places,
            {**variables, "PYTHONDONTWRITEBYTECODE": "1"}, draft.style,
        )  # fmt: skip
    if answer.error:
        draft.note("unknown", f"the hyperparameters: the parser could not be read: {answer.error}; {_GIVES_CONFIG}")
        return
    taken = parser_options.read(answer.options, arguments, draft.style)
    draft.defaults, draft.comments, draft.rules = taken.defaults, taken.comments, taken.rules
    draft.required = taken.required
    draft.source = "hyperparameters" if taken.defaults else ""
    draft.note("parameters", f"{len(taken.defaults)}, from the program's parser")
    if not answer.is_all:
        draft.note("unknown", "whether there are more arguments: the parser ignores unknown ones")
    draft.notes += taken.notes


# --- what they mean ---------------------------------------------------------------------------------------


def _guess_meanings(draft: PlanDraft) -> None:
    _guess_seed(draft)
    _guess_steps(draft)
    _guess_folders(draft)
    without_effect = guess.without_effect(draft.defaults)
    if without_effect:
        draft.ignore += [name for name in without_effect if name not in draft.ignore]
        draft.note("ignore", f"guessed {', '.join(without_effect)}: no effect on results")
    draft.resume = guess.pick(draft.defaults, ("resume", "restore", "auto_resume", "continue"))
    if draft.resume and draft.source == "hyperparameters":
        draft.defaults.pop(draft.resume)
        draft.rules.pop(draft.resume, None)
        draft.note("resume", f"--{draft.resume} is left out; if the program saves checkpoints, fill in `resume:`")
    elif draft.resume:
        draft.note("resume", f"guessed {draft.resume}; if the program saves checkpoints, fill in `resume:`")
    else:
        draft.note("unknown", "whether the program can resume; if it can, fill in `resume:`")
    for name in draft.required:
        draft.note("unknown", f"the value of {name}, which the program requires: give it in `base:`")


def _guess_seed(draft: PlanDraft) -> None:
    draft.seed = guess.pick(draft.defaults, guess.SEEDS)
    if draft.seed:
        draft.note("seed", f"guessed {draft.seed}")
        if draft.source == "hyperparameters":
            draft.defaults.pop(draft.seed)
            draft.comments.pop(draft.seed, None)
            draft.required = [name for name in draft.required if name != draft.seed]
    elif not draft.defaults:
        draft.seed = "seed"
        draft.note("unknown", "which hyperparameter is the seed; `seed` is assumed")
    else:
        draft.note("unknown", "how the program reads the seed: it is passed as the variable SEED; see `command:`")
        draft.command = f"env SEED={{seed}} {draft.command}"


def _guess_steps(draft: PlanDraft) -> None:
    steps = guess.pick(draft.defaults, guess.STEPS)
    default = draft.defaults.get(steps)
    if not steps:
        draft.note("unknown", "the number of steps: without `steps:`, a run's length is known only once it has ended")
        return
    if isinstance(default, float) and default.is_integer():
        default = draft.defaults[steps] = int(default)
        if draft.source != "hyperparameters":  # the file has a fraction, and the plan needs a whole number
            draft.source, draft.source_text = "hyperparameters", ""
    if default is not None and (not isinstance(default, int) or isinstance(default, bool) or default < 1):
        draft.note("unknown", f"the number of steps: {steps}={default!r} is not a whole number of at least 1")
        return
    draft.steps = steps
    draft.note("steps", f"guessed {steps}, {default:,} by default" if default else
               f"guessed {steps}, which has no default: change it in `base:`")  # fmt: skip


def _guess_folders(draft: PlanDraft) -> None:
    folders = {} if "{run}" in draft.command or draft.style == "file" else guess.folders(draft.defaults)
    draft.folders = {name: place for name, place in folders.items() if "${" not in str(draft.defaults[name] or "")}
    for name in folders:
        if draft.source == "hyperparameters":
            draft.defaults.pop(name)
            draft.comments.pop(name, None)
            draft.required = [one for one in draft.required if one != name]
        else:
            draft.ignore.append(name)
    for name, place in draft.folders.items():
        draft.note("folder", f"guessed {name}: it is set to {place}, in the folder of the run")
    if "{run}" not in draft.command and not folders and draft.style != "hydra":
        draft.note("unknown", "where the program writes: it gets its folder, {run}, only as the variable SWEEPS_RUN; "
                              "pass {run} in the command, or log with sweepwise.log")  # fmt: skip


def _read_metrics(draft: PlanDraft, request: ProgramRequest) -> None:
    if request.like is None:
        draft.note("unknown", "the metrics: give --like with a finished run's folder, or change `metrics:`")
        return
    logged = draft.logged = logged_files.look(request.like)
    sources = ", ".join(f"{spec.kind} {spec.path}" for spec in logged.sources)
    draft.note("metrics", f"{len(logged.metrics)}, in {sources}; step: {logged.step}")
    for note in logged.notes:
        draft.note("metrics", note)
    primary = guess.primary(logged.metrics)
    draft.note("primary" if primary else "unknown",
               f"guessed {primary}, better {guess.better(primary)}" if primary else "which metric decides")  # fmt: skip
    for role, name in guess.roles(logged.metrics, primary).items():
        draft.note("role", f"guessed {role}: {name}")


# --- the file ---------------------------------------------------------------------------------------------


def _publish(text: str, out: Path) -> str:
    """Write the plan under its name, never over another file; why it does not load, "" where it does."""
    part = out.with_name(f".{out.stem}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    problem = ""
    try:
        part.write_text(text, encoding="utf-8")
        try:
            plan.load(part)
        except JobsError as error:
            problem = str(error).replace(str(part), str(out))
        _move(part, out)
    except FileExistsError:
        raise JobsError(f"{out} exists already; give another --out, or move it away") from None
    finally:
        part.unlink(missing_ok=True)
    return problem


def _move(part: Path, out: Path) -> None:
    """Raises `FileExistsError`."""
    try:
        out.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # the file system has no links
        with out.open("x", encoding="utf-8") as file:
            file.write(part.read_text(encoding="utf-8"))
