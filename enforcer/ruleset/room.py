"""Room in the sets of this node's own pods, which cannot grow: that halves what asking costs.

A node that outgrows its sets gets new ones with twice the room, under names of their own: filled
before any rule asks them, and asked from one transaction on, as a new class is. Nothing makes them
smaller again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from enforcer.nft.objects import Table

LEAST: Final = 1024
"""Elements, in 16 KiB a set: a bridge has 1,023 ports at most, a kubelet 110 pods by default."""

PODS: Final = "pods"
POD_INTERFACES: Final = "podif"
_MARK: Final = "."

T = TypeVar("T")


def room_for(count: int, table: Table | None) -> int:
    """Return the room for ``count`` elements on a node that has ``table``, with its room."""
    room = room_of(table) if table else LEAST
    while room < count:
        room *= 2
    return room


def room_of(table: Table) -> int:
    """Return the room that the sets of a table have."""
    return max((item.room for item in table.sets.values()), default=0) or LEAST


def roomy(name: str, room: int) -> str:
    """Return the name of a set with so much room: the first ones of a node have bare names."""
    return name if room == LEAST else f"{name}{_MARK}{room}"


def bare(name: str) -> str:
    """Return a set's name without its room."""
    return name.partition(_MARK)[0]


def named(items: Mapping[str, T], name: str) -> T | None:
    """Return the item of a bare name, however much room it has."""
    return next((item for known, item in items.items() if bare(known) == name), None)
