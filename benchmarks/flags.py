"""What the flags find and how often they are wrong: curves with known truth, judged; writes docs/flags.md.

    python benchmarks/flags.py                                            about a minute of one core
    python benchmarks/flags.py --configurations 2 --repetitions 3 --out /tmp/try    a try

Constants in `aggregate.flags` were chosen on seed 1 of the generator; what is written comes from seed 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rows import spliced
from scipy import signal, stats

from aggregate import flags
from aggregate.flags.detector import Finding, RunView, SweepReference
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError
from tdmpc.description import DESCRIPTION

ROOT = Path(__file__).resolve().parents[1]
CHOSEN_ON, HELD_OUT = 1, 2  # seeds of the generator
TOTAL = 100_000  # steps of a run
NOISES = ("white", "autocorrelated", "heavy-tailed")
SIZES = (10, 40, 200, 1000)  # training rows of a run
EVALUATIONS = 40  # at most
SEEDS, DIMENSIONS, EPISODES = 6, 6, 5


# --- healthy runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """One run: columns by kind of row, and what faults are put upon.

    gain: return points gained in all. scale: value scale. level: evaluation return without its noise.
    noises: the noise in the policy's loss and entropy.
    """

    columns: dict[str, dict[str, np.ndarray]]
    gain: float
    scale: float
    level: np.ndarray
    noises: dict[str, np.ndarray]

    def view(self) -> RunView:
        """As detectors see it, in a sweep whose best run gains what this one should."""
        rows = {}
        for kind, columns in self.columns.items():
            steps = np.round(share_of(len(next(iter(columns.values())))) * TOTAL)
            listed = {name: list(values) if values.ndim > 1 else values for name, values in columns.items()}
            rows[kind] = pd.DataFrame({"step": steps, "nonfinite": None, **listed})
        reference = SweepReference(low=self.level[0], best=self.level[0] + self.gain)
        return RunView(rows, TOTAL, "done", DESCRIPTION, reference=reference)

    def with_columns(self, kind: str, **columns: np.ndarray) -> Curves:
        return dataclasses.replace(self, columns={**self.columns, kind: {**self.columns[kind], **columns}})


def share_of(points: int) -> np.ndarray:
    """Share of training at evenly spaced rows, (points,)."""
    return np.arange(1, points + 1) / points


def noise(rng: np.random.Generator, kind: str, points: int) -> np.ndarray:
    """(points,) of unit variance: normal, AR(1) with correlation .9 from row to row, or Student's t with 4 df."""
    if kind == "heavy-tailed":
        return rng.standard_t(4, points) / np.sqrt(2)
    white = rng.normal(size=points)
    if kind == "white":
        return white
    start = white[0] / np.sqrt(1 - 0.9**2)
    noise: np.ndarray = signal.lfilter([np.sqrt(1 - 0.9**2)], [1, -0.9], white, zi=[0.9 * start])[0]
    return noise


def healthy(rng: np.random.Generator, kind: str, points: int, expected: float = 600.0) -> Curves:
    """A run without a fault that gains about `expected` return points: levels, rates and noise are drawn anew;
    losses and values have any scale."""
    share, tested = share_of(points), share_of(min(points, EVALUATIONS))
    draw = rng.uniform
    rate, gain, scale = draw(3, 8), expected * draw(0.85, 1.15), 10 ** draw(-3, 3)

    def noisy(low: float, high: float, count: int = points) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high))) * noise(rng, kind, count)

    def loss(at: np.ndarray) -> np.ndarray:
        falling = draw(0.1, 0.5) + np.exp(-draw(3, 8) * at)
        return 10 ** draw(-3, 3) * falling * np.exp(noisy(0.02, 0.15, at.size))

    low = draw(0, 100)
    level = low + gain * (1 - np.exp(-rate * tested))
    over_time = noisy(0.005, 0.03, tested.size) * gain
    alike = "white" if kind == "autocorrelated" else kind  # episodes of one evaluation know nothing of each other
    lucky = [noise(rng, alike, EPISODES * tested.size).reshape(-1, EPISODES) for _ in range(2)]
    planned, alone = (
        factor * (level + over_time)[:, None] + draw(0.02, 0.1) * gain * luck
        for factor, luck in zip((1.0, 0.8), lucky, strict=True)
    )
    learnt = 1 - np.exp(-rate * share)
    swing = [draw(-4.5, -3.5) + draw(0, 1) * np.sin(np.pi * share) - draw(0, 1) * share for _ in range(DIMENSIONS)]
    pi_scale = 10 ** draw(-2, 1)
    noises = {"pi_loss": pi_scale * noisy(0.02, 0.1), "policy_entropy": noisy(0.05, 0.2)}
    target = scale * learnt
    train = {
        "log_std_per_dim": np.stack([curve + noisy(0.01, 0.05) for curve in swing], axis=1),
        "policy_entropy": draw(-2, 4) + draw(1, 6) * np.exp(-draw(1, 3) * share) + noises["policy_entropy"],
        "pi_loss": -pi_scale * learnt * draw(0.5, 2) + noises["pi_loss"],
        "td_target_mean": target + scale * noisy(0.01, 0.05),
        "value_pred_mean": target + scale * noisy(0.01, 0.05),
        "optimism_gap": scale * noisy(0.01, 0.07),
        "value_error_abs_mean": scale * (0.02 + share * np.exp(-6 * share)) * np.exp(noisy(0.02, 0.15)),
        "td_target_std_across_heads": scale * draw(0.02, 0.1) * np.exp(noisy(0.02, 0.2)),
        "value_std_across_q_heads": scale * draw(0.02, 0.1) * np.exp(noisy(0.02, 0.2)),
        "consistency_loss": loss(share),
        "reward_error_abs_mean": loss(share),
    }
    evaluation = {
        "eval_return_planner": planned.mean(1), "eval_return_planner_episodes": planned,
        "eval_return_policy": alone.mean(1), "eval_return_policy_episodes": alone,
        "value_bias": scale * (draw(-0.05, 0.05) + noisy(0.02, 0.1, tested.size)),
    }  # fmt: skip
    episode = {"episode_return": low + gain * learnt + gain * noisy(0.03, 0.1)}
    validation = {"validation/consistency_loss": loss(tested)}
    columns = {"train": train, "eval": evaluation, "episode": episode, "validation": validation}
    value_scale = float(abs(target[-points // 4 :].mean()) + np.ptp(np.percentile(target, [5, 95])))
    return Curves(columns, gain, value_scale, level, noises)


# --- faults ---------------------------------------------------------------------------------------------


def _returns(c: Curves, change: np.ndarray, name: str = "eval_return_planner") -> Curves:
    """`change` (n,) added to the evaluation return and to its episodes."""
    old = c.columns["eval"]
    episodes = f"{name}_episodes"
    return c.with_columns("eval", **{name: old[name] + change, episodes: old[episodes] + change[:, None]})


def _put(c: Curves, kind: str, name: str, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Curves:
    """The column with `change(values, share of training)` in its place."""
    old = c.columns[kind][name]
    return c.with_columns(kind, **{name: change(old, share_of(len(old)))})


def _late(share: np.ndarray) -> np.ndarray:
    return np.clip((share - 0.8) / 0.1, 0, 1)


def _waves(share: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * 4 * share) / 2


def evaluation_collapses(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _returns(c, -effect * c.gain * _late(share_of(c.level.size)))


def training_collapses(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "episode", "episode_return", lambda v, s: v - effect * c.gain * _late(s))


def evaluation_lags(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _returns(c, -effect * (c.level - c.level[0]))


def noisy_evaluation(name: str) -> Callable[[Curves, float, np.random.Generator], Curves]:
    return lambda c, effect, rng: _returns(c, effect * c.gain * rng.normal(size=c.level.size), name)


def stuck(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    low = c.level[0]
    flat = low + (1 - effect) * c.gain * (1 - np.exp(-20 * share_of(c.level.size)))
    return _returns(c, flat - c.level)


def log_std_swings(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    which = np.arange(DIMENSIONS) == rng.integers(DIMENSIONS)
    return _put(c, "train", "log_std_per_dim", lambda v, s: v + effect * _waves(s)[:, None] * which)


def log_std_sinks(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    which = np.arange(DIMENSIONS) == rng.integers(DIMENSIONS)
    depth = 2 - 12 * effect  # the range allowed is -10 to 2
    return _put(c, "train", "log_std_per_dim", lambda v, s: v + (depth - v[-1]) * np.minimum(1, 2 * s)[:, None] * which)


def entropy_falls_early(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    slow = c.level[0] + c.gain * share_of(c.level.size)
    noise = c.noises["policy_entropy"]
    fall = lambda v, s: noise - 8 * (effect * np.minimum(1, s / 0.15) + (1 - effect) * s)  # noqa: E731
    return _returns(_put(c, "train", "policy_entropy", fall), slow - c.level)


def spiked(kind: str, name: str, logs: bool = True) -> Callable[[Curves, float, np.random.Generator], Curves]:
    """One point off by `effect` times the range of the curve, or of its log."""

    def put(values: np.ndarray, effect: float, rng: np.random.Generator) -> np.ndarray:
        curve = np.log(values) if logs else values.copy()
        curve[rng.integers(round(0.2 * curve.size), curve.size)] += effect * np.ptp(np.percentile(curve, [5, 95]))
        return np.exp(curve) if logs else curve

    return lambda c, effect, rng: _put(c, kind, name, lambda v, s: put(v, effect, rng))


def pi_loss_noisier(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "train", "pi_loss", lambda v, s: v + (effect - 1) * c.noises["pi_loss"] * (s > 0.5))


def value_is_biased(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "eval", "value_bias", lambda v, s: v + effect * c.scale * rng.choice([-1, 1]))


def value_goes_too_far(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    bump = lambda v, s: v + effect * c.scale * np.exp(-(((s - 0.4) / 0.15) ** 2))  # noqa: E731
    return _put(c, "train", "value_pred_mean", bump)


def targets_swing(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "train", "td_target_mean", lambda v, s: v + effect * c.scale * _waves(s))


def value_error_stays(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    """The error of the last quarter is `effect` times that of the second, of 30 % of the value scale."""
    course = lambda s: np.interp(s, [0, 0.25, 0.5, 0.75], [0, 1, 1, effect])  # noqa: E731
    healthy_course = lambda s: 0.02 + s * np.exp(-6 * s)  # noqa: E731
    put = lambda v, s: v / healthy_course(s) * 0.3 * (0.02 + course(s))  # noqa: E731
    return _put(c, "train", "value_error_abs_mean", put)


def heads_part(name: str) -> Callable[[Curves, float, np.random.Generator], Curves]:
    return lambda c, effect, rng: _put(c, "train", name, lambda v, s: v + effect * c.scale * s**2)


def value_lags(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "train", "optimism_gap", lambda v, s: v + effect * c.scale * rng.choice([-1, 1]))


def loss_grows(name: str, kind: str = "train") -> Callable[[Curves, float, np.random.Generator], Curves]:
    grow = lambda effect, s: 1 + (effect - 1) * np.clip(4 * s - 2, 0, 1)  # noqa: E731
    return lambda c, effect, rng: _put(c, kind, name, lambda v, s: v * grow(effect, s))


SHARES, RANGES, FACTORS = (0.1, 0.2, 0.3, 0.5, 1.0), (0.5, 1.0, 1.5, 2.0, 4.0), (1.25, 1.5, 2.0, 3.0, 5.0)
# Detector -> (effect sizes, the fault)
FAULTS: dict[str, tuple[Sequence[float], Callable[[Curves, float, np.random.Generator], Curves]]] = {
    "evaluation_collapse": ((0.2, 0.3, 0.4, 0.6, 0.8), evaluation_collapses),
    "training_collapse": ((0.2, 0.3, 0.4, 0.6, 0.8), training_collapses),
    "training_above_evaluation": ((0.15, 0.25, 0.35, 0.5, 0.8), evaluation_lags),
    "evaluation_noise": ((0.1, 0.15, 0.2, 0.3, 0.5), noisy_evaluation("eval_return_planner")),
    "policy_alone_noise": ((0.1, 0.15, 0.2, 0.3, 0.5), noisy_evaluation("eval_return_policy")),
    "plateau": ((0.4, 0.5, 0.6, 0.75, 0.9), stuck),
    "log_std_oscillates": ((0.15, 0.25, 0.35, 0.5, 1.0), log_std_swings),
    "log_std_at_floor": ((0.9, 0.94, 0.96, 0.98, 1.0), log_std_sinks),
    "entropy_collapse": ((0.7, 0.8, 0.9, 0.95, 1.0), entropy_falls_early),
    "pi_loss_spikes": (RANGES, spiked("train", "pi_loss", logs=False)),
    "pi_loss_variance": ((1.5, 2.0, 3.0, 4.0, 6.0), pi_loss_noisier),
    "value_bias": (SHARES, value_is_biased),
    "value_off_target": ((0.05, 0.1, 0.15, 0.2, 0.5), value_lags),
    "value_overshoots": (SHARES, value_goes_too_far),
    "targets_swing": (SHARES, targets_swing),
    "value_error_stays": ((0.5, 0.75, 1.0, 1.5, 2.0), value_error_stays),
    "heads_disagree": (SHARES, heads_part("td_target_std_across_heads")),
    "q_heads_disagree": (SHARES, heads_part("value_std_across_q_heads")),
    "consistency_spikes": (RANGES, spiked("train", "consistency_loss")),
    "validation_spikes": (RANGES, spiked("validation", "validation/consistency_loss")),
    "consistency_rises": (FACTORS, loss_grows("consistency_loss")),
    "validation_rises": (FACTORS, loss_grows("validation/consistency_loss", "validation")),
    "reward_degrades": (FACTORS, loss_grows("reward_error_abs_mean")),
}


# --- measuring ------------------------------------------------------------------------------------------


def score(state: str, measured: float, least: float) -> float:
    """How near to raised, as a number that ranks: at least 1 where the flag is raised, at most 1 elsewhere."""
    ratio = measured / least if least else measured
    return max(ratio, 1.0) if state == flags.FLAG else min(ratio, 1.0)


def clean(seed: int, configurations: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Healthy configurations of six seeds, in every noise and size: (findings, votes), both with noise and size."""
    judged, voted = [], []
    for noise_kind, size in itertools.product(NOISES, SIZES):
        where = {"noise": noise_kind, "size": size}
        rng = np.random.default_rng([seed, 0, NOISES.index(noise_kind), size])
        for number in range(configurations):  # each a sweep of its own
            expected = rng.uniform(300, 900)
            runs = [(f"{number}", s, healthy(rng, noise_kind, size, expected).view()) for s in range(SEEDS)]
            findings = flags.judge(runs)
            judged.append(findings.assign(**where))
            voted.append(flags.vote(findings).assign(**where))
    return pd.concat(judged, ignore_index=True), pd.concat(voted, ignore_index=True)


def faulty(seed: int, repetitions: int, sizes: Sequence[int] = SIZES[1:]) -> pd.DataFrame:
    """Every fault in every size: flag, effect, noise, size, raised, score; one line per run that could be judged."""
    lines = []
    for noise_kind, size, repetition in itertools.product(NOISES, sizes, range(repetitions)):
        rng = np.random.default_rng([seed, 1, NOISES.index(noise_kind), size, repetition])
        base = healthy(rng, noise_kind, size)
        for name, (effects, fault) in FAULTS.items():
            for effect in effects:
                detector = flags.BY_NAME[name]
                f: Finding = detector.assess(fault(base, effect, rng).view())
                if f.state != flags.NOT_ASSESSABLE:
                    value = score(f.state, f.measured, f.least)
                    lines.append((name, effect, noise_kind, size, f.state == flags.FLAG, value))
    return pd.DataFrame(lines, columns=["flag", "effect", "noise", "size", "raised", "score"])


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
    lines = ["| noise | rows | healthy runs with any flag | configurations with any flag | with any warning or flag |",
             "|---|---|---|---|---|"]  # fmt: skip
    cells = [((n, s), runs[n, s], configurations.loc[n, s]) for n, s in itertools.product(NOISES, SIZES)]
    for (noise_kind, size), own, voted in [*cells, (("all", "all"), runs, configurations)]:
        rows = f"{size:,}" if isinstance(size, int) else size
        lines.append(f"| {noise_kind} | {rows} | {own.mean():.1%} of {len(own):,} | {voted['flag_'].mean():.1%} of "
                     f"{len(voted):,} | {voted['warn_'].mean():.1%} |")  # fmt: skip
    return "\n".join(lines)


def smallest_effect(findings: pd.DataFrame, size: int) -> str:
    """Smallest simulated effect from which on 90 % of the runs of every noise are flagged."""
    shares = findings[findings["size"] == size].groupby(["effect", "noise"])["raised"].mean().groupby("effect").min()
    enough = [effect for effect in shares.index if (shares[shares.index >= effect] >= 0.9).all()]
    return f"{enough[0]:g}" if enough else f"not by {shares.index.max():g}" if len(shares) else "n/a"


def power_table(findings: pd.DataFrame, faulty_findings: pd.DataFrame) -> str:
    """Per detector: false alarms, and the effect that is flagged in 90 % of cases."""
    lines = [
        "| flag | threshold | needs | false alarms | found from, 40 rows | 200 rows | 1,000 rows |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in FAULTS:
        d = flags.BY_NAME[name]
        judged = findings[(findings["flag"] == name) & (findings["state"] != flags.NOT_ASSESSABLE)]
        alarms = f"{(judged['state'] == flags.FLAG).mean():.2%} of {len(judged):,}"
        sizes = [smallest_effect(faulty_findings[faulty_findings["flag"] == name], size) for size in SIZES[1:]]
        cells = [d.title, f"{d.threshold:g} {d.unit}", f"{d.min_points}", alarms, *sizes]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def roc_table(findings: pd.DataFrame, faulty_findings: pd.DataFrame, size: int = 200) -> str:
    """Per detector and effect: area under the ROC curve, and the share flagged at the threshold; all noises."""
    lines = [f"| flag | effect: area under ROC, found ({size} rows, all noises) |||||", "|---|---|---|---|---|---|"]
    for name, (effects, _) in FAULTS.items():
        own = findings[(findings["flag"] == name) & (findings["size"] == size)]
        own = own[own["state"] != flags.NOT_ASSESSABLE]
        healthy_scores = np.array([score(*line) for line in own[["state", "measured", "threshold"]].to_numpy()])
        cells = []
        for effect in effects:
            part = faulty_findings
            part = part[(part["flag"] == name) & (part["effect"] == effect) & (part["size"] == size)]
            area = area_under_roc(healthy_scores, part["score"].to_numpy())
            cells.append(f"{effect:g}: {area:.2f}, {part['raised'].mean():.0%}")
        lines.append(f"| {flags.BY_NAME[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def section(seed: int, configurations: int, repetitions: int) -> str:
    """The measured part of docs/flags.md."""
    findings, votes = clean(seed, configurations)
    faulty_findings = faulty(seed, repetitions)
    intro = (f"Seed {seed} of the generator, {configurations} configurations of {SEEDS} seeds and {repetitions} runs a "
            f"fault, effect, noise and number of rows.")  # fmt: skip
    titles = ("### False alarms", "### What is found", "### ROC against effect size")
    tables = (
        clean_table(findings, votes),
        power_table(findings, faulty_findings),
        roc_table(findings, faulty_findings),
    )
    return "\n\n".join([intro, *itertools.chain.from_iterable(zip(titles, tables, strict=True))])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", type=int, default=HELD_OUT, help="of the generator (default: the held-out %(default)s)")
    made.add_argument("--configurations", type=int, default=30, help="healthy ones, per noise and number of rows")
    made.add_argument("--repetitions", type=int, default=10, help="runs per fault, effect, noise and number of rows")
    made.add_argument("--out", type=Path, default=ROOT, help="folder that gets docs/flags.md (default: the checkout)")
    args = made.parse_args(argv)
    page = args.out / "docs" / "flags.md"
    try:
        text = (page if page.exists() else ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
        spliced(text, "flags.py", "")  # before the work, not after it
        measured = section(args.seed, args.configurations, args.repetitions)
        write_bytes(page, spliced(text, "flags.py", measured).encode())
    except (JobsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
