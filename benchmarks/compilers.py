"""Whether a training run is the same, bit for bit, with every C compiler, and how fast it is with each.

    python benchmarks/compilers.py                        every cc, gcc and clang on PATH
    python benchmarks/compilers.py gcc-12 clang-19        these
    python benchmarks/compilers.py --set num_q=3          any key of the configuration

Trains two seeds side by side on 1 and on 2 threads with each compiler, in a process of its own: exploration, updates,
plans, evaluation, validation and the diagnostics of every logged update. All numbers in the metrics but the clock's and
all weights of the last checkpoint are compared. Exits with 1 where a compiler's differ from the first one's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SMALL = {
    "task": "cartpole-swingup", "action_repeat": 100, "steps": 36, "seed_steps": 16, "batch_size": 32,
    "mlp_dim": 128, "latent_dim": 64, "enc_dim": 96, "num_samples": 48, "num_pi_trajs": 8, "num_elites": 8,
    "iterations": 2, "num_rollouts": 2, "log_freq": 5, "eval_freq": 18, "eval_episodes": 1, "final_eval_episodes": 1,
}  # fmt: skip
CLOCKED = ("time", "steps_per_s", "updates_per_s")
SEEDS = (1, 2)
NAMES = re.compile(r"(cc|gcc|clang)(-\d+)?")


def main() -> int:
    args = _arguments()
    if args.one:
        print(json.dumps(_trained(dict(pair.split("=", 1) for pair in args.set), args.one)))
        return 0
    expected: dict[str, str] = {}
    print(f"{'compiler':56} {'threads':>7} {'metrics':>16} {'weights':>16} {'s':>6}")
    for compiler in args.compilers or on_path():
        for threads in (1, 2):
            found = _in_a_process(compiler, threads, args.set)
            seconds = found.pop("seconds")
            expected = expected or found
            said = "" if found == expected else "   differs"
            version = _version(compiler)
            print(
                f"{version:56} {threads:7} {found['metrics']:>16} {found['weights']:>16} {seconds:>6}{said}", flush=True
            )
            args.differ |= bool(said)
    print("not the same numbers" if args.differ else "the same numbers, bit for bit")
    return int(args.differ)


def on_path() -> list[str]:
    """C compilers on PATH and CC, one path for each program that they stand for."""
    folders = [Path(folder) for folder in os.get_exec_path() if Path(folder).is_dir()]
    names = sorted({path.name for folder in folders for path in folder.iterdir() if NAMES.fullmatch(path.name)})
    paths = [path for name in (os.environ.get("CC", "cc"), *names) if (path := shutil.which(name))]
    programs: dict[str, str] = {}
    for path in paths:
        programs.setdefault(os.path.realpath(path), path)
    return list(programs.values())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compilers", nargs="*", help="C compilers (default: all on PATH)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key; may be repeated")
    parser.add_argument("--one", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    parser.set_defaults(differ=False)
    return parser.parse_args()


def _version(compiler: str) -> str:
    said = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    return said.splitlines()[0]


def _in_a_process(compiler: str, threads: int, options: list[str]) -> dict[str, str]:
    command = [sys.executable, __file__, "--one", str(threads), *[part for pair in options for part in ("--set", pair)]]
    # on a busy machine, threads that wait actively for each other keep each other waiting
    env = {"OMP_WAIT_POLICY": "passive", **os.environ, "CC": compiler, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def _trained(options: dict[str, str], threads: int) -> dict[str, str]:
    """Hashes of the metrics and of the weights, and the seconds of processor time."""
    import time

    from tdmpc.accel import kernels
    from tdmpc.api import RunHandle, train
    from tdmpc.config import TrainConfig

    if not kernels.compiled():
        raise SystemExit(f"no kernels: {kernels.missing() or 'SWEEPS_KERNELS=torch'}")
    config = TrainConfig().with_overrides({**SMALL, **options})
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root, f"seed-{seed}") for seed in SEEDS]
        for folder in folders:
            folder.mkdir()
        handles = [
            RunHandle(config, seed, folder, "a001", guard=lambda: True, on_progress=lambda progress: True)
            for seed, folder in zip(SEEDS, folders, strict=True)
        ]
        start = time.process_time()
        train(handles, device="cpu", threads=threads)
        seconds = time.process_time() - start
        return {**_hashes(folders), "seconds": f"{seconds:.1f}"}


def _hashes(folders: list[Path]) -> dict[str, str]:
    import torch

    from sweepwise.core.shards import read_shard

    metrics, weights = hashlib.sha256(), hashlib.sha256()
    for folder in folders:
        for path in sorted((folder / "metrics").glob("*.parquet")):
            table: Any = read_shard(path)
            rows = table.drop_columns([name for name in table.column_names if name in CLOCKED]).to_pylist()
            metrics.update(repr([sorted(row.items()) for row in rows]).encode())
        newest = max((folder / "checkpoints").glob("*.pt"))
        for module, values in sorted(torch.load(newest, weights_only=True)["agent"]["modules"].items()):
            for name, value in sorted(values.items()):
                weights.update(f"{module}.{name}".encode() + value.contiguous().numpy().tobytes())
    return {"metrics": metrics.hexdigest()[:16], "weights": weights.hexdigest()[:16]}


if __name__ == "__main__":
    sys.exit(main())
