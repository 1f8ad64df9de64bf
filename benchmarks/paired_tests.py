"""How often comparisons that are paired by seed are right: simulates them and writes a section of docs/statistics.md.

    python benchmarks/paired_tests.py                                seconds on one core
    python benchmarks/paired_tests.py --trials 200 --out /tmp/try    a try

The same trials give the same section: nothing in it depends on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from intervals import table
from rows import write_page
from scipy import special

from aggregate.statistics import estimates

ROOT = Path(__file__).resolve().parents[1]
CORRELATIONS, SEEDS, CONFIGURATIONS, EFFECT = (0.0, 0.3, 0.6, 0.9), 6, 8, 1.5
Test = Callable[[np.ndarray, np.ndarray], estimates.Contrast]


def _humps(u: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """1 for a share of the seeds and 0 for the others, with a spread of 0.15."""
    return (u < share) + rng.normal(0, 0.15, u.shape)


# What seeds are like -> results from uniform numbers, which correlate over configurations; and their SD.
TRUTHS: dict[str, tuple[Callable[[np.ndarray, np.random.Generator], np.ndarray], float]] = {
    "normal": (lambda u, rng: special.ndtri(u), 1.0),
    "skewed": (lambda u, rng: -np.log(u), 1.0),
    "two-humped": (lambda u, rng: _humps(u, rng, 0.5), (0.25 + 0.15**2) ** 0.5),
    "collapsing": (lambda u, rng: _humps(u, rng, 0.8), (0.16 + 0.15**2) ** 0.5),
}


def drawn(truth: str, rho: float, shape: tuple[int, int, int]) -> np.ndarray:
    """Results (trials, configurations, seeds) of equal configurations. rho: correlation over configurations of what the
    results of a seed are made of."""
    rng = np.random.default_rng([SEEDS, round(100 * rho), shape[1]])
    trials, _, seeds = shape
    normal = rho**0.5 * rng.normal(size=(trials, 1, seeds)) + (1 - rho) ** 0.5 * rng.normal(size=shape)
    return TRUTHS[truth][0](special.ndtr(normal), rng)


def either(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """p of the test that the observed correlation favours, which is what a plan has to decide beforehand."""
    apart = [side - side.mean(-1, keepdims=True) for side in (a, b)]
    above = (apart[0] * apart[1]).sum(-1) > 0.3 * np.sqrt((apart[0] ** 2).sum(-1) * (apart[1] ** 2).sum(-1))
    return np.where(above, estimates.paired_t(a, b).p, estimates.welch(a, b).p)


def rates(truth: str, rho: float, trials: int) -> Iterator[float]:
    """False claims of two configurations by the paired test, by Welch's and by the test that the data favour; of eight
    by the paired test; coverage of the paired interval; power of both tests."""
    one, other = np.moveaxis(drawn(truth, rho, (trials, 2, SEEDS)), 1, 0)
    paired, welch = estimates.paired_t(one, other), estimates.welch(one, other)
    for p in (paired.p, welch.p, either(one, other)):
        yield float((p < estimates.ALPHA).mean())
    many = drawn(truth, rho, (trials, CONFIGURATIONS, SEEDS))
    places = np.array(list(itertools.combinations(range(CONFIGURATIONS), 2))).T
    found = estimates.holm(estimates.paired_t(many[:, places[0]], many[:, places[1]]).p) < estimates.ALPHA
    best = many.mean(-1).argmax(-1)[:, None]
    yield float((found & ((places[0] == best) | (places[1] == best))).any(-1).mean())
    yield float((np.abs(paired.estimate) <= paired.half_width()).mean())
    better = one + EFFECT * TRUTHS[truth][1]
    for test in (estimates.paired_t, estimates.welch):
        yield float((test(better, other).p < estimates.ALPHA).mean())


def section(trials: int) -> str:
    """The results of the simulations, as Markdown."""
    lines = [
        [truth, f"{rho:g}", *(f"{rate:.3f}" for rate in rates(truth, rho, trials))]
        for truth in TRUTHS
        for rho in CORRELATIONS
    ]
    head = ["seeds are", "correlation", "2: **paired**", "2: Welch", "2: by the data", "8: **paired**, Holm",
            "coverage, paired", "power, paired", "power, Welch"]  # fmt: skip
    return (
        f"{trials:,} sweeps of equal configurations per row, six seeds. Correlation: between configurations, of normal "
        "numbers that the results of one seed are made of. Share of sweeps of two and of eight configurations with a "
        "false claim about the best one: by the paired test, by Welch's, and by the paired test only if the observed "
        "correlation is above 0.3. Share of 95 % intervals of the paired difference that contain 0. Share of sweeps in "
        f"which a difference of {EFFECT:g} SD is found:\n\n{table(head, lines)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="of every row (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder that gets docs/statistics.md")
    args = parser.parse_args(argv)
    if args.trials < 1:
        parser.error(f"--trials {args.trials}: at least 1")
    return write_page("statistics", "paired_tests.py", lambda: section(args.trials), args.out)


if __name__ == "__main__":
    sys.exit(main())
