"""A training program of the tests: argparse, JSON lines, a checkpoint of its own, data loaders that outlive it."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--trouble", default="")  # what goes wrong, see below
arguments = parser.parse_args()
checkpoint, trouble = arguments.out / "checkpoint.json", arguments.trouble
first = json.loads(checkpoint.read_text())["step"] + 1 if arguments.resume else 1
stopping: list[int] = []
if trouble == "ignores signals":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
if trouble == "loaders":  # one in a session of its own, one whose parent has ended
    subprocess.Popen(["sleep", "4242"], start_new_session=True)
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(4242)
        os._exit(0)
if trouble == "prints its environment":
    sys.exit(f"no access with {os.environ['MY_API_KEY']}")
if trouble == f"fails with seed {arguments.seed}":
    raise RuntimeError("no luck")


def evaluate(step: int) -> float:
    return 100 * step * arguments.lr + random.Random(1000 * arguments.seed + step).gauss(0, 0.01)


with (arguments.out / "metrics.jsonl").open("a") as log:
    for step in range(first, arguments.steps + 1):
        row: dict[str, float] = {"step": step, "train/loss": 1 / step, "train/return": evaluate(step) / 2}
        if step % 10 == 0:
            row["eval/return"] = float("nan") if trouble == "nan" else evaluate(step)
        if trouble != "logs nothing":
            log.write(json.dumps(row) + "\n")
        log.flush()
        if step % 10 == 0 or stopping:
            checkpoint.write_text(json.dumps({"step": step}))
        if stopping or (trouble.startswith("ends early") and step == 20):
            if trouble.endswith("logs astray"):
                Path("astray.csv").write_text("step,eval/loss\n20,1\n")
            break
        if trouble == "wants more time" and step == 20 and not arguments.resume:
            sys.exit(3)
        time.sleep(arguments.pause)
