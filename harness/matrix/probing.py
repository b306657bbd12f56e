"""Probing with patience: silence counts as dropped only after ten times the slowest answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.clusters.base import Cluster, Held, Outcome, Probe, Verdict

T = TypeVar("T")

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


SURE = 8
"""How many times the usual silence it takes to believe that what should be open is not."""


def probe_all(cluster: Cluster, probes: Sequence[Probe], wait: float) -> Probed:
    """Probe everything at once; then the silent ones again, where the wait was too short.

    The wait grows until it is :data:`PATIENCE` times the slowest answer of all, so that a slow
    machine does not turn answers into drops.
    """
    return _patiently(cluster.probe, probes, wait)


def ask_all(cluster: Cluster, held: Sequence[Held], wait: float) -> Probed:
    """Ask held connections likewise whether they still carry bytes."""
    return _patiently(cluster.ask, held, wait)


def _patiently(
    ask: Callable[[Sequence[T], float], Sequence[Outcome]], asked: Sequence[T], wait: float
) -> Probed:
    outcomes = list(ask(asked, wait))
    while (needed := _needed(outcomes)) > wait:
        wait = needed
        silent = [at for at, one in enumerate(outcomes) if one.verdict is Verdict.DROPPED]
        again = ask([asked[at] for at in silent], wait)
        for at, outcome in zip(silent, again, strict=True):
            outcomes[at] = outcome
    return Probed(tuple(outcomes), wait)


def _needed(outcomes: Sequence[Outcome]) -> float:
    answered = (one.seconds for one in outcomes if one.verdict not in _NO_ANSWER)
    return min(PATIENCE * max(answered, default=0.0), LONGEST)
