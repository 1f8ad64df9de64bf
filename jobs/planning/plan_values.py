"""Values in a plan: parse entries of its YAML by what they stand for. Each raises `JobsError` with line and fix."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.yaml_reader import Entry
from sweepwise.core.errors import JobsError, near
from sweepwise.core.hyperparameters import ConfigError
from sweepwise.core.schema import Schema

MAX_LOOKS = 5
MAX_SEEDS = 1000

_SEEDS = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SHORT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def levels(entry: Entry, schema: Schema) -> dict[str, tuple[Any, ...]]:
    by_key = {}
    for key, values in entry.mapping().items():
        parsed_levels = tuple(value_of(key, item, schema) for item in values.items())
        if not parsed_levels:
            raise values.error(f"{values.name}: empty grid; give at least one level, such as [1, 2]")
        by_key[key] = parsed_levels
    return by_key


def values_of(entry: Entry, schema: Schema) -> dict[str, Any]:
    return {key: value_of(key, value, schema) for key, value in entry.mapping().items()}


def value_of(key: str, entry: Entry, schema: Schema) -> Any:
    try:
        return schema.parse_value(key, entry.raw())
    except ConfigError as error:
        raise entry.error(str(error)) from error


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse `6` (seeds 1 to 6), `4-9`, `1,3,5` or a mixture of ranges and seeds; sorted, without duplicates."""
    text = text.replace(" ", "")
    if not _SEEDS.fullmatch(text):
        raise JobsError(f"seeds={text!r}: give a count (6 = seeds 1 to 6), a range (4-9) or a list (1,3,5)")
    if text.isdigit():
        low, high = 1, int(text)
        spans = [(low, high)]
    else:
        ends = [part.split("-") for part in text.split(",")]
        spans = [(int(e[0]), int(e[-1])) for e in ends]
    if any(high < low for low, high in spans):
        raise JobsError(f"seeds={text!r}: contains no seed; give a count from 1, or a range such as 4-9")
    if sum(high - low + 1 for low, high in spans) > MAX_SEEDS:
        raise JobsError(f"seeds={text!r}: more than {MAX_SEEDS} seeds; give fewer")
    return tuple(sorted({seed for low, high in spans for seed in range(low, high + 1)}))


def seeds(entry: Entry) -> tuple[int, ...]:
    raw = entry.raw()
    text = ",".join(map(str, raw)) if isinstance(raw, list) else str(raw)
    if isinstance(raw, list) and len(raw) == 1:
        text = f"{text}-{text}"  # a list of one seed, not a count
    try:
        return parse_seeds(text)
    except JobsError as error:
        raise entry.error(str(error)) from error


def interim_analyses(fields: Mapping[str, Entry], default: int) -> int:
    """How many are planned: `default` where the fields do not say."""
    entry = fields.get("interim_analyses")
    if entry is None:
        return default
    if not 1 <= entry.whole() <= MAX_LOOKS:
        raise entry.error(f"interim_analyses: {entry.whole()}: give 1 (the report is final) to {MAX_LOOKS}")
    return entry.whole()


def margin(entry: Entry) -> float:
    try:
        number = float(entry.text())
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise entry.error(f"margin: {entry.text()!r}: give a number above 0, in the unit of the primary metric")
    return number


def check_paired(paired: bool, varied: Iterable[str], schema: Schema, entry: Entry) -> None:
    """Raises an error at `entry` where runs with one seed do not begin alike under all levels of a sweep."""
    parameters = schema.description.hyperparameters
    shaping = [parameter.name for parameter in parameters if parameter.shapes and parameter.name in varied]
    if paired and shaping:
        raise entry.error(
            f"paired: {shaping[0]} changes the shapes of networks, so runs with one seed start differently; give "
            "this sweep `paired: false`"
        )


def short_names(entry: Entry, schema: Schema) -> dict[str, str]:
    names = {}
    for key, value in entry.mapping().items():
        try:
            schema.parse_value(key, None)
        except ConfigError as error:
            if str(error).startswith("unknown hyperparameter"):
                raise value.error(str(error)) from error
        if not _SHORT.fullmatch(value.text()):
            raise value.error(f"names.{key}: {value.text()!r}: give a short word of letters, digits, - and _")
        names[key] = value.text()
    return names


def texts_by_name(entry: Entry) -> dict[str, str]:
    return {check_name(name, value): value.text() for name, value in entry.mapping().items()}


def issue_names(entry: Entry, issues: Mapping[str, str]) -> tuple[str, ...]:
    for name in entry.texts():
        if name not in issues:
            raise entry.error(f"{entry.name}: unknown issue {name!r}; {near(name, issues)}")
    return entry.texts()


def check_name(name: str, entry: Entry) -> str:
    if not _NAME.fullmatch(name):
        raise entry.error(f"name {name!r}: use letters, digits, - and _ only, beginning with a letter or digit")
    return name
