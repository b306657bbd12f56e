"""Probing with patience: silence counts as dropped only after ten times the slowest answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.clusters.base import Cluster, Outcome, Probe, Verdict

PATIENCE = 10
"""How many times the slowest answer silence has to last before it counts as silence."""
LONGEST = 10.0
"""Seconds; the longest wait, whatever the slowest answer was."""
_NO_ANSWER = {Verdict.DROPPED, Verdict.ERROR}


@dataclass(frozen=True, slots=True)
class Probed:
    """Outcomes in the order of the probes, and the wait (seconds) that made silence a drop."""

    outcomes: tuple[Outcome, ...]
    wait: float


def probe_all(cluster: Cluster, probes: Sequence[Probe], wait: float) -> Probed:
    """Probe everything at once; then the silent ones again, where the wait was too short.

    The wait grows until it is :data:`PATIENCE` times the slowest answer of all, so that a slow
    machine does not turn answers into drops.
    """
    outcomes = list(cluster.probe(probes, wait))
    while (needed := _needed(outcomes)) > wait:
        wait = needed
        silent = [at for at, one in enumerate(outcomes) if one.verdict is Verdict.DROPPED]
        again = cluster.probe([probes[at] for at in silent], wait)
        for at, outcome in zip(silent, again, strict=True):
            outcomes[at] = outcome
    return Probed(tuple(outcomes), wait)


def _needed(outcomes: Sequence[Outcome]) -> float:
    answered = (one.seconds for one in outcomes if one.verdict not in _NO_ANSWER)
    return min(PATIENCE * max(answered, default=0.0), LONGEST)
