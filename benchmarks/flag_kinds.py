"""Kinds of faults by their size in units of the noise, beyond those of `flag_curves.FAULTS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flag_curves import DIMENSIONS, SIZES, Curves, Fault, changed_returns, evaluation_collapses, logged_rows, share_of


def single_rows(count: int) -> Fault:
    """`count` rows of the policy loss off by `effect` standard deviations of its noise."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        loss = c.columns["train"]["pi_loss"].copy()
        at = rng.choice(logged_rows(c, round(0.15 * loss.size), loss.size - 4), count, replace=False)
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
    at = [first, *rng.choice(logged_rows(c, first + 1, loss.size - 4), 11, replace=False)]
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


@dataclass(frozen=True)
class Kind:
    """A kind of a fault, by size. rows: of the run in which it is tried."""

    title: str
    flag: str
    fault: Fault
    effects: Sequence[float]
    rows: Sequence[int] = SIZES


def rises_late(rise: float) -> Fault:
    """An evaluation that has stood still and rises from the share `effect` of training on, by `rise` of the sweep's
    gain at the end."""

    def put(c: Curves, effect: float, rng: np.random.Generator) -> Curves:
        share = share_of(c.level.size)
        course = c.level[0] + rise * c.gain * np.clip((share - effect) / (1 - effect), 0, 1)
        return changed_returns(c, course - c.level)

    return put


ONSETS, RISES = (0.5, 0.7, 0.8, 0.9, 0.95), (0.15, 0.2, 0.3, 0.4)
SDS, NATS = (4, 5, 6, 8, 10, 12, 16, 24, 32), (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
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
# What is no plateau: how often it is called one is an error. There are at most 40 evaluations.
LATE_RISERS = tuple(
    Kind(f"{rise:g} of the gain", "plateau", rises_late(rise), ONSETS, SIZES[:2]) for rise in RISES
)  # fmt: skip
