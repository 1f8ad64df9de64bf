"""The plan's questions as contrasts: what each compares, on which endpoint, corrected for multiple testing.

All contrasts on primary endpoints are one family for Holm's correction. Those on further endpoints are secondary:
corrected within their endpoint and reported, but they answer no question.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from aggregate import flags
from aggregate.analysis.factor_contrasts import Axis, axes, group_codes, level_positions
from aggregate.analysis.factor_effects import Cells, effect
from aggregate.analysis.question_claims import Stability, Starts, equivalence, stability
from aggregate.inputs.plan_questions import ENDPOINTS, Question, Term, endpoint, term_of
from aggregate.inputs.runs import ConfigSource, SweepSource
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import InterimAnalyses

PLANNED, ADDED = "asked in the plan", "not asked"
COLUMNS = ["question", "endpoint", "deciding", "family", "axis", "inner", "factor", "low", "high", "levels", "runs",
           "estimate", "ci_low", "ci_high", "sd", "p_raw", "detectable", "needed", "k_low", "n_low", "k_high", "n_high",
           "by_level", "stability", "p_alike", "alike_power", "p", "p_unstable", "distinct"]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Contrast:
    """One contrast.

    question: index in `all_questions`. deciding: whether it is on the primary endpoint. family: contrasts of equal
    family are corrected together. inner: a level between the ends of the axis that is compared with both ends, "" for
    the slope between these.
    """

    question: int
    endpoint: str
    deciding: bool
    axis: Axis
    family: str
    inner: str = ""

    @property
    def judges_stability(self) -> bool:
        """Whether unstable seeds count against its answer."""
        return self.deciding and not self.inner and ENDPOINTS[self.endpoint].of_primary


def all_questions(sweep: SweepSource) -> tuple[Question, ...]:
    """The plan's questions, then one per swept hyperparameter that they do not name; one for all without questions."""
    if not sweep.questions:
        return (Question("What do the swept hyperparameters do?", on=("final", "fall")),) if sweep.factors else ()
    named = {key for question in sweep.questions for key in question.keys or sweep.factors}
    rest = [Question(f"What does {key} do?", (term_of(key),), on=("final", "fall")) for key in sweep.factors
            if key not in named]  # fmt: skip
    everywhere = np.ones(len(sweep.all_configs), dtype=bool)
    return (*sweep.questions, *(question for question in rest
            if any(axis.weights(everywhere).any() for axis in question_axes(question, sweep))))  # fmt: skip


def contrasts_by_question(
    sweep: SweepSource, scores: pd.DataFrame, findings: pd.DataFrame, margin: float = np.nan
) -> pd.DataFrame:
    """`COLUMNS`, one line per question, endpoint and factor for which there are runs to compare.

    scores, findings: of `sweep.all_configs`. inner: a level between the ends, compared with the better of these
    (`low`); "" for the slope. estimate: the change of the mean, or of the share of runs. k_low of n_low, k_high of
    n_high: runs with the flag at both ends, empty for other endpoints. by_level: (level, mean) of each. p: after Holm's
    correction within the family: primary endpoints of the plan's questions, of other questions, each further endpoint.

    Of a deciding value of the primary metric also: stability: (level, unstable seeds, seeds) of each; p_unstable: of
    the two ends, after Holm's correction within the family; p_alike and alike_power: see `question_claims.equivalence`,
    after Bonferroni's. Where the shares of unstable seeds of a family could be significant, they and the means have
    half of the level each: all these p values are doubled. All p but p_raw are corrected for interim analyses.
    margin: the smallest relevant difference, NaN where unknown.
    """
    ids = [config.config_id for config in sweep.all_configs]
    measured = {name: _cells(name, scores, findings, ids) for name in {n for q in all_questions(sweep) for n in q.on}}
    seeds, healthy = Starts.of(scores, ids), Cells.of(scores, "healthy_primary", ids)
    contrasts = list(_contrasts(sweep))
    stable = {c: stability(c.axis, seeds) for c in contrasts if c.judges_stability}
    weighted = [(c, weights) for c in contrasts for weights in [_weights(c, measured[c.endpoint])]
                if weights.any() or (c in stable and stable[c].p < estimates.ALPHA)]  # fmt: skip
    families = [contrast.family for contrast, _ in weighted]
    shared = _families_of_both_claims({c: stable[c] for c, _ in weighted if c in stable}, sweep.interim_analyses)
    lines = []
    for c, weights in weighted:
        count = families.count(c.family) * (1 + (c.family in shared))
        tests = sweep.interim_analyses.tests(count)
        line = {"question": c.question, "endpoint": c.endpoint, "deciding": c.deciding, "family": c.family,
                "axis": f"{c.axis.factor}: {c.axis.low}, {c.axis.high}", "inner": c.inner,
                **_judged(c, weights, measured[c.endpoint], sweep, tests)}  # fmt: skip
        if c in stable:
            alike = equivalence(c.axis, healthy, margin if c.endpoint == "final" else np.nan, tests)
            p_alike = min(1.0, count * float(sweep.interim_analyses(np.array(alike.p))))
            line |= {"stability": stable[c].levels, "p_unstable": stable[c].p, "p_alike": p_alike,
                     "alike_power": alike.power}  # fmt: skip
        lines.append(line)
    return _with_corrected_p(pd.DataFrame(lines, columns=COLUMNS[:-1]), shared, sweep.interim_analyses)


def _families_of_both_claims(judged: Mapping[_Contrast, Stability], analyses: InterimAnalyses) -> frozenset[str]:
    """The families in which so many seeds are unstable that a test of their shares could claim something."""
    count = Counter(c.family for c in judged)
    return frozenset(
        c.family for c, own in judged.items()
        if float(analyses(np.array(own.smallest))) * count[c.family] < estimates.ALPHA / 2
    )  # fmt: skip


def _with_corrected_p(table: pd.DataFrame, shared: frozenset[str], analyses: InterimAnalyses) -> pd.DataFrame:
    """With p, from p_raw, and p_unstable corrected within families; `shared`: see `_families_of_both_claims`."""
    if table.empty:
        return table.assign(distinct=pd.Series(dtype=bool))
    doubled = np.where(table["family"].isin(shared), 2.0, 1.0)
    corrected = {}
    for name, raw in (("p", "p_raw"), ("p_unstable", "p_unstable")):
        by_family = table[raw].astype(float).groupby(table["family"])
        holm = by_family.transform(lambda one: estimates.holm(analyses(one.to_numpy())))
        corrected[name] = np.minimum(holm * doubled, 1.0)
    return table.assign(**corrected, distinct=corrected["p"] < estimates.ALPHA)


# --- contrasts ------------------------------------------------------------------------------------------


def _contrasts(sweep: SweepSource) -> Iterator[_Contrast]:
    for number, question in enumerate(all_questions(sweep)):
        family = PLANNED if number < len(sweep.questions) else ADDED
        for axis in question_axes(question, sweep):
            for place, name in enumerate(question.on):
                yield _Contrast(number, name, place == 0, axis, name if place else family)
                for inner in axis.names[1:-1] if not place and not ENDPOINTS[name].rate else ():
                    yield _Contrast(number, name, True, axis, family, inner)


def question_axes(question: Question, sweep: SweepSource) -> Iterator[Axis]:
    """The contrasts that a question asks for, over `sweep.all_configs`."""
    configs = sweep.all_configs
    if not question.by:
        if len(configs) == len(sweep.configs):
            yield from axes(sweep)[0]
        return
    baseline = next((i for i, config in enumerate(configs) if config.is_baseline), 0)
    others = (config for name in question.beside for config in sweep.beside.get(name, ()))
    compared = {config.config_id for config in (*sweep.configs, *others)}
    for text in question.by:
        values = [Term(text).value(_values_of(config)) if config.config_id in compared else None for config in configs]
        alike = _alike(question, Term(text), configs)
        for names, x in level_positions(values, values[baseline], question.levels):
            yield Axis(text, names, x, (alike,))


def _values_of(config: ConfigSource) -> Any:
    """Function from hyperparameter to value in the configuration; None for one that it does not vary."""
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in config.config.items()}
    return lambda key: config.factors.get(key) if key in config.factors else frozen.get(key)


def _alike(question: Question, term: Term, configs: Sequence[ConfigSource]) -> np.ndarray:
    """Codes (configurations,), equal where all terms that the question holds equal are, and all that no sweep
    varies."""
    swept = dict.fromkeys(key for config in configs for key in config.factors)
    terms = question.alike if question.alike is not None else [key for key in swept if key not in term.keys]
    rest = sorted({key for config in configs for key in config.config} - set(swept))
    return group_codes([
        (*(Term(text).value(_values_of(config)) for text in terms),
         *(json.dumps(config.config.get(key), default=str) for key in rest))
        for config in configs
    ])  # fmt: skip


# --- measurements ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rates:
    """Runs that raise a flag, and runs that could be judged, each (configurations,)."""

    raised: np.ndarray
    judged: np.ndarray


def _cells(name: str, scores: pd.DataFrame, findings: pd.DataFrame, ids: Sequence[str]) -> Cells | _Rates:
    column = ENDPOINTS[name].column
    if not ENDPOINTS[name].rate:
        return Cells.of(scores, column, ids)
    own = findings[(findings["flag"] == column) & (findings["state"] != flags.NOT_ASSESSABLE)]
    raised = own.assign(raised=own["state"] == flags.FLAG).groupby("config_id")["raised"]
    counted = raised.agg(["sum", "count"]).reindex(ids, fill_value=0)
    return _Rates(counted["sum"].to_numpy(dtype=int), counted["count"].to_numpy(dtype=int))


def _weights(contrast: _Contrast, measured: Cells | _Rates) -> np.ndarray:
    available = measured.judged > 0 if isinstance(measured, _Rates) else measured.counts > 1
    weights = contrast.axis.weights(available)
    if contrast.inner:  # compared with each end
        ends = (contrast.axis.between(end, contrast.inner) for end in (contrast.axis.low, contrast.axis.high))
        if not all(one.weights(available).any() for one in ends):
            return np.zeros(available.size)
    if isinstance(measured, _Rates) and not all((weights[contrast.axis.position == end] != 0).any() for end in (0, 1)):
        return np.zeros(available.size)  # only the two ends are compared
    return weights


def _judged(
    contrast: _Contrast, weights: np.ndarray, measured: Cells | _Rates, sweep: SweepSource, tests: float
) -> dict[str, Any]:
    axis, used = contrast.axis, weights != 0
    if isinstance(measured, _Rates):
        return _rates(axis, used, measured, tests)
    levels = [(name, (measured.counts > 0) & axis.at(name)) for name in axis.names]
    by_level = [(name, float(measured.means[own].mean())) for name, own in levels if own.any()]
    if not contrast.inner:
        return {**effect(axis, weights, measured, tests), "by_level": by_level}
    up = endpoint(contrast.endpoint, sweep.agent.catalogue).better == "up"
    line = _inner(contrast, measured, 1 if up else -1, tests)
    return {**line, "by_level": by_level}


def _inner(contrast: _Contrast, measured: Cells, sign: int, tests: float) -> dict[str, Any]:
    """An inner level against the better end level. "Better than both ends" is significant where both comparisons are,
    so the larger p is taken; 1 where the inner level is not better. sign: 1 where a higher endpoint is better."""
    axis = contrast.axis
    both = [axis.between(end, contrast.inner) for end in (axis.low, axis.high)]
    lines = [effect(one, one.weights(measured.counts > 1), measured, tests) for one in both]
    line = min(lines, key=lambda end: sign * end["estimate"])
    p = max(end["p_raw"] for end in lines) if sign * line["estimate"] > 0 else 1.0
    return {**line, "p_raw": p, "levels": axis.levels}


def _rates(axis: Axis, used: np.ndarray, measured: _Rates, tests: float) -> dict[str, Any]:
    """The two end levels, by Fisher's exact test; the difference of shares with Newcombe's interval."""
    ends = [used & (axis.position == end) for end in (0, 1)]
    (k0, n0), (k1, n1) = ((int(measured.raised[end].sum()), int(measured.judged[end].sum())) for end in ends)
    low, high = estimates.share_difference(k0, n0, k1, n1)
    seeds = max(1.0, float(np.median(measured.judged[ends[0] | ends[1]])))
    runs_needed = estimates.runs_needed(k0 / n0, k1 / n1, tests)
    return {
        "factor": axis.factor, "low": axis.low, "high": axis.high, "levels": axis.levels, "runs": n0 + n1,
        "estimate": k1 / n1 - k0 / n0, "ci_low": low, "ci_high": high,
        "p_raw": float(stats.fisher_exact([[k1, n1 - k1], [k0, n0 - k0]]).pvalue), "detectable": np.nan,
        "needed": float(np.ceil(runs_needed / min(n0, n1) * seeds)),
        "k_low": k0, "n_low": n0, "k_high": k1, "n_high": n1, "by_level": [],
    }  # fmt: skip
