"""Films of evaluation episodes: what is refused before anything is played, and the files. Frames are made up."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs import process
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.worker import evaluate, video
from sweepwise.core.errors import JobsError, SweepsError
from tdmpc.api import Film
from tdmpc.description import SCHEMA


@pytest.fixture
def run(store: ResultsFolder) -> RunRef:
    return RunRef(store.write_config(SCHEMA.resolve({})), 1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every MUJOCO_GL that is tried here; none of them draws."""
    tried: list[str] = []
    monkeypatch.setattr(process, "run_quietly", lambda command, env, timeout_s: tried.append(env["MUJOCO_GL"]))
    return tried


def film(count: int, ms: int) -> Film:
    """Frames of one grey each, darker than the next."""
    return Film(ms, (np.full((video.HEIGHT, video.WIDTH, 3), 20 * n, np.uint8) for n in range(count)))


@pytest.mark.parametrize(
    ("file", "runs", "planners", "message"),
    [
        ("x.avi", 1, ["eval"], r"must end in one of \.gif, \.webp, \.mp4, \.png"),
        ("x", 1, ["eval"], "must end in one of"),
        ("nowhere/x.gif", 1, ["eval"], "there is no folder"),
        ("folder.gif", 1, ["eval"], "this is a folder"),
        ("x.mp4", 1, ["eval"], "ffmpeg, which is not on the path"),
        ("x.gif", 2, ["eval"], "one run under one planner, not 2 under 1"),
        ("x.gif", 1, ["eval", "policy"], "one run under one planner, not 1 under 2"),
        ("x.gif", 1, ["eval"], r"no renderer works here \(tried MUJOCO_GL=egl, osmesa, glfw\); install libosmesa6"),
    ],
)
def test_what_could_not_be_filmed_is_told_before_it_is_played(
    store: ResultsFolder, run: RunRef, agent: Any, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    file: str, runs: int, planners: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "folder.gif").mkdir()
    records = evaluate.evaluate(
        store, [run] * runs, at=None, planners=planners, episodes=1, device="cpu", threads=1, film_to=tmp_path / file
    )
    with pytest.raises(SweepsError, match=message) as error:
        next(records)
    assert "\n" not in str(error.value)


def test_a_renderer_that_the_user_names_is_the_only_one_tried(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(JobsError, match="MUJOCO_GL=osmesa cannot render here"):
        video.renderer()
    assert asked == ["osmesa"]


@pytest.mark.parametrize("name", ["x.gif", "X.WEBP"])
def test_an_animation_holds_every_frame_for_its_time_and_repeats(tmp_path: Path, name: str) -> None:
    video.write(tmp_path / name, film(3, 40))
    with Image.open(tmp_path / name) as found:
        assert (found.size, found.n_frames, found.info["loop"]) == ((video.WIDTH, video.HEIGHT), 3, 0)
        for n in range(3):
            found.seek(n)
            assert found.convert("L").getpixel((5, 5)) == pytest.approx(20 * n, abs=3)
        assert found.info["duration"] == 40


@pytest.mark.parametrize(("count", "size", "greys"), [(3, (3, 1), [0, 20, 40]), (240, (6, 4), [0, 10, 239])])
def test_a_contact_sheet_is_spread_over_the_film(
    tmp_path: Path, count: int, size: tuple[int, int], greys: list[int]
) -> None:
    step = 20 if count == 3 else 1
    frames = (np.full((video.HEIGHT, video.WIDTH, 3), step * n, np.uint8) for n in range(count))
    video.write(tmp_path / "x.png", Film(40, frames))
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.size == (size[0] * video.WIDTH, size[1] * video.HEIGHT)
        places = [(0, 0), (1, 0), (size[0] - 1, size[1] - 1)]
        assert [sheet.getpixel((x * video.WIDTH, y * video.HEIGHT))[0] for x, y in places] == greys


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on the path")
def test_ffmpeg_gets_every_frame_for_its_time(tmp_path: Path) -> None:
    video.write(tmp_path / "x.mp4", film(10, 40))
    report = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,r_frame_rate"]
    done = subprocess.run([*report, "-of", "json", tmp_path / "x.mp4"], capture_output=True, check=True)
    (stream,) = json.load(io.BytesIO(done.stdout))["streams"]
    assert stream == {"r_frame_rate": "25/1", "nb_read_frames": "10"}


def test_a_film_that_ffmpeg_refuses_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\ncat > /dev/null\necho Unknown encoder >&2\nexit 1\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(JobsError, match=r"ffmpeg failed: Unknown encoder; name a \.gif"):
        video.write(tmp_path / "x.mp4", film(2, 40))
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]
