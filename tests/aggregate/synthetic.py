"""Made-up runs with known curves, written as real shards, by themselves or as a sweep in a results folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from aggregate.inputs.plan_questions import Question
from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.shards import ShardWriter
from tdmpc.config import TrainConfig, config_id
from tdmpc.description import DESCRIPTION, SCHEMA
from tdmpc.metrics import CATALOGUE

LEAN = {"pi_loss", "log_std", "log_std_per_dim", "eval_is_final"}
FREEZE = 0.5  # share of training at which the schedule events stand


def write_run(
    folder: Path,
    seed: int,
    *,
    total: int = 20_000,
    final: float = 600.0,
    spread: float = 0.06,
    rng_key: int = 0,
    stop_at: float = 1.0,
    collapse: bool = False,
    oscillate: bool = False,
    points: int = 100,
    evaluations: int = 20,
    tag: str = "a001",
    lean: bool = False,
    origin: Callable[[int], dict[str, str]] = lambda seed: {},
) -> None:
    """One run: a return that rises from about 20 to `final`, diagnostics of a healthy run but for what is asked.

    `spread`: standard deviation of the seeds' final returns, as a share of `final`. `stop_at`: share of training at
    which the rows end. `collapse`: the return falls by half in the last quarter. `lean`: few diagnostics, for tests
    that draw but look elsewhere. `origin`: seed -> what its shards say of it.
    """
    rng = np.random.default_rng([rng_key, seed])
    writer = ShardWriter(folder, tag, {"config_id": "x", "seed": str(seed), **origin(seed)}, lambda: True, CATALOGUE)
    seed_phase = total // 20
    own = rng.normal(0, spread * final)

    def level(step: float) -> float:
        share = max(0.0, (step - seed_phase) / total)
        height = 20 + (final + own - 20) * (1 - np.exp(-5 * share))
        return float(height * (1 - 0.5 * (collapse and step > 0.75 * total)))

    def log(kind, step, metrics, event=None):  # type: ignore[no-untyped-def]
        if lean:
            metrics = {k: v for k, v in metrics.items() if k in LEAN or "return" in k}
        if step <= stop_at * total:
            writer.log(kind, step, 2 * step, max(0, 4 * (step - seed_phase)), metrics, event)

    for event, step in [("seed_phase_end", seed_phase), ("encoder_freeze", int(FREEZE * total)),
                        ("entropy_start", int(FREEZE * total)), ("entropy_end", total)]:  # fmt: skip
        log("event", step, {}, event)
    for step in range(total // 100, total + 1, total // 100):
        noise = rng.normal(0, 0.08 * level(step) + 3)
        log("episode", step, {"episode_return": level(step) + noise, "episode_length": 500.0})
    for i in range(1, evaluations + 1):
        _evaluate(log, rng, i * total // evaluations, level, is_final=i == evaluations)
    for i in range(1, points + 1):
        step = i * total // points
        if step > seed_phase:
            _diagnose(log, rng, step, step / total, oscillate)
    writer.flush()


def _evaluate(log, rng, step, level, is_final):  # type: ignore[no-untyped-def]
    count = 30 if is_final else 5
    metrics = {"eval_is_final": float(is_final), "value_bias": rng.normal(0, 1.0)}
    for mode, factor in (("planner", 0.95), ("policy", 0.8)):
        episodes = factor * level(step) + rng.normal(0, 12, count)
        metrics |= {f"eval_return_{mode}": episodes.mean(), f"eval_return_{mode}_std": episodes.std(),
                    f"eval_return_{mode}_episodes": episodes.tolist()}  # fmt: skip
    log("eval", step, metrics)
    losses = {"consistency_loss": 0.02 + 0.1 * np.exp(-step / 4000), "reward_loss": 1.5, "value_loss": 2.0}
    prefixes = ("validation/", "validation_recent/")
    log("validation", step, {p + k: v * rng.lognormal(0, 0.05) for p in prefixes for k, v in losses.items()})


def _diagnose(log, rng, step, share, oscillate):  # type: ignore[no-untyped-def]
    decay = np.exp(-4 * share)
    swing = 0.6 * np.sin(2 * np.pi * 5 * share) if oscillate else 0.0
    log_std = -4 + 1.5 * decay + swing + rng.normal(0, 0.02, 4)
    value = 60 * (1 - decay)
    log("train", step, {
        "log_std": log_std.mean(), "log_std_per_dim": log_std.tolist(), "policy_entropy": -3 + decay,
        "pi_loss": -value / 20 + rng.normal(0, 0.1), "pi_grad_norm": rng.lognormal(-1, 0.2), "pi_scale": 5 + value / 10,
        "entropy_coeff": 1e-4 * 10 ** (-2 * max(0.0, 2 * share - 1)), "planner_pi_elite_share": 0.3 + 0.4 * share,
        "planner_std": 0.5 * decay + 0.1, "planner_policy_distance": 0.4 * decay + 0.1,
        "value_loss": 2 + decay, "value_pred_mean": value - 0.5, "td_target_mean": value + rng.normal(0, 0.5),
        "optimism_gap": -0.5 + rng.normal(0, 0.3), "value_error_abs_mean": 1 + 3 * decay,
        "td_target_std_across_heads": 0.6 + rng.normal(0, 0.05), "value_std_across_q_heads": 0.4,
        "aux_value_loss": 1.5 + decay, "consistency_loss": (0.02 + 0.1 * decay) * rng.lognormal(0, 0.05),
        "encoder_consistency_loss": 0.02 + 0.1 * decay, "reward_loss": 1.5 + decay,
        "reward_error_abs_mean": 0.05 + 0.2 * decay, "total_loss": 1 + 2 * decay, "grad_norm": rng.lognormal(0, 0.2),
        "steps_per_s": 40.0, "updates_per_s": 160.0,
    })  # fmt: skip


def make_sweep(
    root: Path,
    finals: Sequence[float] = (600.0, 500.0),
    seeds: int = 3,
    *,
    name: str = "ensemble",
    labels: Sequence[str] | None = None,
    states: dict[tuple[int, int], str] | None = None,
    total: int = 20_000,
    special: dict[int, dict[str, bool]] | None = None,
    **options,  # type: ignore[no-untyped-def]
) -> SweepSource:
    """A sweep with one configuration per final return. `states`: (configuration, seed) -> state of a run that
    is not done: new ones get no rows, others half of them. `special`: options of single configurations."""
    configs = []
    for index, final in enumerate(finals):
        config_id, runs = f"{index:010x}", []
        for seed in range(1, seeds + 1):
            state = (states or {}).get((index, seed), "done")
            folder = root / "runs" / config_id / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            if state not in ("new", "pending"):
                own = {**options, **(special or {}).get(index, {})}
                write_run(folder, seed, total=total, final=final, rng_key=index,
                          stop_at=1.0 if state == "done" else 0.5, **own)  # fmt: skip
            runs.append(RunSource(config_id, seed, folder, state, 1))
        label = labels[index] if labels else f"num_q={index % 2 + 1}, reduce={'min' if index % 4 < 2 else 'mean'}"
        config = {"task": "quadruped-walk", "eval_episodes": 5, "final_eval_episodes": 30}
        configs.append(ConfigSource(config_id, label, {"num_q": index}, index == 0, config, total, tuple(runs)))
    goal = "Find optimal ensemble sizes and reduction methods"
    return SweepSource(name, goal, (Question("Which ensemble?"),), ("num_q",), tuple(configs), DESCRIPTION)


def submitted(
    root: Path,
    finals: Sequence[float] = (600.0, 500.0),
    seeds: int = 3,
    *,
    total: int = 20_000,
    margin: float | None = None,
) -> ResultsFolder:
    """A results folder with one sweep, `ensemble`, on quadruped-walk: `finals` by num_q, 1 first, all runs done.
    margin: the smallest relevant difference."""
    store = ResultsFolder(root)
    store.prepare()
    listed = []
    for index, final in enumerate(finals):
        config = TrainConfig(task="quadruped-walk", steps=total, num_q=index + 1)
        store.write_config(SCHEMA.resolve(vars(config)))
        for seed in range(1, seeds + 1):
            run = RunRef(config_id(config), seed)
            attempt = store.attempts.claim(run, Attempt(0, "here", 1, "1", 0.0, "cpu"))
            write_run(store.attempts.folder(run), seed, total=total, final=final, rng_key=index, lean=True)
            store.attempts.write_outcome(run, attempt.number, AttemptOutcome("finished", total, "", 0.0))
        listed.append(SubmittedConfiguration(config_id(config), f"num_q={index + 1}", {"num_q": index + 1}, index == 0,
                                 list(range(1, seeds + 1))))  # fmt: skip
    sweep = SubmittedSweep("ensemble", "mine", "Find ensemble sizes", [], ["num_q"], listed, 0.0, margin=margin)
    store.write_sweep(sweep)
    return store
