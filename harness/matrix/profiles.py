"""What an enforcer says of itself: how it denies, what it does to live connections, what it cannot.

A profile is a file of ``scenarios/profiles``, named like the enforcer. What it does not declare is
held to the specification; a deviation that it declares and that does not happen is told, too.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Verdict
from harness.matrix.axes import AddressKind, Placement, Protocol, State, Wiring
from harness.matrix.scenario import folder
from harness.matrix.strict import load


class Manner(enum.Enum):
    """How an enforcer denies."""

    DROP = "drop"
    REJECT = "reject"
    ANY = "any"
    """It does not say."""

    def permits(self, verdict: Verdict) -> bool:
        """Whether a denied probe may have ended so."""
        match self:
            case Manner.DROP:
                return verdict is Verdict.DROPPED
            case Manner.REJECT:
                return verdict is Verdict.REJECTED
            case Manner.ANY:
                return verdict in {Verdict.DROPPED, Verdict.REJECTED}


class Established(enum.Enum):
    """What becomes of live connections that a change forbids; the specification leaves it open."""

    REVOKE = "revoke"
    KEEP = "keep"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Deviation:
    """Cells that are known to be wrong; an empty list means any. ``link`` is where it is told."""

    id: str
    reason: str
    link: str
    cases: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    addresses: tuple[AddressKind, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    wirings: tuple[Wiring, ...] = ()
    states: tuple[State, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """An enforcer's own word, which the judge holds it to."""

    denies: Manner = Manner.ANY
    established: Established = Established.ANY
    deviations: tuple[Deviation, ...] = ()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and when a cell was seen: what a deviation may be limited to."""

    case: str
    wiring: Wiring
    state: State


def known(
    deviations: Iterable[Deviation],
    circumstances: Circumstances,
    cell: tuple[Placement, AddressKind, Protocol],
) -> Deviation | None:
    """Return the deviation that a cell falls under, if one was declared."""
    placement, address, protocol = cell
    return next(
        (
            one
            for one in deviations
            if _any(one.cases, circumstances.case)
            and _any(one.wirings, circumstances.wiring)
            and _any(one.states, circumstances.state)
            and _any(one.placements, placement)
            and _any(one.addresses, address)
            and _any(one.protocols, protocol)
        ),
        None,
    )


def _any(wanted: Sequence[object], value: object) -> bool:
    return not wanted or value in wanted


def load_profile(enforcer: str, path: Path | None = None) -> Profile:
    """Return an enforcer's profile; one that has none is held to the specification alone.

    UsageError with every mistake of the file.
    """
    file = path or folder() / "profiles" / f"{enforcer}.yaml"
    return load(Profile, file) if path or file.exists() else Profile()
