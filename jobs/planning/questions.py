"""Questions of a plan: parse YAML to `aggregate.inputs.plan_questions.Question`, and assign them to sweeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from jobs.yaml_reader import Entry
from sweepwise.core.errors import near
from sweepwise.core.hyperparameters import ConfigError
from sweepwise.core.schema import Schema

if TYPE_CHECKING:
    from aggregate.inputs.plan_questions import Question

_KEYS = ("ask", "by", "alike", "on", "levels", "low", "high", "either", "with")
ParsedQuestion = tuple["Question", Entry]


def parse(entry: Entry, sweeps: Collection[str], schema: Schema) -> list[ParsedQuestion]:
    """Parse a text, or a list of texts and mappings. sweeps: legal names for `with`. Raises `JobsError` with line."""
    from aggregate.inputs.plan_questions import Question

    items = [entry] if isinstance(entry.node, yaml.ScalarNode) else entry.items()
    return [
        (_question(item, sweeps, schema) if isinstance(item.node, yaml.MappingNode) else Question(item.text()), item)
        for item in items
    ]


def _question(entry: Entry, sweeps: Collection[str], schema: Schema) -> Question:
    from aggregate.inputs.plan_questions import ENDPOINTS, Question

    fields = entry.mapping(_KEYS)
    if "ask" not in fields:
        raise entry.error(f"{entry.name}: a question needs `ask:`, its text")
    by = _terms(fields["by"], schema) if "by" in fields else ()
    on = fields["on"].texts() if "on" in fields else ("final",)
    for name in on:
        if name not in ENDPOINTS:
            raise fields["on"].error(f"{fields['on'].name}: unknown endpoint {name!r}; {near(name, ENDPOINTS)}")
    other_sweeps = fields["with"].texts() if "with" in fields else ()
    for name in other_sweeps:
        if name not in sweeps:
            raise fields["with"].error(f"{fields['with'].name}: unknown sweep {name!r}; {near(name, sweeps)}")
    for key in ("levels", "low", "high", "either"):
        if key in fields and len(by) != 1:
            raise fields[key].error(f"{fields[key].name}: needs `by:` with one hyperparameter")
    return Question(
        text=fields["ask"].text(),
        by=by,
        alike=_terms(fields["alike"], schema) if "alike" in fields else None,
        on=on,
        levels=_levels(by[0], fields["levels"], schema) if "levels" in fields else (),
        low=fields["low"].text() if "low" in fields else "",
        high=fields["high"].text() if "high" in fields else "",
        either=fields["either"].text() if "either" in fields else "",
        beside=other_sweeps,
    )


def _terms(entry: Entry, schema: Schema) -> tuple[str, ...]:
    from aggregate.inputs.plan_questions import Term

    for text in entry.texts():
        try:
            keys = Term(text).keys
        except ValueError as error:
            raise entry.error(f"{entry.name}: {error}") from error
        for key in keys:
            _parse_legal_value(key, None, entry, schema)
    return entry.texts()


def _levels(term: str, entry: Entry, schema: Schema) -> tuple[Any, ...]:
    levels = tuple(_parse_legal_value(term, item.raw(), entry, schema) for item in entry.items())
    if len(levels) != 2 or levels[0] == levels[1]:
        raise entry.error(f"{entry.name}: give the two levels that are compared")
    return levels


def _parse_legal_value(key: str, value: Any, entry: Entry, schema: Schema) -> Any:
    """`value` parsed to the key's declared type; with None, only check that the key exists. Raises `JobsError`."""
    try:
        return schema.parse_value(key, value)
    except ConfigError as error:
        if value is None and not str(error).startswith("unknown hyperparameter"):
            return None
        raise entry.error(str(error)) from error


def put(
    parsed: Sequence[ParsedQuestion], varied: Mapping[str, Mapping[str, Collection[Any]]]
) -> dict[str, tuple[Question, ...]]:
    """Sweep -> the questions that its levels can answer. varied: sweep -> key -> levels.

    Raises `JobsError` for a question that no sweep can answer.
    """
    by_sweep: dict[str, tuple[Question, ...]] = dict.fromkeys(varied, ())
    for question, entry in parsed:
        reasons = {name: _reason_unanswerable(question, levels) for name, levels in varied.items()}
        if all(reasons.values()):
            reason = next(iter(reasons.values()), "all options have questions of their own")
            raise entry.error(f"{entry.name}: {question.text!r}: {reason}")
        for name, reason in reasons.items():
            by_sweep[name] += () if reason else (question,)
    return by_sweep


def _reason_unanswerable(question: Question, levels: Mapping[str, Collection[Any]]) -> str:
    """Why these levels cannot answer the question; "" if they can."""
    for key in question.keys if not question.beside else ():
        if key not in levels:
            return f"{key} is not varied; {', '.join(levels)} {'is' if len(levels) == 1 else 'are'}"
    for level in question.levels:
        if level not in levels.get(question.by[0], ()):
            return f"{level!r} is not a level of {question.by[0]}"
    return ""
