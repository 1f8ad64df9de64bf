"""Flags that could be judged in no run: no metric has the role that they judge, or it was logged too seldom."""

from __future__ import annotations

from aggregate import flags
from aggregate.analysis.summary import SweepSummary
from sweepwise.core.value_format import listed

MOST_NAMED = 6  # roles or flags that are listed; the report has all of them
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
    """A sentence for each of both reasons; "" where every flag was assessed in some run."""
    by_role = not_assessed(sweep)
    named = [f"{role} ({', '.join(detector.title for detector in own)})" for role, own in by_role.items()]
    roles = [f"No metric has the role {listed(named, MOST_NAMED)}."] if named else []
    few = [detector.title for detector in too_few_values(sweep)]
    values = f"Too few values in every finished run: {listed(few, MOST_NAMED)}."
    return " ".join([*roles, *([values] if few else [])])


def too_few_values(sweep: SweepSummary) -> list[flags.Detector]:
    """The flags that could be judged in no finished run though a metric has their role."""
    finished = sweep.scores.loc[sweep.scores["complete"].astype(bool), ["config_id", "seed"]]
    own = sweep.findings.merge(finished, on=["config_id", "seed"])
    judged = (own["state"] != flags.NOT_ASSESSABLE).groupby(own["flag"], observed=True).any()
    without_role = {detector for known in not_assessed(sweep).values() for detector in known}
    return [d for d in flags.DETECTORS if d not in without_role and not judged.get(d.name, True)]
