"""Name and features of this machine's processor. Standard library only."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_info() -> dict[str, str]:
    """Field -> value of the first processor in /proc/cpuinfo; empty on systems without it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {field.strip(): value.strip() for field, _, value in pairs}


def name() -> str:
    """Name of the processor."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()
