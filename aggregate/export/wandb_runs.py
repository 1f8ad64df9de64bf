"""Runs of Weights & Biases, one a run: the only module that knows the package `wandb`, an optional extra."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aggregate.export.new_rows import About, Row
from sweepwise.core.errors import AggregateError

_LONGEST, _LONGEST_TAG = 100, 64  # characters: W&B takes 128 for a name, and 64 for a tag


class WandbRuns:
    """Holds runs open while rows may follow, as each opening offline makes a folder of its own; see `close`.

    Online or offline is what W&B's own settings say (WANDB_MODE=offline).
    """

    def __init__(self, out: Path, project: str) -> None:
        try:
            import wandb
        except ImportError as error:
            fix = "`pip install -c constraints.txt -e '.[wandb]'` in the checkout installs it"
            raise AggregateError(f"W&B is not installed here; {fix}") from error
        self._wandb, self._out, self._project = wandb, out, project
        self._open: dict[str, Any] = {}

    def write(self, about: About, first: int, rows: Iterable[Row]) -> None:
        """Log rows, of which the first is the `first`th of its run.

        Rows are numbered, as W&B drops a number that it has already; `step` is what its panels draw against.
        """
        run = self._open.get(_identity(about)) or self._begun(about)
        for number, row in enumerate(rows, first):
            own = {"step": row.step, "frames": row.frames, "update": row.update, "time": row.time}
            run.log({**own, **row.values}, step=number)

    def _begun(self, about: About) -> Any:
        # what W&B would look up by itself is of the machine and the code of this process, not of the run
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
            said = " ".join(str(error).split()).rstrip(".")
            raise AggregateError(f"W&B: {said}; WANDB_MODE=offline writes files to upload later") from error
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        self._open[_identity(about)] = run
        return run

    def close(self, about: About) -> None:
        """No row will follow for now."""
        run = self._open.pop(_identity(about), None)
        if run is not None:
            run.finish()

    def close_all(self) -> None:
        while self._open:
            self._open.popitem()[1].finish()


def _identity(about: About) -> str:
    return f"{about.config_id}-seed-{about.seed}"
