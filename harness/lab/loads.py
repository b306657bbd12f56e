"""With what a cell's rules are measured: requests by ab, and packets one by one."""

from __future__ import annotations

import enum


class Load(enum.Enum):
    """One way of using rules; the value names it in the guest and in what is stored."""

    NEW = "new"
    """Requests with a new connection each."""

    KEPT = "kept"
    """Requests on kept connections."""

    FIRST = "first"
    """Packets that begin a connection each."""

    LATER = "later"
    """Packets of an established connection."""


REQUESTS = (Load.NEW, Load.KEPT)
PACKETS = (Load.FIRST, Load.LATER)
