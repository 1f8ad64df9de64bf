"""What the flags find and how often they are wrong: curves with known truth, judged; writes docs/flags.md.

    python benchmarks/flags.py --processes 2                                  about a quarter of an hour
    python benchmarks/flags.py --configurations 2 --repetitions 3 --out /tmp/try    a try

Constants in `aggregate.flags` were chosen on seed 1 of the generator; what is written comes from seed 2.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flag_causes import confusion_table
from flag_curves import FAULTS, NOISES, SIZES, Fault, healthy, mapped, noise
from flag_kinds import KINDS, LATE_RISERS, ONSETS
from rows import write_page
from scipy import stats

from aggregate import flags
from aggregate.flags.detector import Finding

__all__ = ["FAULTS", "NOISES", "healthy", "main", "noise"]

ROOT = Path(__file__).resolve().parents[1]
CHOSEN_ON, HELD_OUT = 1, 2  # seeds of the generator
SEEDS = 6
FOUND = 0.9  # share of the runs with an effect from which it counts as found
CHUNK = 10  # sweeps or repetitions that one process works on at a time


# --- measuring ------------------------------------------------------------------------------------------


def score(state: str, measured: float, least: float) -> float:
    """How near to raised, as a number that ranks: at least 1 where the flag is raised, at most 1 elsewhere."""
    ratio = measured / least if least else measured
    return max(ratio, 1.0) if state == flags.FLAG else min(ratio, 1.0)


def clean(
    seed: int, configurations: int, sizes: Sequence[int] = SIZES, processes: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Healthy configurations of six seeds, in every noise and size: (findings, votes), both with noise and size."""
    chunks = [range(start, min(start + CHUNK, configurations)) for start in range(0, configurations, CHUNK)]
    parts = mapped(_clean_chunk, itertools.product([seed], NOISES, sizes, chunks), processes)
    judged, voted = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return judged, voted


def _clean_chunk(case: tuple[int, str, int, range]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two configurations make a sweep, the first of them its baseline."""
    seed, noise_kind, size, numbers = case
    judged, voted = [], []
    for number in numbers[::2]:
        rng = np.random.default_rng([seed, 0, NOISES.index(noise_kind), size, number])
        expected = rng.uniform(300, 900)
        fixed = [int(rng.integers(2**32)) for _ in range(2)]
        runs = [
            (str(number + which), s, healthy(rng, noise_kind, size, expected, fixed[which]).view())
            for which in range(2) for s in range(SEEDS)
        ]  # fmt: skip
        findings = flags.judge(runs, baseline=str(number)).drop(columns=["metric", "unit", "detail"])
        findings = findings.assign(config_id=findings["config_id"].astype(int), noise=noise_kind, size=size)
        judged.append(findings[findings["config_id"].isin(numbers)])
        voted.append(flags.vote(judged[-1]).assign(noise=noise_kind, size=size))
    return pd.concat(judged, ignore_index=True), pd.concat(voted, ignore_index=True)


def faulty(seed: int, repetitions: int, sizes: Sequence[int] = SIZES[1:], processes: int = 1) -> pd.DataFrame:
    """Every fault in every size: flag, effect, noise, size, raised, score; one line per run that could be judged."""
    return _tried(seed, repetitions, sizes, processes, _faults_chunk)


def kinds(seed: int, repetitions: int, sizes: Sequence[int] = SIZES, processes: int = 1) -> pd.DataFrame:
    """As `faulty`, for every kind of fault and for late risers; the title of the kind stands in column `flag`."""
    return _tried(seed, repetitions, sizes, processes, _kinds_chunk)


def _tried(
    seed: int, repetitions: int, sizes: Sequence[int], processes: int, work: Callable[[Any], list[tuple[Any, ...]]]
) -> pd.DataFrame:
    chunks = [range(start, min(start + CHUNK, repetitions)) for start in range(0, repetitions, CHUNK)]
    parts = mapped(work, itertools.product([seed], NOISES, sizes, chunks), processes)
    return pd.DataFrame(list(itertools.chain(*parts)), columns=["flag", "effect", "noise", "size", "raised", "score"])


def _faults_chunk(case: tuple[int, str, int, range]) -> list[tuple[Any, ...]]:
    faults = [(name, name, effects, fault) for name, (effects, fault) in FAULTS.items()]
    return _judged(case, 1, faults)


def _kinds_chunk(case: tuple[int, str, int, range]) -> list[tuple[Any, ...]]:
    return _judged(
        case, 2, [(k.title, k.flag, k.effects, k.fault) for k in (*KINDS, *LATE_RISERS) if case[2] in k.rows]
    )


def _judged(
    case: tuple[int, str, int, range], stream: int, faults: Iterable[tuple[str, str, Sequence[float], Fault]]
) -> list[tuple[Any, ...]]:
    """Lines of `faulty` for (title, flag, effects, fault) put upon the runs of a chunk. stream: of random numbers."""
    seed, noise_kind, size, repetitions = case
    lines: list[tuple[Any, ...]] = []
    for repetition in repetitions:
        rng = np.random.default_rng([seed, stream, NOISES.index(noise_kind), size, repetition])
        base = healthy(rng, noise_kind, size)
        for title, flag, effects, fault in faults:
            for effect in effects:
                f: Finding = flags.BY_NAME[flag].assess(fault(base, effect, rng).view())
                if f.state != flags.NOT_ASSESSABLE:
                    raised, value = f.state == flags.FLAG, score(f.state, f.measured, f.least)
                    lines.append((title, effect, noise_kind, size, raised, value))
    return lines


def area_under_roc(clean_scores: np.ndarray, faulty_scores: np.ndarray) -> float:
    """The chance that a faulty run scores above a clean one."""
    u = stats.mannwhitneyu(faulty_scores, clean_scores).statistic
    return float(u / (len(clean_scores) * len(faulty_scores)))


# --- writing --------------------------------------------------------------------------------------------


def clean_table(findings: pd.DataFrame, votes: pd.DataFrame) -> str:
    """How often healthy runs and configurations raise anything, by noise and rows of a run."""
    judged = findings.assign(raised=findings["state"] == flags.FLAG)
    runs = judged.groupby(["noise", "size", "config_id", "seed"])["raised"].any()
    raised = votes.assign(flag_=votes["state"] == flags.FLAG, warn_=votes["state"].isin([flags.FLAG, flags.WARN]))
    configurations = raised.groupby(["noise", "size", "config_id"])[["flag_", "warn_"]].any()
    lines = ["| noise | rows | runs with any flag | configurations with any flag | with any warning or flag |",
             "|---|---|---|---|---|"]  # fmt: skip
    cells = [((n, s), runs[n, s], configurations.loc[n, s]) for n, s in itertools.product(NOISES, SIZES)]
    for (noise_kind, size), own, voted in [*cells, (("all", "all"), runs, configurations)]:
        rows = f"{size:,}" if isinstance(size, int) else size
        lines.append(f"| {noise_kind} | {rows} | {own.mean():.2%} of {len(own):,} | {voted['flag_'].mean():.2%} of "
                     f"{len(voted):,} | {voted['warn_'].mean():.2%} |")  # fmt: skip
    return "\n".join(lines)


def smallest_effect(findings: pd.DataFrame, size: int) -> str:
    """Smallest simulated effect from which on more than 90 % of the runs of every noise are shown to be flagged; after
    it the one with missing rows where that is larger."""
    own = findings[findings["size"] == size]
    missing = own["noise"] == "missing"
    (complete, text), (sparse, of_sparse) = (_smallest(own[rows]) for rows in (~missing, missing))
    return f"{text} ({of_sparse})" if sparse > complete else text


def _smallest(findings: pd.DataFrame) -> tuple[float, str]:
    found = findings.groupby(["effect", "noise"])["raised"].agg(_is_found).groupby("effect").all()
    if not len(found):
        return 0.0, "n/a"
    enough = [effect for effect in found.index if found[found.index >= effect].all()]
    return (enough[0], f"{enough[0]:g}") if enough else (math.inf, f"not by {found.index.max():g}")


def _is_found(raised: pd.Series) -> bool:
    """Whether a share of 90 % is excluded by an exact one-sided test at 5 %, as with 96 of 100."""
    return bool(stats.binom.sf(raised.sum() - 1, len(raised), FOUND) < 0.05)


def power_table(findings: pd.DataFrame, faulty_findings: pd.DataFrame) -> str:
    """Per detector: false alarms, the effect that is found, and the area under the ROC curve at 200
    rows of the smallest and the middle effect."""
    lines = [
        "| flag | threshold | needs | false alarms | found from, 40 rows | 200 rows | 1,000 rows | area under ROC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (effects, _) in FAULTS.items():
        d = flags.BY_NAME[name]
        judged = findings[(findings["flag"] == name) & (findings["state"] != flags.NOT_ASSESSABLE)]
        alarms = f"{(judged['state'] == flags.FLAG).mean():.2%} of {len(judged):,}"
        own = faulty_findings[faulty_findings["flag"] == name]
        sizes = [smallest_effect(own, size) for size in SIZES[1:]]
        areas = [f"{effect:g}: {_area(judged, own, effect):.2f}" for effect in (effects[0], effects[2])]
        cells = [d.title, f"{d.threshold:g} {d.unit}", f"{d.min_points}", alarms, *sizes, ", ".join(areas)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _area(healthy_findings: pd.DataFrame, faulty_findings: pd.DataFrame, effect: float, size: int = 200) -> float:
    own = healthy_findings[healthy_findings["size"] == size]
    scores = np.array([score(*line) for line in own[["state", "measured", "threshold"]].to_numpy()])
    part = faulty_findings[(faulty_findings["effect"] == effect) & (faulty_findings["size"] == size)]
    return area_under_roc(scores, part["score"].to_numpy())


def kinds_table(found: pd.DataFrame) -> str:
    """Per kind of a fault, the size that is found, by rows."""
    lines = [f"| kind, unit of its size | {' | '.join(f'{size:,} rows' for size in SIZES)} |",
             "|---" * (len(SIZES) + 1) + "|"]  # fmt: skip
    for kind in KINDS:
        own = found[found["flag"] == kind.title]
        cells = [smallest_effect(own, size) if size in kind.rows else "-" for size in SIZES]
        lines.append(f"| {kind.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def late_risers_table(found: pd.DataFrame) -> str:
    """How many runs that rise late are called a plateau, by the step from which on they rise; under the worst noise."""
    lines = [f"| rise by the end | evaluations | {' | '.join(f'from {onset:.0%}' for onset in ONSETS)} |",
             "|---" * (len(ONSETS) + 2) + "|"]  # fmt: skip
    for kind in LATE_RISERS:
        for size in kind.rows:
            own = found[(found["flag"] == kind.title) & (found["size"] == size)]
            worst = own.groupby(["effect", "noise"])["raised"].mean().groupby("effect").max()
            lines.append(f"| {kind.title} | {size} | {' | '.join(f'{worst[onset]:.0%}' for onset in ONSETS)} |")
    return "\n".join(lines)


def section(seed: int, configurations: int, repetitions: int, processes: int = 1) -> str:
    """The measured part of docs/flags.md."""
    findings, votes = clean(seed, configurations, processes=processes)
    faulty_findings = faulty(seed, repetitions, processes=processes)
    found = kinds(seed, repetitions, processes=processes)
    intro = (f"Seed {seed} of the generator, {configurations} configurations of {SEEDS} seeds per noise and number of "
             f"rows, {repetitions} runs per fault, effect, noise and number of rows, {repetitions} configurations per "
             f"cause.")  # fmt: skip
    parts = {
        "False alarms": clean_table(findings, votes),
        "What is found": power_table(findings, faulty_findings),
        "Kinds of faults": kinds_table(found),
        "Late risers": late_risers_table(found),
        "Causes": confusion_table(seed, repetitions, processes),
    }
    return "\n\n".join([intro, *itertools.chain.from_iterable((f"### {title}", text) for title, text in parts.items())])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", type=int, default=HELD_OUT, help="of the generator (default: the held-out %(default)s)")
    made.add_argument("--configurations", type=int, default=600, help="healthy ones, per noise and number of rows")
    made.add_argument("--repetitions", type=int, default=100, help="runs per fault, effect, noise and number of rows")
    made.add_argument("--processes", type=int, default=1, help="that work at the same time (default: %(default)s)")
    made.add_argument("--out", type=Path, default=ROOT, help="folder that gets docs/flags.md (default: the checkout)")
    args = made.parse_args(argv)
    return write_page(
        "flags", "flags.py",
        lambda: section(args.seed, args.configurations, args.repetitions, args.processes), args.out,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
