"""Two sweeps as wholes, such as before and after a change of the code: paired by configuration and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aggregate.analysis.run_outcomes import outcomes_of
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.provenance import KINDS
from aggregate.inputs.runs import ConfigSource, SweepSource
from aggregate.statistics import estimates
from aggregate.statistics.estimates import ALPHA, Contrast
from aggregate.verdict.number_format import probability, signed_estimate
from aggregate.verdict.words import sentence, words
from sweepwise.core.errors import AggregateError
from sweepwise.core.value_format import format_value

COLUMNS = ["label", "a", "b", "n", "a_mean", "b_mean", "difference", "low", "high", "p", "identical",
           "a_unstable", "a_starts", "b_unstable", "b_starts"]  # fmt: skip


class Pair(NamedTuple):
    """The same configuration in both sweeps."""

    a: ConfigSource
    b: ConfigSource


@dataclass(frozen=True)
class TwoSweeps:
    """pairs: one line per configuration that both sweeps have. label, a, b (config_ids); n: seeds with a final result
    in both, a_mean and b_mean: over these; difference (b - a), its paired 95 % interval low to high, and p of the
    paired t test, corrected by Holm over configurations; identical: seeds with exactly the same result; of all seeds of
    each side, how many finished or diverged (starts) and how many of these diverged or collapsed (unstable).

    mean: the mean difference over the configurations with two seeds or more (`estimates.Contrast`), None without one.
    only_a, only_b: labels of configurations that the other sweep does not have. differ: hyperparameters that differ in
    every pair, with both values. origins: what the runs of both come from where that differs, by kind.
    """

    a: SweepSummary
    b: SweepSummary
    pairs: pd.DataFrame
    mean: Contrast | None
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    differ: Mapping[str, tuple[str, str]]
    origins: Mapping[str, tuple[str, str]]


def pair_configurations(a: SweepSource, b: SweepSource) -> list[Pair]:
    """The configurations with the same values of every hyperparameter that either sweep varies."""
    keys = sorted({*a.factors, *b.factors})
    in_b: dict[tuple[str, ...], list[ConfigSource]] = {}
    for config in b.configs:
        in_b.setdefault(_values(config, keys), []).append(config)
    pairs = []
    for config in a.configs:
        equal_configs = in_b.get(_values(config, keys), [])
        same = [other for other in equal_configs if other.config_id == config.config_id] or equal_configs
        if len(same) == 1:
            pairs.append(Pair(config, same[0]))
    return pairs


def _values(config: ConfigSource, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(format_value(config.config.get(key)) for key in keys)


def compare_sweeps(a: SweepSummary, b: SweepSummary) -> TwoSweeps:
    """Raises `AggregateError` where the results of the two do not compare, and where they have no configuration in
    common."""
    _check(a.source, b.source)
    pairs = pair_configurations(a.source, b.source)
    if not pairs:
        raise AggregateError(
            f"{a.source.name} and {b.source.name} have no configuration in common: none has the same values of "
            f"{', '.join(sorted({*a.source.factors, *b.source.factors})) or 'all hyperparameters'}"
        )
    differences = [_differences(a, b, pair) for pair in pairs]
    lines = [_line(a, b, pair, own) for pair, own in zip(pairs, differences, strict=True)]
    table = pd.DataFrame(lines, columns=COLUMNS)
    paired = {config_id for pair in pairs for config_id in (f"a {pair.a.config_id}", f"b {pair.b.config_id}")}
    only_a, only_b = (
        tuple(config.name for config in side.source.configs if f"{name} {config.config_id}" not in paired)
        for name, side in (("a", a), ("b", b))
    )
    table["p"] = estimates.holm(table["p"].to_numpy(dtype=float))
    known = [own["difference"].to_numpy() for own in differences if len(own) > 1]
    weights = np.full(len(known), 1 / max(len(known), 1))
    mean = estimates.contrast(weights, *estimates.moments(known)) if known else None
    return TwoSweeps(a, b, table, mean, only_a, only_b, _differ(pairs), _origins(a, b))


def _check(a: SweepSource, b: SweepSource) -> None:
    if a.agent.name != b.agent.name:
        raise AggregateError(f"{a.name} is of agent {a.agent.name}, {b.name} of {b.agent.name}: they do not compare")
    tasks = [sorted({config.task_of(side.agent) for config in side.configs}) for side in (a, b)]
    if tasks[0] != tasks[1]:
        shown = [", ".join(own) for own in tasks]
        raise AggregateError(f"{a.name} is of {shown[0]}, {b.name} of {shown[1]}: results of tasks do not compare")


def _differences(a: SweepSummary, b: SweepSummary, pair: Pair) -> pd.DataFrame:
    """seed, a, b and difference, one line per seed with a final result in both."""
    own = [
        side.scores.loc[side.scores["config_id"] == config.config_id].set_index("seed")["final_primary"].dropna()
        for side, config in ((a, pair.a), (b, pair.b))
    ]
    both = pd.concat(own, axis=1, join="inner", keys=["a", "b"]).sort_index()
    return both.assign(difference=both["b"] - both["a"]).reset_index()


def _line(a: SweepSummary, b: SweepSummary, pair: Pair, own: pd.DataFrame) -> dict[str, Any]:
    identical = int((own["difference"] == 0).sum())
    line: dict[str, Any] = {
        "label": pair.b.name, "a": pair.a.config_id, "b": pair.b.config_id, "n": len(own), "identical": identical,
        "a_mean": own["a"].mean(), "b_mean": own["b"].mean(), "difference": own["difference"].mean(),
    }  # fmt: skip
    if len(own) > 1:
        paired = estimates.paired_t(own["b"].to_numpy(), own["a"].to_numpy())
        half, p = float(paired.half_width()), float(paired.p)
        if not np.isfinite(p) and identical == len(own):  # a difference of 0 without any variance
            half, p = 0.0, 1.0
        line |= {"low": line["difference"] - half, "high": line["difference"] + half, "p": p}
    for side, sweep, config in (("a", a, pair.a), ("b", b, pair.b)):
        (outcomes,) = outcomes_of(sweep.scores, [config.config_id])
        line |= {f"{side}_unstable": outcomes.unstable, f"{side}_starts": outcomes.starts}
    return line


def _differ(pairs: Sequence[Pair]) -> dict[str, tuple[str, str]]:
    """Hyperparameters that differ in every pair, by the same two values."""
    differences: dict[str, tuple[str, str]] = {}
    for key in sorted({key for pair in pairs for key in (*pair.a.config, *pair.b.config)}):
        values = {(format_value(pair.a.config.get(key)), format_value(pair.b.config.get(key))) for pair in pairs}
        if len(values) == 1 and (only := next(iter(values)))[0] != only[1]:
            differences[key] = only
    return differences


def _origins(a: SweepSummary, b: SweepSummary) -> dict[str, tuple[str, str]]:
    """Kind of `provenance.KINDS` -> its values in both, where they are not the same."""
    differences = {}
    for kind in KINDS:
        values = [", ".join(sorted({value or "not recorded" for value in side.origins[kind]})) for side in (a, b)]
        if values[0] != values[1]:
            differences[kind] = (values[0], values[1])
    versions = [", ".join(sorted({str(c.version) for c in side.source.configs if c.version})) for side in (a, b)]
    return differences | ({"agent version": (versions[0], versions[1])} if versions[0] != versions[1] else {})


# --- in words -----------------------------------------------------------------------------------------------


def format_two_sweeps(comparison: TwoSweeps) -> Iterator[str]:
    """What the comparison says, the most important sentence first."""
    table, of_agent = comparison.pairs, words(comparison.b)
    runs, identical = int(table["n"].sum()), int(table["identical"].sum())
    if not runs:
        yield f"No seed has a {of_agent.final} in both."
    elif identical == runs:
        yield f"All {runs} results are exactly the same."
    else:
        yield from _format_mean(comparison, runs, identical)
        significant = table[table["p"] < ALPHA]
        names = []
        for line in significant.to_dict("records"):
            difference = signed_estimate(line["difference"], line["low"], line["high"])
            names.append(f"{line['label']} ({difference}, {probability(line['p'])})")
        listed = "; ".join(names) or "none"
        yield sentence(f"significantly different (paired t test, Holm over {len(table)}): {listed}.")
    unstable = [f"{int(table[f'{side}_unstable'].sum())} of {int(table[f'{side}_starts'].sum())}" for side in "ab"]
    yield f"Seeds that diverged or collapsed: A {unstable[0]}, B {unstable[1]}."
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        if count := len(side.excluded.runs):
            yield f"{name} leaves out {count} excluded run{'s' if count > 1 else ''}."
    for name, labels in (("A", comparison.only_a), ("B", comparison.only_b)):
        if labels:
            yield f"Only in {name}: {', '.join(labels)}."
    for title, different in (("They differ in", comparison.differ), ("The runs come from", comparison.origins)):
        if different:
            yield f"{title}: {'; '.join(f'{key} {one} / {two}' for key, (one, two) in different.items())}."


def _format_mean(comparison: TwoSweeps, runs: int, identical: int) -> Iterator[str]:
    table, of_agent = comparison.pairs, words(comparison.b)
    if comparison.mean is not None and np.isfinite(comparison.mean.p):
        half = float(comparison.mean.half_width())
        value = float(comparison.mean.estimate)
        effect = signed_estimate(value, value - half, value + half)
        is_better = value * comparison.b.source.agent.catalogue.sign > 0
        claim = "no significant difference"
        if comparison.mean.p < ALPHA:
            claim = f"significantly {'better' if is_better else 'worse'}"
        count = int((table["n"] > 1).sum())
        over = f"on average over {count} configurations" if count > 1 else "in one configuration"
        yield sentence(f"{over}, the {of_agent.final} of B is {effect} compared with A: {claim} "
                       f"({probability(float(comparison.mean.p))}, differences paired by seed).")  # fmt: skip
    if identical:
        yield f"{identical} of {runs} results are exactly the same."
