"""How far intervals and comparisons across tasks can be trusted: simulates them and writes docs/tasks.md.

    python benchmarks/tasks.py                                some minutes on one core
    python benchmarks/tasks.py --trials 200 --out /tmp/try    a try

The same trials give the same page: nothing in it depends on the machine. The percentile bootstrap resamples the seeds
within each task, as rliable does.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rows import write_page
from scipy import stats

from aggregate.statistics import estimates
from aggregate.tasks import task_estimates

ROOT = Path(__file__).resolve().parents[1]
SEEDS, TASKS = (3, 5, 6, 10), (5, 10, 30, 104)
TASK_SETS = 5  # sets of tasks to each cell of a table; the trials are spread over them
FEWER = 10  # times fewer trials of what is slow: bootstrap, median, profile
RESAMPLES = 200
MANY = 4000  # seeds that stand for the true distribution of a task
AT = np.linspace(0.0, 1.0, 51)  # scores at which profiles are compared
ALGORITHMS = 4
Draw = Callable[[np.random.Generator, "TaskSet", tuple[int, ...]], np.ndarray]


class TaskSet(NamedTuple):
    """Mean and spread (standard deviation) of the scores on every task, (tasks, 1)."""

    mean: np.ndarray
    spread: np.ndarray


def alike_tasks(rng: np.random.Generator, tasks: int) -> TaskSet:
    return TaskSet(rng.uniform(0.2, 0.8, (tasks, 1)), np.full((tasks, 1), 0.1))


def unlike_tasks(rng: np.random.Generator, tasks: int) -> TaskSet:
    """Some tasks solved, some not at all, some in between; spreads between 0.01 and 0.3."""
    return TaskSet(rng.beta(0.5, 0.5, (tasks, 1)), 0.01 * 30 ** rng.random((tasks, 1)))


def _normal(rng: np.random.Generator, of: TaskSet, shape: tuple[int, ...]) -> np.ndarray:
    return of.mean + of.spread * rng.normal(0, 1, shape)


def _skewed(rng: np.random.Generator, of: TaskSet, shape: tuple[int, ...]) -> np.ndarray:
    return of.mean + of.spread * (rng.exponential(1, shape) - 1)


def _humps(rng: np.random.Generator, of: TaskSet, shape: tuple[int, ...]) -> np.ndarray:
    side = np.where(rng.random(shape) < 0.5, 1.0, -1.0)
    return of.mean + of.spread * (0.95 * side + rng.normal(0, 0.31, shape))


def _collapsing(rng: np.random.Generator, of: TaskSet, shape: tuple[int, ...]) -> np.ndarray:
    learns = rng.random(shape) < 0.9
    return np.where(learns, of.mean, 0.0) + 0.3 * of.spread * rng.normal(0, 1, shape)


TRUTHS: dict[str, tuple[Callable[[np.random.Generator, int], TaskSet], Draw]] = {
    "normal": (alike_tasks, _normal),
    "skewed (exponential)": (alike_tasks, _skewed),
    "two-humped": (alike_tasks, _humps),
    "one in ten collapses": (alike_tasks, _collapsing),
    "unlike difficulty and spread": (unlike_tasks, _normal),
}
CELLS = list(itertools.product(TRUTHS, SEEDS, TASKS))


def trials_of(truth: str, seeds: int, tasks: int, trials: int, algorithms: int = 1) -> Iterator[tuple[Any, ...]]:
    """(scores of (trials, tasks, seeds) for each algorithm, scores that stand for the truth) of every set of tasks."""
    make, draw = TRUTHS[truth]
    for number in range(TASK_SETS):
        rng = np.random.default_rng([11, list(TRUTHS).index(truth), seeds, tasks, number])
        tasks_drawn = make(rng, tasks)
        shape = (max(1, trials // TASK_SETS), tasks, seeds)
        yield *(draw(rng, tasks_drawn, shape) for _ in range(algorithms)), draw(rng, tasks_drawn, (tasks, MANY))


# --- intervals ------------------------------------------------------------------------------------------


def resampled(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seeds drawn with replacement within each task."""
    return np.take_along_axis(scores, rng.integers(0, scores.shape[-1], scores.shape), -1)


def percentile(scores: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The stratified percentile bootstrap of every trial."""
    rng = np.random.default_rng(1)
    ends = np.quantile([of(resampled(scores, rng)) for _ in range(RESAMPLES)], [0.025, 0.975], axis=0)
    return ends[0], ends[1]


def mean_of(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores.mean((-1, -2)))


def iqm_of(scores: np.ndarray) -> np.ndarray:
    """rliable's: a quarter of the runs, rounded down, is left out at each end."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), -1)
    out = flat.shape[-1] // 4
    return np.asarray(flat[..., out : flat.shape[-1] - out].mean(-1))


def median_interval(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the median over tasks where the mean of each is drawn from its Student-t distribution. The report
    does without: it does not hold its level."""
    seeds = scores.shape[-1]
    drawn = stats.t.ppf(np.random.default_rng(0).random((RESAMPLES, scores.shape[-2])), seeds - 1)
    errors = scores.std(-1, ddof=1) / seeds**0.5
    ends = np.quantile([np.median(scores.mean(-1) + t * errors, -1) for t in drawn], [0.025, 0.975], axis=0)
    return ends[0], ends[1]


def holds(ends: tuple[np.ndarray, np.ndarray], truth: float | np.ndarray) -> np.ndarray:
    """Whether intervals hold the truth; one of no width, or none at all, does not."""
    return np.asarray((ends[0] <= truth) & (truth <= ends[1]))


def coverage(truth: str, seeds: int, tasks: int, trials: int) -> tuple[float, ...]:
    """Share of 95 % intervals that hold the truth: mean, its bootstrap, IQM, its bootstrap, optimality gap, median,
    probability of improvement on an algorithm of the same distribution, whole profiles within their band."""
    shares = []
    for scores, other, true in trials_of(truth, seeds, tasks, trials, algorithms=2):
        few = scores[: max(1, len(scores) // FEWER)]
        profile = task_estimates.profile(true, AT)
        band = [np.abs(task_estimates.profile(one, AT) - profile).max() <= task_estimates.profile_band(one, AT)
                for one in few]  # fmt: skip
        held = (
            holds(task_estimates.mean(scores).interval(), mean_of(true)),
            holds(percentile(few, mean_of), mean_of(true)),
            holds(task_estimates.interquartile_mean(scores).interval(), iqm_of(true)),
            holds(percentile(few, iqm_of), iqm_of(true)),
            holds(task_estimates.optimality_gap(scores).interval(), 1 - mean_of(np.minimum(true, 1))),
            holds(median_interval(few), task_estimates.median(true)),
            holds(task_estimates.improvement(scores, other).interval(), 0.5),
            np.array(band),
        )
        shares.append([share.mean() for share in held])
    return tuple(np.mean(shares, axis=0))


# --- claims ---------------------------------------------------------------------------------------------


def false_claims(truth: str, seeds: int, tasks: int, trials: int) -> tuple[float, float]:
    """Share of comparisons of four equal algorithms with any difference claimed: paired differences with Holm over the
    six pairs, percentile bootstrap of each difference."""
    shares = []
    for *scores, _ in trials_of(truth, seeds, tasks, trials, algorithms=ALGORITHMS):
        p = np.stack([task_estimates.difference(a, b).p for a, b in itertools.combinations(scores, 2)], -1)
        claimed = (estimates.holm(p) < estimates.ALPHA).any(-1)
        rng, few = np.random.default_rng(1), max(1, len(scores[0]) // FEWER)
        means = [np.array([mean_of(resampled(a[:few], rng)) for _ in range(RESAMPLES)]) for a in scores]
        ends = [np.quantile(a - b, [0.025, 0.975], axis=0) for a, b in itertools.combinations(means, 2)]
        shares.append((claimed.mean(), np.any([(low > 0) | (high < 0) for low, high in ends], axis=0).mean()))
    one, other = np.mean(shares, axis=0)
    return float(one), float(other)


def similar_tasks(seeds: int, tasks: int, trials: int) -> tuple[float, float]:
    """Tasks drawn at random, whose differences have a spread of 0.1 about 0: share of intervals that hold 0, by the
    tasks' differences, and by the interval for these tasks alone."""
    rng = np.random.default_rng([12, seeds, tasks])
    shape = (trials, tasks, seeds)
    a, b = rng.normal(rng.normal(0, 0.1, (trials, tasks, 1)), 0.1, shape), rng.normal(0, 0.1, shape)
    return (float(holds(task_estimates.difference_on_similar_tasks(a, b).interval(), 0.0).mean()),
            float(holds(task_estimates.difference(a, b).interval(), 0.0).mean()))  # fmt: skip


def power(seeds: int, tasks: int, trials: int) -> tuple[float, ...]:
    """Share of trials in which a difference is claimed that is half a standard deviation of the seeds on every task:
    one pair; one of six pairs with Holm's first step; the same on tasks like these, where the difference has a spread
    of one such deviation over tasks; share of single tasks on which it is claimed by the false-discovery rate."""
    rng = np.random.default_rng([13, seeds, tasks])
    shape = (trials, tasks, seeds)
    a, b = rng.normal(0.5, 1, shape), rng.normal(0, 1, shape)
    p = task_estimates.difference(a, b).p
    spread = a + rng.normal(0, 1, (trials, tasks, 1))
    alike = task_estimates.difference_on_similar_tasks(spread, b).p
    few = max(1, trials // FEWER)
    own = [estimates.false_discovery(one) < estimates.ALPHA for one in estimates.welch(a[:few], b[:few]).p]
    return (float((p < 0.05).mean()), float((p < 0.05 / 6).mean()), float((alike < 0.05).mean()), float(np.mean(own)))


# --- the page -------------------------------------------------------------------------------------------


def section(trials: int) -> str:
    """The tables of the page."""
    covered, claims = [], []
    for truth, seeds, tasks in CELLS:
        cell = (truth, seeds, tasks)
        covered.append((*cell, *coverage(truth, seeds, tasks, trials)))
        claims.append((*cell, *false_claims(truth, seeds, tasks, trials)))
        print(*cell, " ".join(f"{share:.3f}" for share in covered[-1][3:] + claims[-1][3:]), file=sys.stderr)
    sizes = list(itertools.product(SEEDS, TASKS))
    heads = ("mean", "mean, bootstrap", "IQM", "IQM, bootstrap", "optimality gap", "median",
             "probability of improvement", "whole profile")  # fmt: skip
    error = (0.95 * 0.05 / trials) ** 0.5
    parts = [
        f"{trials:,} trials per row, {trials // FEWER:,} for bootstrap, median and profile: a share of 0.95 is "
        f"uncertain by ±{2 * error:.3f} and ±{2 * error * FEWER**0.5:.3f}. Tasks are fixed, {TASK_SETS} sets per row.",
        "Share of 95 % intervals that contain the true value:",
        _table(("seeds are", "seeds", "tasks", *heads), covered),
        "Share of comparisons of four equal algorithms, six pairs, in which any difference is claimed at 5 %:",
        _table(("seeds are", "seeds", "tasks", "paired differences, Holm", "bootstrap of each difference"), claims),
        "Tasks drawn at random, where the difference between two algorithms varies from task to task as much as scores "
        "from seed to seed; share of 95 % intervals that contain the mean difference on such tasks:",
        _table(("seeds", "tasks", "t over tasks", "interval for these tasks alone"),
               [(*size, *similar_tasks(*size, trials)) for size in sizes]),
        "Share of trials in which a difference of half a standard deviation of the seeds is claimed; single tasks with "
        "the false-discovery rate:",
        _table(("seeds", "tasks", "one pair", "one of six pairs", "tasks like these", "single tasks"),
               [(*size, *power(*size, trials)) for size in sizes]),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _table(head: Iterable[str], lines: Iterable[tuple[Any, ...]]) -> str:
    names = list(head)
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [names, ["---"] * len(names), *cells])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, metavar="N")
    parser.add_argument("--out", type=Path, default=ROOT, metavar="FOLDER", help="writes FOLDER/docs/tasks.md")
    options = parser.parse_args()
    return write_page("tasks", "tasks.py", lambda: section(options.trials), options.out)


if __name__ == "__main__":
    sys.exit(main())
