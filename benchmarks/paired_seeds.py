"""How alike two configurations with the same seeds are early in training: the basis of paired comparisons.

    python benchmarks/paired_seeds.py                              num_q 1 and 2, twelve seeds, this code
    python benchmarks/paired_seeds.py --code 6ef189d               the code of another commit
    python benchmarks/paired_seeds.py --key num_reward_heads --values 1 2

Both configurations are trained on the same seeds. Prints the correlation over seeds of their training returns, episode
by episode after the random actions, and the standard deviation of the paired difference divided by that of an unpaired
one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# The networks of the learning study.
SMALL = {
    "task": "cartpole-swingup", "steps": 2000, "seed_steps": 500, "utd_ratio": 1, "batch_size": 128, "latent_dim": 64,
    "mlp_dim": 128, "enc_dim": 64, "num_samples": 128, "num_pi_trajs": 24, "num_elites": 16, "num_rollouts": 1,
    "planner_num_dynamics_heads": 1, "td_num_dynamics_heads": 0, "eval_freq": 100000, "eval_episodes": 1,
    "final_eval_episodes": 1,
}  # fmt: skip


def main() -> None:
    args = _arguments()
    if args.one is not None:
        print(json.dumps(_returns({**SMALL, **args.one}, args.seeds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        code = ROOT if args.code is None else _code_of(args.code, Path(folder))
        by_value = [
            np.array(_in_a_process(code, {**dict(args.set), args.key: value}, args.seeds)) for value in args.values
        ]
    a, b = by_value
    print(f"{args.key}={args.values[0]} and {args.values[1]}, {args.seeds} seeds, code {args.code or 'of this folder'}")
    print(f"{'episode':>8} {'mean':>8} {'mean':>8} {'correlation':>12} {'SD paired / SD unpaired':>24}")
    for episode, (one, other) in enumerate(zip(a.T, b.T, strict=True), start=1):
        ratio = np.std(one - other) / np.hypot(np.std(one), np.std(other))
        correlation = np.corrcoef(one, other)[0, 1]
        print(f"{episode:8} {one.mean():8.1f} {other.mean():8.1f} {correlation:12.2f} {ratio:24.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", default="num_q", help="the hyperparameter that differs (default: num_q)")
    parser.add_argument("--values", nargs=2, default=["1", "2"], help="its two values (default: 1 2)")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], type=lambda pair: pair.split("=", 1), metavar="KEY=VALUE")
    parser.add_argument("--code", metavar="COMMIT", help="train with the code of this commit")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def _code_of(commit: str, folder: Path) -> Path:
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    done = subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _in_a_process(code: Path, changes: dict[str, Any], seeds: int) -> list[list[float]]:
    command = [sys.executable, "-P", __file__, "--one", json.dumps(changes), "--seeds", str(seeds)]
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    returns: list[list[float]] = json.loads(done.stdout)
    return returns


def _returns(values: dict[str, Any], seeds: int) -> list[list[float]]:
    """For each seed the returns of its training episodes after the random actions."""
    from sweepwise.core.shards import read_shard
    from tdmpc.api import RunHandle, train
    from tdmpc.config import TrainConfig

    config = TrainConfig().with_overrides(values)
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(seed) for seed in range(1, seeds + 1)]
        for folder in folders:
            folder.mkdir()
        handles = [
            RunHandle(config, seed, folder, "a001", guard=lambda: True, on_progress=lambda progress: True)
            for seed, folder in enumerate(folders, start=1)
        ]
        train(handles, device="cpu", threads=1)
        rows = [
            [row for path in sorted((folder / "metrics").glob("*.parquet")) for row in read_shard(path).to_pylist()]
            for folder in folders
        ]
    return [
        [r["episode_return"] for r in of_seed if r["kind"] == "episode" and r["step"] > config.seed_phase_steps]
        for of_seed in rows
    ]


if __name__ == "__main__":
    main()
