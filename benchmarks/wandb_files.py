"""Compares the reader of Weights & Biases' files with files that wandb itself writes.

    python benchmarks/wandb_files.py [--wandb VERSION] [--steps N]

Makes an environment in a temporary folder, installs wandb there (wants a network) and runs a program that logs without
network: once to its end, once killed in the middle, while both files are followed. What wandb was given must be read:
all of it from the first, all but the newest rows from the second. Every record is also decoded with wandb's own
protobuf classes. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jobs.programs.metric_sources.base import LoggedRow, MetricReader, SourceSpec  # noqa: E402
from jobs.programs.metric_sources.wandb_log import HEADER, log_part  # noqa: E402

PROGRAM = """
import math, sys, time
import wandb
steps = int(sys.argv[1])
run = wandb.init(project="p", config={"lr": 0.1})
for step in range(steps) if steps else iter(lambda n=[0]: n.__setitem__(0, n[0] + 1) or n[0] - 1, -1):
    row = {"at": 10 * step, "loss": 1 / (step + 1), "nested": {"inner": {"value": step}, "other": 2.5},
           "slash/ed": -step, "flag": step % 2 == 0, "word": "text", "list": [1, 2.5, step], "_own": 1, "time": 3.5}
    if step % 100 == 0:
        row |= {"nan": math.nan, "up": math.inf, "down": -math.inf, "big": 10**30, "long/" + 40 * "name": 1e-300,
                "histogram": wandb.Histogram(np_histogram=([step, 2], [0, 1, 2])),
                "image": {"_type": "image-file", "path": "a.png", "size": 3}, "parts": {"a": {"_type": "x", "b": 1}},
                "text": wandb.Html("x" * 50_000, inject=False), "wide": [0.5] * 10_000}
    wandb.log(row)
    if not steps:
        print(step, flush=True)
        time.sleep(0.0005)
run.finish()
"""
# The history of a file, each row as its items, from records that stand in a file, each after its length.
DECODER = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2
data, place, rows = open(sys.argv[1], "rb").read(), 0, []
while place < len(data):
    (size,) = struct.unpack_from("<I", data, place)
    record = wandb_internal_pb2.Record.FromString(data[place + 4 : place + 4 + size])
    place += 4 + size
    if record.WhichOneof("record_type") == "history":
        rows.append([["/".join(item.nested_key) or item.key, json.loads(item.value_json)]
                     for item in record.history.item])
print(json.dumps(rows))
"""


def expected(step: int) -> dict[str, float | tuple[float, ...]]:
    """What the program's row is to be read as."""
    row: dict[str, float | tuple[float, ...]] = {
        "loss": 1 / (step + 1), "nested/inner/value": float(step), "nested/other": 2.5, "slash/ed": float(-step),
        "flag": float(step % 2 == 0), "list": (1.0, 2.5, float(step)), "logged/time": 3.5,
    }  # fmt: skip
    if step % 100 == 0:
        row |= {"nan": math.nan, "up": math.inf, "down": -math.inf, "big": 1e30, "long/" + 40 * "name": 1e-300}
        row |= {"wide": (0.5,) * 10_000}
    return row


def differences(rows: list[LoggedRow], begun: float) -> Iterator[str]:
    """Where rows are not what the program logged, in its order."""
    for step, row in enumerate(rows):
        said, due = dict(row.metrics), expected(step)
        if row.step != 10 * step:
            yield f"row {step}: step {row.step}"
        if repr(sorted(said.items())) != repr(sorted(due.items())):
            yield f"row {step}: {sorted(set(said.items()) ^ set(due.items()), key=str)}"[:300]
        if row.time is None or not begun - 1 <= row.time <= time.time() + 1:
            yield f"row {step}: time {row.time}"


def decoded(python: Path, file: Path, rows: list[LoggedRow]) -> Iterator[str]:
    """Where wandb's own classes find other numbers in the records of a file."""
    part = log_part(file.read_bytes()[len(HEADER) :], len(HEADER))
    if part.damage:
        yield f"damaged at byte {part.damage[0]}"
    records = file.with_suffix(".records")
    records.write_bytes(b"".join(len(record).to_bytes(4, "little") + record for record in part.records))
    found = json.loads(subprocess.check_output([str(python), "-c", DECODER, str(records)]))
    if len(found) != len(rows):
        yield f"{len(rows)} rows read, wandb's classes find {len(found)}"
    for items, row in zip(found, rows, strict=False):
        for name, value in items:
            number = row.metrics.get(name)
            if isinstance(number, float) and repr(float(value)) != repr(number):
                yield f"step {row.step}, {name}: {number}, wandb's classes find {value}"


def follow(python: Path, folder: Path, steps: int, kill: int) -> tuple[list[LoggedRow], MetricReader, int]:
    """Runs the program in a folder. The rows, their reader, and how many rows it had logged at least. steps: 0 for a
    program that goes on until `kill` rows were read, and is killed."""
    folder.mkdir()
    output = folder / "output.log"
    reader = MetricReader([SourceSpec("wandb", "wandb", step="at")], "", folder, output)
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    rows: list[LoggedRow] = []
    with output.open("w") as file:
        command = [str(python), "-c", PROGRAM, str(steps)]
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, start_new_session=True)
        while running.poll() is None:
            rows += reader.read()
            if not steps and len(rows) >= kill:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
            time.sleep(0.1)
    time.sleep(2)  # for what wandb's own process still writes
    rows += reader.finish()
    return rows, reader, steps or len(output.read_text().split())


def check(name: str, python: Path, folder: Path, steps: int) -> bool:
    begun = time.time()
    rows, reader, logged = follow(python, folder, steps, kill=3000)
    (file,) = reader.files
    found = [*differences(rows, begun), *decoded(python, file, rows), *reader.problems]
    if steps and len(rows) != steps:
        found.append(f"{steps} rows were logged, {len(rows)} read")
    size = file.stat().st_size
    print(f"{name}: {logged:,} rows logged, {len(rows):,} read, file of {size:,} bytes ({size / 32768:.2f} blocks)")
    for line in itertools.islice(found, 10):
        print(f"  differs: {line}")
    return not found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wandb", metavar="VERSION", help="default: the newest")
    parser.add_argument("--steps", type=int, default=1000, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        environment = Path(temporary, "environment")
        python = environment / "bin" / "python"
        package = f"wandb=={options.wandb}" if options.wandb else "wandb"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", package], check=True)
        version = [str(python), "-c", "import wandb; print(wandb.__version__)"]
        print("wandb", subprocess.check_output(version, text=True).strip())
        whole = check("to its end", python, Path(temporary, "whole"), options.steps)
        killed = check("killed", python, Path(temporary, "killed"), 0)
    print("as logged" if whole and killed else "differences, see above")
    return 0 if whole and killed else 1


if __name__ == "__main__":
    sys.exit(main())
