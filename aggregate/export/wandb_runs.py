"""Export to Weights & Biases, one W&B run per run; the only module that imports `wandb`, an optional extra."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aggregate.export.new_rows import ExportedRow, RunInfo
from sweepwise.core.errors import AggregateError

_LONGEST, _LONGEST_TAG = 100, 64  # characters: W&B takes 128 for a name, and 64 for a tag


class WandbRuns:
    """Open W&B runs. They stay open while rows may follow, as every offline start makes a new folder; see `close`.

    W&B's own settings decide between online and offline (WANDB_MODE=offline).
    """

    def __init__(self, out: Path, project: str) -> None:
        try:
            import wandb
        except ImportError as error:
            fix = "`pip install -c constraints.txt -e '.[wandb]'` in the checkout installs it"
            raise AggregateError(f"W&B is not installed here; {fix}") from error
        self._wandb, self._out, self._project = wandb, out, project
        self._open: dict[str, Any] = {}

    def write(self, about: RunInfo, first: int, rows: Iterable[ExportedRow]) -> None:
        """Log rows. first: number of the first one in its run.

        W&B drops a number that it already has, so rows are numbered consecutively; panels use `step` as x axis.
        """
        run = self._open.get(_identity(about)) or self._start_run(about)
        for number, row in enumerate(rows, first):
            own = {"step": row.step, "frames": row.frames, "update": row.update, "time": row.time}
            run.log({**own, **row.values}, step=number)

    def _start_run(self, about: RunInfo) -> Any:
        # what W&B records by itself describes this process, not the run
        quiet = self._wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        label = about.label[:_LONGEST]
        try:
            run = self._wandb.init(
                project=self._project, id=_identity(about), name=f"{label} seed {about.seed}", group=label,
                tags=[about.sweep[:_LONGEST_TAG]] if about.sweep else None, config={**about.config, "seed": about.seed},
                dir=str(self._out), resume="allow", reinit="create_new", settings=quiet,
            )  # fmt: skip
        except self._wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise AggregateError(f"W&B: {reason}; WANDB_MODE=offline writes files to upload later") from error
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        self._open[_identity(about)] = run
        return run

    def close(self, about: RunInfo) -> None:
        """Finish the W&B run; a later `write` resumes it."""
        run = self._open.pop(_identity(about), None)
        if run is not None:
            run.finish()

    def close_all(self) -> None:
        while self._open:
            self._open.popitem()[1].finish()


def _identity(about: RunInfo) -> str:
    return f"{about.config_id}-seed-{about.seed}"
