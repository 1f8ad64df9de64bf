"""A chroot of this system's own programs: what is mounted and started in it ends with whoever entered."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import wait_until

chroots = pytest.importorskip("chroots")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("debootstrap") is None,
    reason="a chroot needs Linux, root and debootstrap",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Passes for an installed system: its programs are this one's."""
    made = tmp_path / "root"
    for name in ("proc", "sys", "dev", "run", "tmp", "etc", "usr/sbin"):
        (made / name).mkdir(parents=True)
    for link in ("bin", "sbin", "lib", "lib64"):
        (made / link).symlink_to(f"usr/{link}")
    (made / "etc" / "os-release").touch()
    (made / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    return made


def test_a_command_sees_its_own_root_and_only_what_is_shared(root: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("content")
    with chroots.Chroot(root, "any", share=[Path("/usr"), shared]) as chroot:
        done = chroot.run(["sh", "-c", f"ls /; cat {shared}/file; echo $PIP_FIND_LINKS$SECRET"],
                          env={"PIP_FIND_LINKS": "here"}, capture_output=True, text=True)  # fmt: skip
        refused = chroot.run(["touch", f"{shared}/other"], check=False, capture_output=True)
        mounts = Path("/proc/mounts").read_text()
    assert "os-release" not in done.stdout
    assert done.stdout.split()[-1] == "contenthere"
    assert refused.returncode != 0
    assert str(root) not in mounts  # seen by nobody else, not even while it is entered
    shutil.rmtree(root)
    assert (shared / "file").exists()


def test_what_it_started_ends_with_it_even_where_the_caller_is_killed(root: Path) -> None:
    program = (
        "import chroots, pathlib, os, signal\n"
        f"with chroots.Chroot(pathlib.Path({str(root)!r}), 'any', share=[pathlib.Path('/usr')]) as chroot:\n"
        "    chroot.run(['sh', '-c', 'sleep 987654 & echo started'])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(chroots.__file__).parent, capture_output=True)
    assert done.returncode == -signal.SIGKILL

    def sleeping() -> bool:
        lines = (entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return any("sleep\0987654" in line.read_text(errors="replace") for line in lines if line.exists())

    wait_until("its end", lambda: not sleeping(), seconds=20)
