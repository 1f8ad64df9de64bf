"""Made-up curves with known truth for the benchmark of the flags: healthy runs, and faults that are put upon them."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import signal

from aggregate.flags.detector import RunView, SweepReference
from tdmpc.description import DESCRIPTION

TOTAL = 100_000  # steps of a run
NOISES = ("white", "autocorrelated", "heavy-tailed", "heteroscedastic", "missing")
SIZES = (20, 40, 200, 1000)  # training rows of a run
EVALUATIONS = 40  # at most
DIMENSIONS, EPISODES = 6, 5
MISSING = 0.2  # share of the rows that runs with missing points lack
CORRELATION = 0.95  # from row to row, of autocorrelated noise


def mapped(work: Callable[[Any], Any], cases: Iterable[Any], processes: int) -> list[Any]:
    """The results in order."""
    if processes == 1:
        return list(map(work, cases))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, cases))


# --- healthy runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """One run: columns by kind of row, and what faults are put upon.

    gain: return points gained in all. scale: value scale. level: evaluation return without its noise.
    noises: the noise in the policy's loss and entropy. sds: standard deviations of the noise by column. kept: (points,)
    rows that are logged; None: all.
    """

    columns: dict[str, dict[str, np.ndarray]]
    gain: float
    scale: float
    level: np.ndarray
    noises: dict[str, np.ndarray]
    sds: dict[str, float]
    kept: np.ndarray | None = None

    def view(self) -> RunView:
        """As detectors see it, in a sweep whose best run gains what this one should."""
        rows = {}
        for kind, columns in self.columns.items():
            count = len(next(iter(columns.values())))
            kept = self.kept[:count] if self.kept is not None else np.ones(count, dtype=bool)
            steps = np.round(share_of(count) * TOTAL)[kept]
            rows[kind] = {"step": steps, "nonfinite": np.full(steps.size, None),
                          **{name: listed(values[kept]) for name, values in columns.items()}}  # fmt: skip
        reference = SweepReference(low=self.level[0], best=self.level[0] + self.gain)
        return RunView(rows, TOTAL, "done", DESCRIPTION, reference=reference)

    def with_columns(self, kind: str, **columns: np.ndarray) -> Curves:
        return dataclasses.replace(self, columns={**self.columns, kind: {**self.columns[kind], **columns}})


def listed(values: np.ndarray) -> np.ndarray:
    """A column: (n,) numbers, or (n,) lists as objects where `values` is (n, k)."""
    if values.ndim == 1:
        return values
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


def share_of(points: int) -> np.ndarray:
    """Share of training at evenly spaced rows, (points,)."""
    return np.arange(1, points + 1) / points


def noise(rng: np.random.Generator, kind: str, points: int) -> np.ndarray:
    """(points,) of unit variance: normal, AR(1), Student's t with 3 degrees of freedom, or normal with a standard
    deviation that goes up and down by a factor of 2 three to six times."""
    if kind == "heavy-tailed":
        return rng.standard_t(3, points) / np.sqrt(3)
    white = rng.normal(size=points)
    if kind == "autocorrelated":
        start = CORRELATION * rng.normal()
        gain = np.sqrt(1 - CORRELATION**2)
        noise: np.ndarray = signal.lfilter([gain], [1, -CORRELATION], white, zi=[start])[0]
        return noise
    if kind == "heteroscedastic":
        sd = np.exp(np.log(2) * np.sin(2 * np.pi * (rng.uniform(3, 6) * share_of(points) + rng.uniform())))
        return white * sd / np.sqrt(np.mean(sd**2))
    return white


@dataclass(frozen=True)
class _Draws:
    """What one run draws: `rng` for itself, `fixed` for its configuration. kind: of the noise."""

    rng: np.random.Generator
    fixed: np.random.Generator
    kind: str

    def of(self, low: float, high: float) -> float:
        """A number of the configuration, uniform in its logarithm."""
        return float(np.exp(self.fixed.uniform(np.log(low), np.log(high))))

    def noise(self, points: int) -> np.ndarray:
        return noise(self.rng, self.kind, points)

    def noisy(self, low: float, high: float, points: int) -> np.ndarray:
        """Noise with a standard deviation between `low` and `high`."""
        return self.of(low, high) * self.noise(points)

    def loss(self, at: np.ndarray) -> np.ndarray:
        """A falling loss at these shares of training."""
        falling = self.rng.uniform(0.1, 0.5) + np.exp(-self.rng.uniform(3, 8) * at)
        scale: float = 10 ** self.fixed.uniform(-3, 3)
        loss: np.ndarray = scale * falling * np.exp(self.noisy(0.02, 0.15, at.size))
        return loss

    def logged(self, points: int) -> np.ndarray | None:
        if self.kind != "missing":
            return None
        kept = self.rng.random(points) >= MISSING
        kept[[0, -1]] = True
        return kept


def healthy(
    rng: np.random.Generator, kind: str, points: int, expected: float = 600.0, configuration: int | None = None
) -> Curves:
    """A run without a fault that gains about `expected` return points.

    Levels, rates and noise are drawn anew. The standard deviations of the noise and the scales of losses and values are
    those of the configuration, a seed of their own: of seeds that shared nothing hardly two would raise the same flag.
    configuration: default: drawn.
    """
    draws = _Draws(rng, np.random.default_rng(rng.integers(2**32) if configuration is None else configuration), kind)
    share, tested = share_of(points), share_of(min(points, EVALUATIONS))
    rate, gain, scale = rng.uniform(3, 8), expected * rng.uniform(0.85, 1.15), 10 ** draws.fixed.uniform(-3, 3)
    low = rng.uniform(0, 100)
    level = low + gain * (1 - np.exp(-rate * tested))
    planned, alone = _evaluations(draws, level, gain)
    learnt = 1 - np.exp(-rate * share)
    train, noises, sds = _training(draws, learnt, gain, scale)
    evaluation = {
        "eval_return_planner": planned.mean(1), "eval_return_planner_episodes": planned,
        "eval_return_policy": alone.mean(1), "eval_return_policy_episodes": alone,
        "value_bias": scale * (rng.uniform(-0.05, 0.05) + draws.noisy(0.02, 0.1, tested.size)),
    }  # fmt: skip
    episode = {"episode_return": low + gain * learnt + noises["episode_return"]}
    validation = {"validation/consistency_loss": draws.loss(tested)}
    columns = {"train": train, "eval": evaluation, "episode": episode, "validation": validation}
    target = scale * learnt
    value_scale = float(abs(target[-points // 4 :].mean()) + np.ptp(np.percentile(target, [5, 95])))
    return Curves(columns, gain, value_scale, level, noises, sds, draws.logged(points))


def _evaluations(draws: _Draws, level: np.ndarray, gain: float) -> list[np.ndarray]:
    """Episodes (evaluations, EPISODES), with planning and of the policy alone."""
    over_time = draws.noisy(0.005, 0.03, level.size) * gain
    # episodes of one evaluation are independent of each other
    kind = "white" if draws.kind == "autocorrelated" else draws.kind
    luck = [noise(draws.rng, kind, EPISODES * level.size).reshape(-1, EPISODES) for _ in range(2)]
    return [
        factor * (level + over_time)[:, None] + draws.fixed.uniform(0.02, 0.1) * gain * own
        for factor, own in zip((1.0, 0.8), luck, strict=True)
    ]


def _training(
    draws: _Draws, learnt: np.ndarray, gain: float, scale: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]:
    """(columns, noises, sds) of the training rows. learnt: share of the gain, (points,)."""
    points, draw, of = learnt.size, draws.rng.uniform, draws.of
    share = share_of(points)
    swing = [draw(-4.5, -3.5) + draw(0, 1) * np.sin(np.pi * share) - draw(0, 1) * share for _ in range(DIMENSIONS)]
    spread = of(0.01, 0.05)  # nat; the same in all dimensions
    pi_scale = 10 ** draws.fixed.uniform(-2, 1)
    sds = {"log_std_per_dim": spread, "pi_loss": pi_scale * of(0.02, 0.1), "episode_return": gain * of(0.03, 0.1)}
    noises = {name: sds[name] * draws.noise(points) for name in ("pi_loss", "episode_return")}
    noises["policy_entropy"] = draws.noisy(0.05, 0.2, points)
    target = scale * learnt
    train = {
        "log_std_per_dim": np.stack([curve + spread * draws.noise(points) for curve in swing], axis=1),
        "policy_entropy": draw(-2, 4) + draw(1, 6) * np.exp(-draw(1, 3) * share) + noises["policy_entropy"],
        "pi_loss": -pi_scale * learnt * draw(0.5, 2) + noises["pi_loss"],
        "td_target_mean": target + scale * draws.noisy(0.01, 0.05, points),
        "value_pred_mean": target + scale * draws.noisy(0.01, 0.05, points),
        "optimism_gap": scale * draws.noisy(0.01, 0.07, points),
        "value_error_abs_mean": scale * (0.02 + share * np.exp(-6 * share)) * np.exp(draws.noisy(0.02, 0.15, points)),
        "td_target_std_across_heads": scale * draw(0.02, 0.1) * np.exp(draws.noisy(0.02, 0.2, points)),
        "value_std_across_q_heads": scale * draw(0.02, 0.1) * np.exp(draws.noisy(0.02, 0.2, points)),
        "consistency_loss": draws.loss(share),
        "reward_error_abs_mean": draws.loss(share),
    }
    return train, noises, sds


# --- faults ---------------------------------------------------------------------------------------------

Fault = Callable[[Curves, float, np.random.Generator], Curves]


def changed_returns(c: Curves, change: np.ndarray, name: str = "eval_return_planner") -> Curves:
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


def logged_rows(c: Curves, first: int, end: int) -> np.ndarray:
    """The rows from `first` to `end` that are logged: a spike between rows is no spike."""
    rows = np.arange(first, end)
    return rows if c.kept is None else rows[c.kept[first:end]]


def evaluation_collapses(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return changed_returns(c, -effect * c.gain * _late(share_of(c.level.size)))


def training_collapses(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "episode", "episode_return", lambda v, s: v - effect * c.gain * _late(s))


def evaluation_lags(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return changed_returns(c, -effect * (c.level - c.level[0]))


def noisy_evaluation(name: str) -> Fault:
    return lambda c, effect, rng: changed_returns(c, effect * c.gain * rng.normal(size=c.level.size), name)


def stuck(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    low = c.level[0]
    flat = low + (1 - effect) * c.gain * (1 - np.exp(-20 * share_of(c.level.size)))
    return changed_returns(c, flat - c.level)


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
    return changed_returns(_put(c, "train", "policy_entropy", fall), slow - c.level)


def spiked(kind: str, name: str, logs: bool = True) -> Fault:
    """Three points off by `effect` times the range of the curve, or of its log."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        values = c.columns[kind][name]
        curve = np.log(values) if logs else values.copy()
        rows = logged_rows(c, round(0.2 * curve.size), curve.size - 5)
        at = rng.choice(rows, min(3, len(rows)), replace=False)  # short curves with missing rows have fewer
        curve[at] += effect * np.ptp(np.percentile(curve, [5, 95]))
        return c.with_columns(kind, **{name: np.exp(curve) if logs else curve})

    return put


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


def heads_part(name: str) -> Fault:
    return lambda c, effect, rng: _put(c, "train", name, lambda v, s: v + effect * c.scale * s**2)


def value_lags(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "train", "optimism_gap", lambda v, s: v + effect * c.scale * rng.choice([-1, 1]))


def loss_grows(name: str, kind: str = "train") -> Fault:
    grow = lambda effect, s: 1 + (effect - 1) * np.clip(4 * s - 2, 0, 1)  # noqa: E731
    return lambda c, effect, rng: _put(c, kind, name, lambda v, s: v * grow(effect, s))


def few_episodes(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    """The mean of 5 episodes varies by `effect` times the gain, by their luck alone."""
    luck = np.sqrt(EPISODES) * effect * c.gain * rng.normal(size=(c.level.size, EPISODES))
    episodes = c.columns["eval"]["eval_return_planner_episodes"] + luck
    return c.with_columns("eval", eval_return_planner=episodes.mean(1), eval_return_planner_episodes=episodes)


SHARES, RANGES, FACTORS = (0.1, 0.2, 0.3, 0.5, 1.0), (0.5, 1.0, 1.5, 2.0, 4.0), (1.25, 1.5, 2.0, 3.0, 5.0)
# Detector -> (effect sizes, the fault)
FAULTS: dict[str, tuple[Sequence[float], Fault]] = {
    "evaluation_collapse": ((0.2, 0.3, 0.4, 0.6, 0.8), evaluation_collapses),
    "training_collapse": ((0.2, 0.3, 0.4, 0.6, 0.8), training_collapses),
    "training_above_evaluation": ((0.15, 0.25, 0.35, 0.5, 0.8), evaluation_lags),
    "evaluation_noise": ((0.1, 0.15, 0.2, 0.3, 0.5), noisy_evaluation("eval_return_planner")),
    "few_episodes": ((0.1, 0.15, 0.2, 0.3, 0.5), few_episodes),
    "policy_without_mpc_noise": ((0.1, 0.15, 0.2, 0.3, 0.5), noisy_evaluation("eval_return_policy")),
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
