"""Flags that no run of an agent can raise, because none of its metrics has the role that they judge."""

from __future__ import annotations

from aggregate import flags
from aggregate.analysis.summary import SweepSummary

_REASON = "not assessed: no metric has the role "  # how the details of their findings begin


def not_assessed(sweep: SweepSummary) -> dict[str, list[flags.Detector]]:
    """Missing role -> the flags that need it; empty for an agent with all roles."""
    details = sweep.findings["detail"].fillna("").astype(str)
    missing = details.str.startswith(_REASON).groupby(sweep.findings["flag"], observed=True).all()
    roles = details.str.removeprefix(_REASON).groupby(sweep.findings["flag"], observed=True).first()
    by_role: dict[str, list[flags.Detector]] = {}
    for detector in flags.DETECTORS:
        if missing.get(detector.name, False):
            by_role.setdefault(roles[detector.name].rstrip("."), []).append(detector)
    return by_role


def format_not_assessed(sweep: SweepSummary) -> str:
    """One sentence; "" where every flag can be assessed."""
    by_role = not_assessed(sweep)
    if not by_role:
        return ""
    named = [f"{role} ({', '.join(detector.title for detector in own)})" for role, own in by_role.items()]
    return f"No metric has the role {', '.join(named)}."
