"""Questions of a plan: YAML to `aggregate.inputs.plan_questions.Question`, and which sweep each is put to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from jobs.yaml_reader import Entry
from sweepwise.core.errors import near
from tdmpc.config import ConfigError, parse_value

if TYPE_CHECKING:
    from aggregate.inputs.plan_questions import Question

_KEYS = ("ask", "by", "alike", "on", "levels", "low", "high", "with")
Asked = tuple["Question", Entry]


def parse(entry: Entry, sweeps: Collection[str]) -> list[Asked]:
    """A text, or a list of texts and mappings. sweeps: names that `with` may give. Raises `JobsError` with line."""
    from aggregate.inputs.plan_questions import Question

    items = [entry] if isinstance(entry.node, yaml.ScalarNode) else entry.items()
    return [
        (_question(item, sweeps) if isinstance(item.node, yaml.MappingNode) else Question(item.text()), item)
        for item in items
    ]


def _question(entry: Entry, sweeps: Collection[str]) -> Question:
    from aggregate.inputs.plan_questions import ENDPOINTS, Question

    given = entry.mapping(_KEYS)
    if "ask" not in given:
        raise entry.error(f"{entry.name}: a question needs `ask:`, its text")
    by = _terms(given["by"]) if "by" in given else ()
    on = given["on"].texts() if "on" in given else ("final",)
    for name in on:
        if name not in ENDPOINTS:
            raise given["on"].error(f"{given['on'].name}: unknown endpoint {name!r}; {near(name, ENDPOINTS)}")
    beside = given["with"].texts() if "with" in given else ()
    for name in beside:
        if name not in sweeps:
            raise given["with"].error(f"{given['with'].name}: unknown sweep {name!r}; {near(name, sweeps)}")
    for key in ("levels", "low", "high"):
        if key in given and len(by) != 1:
            raise given[key].error(f"{given[key].name}: needs `by:` with one key")
    return Question(
        text=given["ask"].text(),
        by=by,
        alike=_terms(given["alike"]) if "alike" in given else None,
        on=on,
        levels=_levels(by[0], given["levels"]) if "levels" in given else (),
        low=given["low"].text() if "low" in given else "",
        high=given["high"].text() if "high" in given else "",
        beside=beside,
    )


def _terms(entry: Entry) -> tuple[str, ...]:
    from aggregate.inputs.plan_questions import Term

    for text in entry.texts():
        try:
            keys = Term(text).keys
        except ValueError as error:
            raise entry.error(f"{entry.name}: {error}") from error
        for key in keys:
            _legal(key, None, entry)
    return entry.texts()


def _levels(term: str, entry: Entry) -> tuple[Any, ...]:
    found = tuple(_legal(term, item.raw(), entry) for item in entry.items())
    if len(found) != 2 or found[0] == found[1]:
        raise entry.error(f"{entry.name}: give the two levels that are compared")
    return found


def _legal(key: str, value: Any, entry: Entry) -> Any:
    """`value` as the key declares it; of None only whether there is such a key."""
    try:
        return parse_value(key, value)
    except ConfigError as error:
        if value is None and not str(error).startswith("unknown key"):
            return None
        raise entry.error(str(error)) from error


def put(asked: Sequence[Asked], varied: Mapping[str, Mapping[str, Collection[Any]]]) -> dict[str, tuple[Question, ...]]:
    """Sweep -> its questions. varied: sweep -> key -> levels. Of questions that several sweeps inherit, each gets those
    that its levels can answer. Raises `JobsError` for one that none can."""
    found: dict[str, tuple[Question, ...]] = dict.fromkeys(varied, ())
    for question, entry in asked:
        reasons = {name: _misfit(question, levels) for name, levels in varied.items()}
        if all(reasons.values()):
            reason = next(iter(reasons.values()), "all options have questions of their own")
            raise entry.error(f"{entry.name}: {question.text!r}: {reason}")
        for name, reason in reasons.items():
            found[name] += () if reason else (question,)
    return found


def _misfit(question: Question, levels: Mapping[str, Collection[Any]]) -> str:
    """Why these levels cannot answer; "" where they can."""
    for key in question.keys if not question.beside else ():
        if key not in levels:
            return f"{key} is not varied; {', '.join(levels)} {'is' if len(levels) == 1 else 'are'}"
    for level in question.levels:
        if level not in levels.get(question.by[0], ()):
            return f"{level!r} is no level of {question.by[0]}"
    return ""
