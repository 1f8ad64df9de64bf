"""Time of an update and of a planned action compared with that of their matrix products, for any configuration.

    python benchmarks/speed.py                                      the base configuration
    python benchmarks/speed.py --reference --seeds 1,5              the learning study's small networks
    python benchmarks/speed.py --set num_q=5 --threads 2
    python benchmarks/speed.py --reference --compile                both through torch.compile, and their start
    python benchmarks/speed.py --device cuda --seeds 1,2,4,6,12 --compile --cuda-graphs --set bfloat16=yes
    python benchmarks/speed.py --start                              the start of a run, part by part

GFLOP: of the matrix products, counted while they run as torch operations. Floor: GFLOP / throughput of this machine for
a float32 product of 512x524 by 524x512 on one thread, or on a GPU for a product of 4096x4096 by 4096x4096 with the
configuration's `tf32`. It is measured in the same process before and after every repetition, since the load of the
machine changes. Units: seconds x throughput, which are more comparable between machines than seconds. All figures are
medians, of processor time; with several threads or on a GPU, of wall time. Steps/s: agent steps of all seeds, each with
a planned action and `utd_ratio` updates, without the environment.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from jobs.planning.plan import load as load_plan
from tdmpc.accel import kernels, processor
from tdmpc.accel.cuda_graphs import WARM_UPS
from tdmpc.agent.agent import Agent, Schedule
from tdmpc.agent.batch import Batch
from tdmpc.api import keep_freed_memory
from tdmpc.config import TrainConfig
from tdmpc.rng import Streams
from tdmpc.training.environment import Env

LEARNING = Path(__file__).with_name("learning.yaml")
START = Path(__file__).with_name("start.py")


def main() -> None:
    args = _arguments()
    given = dict(pair.split("=", 1) for pair in args.set)
    base = load_plan(LEARNING).base if args.reference else {}
    config = TrainConfig().with_overrides({**base, **given})
    if args.start:
        _start({**base, **given}, args.threads)
        return
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    how = "C kernels" if kernels.compiled() and args.device == "cpu" else "torch operations"
    torch.backends.cuda.matmul.allow_tf32 = config.tf32
    at = f"on {torch.cuda.get_device_name()}, " if args.device == "cuda" else ""
    print(f"{at}{processor.name()}, {os.cpu_count()} cores, torch {torch.__version__}, {args.threads} thread(s)")
    print(f"{config.task}, {how}; the product of the floor: {_throughput(args.device):.0f} GFLOP/s\n")
    print(f"{'seeds':>5} {'':8} {'GFLOP':>8} {'floor ms':>9} {'ms':>9} {'x floor':>8} {'units':>8} {'per seed':>9}")
    for seeds in map(int, args.seeds.split(",")):
        _print(config, seeds, args)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _print(config: TrainConfig, seeds: int, args: argparse.Namespace) -> None:
    """Measures an update and an action of `seeds` seeds, and prints a line for each and one for both."""
    counted = {name: _gflop(work) for name, work in _work(config, seeds, device=args.device).items()}
    seconds = {}
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for name, work in _work(config, seeds, args.compile, args.cuda_graphs, args.device).items():
        first = _seconds(work, time.perf_counter, args.device)
        for _ in range(WARM_UPS if args.cuda_graphs else 0):  # and the recording
            work()
        gflop, (taken, units) = counted[name], _measured(work, args)
        floor = taken * gflop / units
        seconds[name] = taken
        print(
            f"{seeds:5} {name:8} {gflop:8.2f} {1e3 * floor:9.1f} {1e3 * taken:9.1f} {units / gflop:8.2f} "
            f"{units:8.2f} {units / seeds:9.2f}" + (f"   the first one {first:.0f} s" if args.compile else "")
        )
    steps = seeds / (seconds["action"] + config.utd_ratio * seconds["update"])
    memory = f", {torch.cuda.max_memory_allocated() / 2**20:.0f} MB on the GPU" if args.device == "cuda" else ""
    print(f"{seeds:5} {'steps/s':8} {steps:8.1f}{memory}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", action="store_true", help="start from benchmarks/learning.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key; may be repeated")
    parser.add_argument("--seeds", default="1", help="seeds side by side, such as 1,5")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of repetitions of each measurement; at least three (default: 4)"
    )
    parser.add_argument("--compile", action="store_true", help="update and plan through torch.compile")
    parser.add_argument("--cuda-graphs", action="store_true", help="record both and replay them, on a GPU")
    parser.add_argument("--start", action="store_true", help="measure the start of a run instead")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here; leave it out to measure the CPU")
    if args.device == "cpu" and args.cuda_graphs:
        parser.error("--cuda-graphs is for a GPU; add --device cuda, or leave it out to measure the CPU")
    return args


def _work(
    config: TrainConfig, seeds: int, compiled: bool = False, cuda_graphs: bool = False, device: str = "cpu"
) -> dict[str, Callable[[], object]]:
    """One update and one planned action of `seeds` seeds, on random data of the task's sizes."""
    env = Env(config.task, config.action_repeat, 0)
    agent = Agent(config, env.obs_size, env.action_size, range(seeds), device, compiled, cuda_graphs)
    streams = Streams(range(seeds), "benchmark", device=device)
    shape = (seeds, config.horizon, config.batch_size)
    obs = torch.randn(seeds, config.horizon + 1, config.batch_size, env.obs_size)
    data = obs, torch.rand(*shape, env.action_size) * 2 - 1, torch.rand(shape), torch.zeros(shape)
    batch = Batch(*(tensor.to(device) for tensor in data))
    warm = torch.zeros(seeds, 1, config.horizon, env.action_size, device=device)
    schedule = Schedule(False, config.start_entropy_coeff)
    return {
        "update": functools.partial(agent.update, batch, schedule, streams),
        "action": functools.partial(agent.act, batch.obs[:, 0, 0], warm, streams),
    }


def _start(options: dict[str, Any], threads: int) -> None:
    """Prints the time of each part of a run's start. The parts before the import of the agent are the lower bound."""
    runs = [
        subprocess.run(
            [sys.executable, str(START), json.dumps(options), str(threads)], check=True, capture_output=True, text=True
        )
        for _ in range(3)
    ]
    print(f"{processor.name()}, {os.cpu_count()} cores, torch {torch.__version__}, {threads} thread(s)\n")
    print(f"{'processor s':>11} {'so far':>7}")
    before = 0.0
    for of in zip(*(json.loads(run.stdout) for run in runs), strict=True):
        name, so_far = of[0][0], statistics.median(seconds for _, seconds in of)
        print(f"{so_far - before:11.2f} {so_far:7.2f}  {name}")
        before = so_far


class _Products(TorchDispatchMode):
    """Counts the operations of matrix products. (torch's FlopCounterMode fails for a view made without gradients of a
    tensor that requires them.)"""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _gflop(work: Callable[[], object]) -> float:
    """GFLOP of `work` as torch operations. The kernels compute the same products, except for rows without a
    gradient."""
    with mock.patch.object(kernels, "_library", return_value=None), _Products() as counted:
        work()
    return counted.flops / 1e9


def _throughput(device: str) -> float:
    """Current GFLOP/s of the product that defines the units."""
    rows, depth = (4096, 4096) if device == "cuda" else (512, 524)
    a, b = torch.randn(rows, depth, device=device), torch.randn(depth, rows, device=device)
    clock = time.perf_counter if device == "cuda" else time.process_time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = statistics.median(_seconds(lambda: a @ b, clock, device) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    return 2 * rows * depth * rows / 1e9 / seconds


def _measured(work: Callable[[], object], args: argparse.Namespace) -> tuple[float, float]:
    """Median seconds and units of `work`, which must have run before."""
    clock = time.process_time if args.threads == 1 and args.device == "cpu" else time.perf_counter
    repetitions: list[tuple[float, float]] = []
    before = _throughput(args.device)
    while len(repetitions) < 3 or sum(seconds for seconds, _ in repetitions) < args.seconds:
        seconds = _seconds(work, clock, args.device)
        after = _throughput(args.device)
        repetitions.append((seconds, seconds * (before + after) / 2))
        before = after
    seconds, units = map(statistics.median, zip(*repetitions, strict=True))
    return seconds, units


def _seconds(work: Callable[[], object], clock: Callable[[], float], device: str) -> float:
    """Seconds until `work` is complete, including the operations that it has launched on a GPU."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = clock()
    work()
    wait()
    return clock() - start


if __name__ == "__main__":
    main()
