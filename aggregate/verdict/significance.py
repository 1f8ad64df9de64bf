"""Sentences about the best configuration and how the others compare with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.analysis.configuration_comparison import ALIKE, BEHIND, LESS_STABLE, OPEN, TRADE_OFF, pairing_of
from aggregate.analysis.summary import MARGIN_SHARE, SweepSummary
from aggregate.statistics.estimates import ALPHA, FEWEST_PAIRS
from aggregate.statistics.seed_effect import seed_effect
from aggregate.verdict.leader import leading_interval
from aggregate.verdict.number_format import estimate, number, probability
from aggregate.verdict.stability import count_unstable, unjudged
from aggregate.verdict.words import points, sentence, words
from sweepwise.core.value_format import listed

MOST_NAMED = 6  # configurations that are listed one by one,
MOST_RIVALS = 2  # in the headline


def format_headline(sweep: SweepSummary) -> str:
    """The best configuration with its result; with unstable seeds also what one start is expected to reach."""
    best, alone = sweep.ranking.iloc[0], len(sweep.ranking) == 1
    config = sweep.config(str(best["config_id"]))
    name = config.label or sentence(config.name)
    low, high = leading_interval(sweep)
    final = f"a {words(sweep).final} of {estimate(best['final_primary_mean'], low, high)}, n={best['final_primary_n']}"
    verb = "reaches" if alone else "is best, with"
    unstable = count_unstable(sweep, best["config_id"])
    if not unstable:
        judged = not alone and sweep.contrasts["unstable"].any() and not unjudged(sweep, best["config_id"])
        others = "; none of its seeds diverged or collapsed" if judged else ""
        return f"{name} {verb} {final}{others}{_claim(sweep)}"
    expected = f"an expected {words(sweep).primary} of {number(best['start_primary_mean'])} for one run"
    reached = f", the finished ones reach {final}" if best["final_primary_n"] else ""
    return f"{name} {verb} {expected}: {unstable}{reached}{_claim(sweep)}"


def _claim(sweep: SweepSummary) -> str:
    """Whether the best configuration is significantly better than the others, or than which it is not."""
    texts = []
    count = len(sweep.contrasts) - 1
    for relation, text in ((TRADE_OFF, "a trade-off with"), (OPEN, "not significantly better than")):
        lines = _of(sweep, relation)
        if len(lines) > MOST_RIVALS:
            texts.append(f"; {text} {'any other' if len(lines) == count else f'{len(lines)} of the {count} others'}")
        elif lines:
            texts.append(f"; {text} {' and '.join(_rival(sweep, line) for line in lines)}")
    if count and len(_of(sweep, BEHIND)) == count:
        every = {1: "the other", 2: "both others"}.get(count, f"all {count} others")
        texts.append(f"; significantly better than {every}")
    return "".join(texts)


def _rival(sweep: SweepSummary, line: dict[str, Any]) -> str:
    """A configuration; if its finished runs are better than the best one's, also why it is not the best."""
    name, unstable = sweep.config(line["config_id"]).name, count_unstable(sweep, line["config_id"])
    if sweep.source.agent.catalogue.sign * line["difference"] < 0 and unstable:  # the best one less this one
        mean = sweep.ranking.set_index("config_id").at[line["config_id"], "final_primary_mean"]
        return f"{name} (its finished runs reach {number(mean, (line['high'] - line['low']) / 2)}, but {unstable})"
    return name


def format_significance(sweep: SweepSummary) -> str:
    """How the other configurations compare with the best one; "" for a single configuration."""
    others = sweep.contrasts.iloc[1:]
    if others.empty:
        return ""
    if others["p"].isna().all() and not others["distinct"].any():
        return "Nothing: a difference needs at least two finished seeds on both sides."
    return " ".join(text for text in (format_relations(sweep), _by_baseline_alone(sweep), _selection(sweep)) if text)


def format_relations(sweep: SweepSummary) -> str:
    """What is claimed of the other configurations, by kind of claim."""
    return " ".join([*_behind(sweep), *_less_stable(sweep), *_trade_offs(sweep), *_alike(sweep), *_open(sweep)])


def format_margin(sweep: SweepSummary) -> str:
    """The smallest relevant difference, as in "45 return points"; "" where unknown."""
    if not np.isfinite(sweep.margin.value):
        return ""
    return f"{number(sweep.margin.value)}{points(sweep.source.agent.catalogue.primary)}"


def explain_margin(sweep: SweepSummary) -> str:
    """The smallest relevant difference and where it comes from; "" where unknown."""
    if not (margin := format_margin(sweep)):
        baseline = sweep.ranking[sweep.ranking["is_baseline"]]
        if sweep.random is None or baseline.empty:
            return ""
        why = "the baseline's interval does not exclude random actions"
        if (baseline["healthy_primary_n"] < 2).any():
            why = "fewer than two runs of the baseline finished without a collapse"
        return f"Unknown: {why}; set `margin` in the plan."
    if sweep.margin.declared:
        return f"{margin}, set by the plan (`margin`)."
    share = f"{100 * MARGIN_SHARE:.0f} % of the baseline's gain over random actions"
    return f"{margin}: {share}, since the plan sets no `margin`."


def format_seed_effect(sweep: SweepSummary) -> str:
    """Whether a seed does alike under all configurations, of the seeds that finished under all of them without a
    collapse, and which comparisons are paired by seed; "" with fewer than two configurations or three such seeds, and
    for imports, whose seeds have nothing in common."""
    if any(config.imported for config in sweep.source.configs):
        return ""
    return f"{_seed_effect(sweep)} {format_pairing(sweep, sweep.contrasts[1:], 'the best configuration')}".strip()


def _seed_effect(sweep: SweepSummary) -> str:
    table = sweep.scores.pivot(index="config_id", columns="seed", values="healthy_primary").dropna(axis="columns")
    if min(table.shape[0], table.shape[1] - 1) < 2:
        return ""
    effect = seed_effect(table.to_numpy(dtype=float))
    if not np.isfinite(effect.p):
        return ""
    tested = f"F test of the seeds {probability(effect.p)}; {table.shape[1]} seeds in {table.shape[0]} configurations"
    none = "" if sweep.source.paired else " No test pairs runs by seed."
    return f"Results of one seed correlate by {number(effect.rho, 0.05)} ({tested}).{none}"


def format_pairing(sweep: SweepSummary, contrasts: pd.DataFrame, other: str) -> str:
    """Which of the comparisons with `other` are paired by seed, and why the rest are not; "" where the plan does not
    declare it. contrasts: config_id, pairs, rho of each (`estimates.Differences`)."""
    if not sweep.source.paired or contrasts.empty:
        return ""
    used = contrasts[contrasts["pairs"] > 0]
    lost = pairing_of(sweep.scores).without
    compared_with = sweep.source.baseline if other == "the baseline" else str(sweep.contrasts["config_id"].iloc[0])
    rest = [
        f"{sweep.config(name).name} ({_why_not_paired(name in lost, compared_with in lost, other)})"
        for name in contrasts.loc[contrasts["pairs"] == 0, "config_id"]
    ]
    how = f"Paired by seed, as the plan declares: {len(used)} of {len(contrasts)} comparisons with {other}"
    rho = f", correlation {_span(used['rho'], 2)}" if used["rho"].notna().any() else ""
    common = f" (paired t test, {_span(used['pairs'], 0)} common seeds{rho})"
    welch = f" Welch's test for {listed(rest, MOST_NAMED, '; ')}." if rest else ""
    return f"{how}{common if len(used) else ''}.{welch}"


def _why_not_paired(lost: bool, other_lost: bool, other: str) -> str:
    if lost:
        return "a seed diverged or may have"
    return f"a seed of {other} diverged or may have" if other_lost else f"fewer than {FEWEST_PAIRS} common seeds"


def _span(values: pd.Series, places: int) -> str:
    """`0.62`, or `0.62 to 0.81`."""
    low, high = (f"{value:.{places}f}".replace("-", "\N{MINUS SIGN}") for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _of(sweep: SweepSummary, relation: str) -> list[dict[str, Any]]:
    others = sweep.contrasts.iloc[1:]
    return list(others[others["relation"] == relation].to_dict("records"))


def _labels(sweep: SweepSummary, lines: Sequence[dict[str, Any]]) -> str:
    return listed([sweep.config(line["config_id"]).name for line in lines], MOST_NAMED, "; ")


def _behind(sweep: SweepSummary) -> Iterator[str]:
    below = len(_worse_below_margin(sweep))
    count, total = len(_of(sweep, BEHIND)) + below, len(sweep.contrasts) - 1
    if total == 1 and not count and sweep.contrasts["relation"].iloc[1] in (TRADE_OFF, LESS_STABLE):
        return
    if total == 1:
        small = ", but by less than the relevant difference" if below else ""
        yield f"The other is {'' if count else 'not '}significantly worse ({_test(sweep)}){small}."
        return
    who = {0: "None", total: "All"}.get(count, f"{count}")
    verb = "is" if count == 1 else "are"
    yield f"{who} of the {total} others {verb} significantly worse ({_test(sweep)}, Holm over all pairs)."


def _test(sweep: SweepSummary) -> str:
    """The name of the test behind the comparisons with the best configuration."""
    paired = sweep.contrasts["pairs"].iloc[1:] > 0
    return "paired t test" if paired.all() else "paired t test or Welch test" if paired.any() else "Welch test"


def _worse_below_margin(sweep: SweepSummary) -> list[dict[str, Any]]:
    """The configurations that are alike and significantly different all the same."""
    return [line for line in _of(sweep, ALIKE) if line["p"] < ALPHA]


def _less_stable(sweep: SweepSummary) -> Iterator[str]:
    for line in _of(sweep, LESS_STABLE):
        named, unstable = sweep.config(line["config_id"]).name, count_unstable(sweep, line["config_id"])
        yield f"Less stable: {named}, {unstable}; the means of finished runs are not significantly different."


def _trade_offs(sweep: SweepSummary) -> Iterator[str]:
    """Configurations with the higher mean on one side and the fewer unstable seeds on the other."""
    sign, leader = sweep.source.agent.catalogue.sign, sweep.contrasts.iloc[0]
    for line in _of(sweep, TRADE_OFF):
        difference = estimate(abs(line["difference"]), *_towards(line))
        side = "worse" if sign * line["difference"] > 0 else "better"
        by = f"{side} by {difference}{points(sweep.source.agent.catalogue.primary)}"
        own, leads = (
            count_unstable(sweep, one["config_id"]) or f"none of {one['starts']} seeds diverged or collapsed"
            for one in (line, leader)
        )
        named = sweep.config(line["config_id"]).name
        yield f"Trade-off: where it finishes, {named} is {by}, but {own}; of the best configuration, {leads}."


def _towards(line: dict[str, Any]) -> tuple[float, float]:
    """The interval of the size of the difference."""
    return (line["low"], line["high"]) if line["difference"] > 0 else (-line["high"], -line["low"])


def _alike(sweep: SweepSummary) -> Iterator[str]:
    if lines := _of(sweep, ALIKE):
        rates = ", but not that their rates of collapse are" if sweep.contrasts["unstable"].any() else ""
        worse = _worse_below_margin(sweep) if len(sweep.contrasts) > 2 else []
        below = f" Significantly worse, but by less than that: {_labels(sweep, worse)}." if worse else ""
        margin = f"Alike within ±{format_margin(sweep)}, of seeds that did not collapse{rates}"
        yield f"{margin}: {_labels(sweep, lines)}.{below}"


def _open(sweep: SweepSummary) -> Iterator[str]:
    if lines := _of(sweep, OPEN):
        yield f"Not significantly different from the best configuration: {_labels(sweep, lines)}."


def _by_baseline_alone(sweep: SweepSummary) -> str:
    """That the best configuration and the baseline are significantly different where p is corrected over the
    comparisons with the baseline, which are fewer, but not where it is corrected as in the ranking."""
    best, baseline = str(sweep.contrasts["config_id"].iloc[0]), sweep.source.baseline
    not_claimed = {line["config_id"] for line in _of(sweep, OPEN)}
    lines = [
        line for line in sweep.baseline.to_dict("records")
        if line["distinct"] and best in (baseline, line["config_id"])
        and not_claimed & {baseline, line["config_id"]}
    ]  # fmt: skip
    if not lines:
        return ""
    count = len(sweep.contrasts)
    tests = f"all {count * (count - 1) // 2} pairs" if count > 2 else "the test of stability too"
    only = f", Holm over {len(sweep.baseline)}" if len(sweep.baseline) > 1 else ""
    if best != baseline:
        who = "the best configuration is significantly better"
    else:
        who = f"{_labels(sweep, lines)} {'is' if len(lines) == 1 else 'are'} significantly worse"
    largest = f"{'' if len(lines) == 1 else 'largest '}{probability(max(line['p'] for line in lines))}"
    return (
        f"Compared with the baseline alone, {who} ({largest}{only}); the ranking, where the best "
        f"configuration was selected by its results, corrects for {tests}."
    )


def _selection(sweep: SweepSummary) -> str:
    count = int((sweep.ranking["final_primary_n"] > 0).sum())
    if count < 2 or sweep.source.confirms:  # a confirmation fixes both beforehand
        return ""
    corrected = f"The interval of the best configuration is corrected for its selection from {count} configurations"
    if all(config.imported for config in sweep.source.configs):  # nothing that could be trained
        return f"{corrected}."
    return f"{corrected}; `sweeps confirm {sweep.source.name}` gives an unbiased mean."
