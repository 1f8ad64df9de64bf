"""Arguments of a parser -> hyperparameters, with how each is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.assist.parsers.program_parser import ParserOption
from jobs.assist.plan_text import comment, value
from sweepwise.core.hyperparameters import ConfigError, Hyperparameter
from sweepwise.core.yaml_scalars import frozen

_LISTS = {"argparse": "words", "click": "repeat", "tyro": "words", "absl": "comma"}  # how a style writes a list


@dataclass
class TakenOptions:
    """See `jobs.assist.first_plan.PlanDraft`."""

    defaults: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    rules: dict[str, dict[str, str]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def read(options: Sequence[ParserOption], given: Sequence[str], style: str = "argparse") -> TakenOptions:
    """Hyperparameters are named as the flags are spelled. given: arguments in the command, which stay there."""
    taken = TakenOptions()
    fixed = {word[2:].partition("=")[0] for word in given if word.startswith("--")}
    pairs = {option.name for option in options if option.kind == "true" and _negation(option.name, options)}
    for option in options:
        if option.kind == "help" or (option.kind == "false" and _positive(option, pairs)):
            continue
        if reason := _left_out(option, fixed, given):
            taken.notes.append(("left out", f"{option.name or ' '.join(option.flags) or option.dest}: {reason}"))
            continue
        default = _default(option)
        try:
            Hyperparameter(option.name, default, type="any")
        except ConfigError as error:
            taken.notes.append(("left out", str(error)))
            continue
        taken.defaults[option.name] = default
        if rule := rules_of(option, option.name in pairs, style):
            taken.rules[option.name] = rule
        if option.choices:
            taken.comments[option.name] = comment(f"one of {', '.join(map(value, option.choices))}")
        if option.required:
            taken.required.append(option.name)
            taken.comments[option.name] = "change me: the program requires it"
    return taken


def _left_out(option: ParserOption, fixed: set[str], given: Sequence[str]) -> str:
    """Why an argument is no hyperparameter, "" where it is one."""
    if not option.flags:
        is_needed = option.required and not any(not word.startswith("-") for word in given)
        needs = "which the program requires; put it into the command"
        return f"a positional argument{', ' + needs if is_needed else ''}"
    if not option.name:
        return "it has no flag that begins with --; put it into the command if you need it"
    if option.name in fixed:
        return "the command sets it"
    if option.kind in ("const", "count"):
        return "a flag that counts or stands for a constant; put it into the command if you need it"
    is_number = isinstance(option.default, (int, float)) and not isinstance(option.default, bool)
    if option.kind == "store" and not option.type and is_number:
        return "it has no type=, so a number from the command line would be a text; add type="
    if option.kind == "store" and option.type == "bool":
        return "type=bool reads every text as true, even False; use BooleanOptionalAction"
    if option.kind == "true" and option.default is True:
        return "it is always true, with or without the flag"
    return ""


def _default(option: ParserOption) -> Any:
    """The value that, where it is passed, does what the program does without it."""
    if option.kind == "false" or (option.kind == "true" and option.default is None):
        return False  # true stands for the flag
    default = option.default
    if option.type == "int" and isinstance(default, float) and default.is_integer():
        return int(default)  # int() refuses the text 1e6
    if default == [] and option.nargs not in (None, "*"):
        return None  # the flag wants a value
    return frozen(default)


def rules_of(option: ParserOption, is_pair: bool, style: str = "argparse") -> dict[str, str]:
    """The exceptions for one flag, where it is not written in the way of the style."""
    if option.kind in ("true", "false"):
        return {} if is_pair else {"switch": "flag"}
    if style not in _LISTS:  # switches and lists are values
        return {}
    split = ""
    if option.kind == "append":
        split = "repeat"
    elif option.kind == "store" and style != "absl" and (isinstance(option.default, bool) or option.type == "bool"):
        return {"switch": "value"}
    elif option.kind == "store" and option.nargs is not None:
        split = "words"
    elif option.kind == "store" and style == "argparse" and isinstance(option.default, list):
        split = "comma"
    return {"split": split} if split not in ("", _LISTS[style]) else {}


def _negation(name: str, options: Sequence[ParserOption]) -> bool:
    return any(option.kind == "false" and option.name == f"no-{name}" for option in options)


def _positive(option: ParserOption, pairs: set[str]) -> bool:
    return option.name.removeprefix("no-") in pairs and option.name.startswith("no-")
