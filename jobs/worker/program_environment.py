"""The environment of a program: the submitter's, and variables that describe its run."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from jobs.programs.command import Places, Program
from jobs.submitter_environment import restored

_WANDB = "wandb"


def environment(
    program: Program, places: Places, run: str, threads: int, deadline: float | None, hyperparameters: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a run's program. run: its name. deadline: unix seconds when it should have saved its state,
    None for none. hyperparameters: those that go by the environment."""
    variables = restored(os.environ)
    variables.setdefault("OMP_NUM_THREADS", str(threads))
    # First of all, so that an editable install of the program does not go past the copy of its code.
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(places.code), variables.get("PYTHONPATH", "")]))
    variables["PYTHONUNBUFFERED"] = "1"
    if any(spec.kind == _WANDB for spec in program.metrics.read):
        variables |= {"WANDB_DIR": str(places.run), "WANDB_RUN_ID": run.replace("/", "-"), "WANDB_RESUME": "allow"}
    for name, value in program.environment.items():
        if value is not None:
            variables[name] = value
        elif name in os.environ:
            variables[name] = os.environ[name]
    variables |= hyperparameters
    variables |= {"SWEEPS_RUN": str(places.run), "SWEEPS_SEED": str(places.seed)}
    if deadline is not None:
        variables["SWEEPS_DEADLINE"] = str(int(deadline))
    return variables


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secrets(program: Program) -> list[str]:
    """Values that no message may repeat: those that the program has from its submitter by name, and those of variables
    that are named like secrets."""
    words = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "API_KEY", "CREDENTIAL")
    return [
        value for name, value in os.environ.items()
        if len(value) >= 6
        and (program.environment.get(name, "") is None or any(word in name.upper() for word in words))
    ]  # fmt: skip
