"""Agent steps per second on a GPU, summed over the seeds of a process, and GPU memory, as Markdown: for numbers of
seeds, ways of execution and precisions. Default: the base configuration; `--set` changes it.

    python benchmarks/gpu.py                                        all of it; a quarter of an hour
    python benchmarks/gpu.py --seeds 1,6 --ways eager,graphs --precisions tf32

Each line is one process of benchmarks/speed.py with random data, without environments.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

SPEED = Path(__file__).with_name("speed.py")
WAYS = {
    "eager": (),
    "compiled": ("--compile",),
    "graphs": ("--cuda-graphs",),
    "compiled graphs": ("--compile", "--cuda-graphs"),
}
PRECISIONS = {"fp32": ("--set", "tf32=no"), "tf32": ("--set", "tf32=yes"), "bfloat16": ("--set", "bfloat16=yes")}
CELL = re.compile(r"^ *(?P<seeds>\d+) steps/s +(?P<steps>[\d.]+)(?:, (?P<mb>\d+) MB on the GPU)?$", re.M)


class Cell(NamedTuple):
    steps: float  # agent steps per second, all seeds together
    mb: int | None  # peak memory on the GPU; None on a CPU


def main() -> int:
    args = _arguments()
    seeds = [int(word) for word in args.seeds.split(",")]
    print(f"| precision | way, seeds: | {' | '.join(map(str, seeds))} |\n|---|---|{'---|' * len(seeds)}", flush=True)
    failed = 0
    for precision in args.precisions:
        for way in args.ways:
            words = [*WAYS[way], *PRECISIONS[precision], *(word for pair in args.set for word in ("--set", pair))]
            cells = measured(["--device", args.device, "--seeds", args.seeds, "--seconds", "1", *words])
            failed += len(cells) < len(seeds)
            print(f"| {precision} | {way} | {' | '.join(_words(cells.get(n), n) for n in seeds)} |", flush=True)
    print("\nAgent steps a second of all seeds together; MB on the GPU for each of them.")
    return 1 if failed else 0


def measured(words: Sequence[str]) -> dict[int, Cell]:
    """Number of seeds -> result of speed.py, for those that it completed. Its error messages go to the terminal."""
    completed = subprocess.run([sys.executable, str(SPEED), *words], check=False, stdout=subprocess.PIPE, text=True)
    return {
        int(cell["seeds"]): Cell(float(cell["steps"]), int(cell["mb"]) if cell["mb"] else None)
        for cell in CELL.finditer(completed.stdout)
    }


def _words(cell: Cell | None, seeds: int) -> str:
    if cell is None:
        return "failed"
    return f"{cell.steps:.1f}" + ("" if cell.mb is None else f" ({cell.mb / seeds:.0f} MB)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,4,6,12", help="side by side in a process (default: %(default)s)")
    for name, legal in (("ways", WAYS), ("precisions", PRECISIONS)):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=list(legal), help=", ".join(legal))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key; may be repeated")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu tries the program out")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --device cpu tries the program out")
    for name, legal in (("ways", WAYS), ("precisions", PRECISIONS)):
        if unknown := set(getattr(args, name)) - set(legal):
            parser.error(f"--{name} {min(unknown)!r}: legal are {', '.join(legal)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
