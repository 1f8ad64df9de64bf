"""How often the verdict is right: sweeps of the packaged plan with known truth, judged; writes docs/verdict.md.

    python benchmarks/verdicts.py                                about 30 minutes of one core
    python benchmarks/verdicts.py --draws 3 --out /tmp/try       a try

Runs are drawn as scores, not as curves: what detectors make of curves is measured by benchmarks/flags.py.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rows import write_page

from aggregate import flags
from aggregate.analysis.configuration_comparison import ALIKE, APART, ConfigurationComparison
from aggregate.analysis.question_claims import ALIKE as ALIKE_LEVELS
from aggregate.analysis.question_claims import OPEN, STABLE, TRADE_OFF, claim
from aggregate.analysis.question_contrasts import contrasts_by_question
from aggregate.analysis.run_outcomes import COLLAPSED, DIVERGED, FINISHED
from aggregate.inputs.plan_questions import endpoint
from aggregate.inputs.runs import ConfigSource, SweepSource
from aggregate.statistics import estimates
from aggregate.statistics.selected_mean import selected_interval
from jobs.planning import plan
from jobs.planning.expand import expand
from tdmpc.description import DESCRIPTION

ROOT = Path(__file__).resolve().parents[1]
SEEDS, RANDOM, LEVEL = 6, 20.0, 520.0  # of a configuration; mean result of random actions and of a healthy run
MARGIN, EFFECT, SD = 50.0, 80.0, 40.0  # smallest relevant difference, from one end of a factor to the other, of seeds
POPULATION = 3000  # seeds that stand for the truth
LEAST = {False: 0.15 * EFFECT, True: 0.05}  # true differences below are none: of values, of shares
RIGHT, WRONG, LEFT_OPEN, CAUTIOUS = "right", "wrong", "left open", "trade-off"


@dataclass(frozen=True)
class World:
    """What is true of a sweep. sd: of seeds. effect: of every swept key on the final result, from its lowest to its
    highest value. product: only the product of learning rate and update count has that effect. collapse, diverge: share
    of seeds at the highest level of the first swept key. everywhere: share of collapsing seeds in all
    configurations."""

    about: str
    sd: float = SD
    effect: float = 0.0
    product: bool = False
    collapse: float = 0.0
    diverge: float = 0.0
    everywhere: float = 0.0


WORLDS = {
    "nothing": World("all configurations are equal"),
    "quiet": World("all are equal, and seeds spread by 0.3 margins", sd=0.3 * MARGIN),
    "effect": World("every hyperparameter has an effect of 2 SD from its lowest to its highest value", effect=EFFECT),
    "product": World("only learning rate times update count has an effect", effect=EFFECT, product=True),
    "collapse": World("half of the seeds at the first hyperparameter's highest level collapse", collapse=0.5),
    "diverge": World("two in five seeds there diverge, and the others gain 2 SD", effect=EFFECT, diverge=0.4),
    "rare": World("one seed in ten collapses everywhere", everywhere=0.1),
}


# --- made-up sweeps -------------------------------------------------------------------------------------


@functools.cache
def sweeps() -> dict[str, SweepSource]:
    """The packaged plan's sweeps and options, with those that their questions need."""
    packaged = plan.load()
    known = {sweep.name: (sweep, _configs(packaged, sweep)) for sweep in packaged.sweeps}
    return {
        name: SweepSource(
            name, sweep.goal, sweep.questions, sweep.factors, configs, DESCRIPTION, margin=MARGIN,
            beside={other: known[other][1] for question in sweep.questions for other in question.beside},
        )
        for name, (sweep, configs) in known.items()
    }  # fmt: skip


def _configs(packaged: plan.Plan, sweep: plan.Sweep) -> tuple[ConfigSource, ...]:
    return tuple(
        ConfigSource(c.config_id, c.label, {k: _frozen(v) for k, v in c.factors.items()}, c.is_baseline,
                     c.config.to_dict(), 100_000, ())
        for c in expand(packaged, sweep).configurations
    )  # fmt: skip


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def true_means(sweep: SweepSource, world: World) -> np.ndarray:
    """(configurations,) of the final result of a healthy run."""
    means = np.full(len(sweep.all_configs), LEVEL)
    if world.product:
        moved = [float(c.config["pi_lr_scale"]) / float(c.config["pi_update_freq"]) for c in sweep.all_configs]
        return means + world.effect * _position(moved)
    for key in sweep.factors:
        means += world.effect * _position([_frozen(c.config.get(key)) for c in sweep.all_configs])
    return means


def _position(values: Sequence[Any]) -> np.ndarray:
    """From 0 at the lowest value, or the first one of values without an order, to 1, in equal steps."""
    levels = list(dict.fromkeys(values))
    if all(isinstance(level, (int, float)) for level in levels):
        levels = sorted(levels)
    return np.array([levels.index(value) / max(1, len(levels) - 1) for value in values])


def draw(
    sweep: SweepSource, world: World, rng: np.random.Generator, seeds: int = SEEDS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(scores, findings) of `seeds` runs of every configuration."""
    ids = [config.config_id for config in sweep.all_configs]
    shape = (len(ids), seeds)
    bad = _position([_frozen(c.config.get(sweep.factors[0])) for c in sweep.all_configs])[:, None] == 1
    fallen = rng.random(shape) < np.where(bad, world.collapse, 0) + world.everywhere
    gone = rng.random(shape) < np.where(bad, world.diverge, 0)
    healthy = true_means(sweep, world)[:, None] + rng.normal(0, world.sd, shape)
    final = np.where(fallen, RANDOM + 0.4 * (healthy - RANDOM), healthy)
    outcome = np.where(gone, DIVERGED, np.where(fallen, COLLAPSED, FINISHED))
    drawn = {
        "final_primary": final,
        "healthy_primary": np.where(fallen, np.nan, healthy),
        "auc_primary": healthy - 100 + rng.normal(0, 20, shape),
        "fall_primary": np.where(fallen, 0.6, 0.05) * healthy + rng.normal(0, 20, shape),
        "final_policy": 0.8 * final,
        "noise_primary": rng.normal(30, 5, shape),
    }
    scores = pd.DataFrame({
        "config_id": np.repeat(ids, seeds), "seed": np.tile(np.arange(1, seeds + 1), len(ids)),
        "outcome": outcome.ravel(),
        **{name: np.where(gone, np.nan, values).ravel() for name, values in drawn.items()},
        "start_primary": np.where(gone, RANDOM, final).ravel(),
    })  # fmt: skip
    oscillates = rng.random(shape) < 0.3
    finished = scores[~gone.ravel()]
    parts = [
        finished[["config_id", "seed"]].assign(flag=flag, state=np.where(raised[~gone], flags.FLAG, flags.OK))
        for flag, raised in ((flags.COLLAPSE, fallen), ("log_std_oscillates", oscillates))
    ]
    return scores, pd.concat(parts, ignore_index=True)


# --- the plan's questions -------------------------------------------------------------------------------


Lines = dict[str, Any]


def claims(sweep: SweepSource, table: pd.DataFrame) -> Iterator[tuple[int, str, Any, Lines]]:
    """(question, axis, claim, slope) of every question and factor that has runs to compare."""
    for (question, axis), own in table[table["deciding"].astype(bool)].groupby(["question", "axis"], sort=False):
        (slope,) = own[own["inner"] == ""].to_dict("records")
        up = endpoint(slope["endpoint"], sweep.agent.catalogue).better == "up"
        yield question, axis, claim(slope, own[own["inner"] != ""].to_dict("records"), up=up), slope


def judged(claimed: Any, slope: Lines, true: Lines, sweep: SweepSource) -> str:
    """Whether a claim is true. true: the slope's line over the population, with `inner`, the inner levels that are
    better than both ends there."""
    measured = endpoint(slope["endpoint"], sweep.agent.catalogue)
    if claimed.kind == OPEN:
        return LEFT_OPEN
    if claimed.kind == ALIKE_LEVELS:
        return RIGHT if true["p_alike"] < 0.5 else WRONG
    if claimed.kind == STABLE:
        (_, k0, n0), *_, (_, k1, n1) = true["stability"]
        gap = (k1 / n1 - k0 / n0) * (1 if claimed.level == slope["low"] else -1)
        return RIGHT if gap > LEAST[True] else WRONG
    if claimed.inner is not None:
        right = claimed.level in true["inner"]
    else:
        better = (true["estimate"] > 0) == (measured.better == "up")
        right = abs(true["estimate"]) > LEAST[measured.rate] and (claimed.level == slope["high"]) == better
    return (CAUTIOUS if claimed.kind == TRADE_OFF else RIGHT) if right else WRONG


def truth(sweep: SweepSource, world: World) -> dict[tuple[int, str], Lines]:
    """The lines of a population, by question and axis."""
    table = contrasts_by_question(sweep, *draw(sweep, world, np.random.default_rng(0), POPULATION), MARGIN)
    lines = {}
    for (question, axis), own in table[table["deciding"].astype(bool)].groupby(["question", "axis"], sort=False):
        (slope,) = own[own["inner"] == ""].to_dict("records")
        inner = own[(own["inner"] != "") & own["distinct"].astype(bool) & (own["estimate"].abs() > LEAST[False])]
        lines[question, axis] = {**slope, "inner": set(inner["high"])}
    return lines


def questions(job: tuple[str, str, int]) -> tuple[Counter[str], int]:
    """(how often a question is answered how, draws with any wrong answer). job: sweep, world, draws."""
    name, world, draws = job
    sweep, true, counted, wrong = sweeps()[name], truth(sweeps()[name], WORLDS[world]), Counter[str](), 0
    for number in range(draws):
        scores, findings = draw(sweep, WORLDS[world], np.random.default_rng([1, number]))
        table = contrasts_by_question(sweep, scores, findings, MARGIN)
        kinds = [judged(claimed, slope, true[question, axis], sweep)
                 for question, axis, claimed, slope in claims(sweep, table)]  # fmt: skip
        counted.update(kinds)
        wrong += WRONG in kinds
    return counted, wrong


# --- the leader -----------------------------------------------------------------------------------------


def pair_of(rng: np.random.Generator, count: int, shares: Sequence[float], means: Sequence[float]) -> pd.DataFrame:
    """Scores of `count` configurations; seeds collapse to a third with a share and gain a mean, which are repeated."""
    share, mean = (np.resize(values, count)[:, None] for values in (shares, means))
    fallen = rng.random((count, SEEDS)) < share
    healthy = LEVEL + mean + rng.normal(0, SD, (count, SEEDS))
    final = np.where(fallen, healthy / 3, healthy).ravel()
    return pd.DataFrame({
        "config_id": np.repeat([f"c{i}" for i in range(count)], SEEDS), "final_primary": final, "start_primary": final,
        "healthy_primary": np.where(fallen, np.nan, healthy).ravel(),
        "outcome": np.where(fallen, COLLAPSED, FINISHED).ravel(),
    })  # fmt: skip


# Name -> (shares of seeds that collapse, gains in means), over configurations.
LEADERS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "equal": ((0.0,), (0.0,)),
    "equal, one seed in ten collapses": ((0.1,), (0.0,)),
    "equal, one in five collapses": ((0.2,), (0.0,)),
    "one configuration is 2 SD better": ((0.0,), (2 * SD, *[0.0] * 7)),
    "it is 2 SD better, but half of its seeds collapse": ((0.5, *[0.0] * 7), (2 * SD, *[0.0] * 7)),
    "one configuration's seeds collapse by half": ((0.5, *[0.0] * 7), (0.0,)),
}


def leader(name: str, count: int, draws: int) -> list[str]:
    """[share of sweeps with a false claim of the leader, of those that tell the worse one apart, mean regret by
    expected result, by the mean of finished runs that did not collapse]."""
    shares, means = LEADERS[name]
    share, mean = np.resize(shares, count), LEVEL + np.resize(means, count)
    expected = share * mean / 3 + (1 - share) * mean
    false = found = 0
    regrets = np.zeros(2)
    for number in range(draws):
        scores = pair_of(np.random.default_rng([2, number]), count, shares, means)
        out = ConfigurationComparison(margin=MARGIN)(scores)
        places = [int(config[1:]) for config in out["config_id"]]
        first = places[0]
        wrong = [relation in APART and (expected[first], -share[first]) <= (expected[place], -share[place])
                 for place, relation in zip(places, out["relation"], strict=True)]  # fmt: skip
        unlike = [relation == ALIKE and abs(mean[first] - mean[place]) >= MARGIN
                  for place, relation in zip(places, out["relation"], strict=True)]  # fmt: skip
        false += any(wrong) or any(unlike)
        found += any(relation in APART for relation in out["relation"])
        healthy = scores.groupby("config_id", sort=False)["healthy_primary"].mean().to_numpy()
        regrets += expected.max() - expected[[first, int(np.nanargmax(healthy))]]
    return [f"{false / draws:.3f}", f"{found / draws:.2f}", *(f"{regret / draws / SD:.2f}" for regret in regrets)]


# --- equivalence and selection --------------------------------------------------------------------------


def alike(trials: int, spread: float, gap: float, tests: int) -> float:
    """Share of pairs that are shown to be alike. spread, gap: SD of seeds and true difference, in margins."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, spread, (trials, SEEDS)), rng.normal(gap, spread, (trials, SEEDS))
    return float((tests * estimates.welch(a, b).within(1.0) < estimates.ALPHA).mean())


SHAPES: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], np.ndarray], float]] = {  # draw, mean
    "normal": (lambda rng, shape: rng.normal(0, 1, shape), 0.0),
    "skewed to high results": (lambda rng, shape: rng.exponential(1, shape), 1.0),
    "skewed to low results": (lambda rng, shape: -rng.exponential(1, shape), -1.0),
    "two-humped": (lambda rng, shape: (rng.random(shape) < 0.5) + rng.normal(0, 0.15, shape), 0.5),
    "one seed in five collapses": (lambda rng, shape: (rng.random(shape) < 0.8) + rng.normal(0, 0.15, shape), 0.8),
}


# Name -> (shape of the seeds, spreads of the seeds over configurations).
SELECTED: dict[str, tuple[str, tuple[float, ...]]] = {
    **{shape: (shape, (1.0,)) for shape in SHAPES},
    "normal, half spread three times as much": ("normal", (3.0, 1.0)),
    "normal, spreads between 1 and 10": ("normal", (10.0, 1.0, 6.0, 2.0, 4.0, 1.5)),
}


def selection(trials: int, name: str, count: int, seeds: int) -> list[str]:
    """[share of plain intervals of the best of `count` configurations with equal means that hold its mean, of the
    report's intervals, width of the latter in SD of all seeds]."""
    shape, spreads = SELECTED[name]
    drawn, mean = SHAPES[shape]
    spread = np.resize(spreads, count)[:, None]
    rng, plain, own, width, overall = np.random.default_rng(4), 0, 0, [], []
    for _ in range(trials):
        x = (drawn(rng, (count, seeds)) - mean) * spread
        best = int(x.mean(1).argmax())
        half = float(estimates.Interval().half_width(x[best].std(ddof=1), np.array(seeds)))
        plain += abs(x[best].mean()) <= half
        low, high = selected_interval(x[best], [row for i, row in enumerate(x) if i != best])
        own += low <= 0 <= high
        width.append(high - low)
        overall.append(x.std())
    return [f"{plain / trials:.3f}", f"{own / trials:.3f}", f"{np.median(width) / np.mean(overall):.1f}"]


# --- confirmation ---------------------------------------------------------------------------------------

# Name -> (shape of the seeds, true gains in SD, spreads of the seeds), the latter two over configurations; the first
# one is the baseline.
CONFIRMED: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    **{shape: (shape, (0.0,), (1.0,)) for shape in SHAPES},
    "normal, one spreads three times as much": ("normal", (0.0,), (*[1.0] * 7, 3.0)),
    "normal, the baseline spreads three times as much": ("normal", (0.0,), (3.0, *[1.0] * 7)),
    "normal, one is 2 SD better": ("normal", (*[0.0] * 7, 2.0), (1.0,)),
    "one seed in five collapses, one is 2 SD better": ("one seed in five collapses", (*[0.0] * 7, 1.0), (1.0,)),
}


def confirmation(draws: int, name: str, count: int = 8) -> list[str]:
    """[share of sweeps whose interval of the difference between the best configuration and the baseline holds the true
    one, the same on fresh seeds, share of confirmations with a false claim, with any claim]."""
    shape, gains, spreads = CONFIRMED[name]
    drawn, mean = SHAPES[shape]
    gain, spread = np.resize(gains, count), np.resize(spreads, count)
    held = fresh_held = false = claimed = 0
    for number in range(draws):
        rng = np.random.default_rng([5, number])
        sweep, fresh = ((drawn(rng, (count, SEEDS)) - mean) * spread[:, None] + gain[:, None] for _ in range(2))
        best = int(sweep[1:].mean(1).argmax()) + 1
        true = gain[best] - gain[0]
        held += _holds(sweep[best], sweep[0], true)
        fresh_held += _holds(fresh[best], fresh[0], true)
        fallen = (fresh[[best, 0]] < gain[[best, 0], None] - 0.3) & (shape == "one seed in five collapses")
        final = fresh[[best, 0]].ravel()
        scores = pd.DataFrame({
            "config_id": np.repeat(["best", "baseline"], SEEDS), "final_primary": final, "start_primary": final,
            "healthy_primary": np.where(fallen.ravel(), np.nan, final),
            "outcome": np.where(fallen.ravel(), COLLAPSED, FINISHED),
        })  # fmt: skip
        first, second = ConfigurationComparison()(scores).to_dict("records")
        ahead = true if first["config_id"] == "best" else -true
        claimed += second["relation"] in APART
        false += second["relation"] in APART and ahead <= 0
    return [f"{number / draws:.3f}" for number in (held, fresh_held, false, claimed)]


def _holds(one: np.ndarray, other: np.ndarray, true: float) -> bool:
    contrast = estimates.welch(one, other)
    return abs(float(contrast.estimate) - true) <= float(contrast.half_width())


# --- the page -------------------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def section(draws: int, processes: int) -> str:
    """What stands between the markers of docs/verdict.md."""
    jobs = [(name, world, draws) for name in sweeps() for world in WORLDS
            if world != "product" or name.endswith("lr-vs-freq")]  # fmt: skip
    if processes == 1:
        results = {job: questions(job) for job in jobs}
    else:
        with ProcessPoolExecutor(processes) as pool:
            results = dict(zip(jobs, pool.map(questions, jobs), strict=True))
    return "\n\n".join(
        [*_questions_part(results, draws), *_leader_part(draws), *_pairs_part(20 * draws), *_confirmation_part(draws)]
    )


def _questions_part(results: Mapping[tuple[str, str, int], tuple[Counter[str], int]], draws: int) -> Iterator[str]:
    yield (
        f"{draws:,} sweeps per row, six seeds per configuration, a margin of {MARGIN / SD:.2f} SD. Share of questions "
        "answered rightly, wrongly, with a trade-off or left open, and share of sweeps with any wrong answer:"
    )
    lines = []
    for (name, world, _), (counted, wrong) in results.items():
        total = max(1, counted.total())
        cells = [f"{counted[kind] / total:.3f}" for kind in (RIGHT, WRONG, CAUTIOUS, LEFT_OPEN)]
        lines.append([name, world, *cells, f"{wrong / draws:.3f}"])
    yield table(["sweep", "world", RIGHT, WRONG, CAUTIOUS, LEFT_OPEN, "sweeps with a wrong answer"], lines)
    yield "The worlds:"
    yield "\n".join(f"- **{name}**: {world.about}" for name, world in WORLDS.items())


def _leader_part(draws: int) -> Iterator[str]:
    yield (
        "Claims about the best configuration. A claim is false if it calls a configuration worse or less stable that "
        "is not, or alike one that differs by the margin. Regret: how far the true expected result of the selected "
        "configuration lies below the best one, in SD, if configurations are ordered by the expected result of one "
        "run, and by the mean of runs that did not collapse:"
    )
    lines = [[name, f"{count}", *leader(name, count, draws)] for name in LEADERS for count in (2, 8)]
    head = ["configurations", "number", "false claims", "any claim", "regret, expected", "regret, mean"]
    yield table(head, lines)


def _pairs_part(trials: int) -> Iterator[str]:
    yield (
        "Share of pairs that are shown to be alike, six seeds each, if they are equal, and if they differ by the "
        "margin (a false claim):"
    )
    lines = [[f"{spread}", *(f"{alike(trials, spread, gap, tests):.3f}" for gap in (0.0, 1.0) for tests in (1, 3))]
             for spread in (0.3, 0.4, 0.5, 0.7, 1.0)]  # fmt: skip
    yield table(["SD in margins", "equal, 1 comparison", "equal, 3", "differ, 1", "differ, 3"], lines)
    yield (
        "Share of intervals of the best of configurations with equal means that contain its mean: a plain interval, "
        "and the report's, which corrects for the selection, with its median width in SD of all seeds:"
    )
    lines = [
        [name, f"{count}", *selection(trials // 4, name, count, 3), *selection(trials // 4, name, count, SEEDS)]
        for name in SELECTED for count in (2, 8, 200)
    ]  # fmt: skip
    columns = [f"{column}, {seeds} seeds" for seeds in (3, SEEDS) for column in ("plain", "report", "width")]
    yield table(["seeds are", "best of", *columns], lines)


def _confirmation_part(draws: int) -> Iterator[str]:
    yield (
        "Confirmation: the best of seven configurations and the baseline are trained again, six fresh seeds each. "
        "Share of 95 % intervals of their difference that contain the true difference, in the sweep that selected and "
        "on fresh seeds, and share of confirmations that claim a difference, falsely and at all:"
    )
    head = ["seeds are", "interval of the sweep", "of the confirmation", "false claims", "any claim"]
    yield table(head, [[name, *confirmation(draws, name)] for name in CONFIRMED])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="of every sweep and world (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="that share the work (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder that gets docs/verdict.md")
    args = parser.parse_args(argv)
    if args.draws < 1 or args.processes < 1:
        parser.error("--draws and --processes: at least 1")
    return write_page("verdict", "verdicts.py", lambda: section(args.draws, args.processes), args.out)


if __name__ == "__main__":
    sys.exit(main())
