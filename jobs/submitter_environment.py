"""The submitter's environment, kept for programs beside what jobs set for this project's own code."""

from __future__ import annotations

from collections.abc import Mapping

# What the set-up of a job changes. A program gets the submitter's value.
CHANGED = ("PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONSAFEPATH", "MUJOCO_GL", "OMP_NUM_THREADS")
_KEPT = "SWEEPS_SUBMITTER_"  # + name: "=" and the value, or nothing where it was not set
# Some trainers requeue their job by themselves where they see these.
_HIDDEN = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", _KEPT)


def kept(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables from which `restored` reads the values in `environment`; those of an outer job are left as they are."""
    values = {name: f"={environment[name]}" if name in environment else "" for name in CHANGED}
    return {f"{_KEPT}{name}": environment.get(f"{_KEPT}{name}", value) for name, value in values.items()}


def shell_lines() -> list[str]:
    """The same as lines of a batch script, ahead of those that change something."""
    return [f'export {_KEPT}{name}="${{{name}+=${name}}}"' for name in CHANGED]


def restored(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment that the submitter had, without the variables of a Slurm job."""
    variables = {name: value for name, value in environment.items() if not name.startswith(_HIDDEN)}
    for name in CHANGED:
        before = environment.get(f"{_KEPT}{name}")
        if before is not None:
            variables.pop(name, None)
            if before:
                variables[name] = before[1:]
    return variables
