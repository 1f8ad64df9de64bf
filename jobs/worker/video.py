"""Videos and contact sheets of evaluation episodes: finding a renderer on this machine, and writing the file."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import process
from sweepwise.core import atomic
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from sweepwise.core.trainable import Film

WIDTH, HEIGHT = 320, 240
KINDS = ("gif", "webp", "mp4", "png")
ACROSS, DOWN = 6, 4  # columns and rows of a contact sheet
_OFF = ("", "disabled", "disable", "off", "false", "0")  # values of MUJOCO_GL that disable rendering
_RENDERERS = ("egl", "osmesa", "glfw")  # the last one needs a display
# Runs in its own process, since a renderer can crash it, and MUJOCO_GL is read only once, at import.
_TRY = f"from dm_control import suite; suite.load('cartpole', 'balance').physics.render({HEIGHT}, {WIDTH})"


def check(path: Path) -> None:
    """Raises `JobsError` if a video could not be written to `path`."""
    if _kind(path) not in KINDS:
        raise JobsError(f"--video {path}: the name must end in one of {', '.join('.' + kind for kind in KINDS)}")
    if not path.absolute().parent.is_dir():
        raise JobsError(f"--video {path}: there is no folder {path.absolute().parent}")
    atomic.output(path, _is_film, "--video")
    if _kind(path) == "mp4" and shutil.which("ffmpeg") is None:
        raise JobsError(f"--video {path}: .mp4 needs ffmpeg, which is not on the path; install it, or name a .gif")


def renderer() -> str:
    """MUJOCO_GL for this machine: the user's value, else the first that works. Raises `JobsError` if none works."""
    requested = os.environ.get("MUJOCO_GL", "")
    candidates = _RENDERERS if requested in _OFF else (requested,)
    for name in candidates:
        environment = {**os.environ, "MUJOCO_GL": name}
        if process.run_quietly([*process.python(), "-c", _TRY], timeout_s=120, env=environment) is not None:
            return name
    if requested in candidates:
        raise JobsError(f"--video: MUJOCO_GL={requested} cannot render here; unset it to use one that works")
    raise JobsError(
        f"--video: no renderer works here (tried MUJOCO_GL={', '.join(candidates)}); install libosmesa6, or libegl1 "
        "with the graphics driver (names of Debian and Ubuntu)"
    )


def write(path: Path, film: Film) -> None:
    """Write the film atomically, in the format given by the suffix of `path`. Raises `JobsError`."""
    kind = _kind(path)
    encode = {"mp4": _mp4, "png": _sheet}.get(kind)
    write_bytes(atomic.output(path, _is_film, "--video"), encode(film) if encode else _animation(film, kind))


def _is_film(head: bytes) -> bool:
    """Whether a file begins as one of `KINDS`."""
    return head.startswith((b"GIF8", b"\x89PNG")) or head[4:8] == b"ftyp" or head[8:12] == b"WEBP"


def _kind(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _animation(film: Film, kind: str) -> bytes:
    """The film as GIF or WebP. GIF stores durations in hundredths of a second; WebP is exact."""
    pictures = _pictures(film.frames)
    file = io.BytesIO()
    next(pictures).save(file, kind, save_all=True, append_images=pictures, duration=film.ms, loop=0)
    return file.getvalue()


def _sheet(film: Film) -> bytes:
    """A contact sheet: evenly spaced frames of the film, including the first and last, row by row."""
    from PIL import Image

    pictures = list(_pictures(film.frames))
    count = min(len(pictures), ACROSS * DOWN)
    chosen = [pictures[round(i * (len(pictures) - 1) / max(count - 1, 1))] for i in range(count)]
    across = min(count, ACROSS)
    sheet = Image.new("RGB", (across * WIDTH, -(-count // across) * HEIGHT))
    for position, picture in enumerate(chosen):
        sheet.paste(picture, (position % across * WIDTH, position // across * HEIGHT))
    file = io.BytesIO()
    sheet.save(file, "png")
    return file.getvalue()


def _pictures(frames: Iterator[np.ndarray]) -> Iterator[Image]:
    from PIL import Image

    return map(Image.fromarray, frames)


def _mp4(film: Film) -> bytes:
    """A fragmented MP4, since ffmpeg cannot seek in a pipe; all players support even sizes with yuv420p."""
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", f"1000/{film.ms}", "-i", "pipe:0"]
    target = ["-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "pipe:1"]
    content = b"".join(frame.tobytes() for frame in film.frames)
    result = subprocess.run(
        ["ffmpeg", "-loglevel", "error", *source, *target], input=content, capture_output=True, check=False
    )
    if result.returncode != 0:
        reason = (result.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise JobsError(f"ffmpeg failed: {reason}; name a .gif or .webp instead")
    return result.stdout
