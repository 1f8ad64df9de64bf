"""What a plan says of flags that the program's parser does not know, or takes otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from jobs.assist.parsers.options import rules_of
from jobs.assist.parsers.program_parser import ParserAnswer, ParserOption
from jobs.programs.command import Program
from jobs.programs.override_styles import KeyRule


def problems(program: Program, answer: ParserAnswer) -> Iterator[str]:
    """One line each, with its fix."""
    flags = {flag: option for option in answer.options for flag in option.flags if flag.startswith("--")}
    if not flags:
        return
    for name in (*program.defaults, *program.seed):
        rule = program.rules.get(name, KeyRule())
        if rule.env:
            continue
        flag = f"--{rule.name or name}"
        option = flags.get(flag)
        if option is None:
            if answer.is_all:
                yield _unknown(name, flag, list(flags))
        else:
            yield from _misread(name, program.defaults.get(name), option, rule, flags)


def _unknown(name: str, flag: str, known: list[str]) -> str:
    begun = [other for other in known if other.startswith(flag)]
    if len(begun) == 1:
        return f"hyperparameter {name}: the parser has no {flag}, and argparse reads it as {begun[0]}; use that name"
    close = difflib.get_close_matches(flag, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else "leave it out, or give `name:` in overrides.keys"
    return f"hyperparameter {name}: the parser has no {flag}; {hint}"


def _misread(
    name: str, default: object, option: ParserOption, rule: KeyRule, flags: dict[str, ParserOption]
) -> Iterator[str]:
    if isinstance(default, bool):
        is_pair = option.kind == "pair" or f"--no-{option.name}" in flags
        needed = rules_of(option, is_pair).get("switch", "")
        if needed and rule.switch != needed:
            yield f"hyperparameter {name}: wrong form for the parser; give `keys: {{{name}: {{switch: {needed}}}}}`"
        if option.kind == "store" and option.type == "bool":
            yield f"hyperparameter {name}: type=bool reads every text as true; use BooleanOptionalAction"
    if isinstance(default, tuple):
        needed = rules_of(option, False).get("split", "")
        if needed and rule.split != needed:
            yield f"hyperparameter {name}: wrong form for the parser; give `keys: {{{name}: {{split: {needed}}}}}`"
