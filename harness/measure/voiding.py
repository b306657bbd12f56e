"""Which blocks do not count, by rules that are declared before anything is measured.

A void block stays in the file with its reason. Nothing is dropped for what it showed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.load.limits import NEARLY_FULL, Conntrack, Ports

MOST_STOLEN = 0.10
"""Share of a leg's CPU time that the hypervisor may have taken."""

MOST_LOAD = 0.25
"""Share of the machine that others may use, seen while nothing of ours runs."""

MOST_GENERATOR = 0.9
"""Share of the one CPU that ab can use, which it may spend in its own code.

Not the kernel's time in its name: what ab sends goes through the measured node in it.
"""

LOAD_SECONDS = 0.1
"""How long that is looked at, before the reference leg of each block."""

RULES: tuple[str, ...] = (
    "a leg with a failed request, an answer other than 2xx or an unfinished ab",
    f"a leg during which more than {MOST_STOLEN:.0%} of the machine's CPU time was stolen",
    f"a leg in which ab spent more than {MOST_GENERATOR:.0%} of its one CPU in its own code",
    f"a block after which more than {NEARLY_FULL:.0%} of a client's ports were taken",
    f"a block after which a node's conntrack table was more than {NEARLY_FULL:.0%} full",
    f"a reference leg, if others used more than {MOST_LOAD:.0%} of the CPUs just before it",
    "a block of which one leg is void",
)


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a leg besides its rate: ab's complaint, and CPU time stolen and there."""

    error: str
    stolen_seconds: float
    capacity_seconds: float
    """Wall time times CPUs."""

    load: float = 0.0
    """Share of the CPUs that others used just before."""

    generator: float = 0.0
    """Share of one CPU that ab spent in its own code."""


def leg_reason(leg: Observed) -> str:
    """Return why a leg is void, or ``""``."""
    if leg.error:
        return leg.error
    if leg.stolen_seconds > MOST_STOLEN * leg.capacity_seconds:
        share = leg.stolen_seconds / leg.capacity_seconds
        return f"{share:.0%} of the CPU time was stolen"
    if leg.load > MOST_LOAD:
        return f"others used {leg.load:.0%} of the CPUs"
    if leg.generator > MOST_GENERATOR:
        return f"ab spent {leg.generator:.0%} of its CPU in its own code"
    return ""


def block_reasons(
    legs: tuple[str, str], tables: Sequence[Conntrack | Ports] = ()
) -> tuple[str, str]:
    """Return why each leg of a block is void, given each leg's own reason."""
    full = next((table for table in tables if table.nearly_full), None)
    if full is not None:
        return legs[0] or _said(full), legs[1] or _said(full)
    first, second = legs
    return (
        first or (f"the other leg: {second}" if second else ""),
        second or (f"the other leg: {first}" if first else ""),
    )


def _said(full: Conntrack | Ports) -> str:
    match full:
        case Conntrack():
            return f"{full.node}: conntrack holds {full.entries} of {full.most} entries"
        case Ports():
            return f"{full.client}: {full.taken} of {full.most} ports are taken"
