"""Probe a machine for `sweeps doctor`: torch, GPU, MuJoCo and, as a job, whether signals and a requeue work.

`python -P -m jobs.doctor.probe FOLDER` is the job. In that folder it writes facts.json, then told.json when SIGUSR2
arrives, and again.json when it is started a second time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import process
from sweepwise.core.atomic import write_json

FACTS, TOLD, AGAIN = "facts.json", "told.json", "again.json"
PATIENCE_S = 240.0  # how long the job waits for the signal
_TIMEOUT_S = 180.0
# Runs in a separate process: `jobs` never imports heavy packages, and a driver crash must be reported.
_CHECK_SCRIPT = """
import json
found = {}
try:
    import torch
    found["torch"] = torch.__version__
    found["cuda"] = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
except Exception as error:
    found["torch_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
try:
    from tdmpc.api import without_kernels
    found["kernels_missing"] = without_kernels()
except Exception:
    pass  # what is wrong is said above or below
try:
    import mujoco
    from dm_control import suite
    suite.load("cartpole", "swingup").reset()
    found["mujoco"] = mujoco.__version__
except Exception as error:
    found["mujoco_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(found))
"""


def facts() -> dict[str, Any]:
    """This machine: host, cores, gpus, versions of torch and mujoco, the GPU's name, and why the agent's C kernels are
    missing. An import that fails is reported as torch_error or mujoco_error."""
    basics: dict[str, Any] = {"host": process.host(), "cores": process.cores(), "gpus": len(process.gpus())}
    environment = {**os.environ, **process.job_variables(process.ROOT)}
    code, output, errors = process.run([*process.python(), "-c", _CHECK_SCRIPT], _TIMEOUT_S, environment)
    try:
        return {**basics, **json.loads(output.strip().splitlines()[-1])}
    except (ValueError, IndexError):
        reason = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        return {**basics, "torch_error": reason, "mujoco_error": reason}


def main(arguments: Sequence[str]) -> int:
    folder, signals = Path(arguments[0]), []
    if (folder / FACTS).exists():
        write_json(folder / AGAIN, {"restarts": os.environ.get("SLURM_RESTART_COUNT", "0")})
        return 0
    signal.signal(signal.SIGUSR2, lambda number, frame: signals.append(number))
    write_json(folder / FACTS, facts())
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if signals:
            write_json(folder / TOLD, {})
            signals.clear()
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
