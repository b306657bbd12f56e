"""Which blocks do not count, by rules that are declared before anything is measured.

A void block stays in the file with its reason. Nothing is dropped for what it showed.

A machine does some work of its own, the more of it the more processes there are: what watches a
virtual machine looks at each of 8,000 nginx. That is there in every arm alike. So it is looked at
in each size before its first block, while nothing of ours acts (:class:`Rest`), and only what
comes on top of its usual bursts voids. It stays below one CPU: a program that computes without end
is somebody's work, and no property of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.load.limits import NEARLY_FULL, Conntrack, Ports

MOST_STOLEN = 0.10
"""Share of a leg's CPU time that the hypervisor may have taken."""

MOST_LOAD = 0.25
"""Share of the machine's CPUs that others may use, beside what the machine does of itself."""

MOST_OF_ITSELF = 0.95
"""CPUs that a machine may use of itself while nothing of ours acts."""

MOST_GENERATOR = 0.9
"""Share of the one CPU that ab can use, which it may spend in its own code.

Not the kernel's time in its name: what ab sends goes through the measured node in it.
"""

LOAD_SECONDS = 0.1
"""How long a look at the load of others takes: one before the reference leg of each block."""

RULES: tuple[str, ...] = (
    "a leg with a failed request, an answer other than 2xx or an unfinished ab",
    f"a leg during which more than {MOST_STOLEN:.0%} of the machine's CPU time was stolen",
    f"a leg in which ab spent more than {MOST_GENERATOR:.0%} of its one CPU in its own code",
    f"a block after which more than {NEARLY_FULL:.0%} of a client's ports were taken",
    f"a block after which a node's conntrack table was more than {NEARLY_FULL:.0%} full",
    f"a leg during which others used {MOST_LOAD:.0%} of the CPUs more than the machine of itself",
    f"a reference leg, if just before it others used {MOST_LOAD:.0%} of the CPUs more than that",
    "a block of which one leg is void",
    f"(the machine's own: its upper quartile before a size's blocks, below {MOST_OF_ITSELF} CPU)",
)


@dataclass(frozen=True, slots=True)
class Rest:
    """What a machine does while nothing of ours acts, by some looks at it."""

    looks: tuple[float, ...]
    """Shares of the CPUs that were busy."""

    cpus: int

    @property
    def load(self) -> float:
        """The mean share."""
        return sum(self.looks) / len(self.looks)

    @property
    def of_itself(self) -> float:
        """What it usually does: the upper quartile of the looks, for it works in bursts.

        Nothing where it is a CPU's work in the mean; never a CPU.
        """
        most = MOST_OF_ITSELF / self.cpus
        return min(self._at(0.75), most) if self.load < most else 0.0

    def facts(self) -> dict[str, float]:
        """Return what is stored of it: the mean, the middle nine tenths, and what is granted."""
        return {
            "load": self.load,
            "low": self._at(0.05),
            "high": self._at(0.95),
            "of_itself": self.of_itself,
        }

    def _at(self, share: float) -> float:
        return sorted(self.looks)[round(share * (len(self.looks) - 1))]


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a leg besides its rate: ab's complaint, and CPU time stolen and there."""

    error: str
    stolen_seconds: float
    capacity_seconds: float
    """Wall time times CPUs."""

    load: float = 0.0
    """Share of the CPUs that others used just before."""

    during: float = 0.0
    """Share that they used meanwhile."""

    of_itself: float = 0.0
    """Share that the machine uses in this size of itself."""

    generator: float = 0.0
    """Share of one CPU that ab spent in its own code."""


def leg_reason(leg: Observed) -> str:
    """Return why a leg is void, or ``""``."""
    if leg.error:
        return leg.error
    if leg.stolen_seconds > MOST_STOLEN * leg.capacity_seconds:
        share = leg.stolen_seconds / leg.capacity_seconds
        return f"{share:.0%} of the CPU time was stolen"
    if max(leg.load, leg.during) > leg.of_itself + MOST_LOAD:
        return f"others used {max(leg.load, leg.during):.0%} of the CPUs{_own(leg.of_itself)}"
    if leg.generator > MOST_GENERATOR:
        return f"ab spent {leg.generator:.0%} of its CPU in its own code"
    return ""


def _own(share: float) -> str:
    return f", of which {share:.0%} are the machine's own" if f"{share:.0%}" != "0%" else ""


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
