"""Random local search on Rosenbrock's function. For any Python from 3.6 on, with its standard library alone."""

import argparse
import json
import os
import random
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--sigma", type=float, default=0.1, help="of the mutations")
parser.add_argument("--dimensions", type=int, default=4)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


def rosenbrock(x):
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


draw = random.Random(args.seed)
best = [draw.uniform(-2, 2) for _ in range(args.dimensions)]
print("Python", sys.version.split()[0])
run = Path(os.environ.get("SWEEPS_RUN", "."))  # the folder of the run
with (run / "metrics.jsonl").open("w") as log:
    for step in range(1, args.steps + 1):
        tried = 0
        for _ in range(2000):
            other = [value + draw.gauss(0, args.sigma) for value in best]
            if rosenbrock(other) < rosenbrock(best):
                best, tried = other, tried + 1
        log.write(json.dumps({"step": step, "value": rosenbrock(best), "search": {"accepted": tried / 2000}}) + "\n")
        log.flush()
