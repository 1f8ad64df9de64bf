"""How far the report's statistics can be trusted: simulates them and writes docs/statistics.md. Two minutes.

    python benchmarks/intervals.py                                two minutes on one core
    python benchmarks/intervals.py --trials 200 --out /tmp/try    a try

The same trials give the same page: nothing in it depends on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rows import write_page
from scipy import stats

from aggregate.analysis import factor_effects
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import InterimAnalyses
from aggregate.verdict.seeds_needed import AFFORDABLE_SEEDS

ROOT = Path(__file__).resolve().parents[1]
SEEDS, CONFIGURATIONS = (3, 5, 6, 10), (3, 8, 12)
RESAMPLES = 400
EFFECT = np.where(np.arange(8) % 2, 0.25, -0.25)  # weights of a main effect of 2 x 2 x 2
# What a look is worth that comes after others, at (seeds of each), where so many were planned.
JUDGES: dict[str, Callable[[tuple[int, ...], int], InterimAnalyses]] = {
    "uncorrected": lambda seeds, planned: InterimAnalyses(seeds[-1:]),
    "planned": lambda seeds, planned: InterimAnalyses(seeds, planned),
    "afterwards": lambda seeds, planned: InterimAnalyses(seeds),
}
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _humps(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """1 for a share of the seeds and 0 for the others, with a spread of 0.15."""
    return (rng.random(shape) < share) + rng.normal(0, 0.15, shape)


TRUTHS: dict[str, tuple[str, Draw, float]] = {  # what it is, how it is drawn, its mean
    "normal": ("", lambda rng, shape: rng.normal(0, 1, shape), 0.0),
    "skewed": ("exponential", lambda rng, shape: rng.exponential(1, shape), 1.0),
    "two-humped": ("half of the seeds learn", lambda rng, shape: _humps(rng, shape, 0.5), 0.5),
    "collapsing": ("one seed in five collapses", lambda rng, shape: _humps(rng, shape, 0.8), 0.8),
}


# --- intervals ------------------------------------------------------------------------------------------


def student(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The report's interval of every line of (trials, seeds)."""
    half = estimates.Interval().half_width(x.std(-1, ddof=1), np.full(len(x), x.shape[-1]))
    return x.mean(-1) - half, x.mean(-1) + half


def resampled(x: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(trials, RESAMPLES): the statistic of resampled seeds, sorted; the same resamples in every trial."""
    picks = np.random.default_rng(1).integers(0, x.shape[-1], (RESAMPLES, x.shape[-1]))
    return np.sort(np.stack([of(x[:, pick]) for pick in picks], -1), -1)


def percentile(x: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap's interval."""
    low, high = np.quantile(resampled(x, of), [0.025, 0.975], axis=-1)
    return low, high


def accelerated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bias-corrected and accelerated bootstrap's interval of the mean."""
    sorted_means, mean = resampled(x, average), x.mean(-1, keepdims=True)
    below = np.clip((sorted_means < mean).mean(-1), 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES)
    bias = stats.norm.ppf(below)
    off = x - mean  # in proportion to the jackknife's deviations
    acceleration = (off**3).sum(-1) / (6 * (off**2).sum(-1) ** 1.5)
    ends = []
    for z in stats.norm.ppf([0.025, 0.975]):
        share = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        index = np.clip(share * RESAMPLES, 0, RESAMPLES - 1).astype(int)
        ends.append(np.take_along_axis(sorted_means, index[:, None], -1)[:, 0])
    return ends[0], ends[1]


def average(x: np.ndarray) -> np.ndarray:
    """Mean over the last axis."""
    return np.asarray(x.mean(-1))


def interquartile_mean(x: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the lowest and the highest quarter, rounded down."""
    return np.asarray(stats.trim_mean(x, 0.25, axis=-1))


def coverage(trials: int) -> dict[tuple[str, int], tuple[float, ...]]:
    """(truth, seeds) -> share of intervals that hold the truth: Student, percentile, BCa, and the interquartile
    mean's percentile bootstrap, which is asked for the truth's own interquartile mean."""
    shares = {}
    for number, (truth, (_, draw, mean)) in enumerate(TRUTHS.items()):
        middle = float(interquartile_mean(draw(np.random.default_rng(2), (1_000_000,))))
        for seeds in SEEDS:
            x = draw(np.random.default_rng([3, number, seeds]), (trials, seeds))
            ends = [(student(x), mean), (percentile(x, average), mean), (accelerated(x), mean),
                    (percentile(x, interquartile_mean), middle)]  # fmt: skip
            shares[truth, seeds] = tuple(float(np.mean((low <= t) & (t <= high))) for (low, high), t in ends)
    return shares


def difference_coverage(trials: int) -> dict[tuple[str, int], tuple[float, ...]]:
    """(truth, seeds) -> share of intervals that hold the truth, none: of the difference of two alike configurations,
    and of a stable one (a normal of the same mean and 0.15 of spread) from one of them; of a main effect of
    2 x 2 x 2."""
    shares = {}
    for number, (truth, (_, draw, mean)) in enumerate(TRUTHS.items()):
        for seeds in SEEDS:
            rng = np.random.default_rng([10, number, seeds])
            cells, stable = draw(rng, (trials, 8, seeds)), rng.normal(mean, 0.15, (trials, seeds))
            effect = estimates.contrast(EFFECT, cells.mean(-1), cells.var(-1, ddof=1), np.full(8, seeds))
            made = (estimates.welch(cells[:, 0], cells[:, 1]), estimates.welch(stable, cells[:, 0]), effect)
            # seeds without any spread have no interval: it holds nothing
            shares[truth, seeds] = tuple(float(np.mean(np.abs(c.estimate) <= c.half_width())) for c in made)
    return shares


def share_coverage(runs: int, p0: float = 0.2, p1: float = 0.5) -> tuple[float, float, float, float]:
    """Chance that intervals hold the truth, exactly: Wilson's of each share of so many runs, Newcombe's of their
    difference, Woolf's of their odds ratio."""
    counts = np.arange(runs + 1)
    chance0, chance1 = (stats.binom.pmf(counts, runs, p) for p in (p0, p1))
    one = [float(chance @ [low <= p <= high for low, high in (estimates.share_interval(int(k), runs) for k in counts)])
           for p, chance in ((p0, chance0), (p1, chance1))]  # fmt: skip
    odds = p1 / (1 - p1) / (p0 / (1 - p0))
    difference = ratio = 0.0
    for k0, k1 in np.ndindex(runs + 1, runs + 1):
        low, high = estimates.share_difference(k0, runs, k1, runs)
        estimate, error = factor_effects.log_odds(np.array([[k1, runs], [k0, runs]]), np.array([1, -1]))
        weight = chance0[k0] * chance1[k1]
        difference += weight * (low <= p1 - p0 <= high)
        ratio += weight * (abs(estimate - np.log(odds)) <= 1.96 * error)
    return one[0], one[1], float(difference), float(ratio)


# --- contrasts ------------------------------------------------------------------------------------------


def false_positives(trials: int, truth: str, seeds: int = 6) -> dict[int, tuple[float, ...]]:
    """Configurations -> share of trials with any false positive: against the baseline by Welch's test uncorrected,
    with Holm, by permutation with Holm, by the bootstrap of the difference; against the best with Holm over all
    pairs, and over the others only."""
    _, draw, _ = TRUTHS[truth]
    shares = {}
    for count in CONFIGURATIONS:
        x = draw(np.random.default_rng([4, count, seeds]), (trials, count, seeds))
        base, others = np.broadcast_to(x[:, :1], x[:, 1:].shape), x[:, 1:]
        raw = estimates.welch(others, base).p
        exact = np.stack([estimates.permutation(others[:, i], x[:, 0]) for i in range(count - 1)], -1)
        low, high = _bootstrapped_difference(others, base)
        best = np.take_along_axis(x, x.mean(-1).argmax(-1)[:, None, None], 1)
        to_best = estimates.welch(x, np.broadcast_to(best, x.shape)).p
        to_best[(x == best).all(-1)] = np.nan
        one, two = np.triu_indices(count, 1)
        pairs = estimates.holm(estimates.welch(x[:, one], x[:, two]).p)
        is_best = (x == best).all(-1)
        with_best = np.where(is_best[:, one] | is_best[:, two], pairs, np.nan)
        judged = (raw < 0.05, estimates.holm(raw) < 0.05, estimates.holm(exact) < 0.05, (low > 0) | (high < 0),
                  with_best < 0.05, estimates.holm(to_best) < 0.05)  # fmt: skip
        shares[count] = tuple(float(one.any(-1).mean()) for one in judged)
    return shares


def _bootstrapped_difference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the difference of means, each side resampled by itself."""
    picks = np.random.default_rng(5).integers(0, a.shape[-1], (2, RESAMPLES, a.shape[-1]))
    weights = (picks[..., None] == np.arange(a.shape[-1])).mean(-2)
    low, high = np.quantile(a @ weights[0].T - b @ weights[1].T, [0.025, 0.975], axis=-1)
    return low, high


def false_answers(trials: int, truth: str, seeds: int = 6) -> tuple[float, ...]:
    """Share of sweeps of equal configurations in which any question is answered: three main effects of 2 x 2 x 2 and
    three interactions, each with Holm; a key of 3 and one of 4 values, with Holm over the trend and the values in
    between; any of 60 independent diagnostics of two configurations by the false-discovery rate."""
    _, draw, _ = TRUTHS[truth]
    rng = np.random.default_rng([11, list(TRUTHS).index(truth), seeds])
    x = draw(rng, (trials, 8, seeds))
    of = (x.mean(-1)[:, None], x.var(-1, ddof=1)[:, None], np.full(8, seeds))
    signs = np.array([np.where(np.arange(8) >> bit & 1, 1.0, -1.0) for bit in range(3)])
    pairs = np.array([signs[0] * signs[1], signs[0] * signs[2], signs[1] * signs[2]])
    two_way = [
        (estimates.holm(estimates.contrast(weights / 4, *of).p) < estimates.ALPHA).any(-1).mean()
        for weights in (signs, pairs)
    ]
    ordered = [(estimates.holm(_ordered(x[:, :levels])) < estimates.ALPHA).any(-1).mean() for levels in (3, 4)]
    wide = draw(rng, (trials, 2, 60, seeds))
    p = estimates.welch(wide[:, 0], wide[:, 1]).p
    diagnostics = np.mean([(estimates.false_discovery(one) < estimates.ALPHA).any() for one in p])
    return tuple(float(share) for share in (*two_way, *ordered, diagnostics))


def _ordered(x: np.ndarray) -> np.ndarray:
    """p of the trend over (trials, levels, seeds), then of every level in between against both ends."""
    position = np.linspace(-1, 1, x.shape[1])
    trend = estimates.contrast(
        position / (position @ position), x.mean(-1), x.var(-1, ddof=1), np.full(x.shape[1], x.shape[2])
    )
    p = [trend.p]
    for inner in range(1, x.shape[1] - 1):
        low, high = (estimates.welch(x[:, inner], x[:, end]) for end in (0, -1))
        above = (low.estimate > 0) & (high.estimate > 0)
        p.append(np.where(above, np.maximum(low.p, high.p), 1.0))
    return np.stack(p, -1)


def fisher_false_positives(share: float, runs: int) -> float:
    """Exact probability that Fisher's test finds a difference between two groups of `runs` runs that collapse equally
    often."""
    counts = np.arange(runs + 1)
    chance = stats.binom.pmf(counts, runs, share)
    return float(sum(
        chance[a] * chance[b]
        for a, b in np.ndindex(runs + 1, runs + 1)
        if stats.fisher_exact([[a, runs - a], [b, runs - b]]).pvalue < estimates.ALPHA
    ))  # fmt: skip


def equal_means(trials: int, seeds: int = 6) -> tuple[float, float]:
    """Share of trials in which a stable configuration differs from collapsing ones of its mean: from one, and from
    any of seven with Holm."""
    rng, (_, draw, mean) = np.random.default_rng(6), TRUTHS["collapsing"]
    stable = rng.normal(mean, 0.15, (trials, 1, seeds))
    p = estimates.welch(draw(rng, (trials, 7, seeds)), np.broadcast_to(stable, (trials, 7, seeds))).p
    return float((p[:, 0] < 0.05).mean()), float((estimates.holm(p) < 0.05).any(-1).mean())


# --- interim analyses -----------------------------------------------------------------------------------


def false_claims(
    trials: int, truth: str, count: int, planned: int, judge: str, fixed: int = 0, seeds: int = 6
) -> tuple[float, float]:
    """Share of sweeps of `count` equal configurations in which any interim analysis finds one significantly worse than
    the best, and share with more than one analysis. Seeds are added to all tied configurations as `sweeps more` does,
    or `fixed` of them independently of the data, up to `planned` analyses."""
    _, draw, _ = TRUTHS[truth]
    x = draw(np.random.default_rng([12, list(TRUTHS).index(truth), count]), (trials, count, AFFORDABLE_SEEDS))
    claimed, again = np.zeros(trials, dtype=bool), np.zeros(trials, dtype=bool)
    going: dict[tuple[int, ...], np.ndarray] = {(seeds,): np.arange(trials)}  # by seeds at each analysis
    for number in range(planned):
        following: dict[tuple[int, ...], list[np.ndarray]] = {}
        for had, which in going.items():
            claims, contrasts = _with_leader(x[which, :, : had[-1]], JUDGES[judge](had, planned))
            claimed[which] |= claims
            more = (
                np.full(which.size, fixed) if fixed else _more(contrasts, had, lambda had: JUDGES[judge](had, planned))
            )
            for added in set(more[~claims & (more > 0)].tolist()) if number + 1 < planned else ():
                following.setdefault((*had, had[-1] + added), []).append(which[~claims & (more == added)])
        going = {had: np.concatenate(parts) for had, parts in following.items()}
        again[[trial for which in going.values() for trial in which]] = True
    return float(claimed.mean()), float(again.mean())


def repeated_analyses(trials: int, truth: str, count: int, planned: int) -> list[float]:
    """`false_claims` by every one of `JUDGES`, with seeds as `sweeps more` adds them, then with six at every
    analysis."""
    return [false_claims(trials, truth, count, planned, judge, fixed)[0] for fixed in (0, 6) for judge in JUDGES]


def _with_leader(x: np.ndarray, analyses: InterimAnalyses) -> tuple[np.ndarray, estimates.Contrast]:
    """Of (trials, configurations, seeds): whether any differs significantly from the best, as the report tests it, and
    the contrasts of the best with all."""
    one, two = np.triu_indices(x.shape[1], 1)
    p = estimates.holm(analyses(estimates.welch(x[:, one], x[:, two]).p))
    leader = x.mean(-1).argmax(-1)[:, None]
    claims = ((p < estimates.ALPHA) & ((one == leader) | (two == leader))).any(-1)
    best = np.take_along_axis(x, leader[..., None], 1)
    return claims, estimates.welch(np.broadcast_to(best, x.shape), x)


def _more(
    contrasts: estimates.Contrast, had: tuple[int, ...], judge: Callable[[tuple[int, ...]], InterimAnalyses]
) -> np.ndarray:
    """Seeds that `aggregate.verdict.seeds_needed` would add, 0 for none; contrasts: (trials, configurations)."""
    pairs = contrasts.estimate.shape[-1] * (contrasts.estimate.shape[-1] - 1) // 2
    more = np.zeros(len(contrasts.estimate), dtype=int)
    for added in range(AFFORDABLE_SEEDS - had[-1], 0, -1):
        tests = judge((*had, had[-1] + added)).tests(pairs)
        enough = contrasts.detectable(tests, 1 + added / had[-1]) <= np.abs(contrasts.estimate)
        more[enough.any(-1)] = added
    return more


# --- power ----------------------------------------------------------------------------------------------


def detectable(trials: int, contrasts: int, seeds: int = 6) -> float:
    """Standard deviations by which one of so many configurations must differ from the baseline to be found by
    Welch with Holm in 80 % of trials, the others being equal to it."""
    x = np.random.default_rng([7, contrasts]).normal(0, 1, (trials, contrasts + 1, seeds))
    base = np.broadcast_to(x[:, :1], x[:, 1:].shape)
    shifts, shares = np.arange(1.0, 4.0, 0.1), []
    for shift in shifts:
        moved = x[:, 1:].copy()
        moved[:, 0] += shift
        shares.append(float((estimates.holm(estimates.welch(moved, base).p)[:, 0] < estimates.ALPHA).mean()))
    return float(np.interp(estimates.POWER, shares, shifts))


def detectable_effect(trials: int, seeds: int = 6) -> float:
    """The same for one main effect of 2 x 2 x 2, uncorrected."""
    x = np.random.default_rng([8, 3]).normal(0, 1, (trials, 8, seeds))
    means, variances, counts = x.mean(-1), x.var(-1, ddof=1), np.full(8, seeds)
    shifts = np.arange(0.3, 2.0, 0.05)
    shares = [
        float((estimates.contrast(EFFECT, means + shift * (EFFECT > 0), variances, counts).p < estimates.ALPHA).mean())
        for shift in shifts
    ]
    return float(np.interp(estimates.POWER, shares, shifts))


def winners_curse(configurations: int, seeds: int) -> float:
    """Selection bias of the best of so many equal means, in standard deviations of the seeds."""
    x = np.linspace(-8, 8, 4001)
    density = configurations * stats.norm.pdf(x) * stats.norm.cdf(x) ** (configurations - 1)
    return float(np.trapezoid(x * density, x) / math.sqrt(seeds))


def curse(trials: int, count: int, seeds: int = 6) -> float:
    """Standard deviations by which the best of so many equal configurations looks better than it is."""
    x = np.random.default_rng([9, count]).normal(0, 1, (trials, count, seeds))
    return float(x.mean(-1).max(-1).mean())


# --- the page -------------------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def section(trials: int) -> str:
    """The results of the simulations, as Markdown."""
    one, seven = equal_means(trials)
    return "\n\n".join([
        f"{trials:,} trials each: a share of 0.95 is uncertain by ±{1.96 * (0.95 * 0.05 / trials) ** 0.5:.3f}.",
        *_coverage_part(trials),
        *_claims_part(trials),
        *_factors_part(trials),
        *_power_part(trials),
        f"A stable configuration against one that collapses for one seed in five, with equal means: \"different\" in "
        f"{one:.0%} of trials; against seven such, with Holm, any in {seven:.0%}.",
    ])  # fmt: skip


def _coverage_part(trials: int) -> Iterator[str]:
    """Coverage of the intervals of means, of differences and of shares."""
    by_truth = coverage(trials)
    means = [
        [f"{truth}{f' ({words})' if words else ''}", f"{seeds}", *_shares(by_truth[truth, seeds])]
        for truth, (words, _, _) in TRUTHS.items()
        for seeds in SEEDS
    ]
    differences = [[truth, f"{seeds}", *_shares(shares)]
                   for (truth, seeds), shares in difference_coverage(trials).items()]  # fmt: skip
    of_shares = [[f"{runs}", *_shares(share_coverage(runs))] for runs in (*SEEDS, 24)]
    yield "Share of 95 % intervals that contain the true value:"
    yield table(["seeds are", "n", "**Student-t** (the report's)", "percentile bootstrap", "BCa bootstrap",
                 "IQM, bootstrap"], means)  # fmt: skip
    yield ("The same for differences (Welch, Student-t): between two such configurations, between a stable one and one "
           "of them, and for a main effect of a 2 x 2 x 2 grid:")  # fmt: skip
    yield table(["seeds are", "n", "two such", "stable and such", "main effect"], differences)
    yield "The same for shares of runs, if 20 % of one configuration and 50 % of the other collapse (exact):"
    yield table(["runs each", "share of 20 %, Wilson", "share of 50 %, Wilson", "difference, Newcombe",
                 "odds ratio, Woolf"], of_shares)  # fmt: skip


def _claims_part(trials: int) -> Iterator[str]:
    """False positives between equal configurations, in one report and over interim analyses."""
    once = [
        [truth, f"{count}", *_shares(shares)]
        for truth in TRUTHS
        for count, shares in false_positives(trials, truth).items()
    ]
    repeated = [
        [truth, f"{count}", f"{planned}", *_shares(repeated_analyses(trials, truth, count, planned))]
        for truth, count, planned in itertools.product(TRUTHS, (2, 8), (2, 3))
    ]
    yield "Share of sweeps of *equal* configurations, six seeds each, in which any difference is claimed at 5 %:"
    yield table(["seeds are", "configurations", "baseline, Welch, uncorrected", "**baseline, Welch + Holm**",
                 "baseline, permutation + Holm", "baseline, bootstrap", "**best, Holm over all pairs**",
                 "best, Holm over the others"], once)  # fmt: skip
    yield ("The same with interim analyses: after a report, configurations that are not significantly different from "
           "the best one get more seeds, and another report follows. The first report has six seeds. Any false claim "
           "about the best configuration in any of the reports counts. Each report at 5 % (uncorrected), with all "
           "analyses planned and corrected for (planned), or planned for one analysis and corrected from the second on "
           "(afterwards). Seeds are added as by `sweeps more`, or six at every analysis whatever the data "
           "say:")  # fmt: skip
    yield table(["seeds are", "configurations", "analyses", "as `more`: uncorrected", "**planned**", "afterwards",
                 "six: uncorrected", "**planned**", "afterwards"], repeated)  # fmt: skip


def _factors_part(trials: int) -> Iterator[str]:
    """False positives of factors, questions and flags."""
    answered = [[truth, *_shares(false_answers(trials, truth))] for truth in TRUTHS]
    fisher = [[f"{runs}", *_shares(fisher_false_positives(share, runs) for share in (0.1, 0.2, 0.5))]
              for runs in (*SEEDS, 24)]  # fmt: skip
    yield "The same for factors and questions:"
    yield table(["seeds are", "3 main effects, Holm", "3 interactions, Holm",
                 "3 ordered values: trend, in between, Holm", "4 ordered values",
                 "60 diagnostics, false-discovery rate"], answered)  # fmt: skip
    yield "The same for two groups of runs with the same collapse rate, by Fisher's exact test (exact):"
    yield table(["runs each", "10 % collapse", "20 %", "50 %"], fisher)


def _power_part(trials: int) -> Iterator[str]:
    """Minimum detectable differences, and the selection bias of the best configuration."""
    powers = [[f"{count} against the baseline, Holm", f"{detectable(trials, count):.2f}"] for count in (1, 2, 7, 11)]
    powers.append(["one main effect of a 2 x 2 x 2 grid", f"{detectable_effect(trials):.2f}"])
    curses = [[f"{count}", f"+{curse(trials, count):.2f}", f"+{winners_curse(count, 6):.2f}"]
              for count in CONFIGURATIONS]  # fmt: skip
    yield ("Minimum detectable difference, found in 80 % of sweeps with six seeds, in standard deviations of the "
           "seeds:")  # fmt: skip
    yield table(["comparisons", "difference"], powers)
    yield ("Selection bias: how much too high the mean of the best of equal configurations is, six seeds, in standard "
           "deviations of the seeds:")  # fmt: skip
    yield table(["configurations", "simulated", "by the formula"], curses)


def _shares(shares: Iterable[float]) -> Iterator[str]:
    return (f"{share:.3f}" for share in shares)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="of every simulation (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder that gets docs/statistics.md")
    args = parser.parse_args(argv)
    if args.trials < 1:
        parser.error(f"--trials {args.trials}: at least 1")
    return write_page("statistics", "intervals.py", lambda: section(args.trials), args.out)


if __name__ == "__main__":
    sys.exit(main())
