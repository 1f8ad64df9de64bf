"""The learning study: trains benchmarks/learning.yaml, judges it, and writes docs/learning.md with its figure.

    python benchmarks/learning.py                                          five seeds a task
    python benchmarks/learning.py --seeds 2 --steps 2600 --out /tmp/try    a try
    python benchmarks/learning.py --tf32                                   as a GPU multiplies; see tf32.py

Runs are trained by `sweeps submit` and lie in OUT/results: called again, it trains only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rows import spliced

from aggregate.analysis.run_scores import LAST_POINTS, MODES
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.inputs.runs import config_letter
from aggregate.statistics import estimates
from aggregate.verdict.number_format import estimate, number
from jobs import process
from jobs.planning.plan_values import parse_seeds
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.runs import status
from plots import curves, layouts
from plots.theme import VARIABLES, LineStyle
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import AggregateError, JobsError
from tdmpc.accel import processor

ROOT = Path(__file__).resolve().parents[1]
PLAN = ROOT / "benchmarks" / "learning.yaml"
TF32 = ROOT / "benchmarks" / "tf32.py"
SWEEP = "learning"


class Reference(NamedTuple):
    """Runs of TD-MPC2's own code.

    evaluations: seed, step, eval_return_planner; a line an evaluation with planning.
    random: return of random actions, the highest that was seen where it varied: the narrower margin.
    """

    evaluations: pd.DataFrame
    random: float

    @property
    def steps(self) -> int:
        """Agent steps of its runs."""
        return int(self.evaluations["step"].max())

    @property
    def finals(self) -> np.ndarray:
        """(n,) per seed, the mean of its last evaluations: the endpoint."""
        ordered = self.evaluations.sort_values("step").groupby("seed")["eval_return_planner"]
        return ordered.apply(lambda returns: returns.tail(LAST_POINTS).mean()).to_numpy()

    @property
    def margin(self) -> float:
        """By how much less our mean may be."""
        return MARGIN * float(self.finals.mean() - self.random)


# Fixed before any run of the study: what is kept is at least 85 % of what the reference gained over random actions.
MARGIN = 0.15
RANDOM = {"cartpole-swingup": 27.0, "walker-stand": 147.0}
REFERENCE_RUNS = ROOT / "benchmarks" / "results" / "tdmpc2.csv"


def references() -> dict[str, Reference]:
    """By task, from the CSV of the runs of TD-MPC2's own code."""
    runs = pd.read_csv(REFERENCE_RUNS)
    return {task: Reference(runs[runs["task"] == task], random) for task, random in RANDOM.items()}


LEGEND = "A: with planning. B: the policy without MPC. C: TD-MPC2's own code, with planning. Bands: 95 % intervals."
WIDTH, HEIGHT, HEAD = 900, 300, 30  # of a picture, and of the line above it


# --- training -------------------------------------------------------------------------------------------


def train(store: ResultsFolder, tasks: Sequence[str], args: argparse.Namespace) -> int:
    """Train what is missing, and what failed before this call once more; 0 where all of it is done."""
    sweeps = [SWEEP] if set(tasks) == set(RANDOM) else [f"{SWEEP}.{task}" for task in tasks]
    packed = args.seeds_per_job or len(parse_seeds(args.seeds))
    submit = ["--plan", str(PLAN), "--seeds", args.seeds, "--seeds-per-job", str(packed),
              "--cluster", "debug" if args.tf32 else "local",
              "--profile", "cpu", "--option", f"cpus={args.threads}"]  # fmt: skip
    submit += ["--steps", str(args.steps)] if args.steps is not None else []
    for sweep in sweeps:
        begun = any(name == sweep or name.startswith(f"{sweep}.") for name in store.sweep_names())
        commands = [["submit", sweep, *submit, "--wait"]]
        commands += [["rerun", sweep, "--failed", "--wait"]] if begun else []
        for command in commands:
            if code := _sweeps(store, args.tf32, *command):
                return code
    return 0


def _sweeps(store: ResultsFolder, tf32: bool, *words: str) -> int:
    program = [str(TF32)] if tf32 else ["-m", "jobs.cli"]
    command = [*process.python(), *program, "--results", str(store.root), *words]
    return subprocess.run(command, env={**os.environ, **process.job_variables(ROOT)}, check=False).returncode


# --- judging --------------------------------------------------------------------------------------------


def judge(reference: Reference, steps: int, finished: int, planned: int, ends: tuple[float, float]) -> str:
    """Whether the ends of the difference's interval show non-inferiority; in words."""
    low, high = ends
    if steps != reference.steps:
        return f"not comparable: {steps:,} steps, the reference has {reference.steps:,}"
    if finished < planned:
        return f"not shown: {planned - finished} of {planned} seeds did not finish"
    if not math.isfinite(low):
        return "not shown: an interval needs two seeds"
    if high < 0:
        return "**inferior**: the interval lies below zero"
    return "non-inferior" if low > -reference.margin else "**not shown**: the interval reaches below"


def table(summaries: Mapping[str, SweepSummary]) -> str:
    """The Markdown table, one line a task."""
    lines = [
        "| task | steps (frames) | seeds | with planning | policy without MPC | random | TD-MPC2's own code | seeds "
        "| difference | must exceed | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, sweep in summaries.items():
        reference, config = references()[task], sweep.source.configs[0]
        finals = {mode: _finite(sweep.scores[f"final_{mode}"]) for mode in MODES}
        n, (mean, half) = len(finals["primary"]), _apart(finals["primary"], reference.finals)
        frames = sweep.total_steps * config.config["action_repeat"]
        cells = [task, f"{sweep.total_steps:,} ({frames:,})", f"{n}"]
        cells += [_interval(finals[mode]) for mode in MODES]
        cells += [f"{number(sweep.random.mean)} (n={sweep.random.n})" if sweep.random else "-"]
        cells += [_interval(reference.finals), f"{len(reference.finals)}"]
        cells += [estimate(mean, mean - half, mean + half), number(-reference.margin)]
        cells += [judge(reference, sweep.total_steps, n, len(config.runs), (mean - half, mean + half))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _apart(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Difference of the means and half the width of its interval (Welch); NaN where there is none."""
    if not ours.size or not theirs.size:
        return math.nan, math.nan
    found = estimates.welch(ours, theirs)
    return float(found.estimate), float(found.half_width())


def _finite(values: pd.Series) -> np.ndarray:
    return values.to_numpy(dtype=float)[np.isfinite(values)]


def _interval(values: np.ndarray) -> str:
    """Mean and Student-t interval; a dash for no values."""
    if not values.size:
        return "-"
    spread = values.std(ddof=1) if values.size > 1 else math.nan
    mean, half = float(values.mean()), float(estimates.Interval().half_width(np.array(spread), np.array(values.size)))
    return estimate(mean, mean - half, mean + half)


# --- the runs -------------------------------------------------------------------------------------------


def finals(store: ResultsFolder, summaries: Mapping[str, SweepSummary]) -> list[dict[str, Any]]:
    """One line per run: its last evaluations (final), the large one after the last step, how long it took, on what.

    wall_s: from start to end of its attempts, those that were killed left out; seeds side by side share it.
    """
    lines = []
    for task, sweep in summaries.items():
        scores = sweep.scores.set_index(["config_id", "seed"])
        for run in status.sweeps(store, [sweep.source.name])[0].runs:
            ref = run.record.ref
            score, wall = scores.loc[(ref.config_id, ref.seed)], wall_seconds(store, ref, run.record.attempts)
            packed = run.submission.tasks[run.task or 0].seeds if run.submission else [ref.seed]
            attempt = run.record.attempt
            lines.append({
                "task": task, "seed": ref.seed, "steps": run.record.step,
                "final_primary": f"{score['final_primary']:.1f}", "final_policy": f"{score['final_policy']:.1f}",
                "large_primary": f"{score['large_primary']:.1f}", "large_policy": f"{score['large_policy']:.1f}",
                "wall_s": f"{wall:.0f}", "steps_per_s": f"{run.record.step / wall:.2f}" if wall else "",
                "seeds_side_by_side": len(packed), "threads": run.submission.threads if run.submission else "",
                "cpu": processor.name(), "cores": os.cpu_count(),
                "torch": attempt.versions.get("torch", "") if attempt else "",
                "commit": (attempt.commit or "")[:12] if attempt else "",
            })  # fmt: skip
    return lines


def wall_seconds(store: ResultsFolder, run: RunRef, attempts: int) -> float:
    """Seconds from start to end of those attempts that recorded an end."""
    pairs = [(store.attempts.read(run, n), store.attempts.read_outcome(run, n)) for n in range(1, attempts + 1)]
    return sum(outcome.time - attempt.started for attempt, outcome in pairs if attempt and outcome)


def machine_line(lines: Sequence[Mapping[str, Any]]) -> str:
    """What the runs took, from the lines of the CSV."""
    told = {key: ", ".join(sorted({str(line[key]) for line in lines})) for key in lines[0]}
    hours = [float(line["wall_s"]) / 3600 for line in lines]
    speeds = [float(line["steps_per_s"]) for line in lines if line["steps_per_s"]]
    speed = f"{min(speeds):.1f} to {max(speeds):.1f}" if speeds else "-"
    return (
        f"Trained on {told['cpu']} with {told['cores']} cores, torch {told['torch']}; threads of a process: "
        f"{told['threads']}; seeds side by side in it: {told['seeds_side_by_side']}; hours: {min(hours):.2f} to "
        f"{max(hours):.2f}; agent steps a second of each seed, evaluation included: {speed}; code: {told['commit']}. "
        "Every seed stands in [learning.csv](../benchmarks/results/learning.csv)."
    )


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """The lines as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


# --- writing --------------------------------------------------------------------------------------------


def figure(summaries: Mapping[str, SweepSummary]) -> str:
    """An SVG file: the evaluation curves of the tasks that were evaluated, below each other."""
    drawn = {task: _picture(sweep, references()[task]) for task, sweep in summaries.items() if "eval" in sweep.seeds}
    parts = [f'<text x="10" y="{HEAD - 10}">{LEGEND}</text>']
    for index, (task, picture) in enumerate(drawn.items()):
        top = HEAD + index * (HEIGHT + HEAD)
        parts.append(f'<text x="10" y="{top + HEAD - 10}" font-weight="bold">{task}</text>')
        place = f'<svg x="0" y="{top + HEAD}" width="{WIDTH}" height="{HEIGHT}" '
        parts.append(picture.replace("<svg ", place, 1))
    height = HEAD + len(drawn) * (HEIGHT + HEAD)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _picture(sweep: SweepSummary, reference: Reference) -> str:
    lines = []
    for index, metric in enumerate(("eval_return_planner", "eval_return_policy")):
        mean, seeds = sweep.curves[sweep.curves["metric"] == metric], sweep.seeds["eval"][["seed", "step", metric]]
        lines.append(curves.Line(config_letter(index), LineStyle(index, index), mean, seeds, len(sweep.runs)))
    theirs = reference.evaluations.assign(config_id="")
    mean = estimates.Interval()(theirs, ["config_id", "step"], ["eval_return_planner"])
    look = LineStyle(len(lines), len(lines))
    lines.append(curves.Line(config_letter(len(lines)), look, mean, theirs, theirs["seed"].nunique()))
    events = curves.common_events(sweep.events, sweep.total_steps)
    frame = curves.Frame(sweep.total_steps, events, sweep.random.mean if sweep.random else None)
    layout = layouts.OVERVIEW._replace(width=WIDTH, height=HEIGHT)
    drawn = curves.overview(lines, frame, layout=layout, unit="return").svg
    for color, variable in VARIABLES.items():  # a file of its own has no style sheet that gives them values
        drawn = drawn.replace(f"var({variable})", color)
    return drawn


def judged(store: ResultsFolder) -> dict[str, SweepSummary]:
    """All runs in `store`, by task."""
    sources = [source for source in sweep_sources(store, []) if source.name.startswith(f"{SWEEP}.")]
    return {sweep.source.name.removeprefix(f"{SWEEP}."): sweep for sweep in summarise(sources).sweeps}


def write(store: ResultsFolder, out: Path) -> list[Path]:
    """Judge all runs in `store` and write page, figure and CSV below `out`; their paths."""
    summaries = judged(store)
    lines = finals(store, summaries)
    page = out / "docs" / "learning.md"
    text = (page if page.exists() else ROOT / "docs" / "learning.md").read_text(encoding="utf-8")
    section = f"{table(summaries)}\n\n![Evaluation returns over agent steps](learning.svg)\n\n{machine_line(lines)}"
    files = {
        page: spliced(text, "learning.py", section),
        out / "docs" / "learning.svg": figure(summaries),
        out / "benchmarks" / "results" / "learning.csv": as_csv(lines),
    }
    for path, content in files.items():
        write_bytes(path, content.encode())
    return list(files)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--tasks", nargs="+", choices=RANDOM, default=list(RANDOM), help="to train; all otherwise")
    add("--seeds", default="5", help="5 (seeds 1 to 5), 4-9 or 1,3,5 (default: %(default)s)")
    add("--threads", type=int, default=1, help="of a training process; as many processes run as there are cores for")
    add("--seeds-per-job", type=int, help="seeds trained side by side in a process; all of a task otherwise")
    add("--steps", type=int, help="agent steps, for a try; those of the reference otherwise")
    add("--tf32", action="store_true", help="with the products of a GPU, slower; prints the table alone")
    add("--no-train", action="store_true", help="judge the runs that are there")
    add("--out", type=Path, default=ROOT, help="folder for results, docs and benchmarks (default: the checkout)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    args = parser().parse_args(argv)
    store = ResultsFolder(args.out / "results" / ("tf32" if args.tf32 else "learning"))
    try:
        code = 0 if args.no_train else train(store, args.tasks, args)
        if code:
            print("nothing written: runs are missing; the same command goes on, --no-train judges what is there")
            return code
        if args.tf32:
            print(table(judged(store)))
            return 0
        for path in write(store, args.out):
            print(f"wrote {path}")
    except KeyboardInterrupt:
        return 130
    except (JobsError, AggregateError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
