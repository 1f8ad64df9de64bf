"""Which cause is named first for made-up configurations with one known cause each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from flag_curves import (
    FAULTS,
    NOISES,
    TOTAL,
    Curves,
    evaluation_lags,
    few_episodes,
    healthy,
    mapped,
    share_of,
)
from flag_kinds import spikes_from, switching_from

from aggregate import flags
from aggregate.flags.hypotheses import of_configuration
from tdmpc.diagnostics import CAUSES

SEEDS, ROWS = 6, 200
SIGN = 0.6  # chance that a configuration shows a sign of its cause; it shows one at least
# A sign: (curves, share of training at which it begins, random numbers) -> curves
Sign = Callable[[Curves, float, np.random.Generator], Curves]
NONE = "none"


def _fault(name: str, effect: float) -> Sign:
    """A fault without an onset of its own."""
    return lambda c, onset, rng: FAULTS[name][1](c, effect, rng)


def _grows(kind: str, name: str) -> Sign:
    """A loss that is four times as high from the onset on."""

    def put(c: Curves, onset: float, rng: np.random.Generator) -> Curves:
        values = c.columns[kind][name]
        return c.with_columns(kind, **{name: values * np.where(share_of(values.size) >= onset, 4.0, 1.0)})

    return put


POLICY: tuple[Sign, ...] = (switching_from, spikes_from, _fault("pi_loss_variance", 4.0))
WORLD_MODEL: tuple[Sign, ...] = (
    _grows("train", "consistency_loss"),
    _grows("train", "reward_error_abs_mean"),
    _grows("validation", "validation/consistency_loss"),
)
VALUE = (_fault("targets_swing", 0.5), _fault("value_overshoots", 0.6), _fault("heads_disagree", 0.5),
         _fault("q_heads_disagree", 0.5))  # fmt: skip
# Cause -> (signs that it may show, the event at which they begin, "" for any time)
TRUTHS: dict[str, tuple[tuple[Sign, ...], str]] = {
    NONE: ((), ""),
    "policy": (POLICY, ""),
    "value": (VALUE, ""),
    "world model": (WORLD_MODEL, ""),
    "planning in evaluation": ((lambda c, onset, rng: evaluation_lags(c, 0.5, rng),), ""),
    "few evaluation episodes": ((lambda c, onset, rng: few_episodes(c, 0.4, rng),), ""),
    "encoder freeze": (WORLD_MODEL, "encoder_freeze"),
    "entropy schedule": (POLICY[:2], "entropy_start"),
}


def leading_cause(case: tuple[str, int, int]) -> str:
    """The cause that is named first for one configuration, (known cause, seed, number); `NONE` without a hypothesis."""
    truth, seed, number = case
    rng = np.random.default_rng([seed, 3, list(TRUTHS).index(truth), number])
    signs, event = TRUTHS[truth]
    shown = [sign for sign in signs if rng.random() < SIGN] or list(signs[:1])
    kind, fixed, expected = str(rng.choice(NOISES)), int(rng.integers(2**32)), rng.uniform(300, 900)
    events = {"encoder_freeze": rng.uniform(0.5, 0.7), "entropy_start": rng.uniform(0.3, 0.7)}
    runs = []
    for number_of_seed in range(SEEDS):
        onset = events[event] if event else rng.uniform(0.2, 0.7)
        curves = healthy(rng, kind, ROWS, expected, fixed)
        for sign in shown:
            curves = sign(curves, onset, rng)
        runs.append((truth, number_of_seed, curves.view()))
    findings = flags.judge(runs)
    happened = pd.DataFrame([(truth, name, share * TOTAL) for name, share in events.items()],
                            columns=["config_id", "event", "step"])  # fmt: skip
    found = of_configuration(truth, findings, flags.vote(findings), happened, TOTAL, CAUSES)
    return found[0].cause.name if found else NONE


def confusion(seed: int, configurations: int, processes: int = 1) -> pd.DataFrame:
    """Rows: the known cause; columns: the cause that is named first; values: configurations."""
    cases = [(truth, seed, number) for truth in TRUTHS for number in range(configurations)]
    named = pd.Series(mapped(leading_cause, cases, processes))
    return pd.crosstab([truth for truth, *_ in cases], named).reindex(list(TRUTHS), columns=list(TRUTHS), fill_value=0)


def confusion_table(seed: int, configurations: int, processes: int = 1) -> str:
    counts = confusion(seed, configurations, processes)
    lines = [f"| known cause | {' | '.join(counts.columns)} |", "|---" * (len(counts.columns) + 1) + "|"]
    lines += [f"| {truth} | {' | '.join(str(n) if n else '' for n in line)} |" for truth, line in
              zip(counts.index, counts.to_numpy(), strict=True)]  # fmt: skip
    return "\n".join(lines)
