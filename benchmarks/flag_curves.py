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


def healthy(
    rng: np.random.Generator, kind: str, points: int, expected: float = 600.0, configuration: int | None = None
) -> Curves:
    """A run without a fault that gains about `expected` return points.

    Levels, rates and noise are drawn anew. The standard deviations of the noise and the scales of losses and values are
    those of the configuration, a seed of their own: of seeds that shared nothing hardly two would raise the same flag.
    configuration: default: drawn.
    """
    fixed = np.random.default_rng(rng.integers(2**32) if configuration is None else configuration)
    share, tested = share_of(points), share_of(min(points, EVALUATIONS))
    draw = rng.uniform
    rate, gain, scale = draw(3, 8), expected * draw(0.85, 1.15), 10 ** fixed.uniform(-3, 3)

    def of(low: float, high: float) -> float:
        return float(np.exp(fixed.uniform(np.log(low), np.log(high))))

    def noisy(low: float, high: float, count: int = points) -> np.ndarray:
        return of(low, high) * noise(rng, kind, count)

    def loss(at: np.ndarray) -> np.ndarray:
        falling = draw(0.1, 0.5) + np.exp(-draw(3, 8) * at)
        return 10 ** fixed.uniform(-3, 3) * falling * np.exp(noisy(0.02, 0.15, at.size))

    low = draw(0, 100)
    level = low + gain * (1 - np.exp(-rate * tested))
    over_time = noisy(0.005, 0.03, tested.size) * gain
    alike = "white" if kind == "autocorrelated" else kind  # episodes of one evaluation know nothing of each other
    lucky = [noise(rng, alike, EPISODES * tested.size).reshape(-1, EPISODES) for _ in range(2)]
    planned, alone = (
        factor * (level + over_time)[:, None] + fixed.uniform(0.02, 0.1) * gain * luck
        for factor, luck in zip((1.0, 0.8), lucky, strict=True)
    )
    learnt = 1 - np.exp(-rate * share)
    swing = [draw(-4.5, -3.5) + draw(0, 1) * np.sin(np.pi * share) - draw(0, 1) * share for _ in range(DIMENSIONS)]
    spread = of(0.01, 0.05)  # nat; the same in all dimensions
    pi_scale = 10 ** fixed.uniform(-2, 1)
    sds = {"log_std_per_dim": spread, "pi_loss": pi_scale * of(0.02, 0.1), "episode_return": gain * of(0.03, 0.1)}
    noises = {
        "pi_loss": sds["pi_loss"] * noise(rng, kind, points),
        "episode_return": sds["episode_return"] * noise(rng, kind, points),
        "policy_entropy": noisy(0.05, 0.2),
    }
    target = scale * learnt
    train = {
        "log_std_per_dim": np.stack([curve + spread * noise(rng, kind, points) for curve in swing], axis=1),
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
    episode = {"episode_return": low + gain * learnt + noises["episode_return"]}
    validation = {"validation/consistency_loss": loss(tested)}
    columns = {"train": train, "eval": evaluation, "episode": episode, "validation": validation}
    value_scale = float(abs(target[-points // 4 :].mean()) + np.ptp(np.percentile(target, [5, 95])))
    kept = None
    if kind == "missing":
        kept = rng.random(points) >= MISSING
        kept[[0, -1]] = True
    return Curves(columns, gain, value_scale, level, noises, sds, kept)


Fault = Callable[[Curves, float, np.random.Generator], Curves]

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


def _logged(c: Curves, first: int, end: int) -> np.ndarray:
    """The rows from `first` to `end` that are logged: a spike between rows is no spike."""
    rows = np.arange(first, end)
    return rows if c.kept is None else rows[c.kept[first:end]]


def evaluation_collapses(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _returns(c, -effect * c.gain * _late(share_of(c.level.size)))


def training_collapses(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _put(c, "episode", "episode_return", lambda v, s: v - effect * c.gain * _late(s))


def evaluation_lags(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    return _returns(c, -effect * (c.level - c.level[0]))


def noisy_evaluation(name: str) -> Fault:
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


def spiked(kind: str, name: str, logs: bool = True) -> Fault:
    """Three points off by `effect` times the range of the curve, or of its log."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        values = c.columns[kind][name]
        curve = np.log(values) if logs else values.copy()
        at = rng.choice(_logged(c, round(0.2 * curve.size), curve.size - 5), 3, replace=False)
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


# --- kinds of faults by their size in units of the noise -------------------------------------------------


def single_rows(count: int) -> Fault:
    """`count` rows of the policy loss off by `effect` standard deviations of its noise."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        loss = c.columns["train"]["pi_loss"].copy()
        at = rng.choice(_logged(c, round(0.15 * loss.size), loss.size - 4), count, replace=False)
        loss[at] += effect * c.sds["pi_loss"] * rng.choice([-1, 1], count)
        return c.with_columns("train", pi_loss=loss)

    return put


def stretch_of(rows: int) -> Fault:
    """`rows` neighbouring rows of the policy loss off by `effect` standard deviations of its noise."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        loss = c.columns["train"]["pi_loss"].copy()
        start = rng.integers(round(0.15 * loss.size), loss.size - rows - 3)
        loss[start : start + rows] += effect * c.sds["pi_loss"] * rng.choice([-1, 1])
        return c.with_columns("train", pi_loss=loss)

    return put


def switching(period: float, square: bool) -> Fault:
    """A dimension of log_std that goes up and down by `effect` nat with a period of that many rows."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        which = np.arange(DIMENSIONS) == rng.integers(DIMENSIONS)
        values = c.columns["train"]["log_std_per_dim"]
        phase = np.arange(len(values)) / period + rng.uniform()
        wave = np.where(phase % 1 < 0.5, 0.5, -0.5) if square else np.sin(2 * np.pi * phase) / 2
        return c.with_columns("train", log_std_per_dim=values + effect * wave[:, None] * which)

    return put


def switching_from(c: Curves, onset: float, rng: np.random.Generator) -> Curves:
    """A dimension of log_std that switches by 0.4 to 1 nat from `onset` on, a share of training."""
    values = c.columns["train"]["log_std_per_dim"]
    wave = switching(float(rng.choice([2, 5, 10, 20])), True)(c, rng.uniform(0.4, 1.0), rng)
    late = share_of(len(values))[:, None] >= onset
    return c.with_columns("train", log_std_per_dim=np.where(late, wave.columns["train"]["log_std_per_dim"], values))


def spikes_from(c: Curves, onset: float, rng: np.random.Generator) -> Curves:
    """Twelve rows of the policy loss off by 20 standard deviations of its noise, the first at `onset`."""
    loss = c.columns["train"]["pi_loss"].copy()
    first = round(onset * loss.size)
    at = [first, *rng.choice(_logged(c, first + 1, loss.size - 4), 11, replace=False)]
    loss[at] += 20 * c.sds["pi_loss"] * rng.choice([-1, 1], 12)
    return c.with_columns("train", pi_loss=loss)


def training_falls_at_the_end(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    """By `effect` standard deviations of the noise in the last 5 %, with noise of 10 % of the gain."""
    returns, drawn = c.columns["episode"]["episode_return"], c.noises["episode_return"]
    sd = 0.1 * c.gain
    last = np.arange(returns.size) >= returns.size - max(1, round(0.05 * returns.size))
    louder = returns + (sd / c.sds["episode_return"] - 1) * drawn
    return c.with_columns("episode", episode_return=louder - effect * sd * last)


def one_value_an_evaluation(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    """`evaluation_collapses` without values per episode, as in imported curves."""
    fallen = evaluation_collapses(c, effect, rng).columns["eval"]
    return dataclasses.replace(c, columns={**c.columns, "eval": {"eval_return_planner": fallen["eval_return_planner"]}})


def rises_late(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
    """Nothing learnt until the last `effect` of training, then a rise to 45 % of what the sweep gains."""
    share = share_of(c.level.size)
    late = c.level[0] + 0.45 * c.gain * np.clip((share - 1 + effect) / effect, 0, 1)
    return _returns(c, late - c.level)


SHARES, RANGES, FACTORS = (0.1, 0.2, 0.3, 0.5, 1.0), (0.5, 1.0, 1.5, 2.0, 4.0), (1.25, 1.5, 2.0, 3.0, 5.0)
# Detector -> (effect sizes, the fault)
FAULTS: dict[str, tuple[Sequence[float], Fault]] = {
    "evaluation_collapse": ((0.2, 0.3, 0.4, 0.6, 0.8), evaluation_collapses),
    "training_collapse": ((0.2, 0.3, 0.4, 0.6, 0.8), training_collapses),
    "training_above_evaluation": ((0.15, 0.25, 0.35, 0.5, 0.8), evaluation_lags),
    "evaluation_noise": ((0.1, 0.15, 0.2, 0.3, 0.5), noisy_evaluation("eval_return_planner")),
    "few_episodes": ((0.1, 0.15, 0.2, 0.3, 0.5), few_episodes),
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


@dataclass(frozen=True)
class Kind:
    """A kind of a fault, by size. rows: of the run in which it is tried."""

    title: str
    flag: str
    fault: Fault
    effects: Sequence[float]
    rows: Sequence[int] = SIZES


SDS, NATS = (4, 6, 8, 10, 12, 16, 24, 32), (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
FROM_40, FROM_200 = SIZES[1:], SIZES[2:]
KINDS = (
    *(Kind(f"{count} spikes of one row, SD", "pi_loss_spikes", single_rows(count), SDS, rows)
      for count, rows in ((3, FROM_40), (5, FROM_40), (7, FROM_40), (15, FROM_200), (30, FROM_200))),
    *(Kind(f"an excursion of {rows} rows, SD", "pi_loss_spikes", stretch_of(rows), SDS, FROM_40)
      for rows in (6, 12, 20)),
    Kind("training return falls in the last 5 %, SD", "training_collapse", training_falls_at_the_end, SDS),
    *(Kind(f"log_std, {'square' if square else 'sine'} of {period} rows, nat", "log_std_oscillates",
           switching(period, square), NATS, SIZES if period < 10 else FROM_40)
      for square in (True, False) for period in (3, 5, 8, 10, 20) if square or period != 20),
    Kind("evaluation collapses, one value an evaluation, share of the gain", "evaluation_collapse",
         one_value_an_evaluation, (0.3, 0.4, 0.5, 0.6, 0.8), FROM_40),
)  # fmt: skip
