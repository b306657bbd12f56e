"""Denied packets, counted by the kernel's own rules and read only when somebody asks.

The counters live in the rules of our tables and begin again when a rule is made anew: what is
reported is the sum of what was seen to be added.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from enforcer.errors import EnforcerError
from enforcer.metrics import Metrics
from enforcer.model.net import Direction
from enforcer.nft.kernel import run_nft
from enforcer.ruleset.names import CURRENT, PREFIXES

SHORTEST_PERIOD = 2.0
"""Seconds between two readings; an ``nft`` process costs a few milliseconds of a core."""

DROPS: Mapping[str, str] = {
    "unknown": "unknown_pod",
    "spoof": "spoofed_source",
    "spoof_linklocal": "spoofed_source",
    "from4": "spoofed_source",
    "from6": "spoofed_source",
    "fromarp": "spoofed_source",
    "neighbour": "forged_message",
    "stranger4": "spoofed_source",
    "stranger6": "spoofed_source",
    "strangerarp": "spoofed_source",
    "forged": "forged_message",
    "prerouting": "hidden_frame",
    "forward": "hidden_frame",
    "unturned": "broadcast",
    "linklocal": "link_local",
    "untracked": "untracked",
    "bmcast": "broadcast",
    "tunnel": "tunnel",
    "pickup": "mid_stream",
}
"""Chains in which packets end that no policy was asked about, and the reason's label."""

_DENY_CHAINS = {f"deny_{prefix}_": direction for direction, prefix in PREFIXES.items()}
_DENIED = "denied "  # the note of the one rule of a deny chain that counts

_Place = tuple[str, str, int]


class Counters:
    """Brings the metrics of denied packets up to date."""

    def __init__(self, metrics: Metrics) -> None:
        """Count into ``metrics``."""
        self._metrics = metrics
        self._seen: dict[_Place, int] = {}
        self._read = -SHORTEST_PERIOD
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the kernel's counters, unless they were read just now. Never fails."""
        async with self._lock:
            if time.monotonic() - self._read < SHORTEST_PERIOD:
                return
            listing = await asyncio.to_thread(read_counters)
            self._read = time.monotonic()
            self.add(listing)

    def add(self, listing: Mapping[_Place, int]) -> None:
        """Add what the counters have grown by since the last listing."""
        for place, packets in listing.items():
            before = self._seen.get(place, 0)
            grown = packets - before if packets >= before else packets
            if grown:
                self._count(place[1], grown)
        self._seen = dict(listing)

    def _count(self, chain: str, packets: int) -> None:
        direction = _direction(chain)
        if direction is not None:
            self._metrics.denied.labels(direction.value).inc(packets)
        elif chain in DROPS:
            self._metrics.dropped.labels(DROPS[chain]).inc(packets)


def _direction(chain: str) -> Direction | None:
    return next((it for prefix, it in _DENY_CHAINS.items() if chain.startswith(prefix)), None)


def read_counters() -> dict[_Place, int]:
    """Return the packets that each denying rule of our tables has counted."""
    found: dict[_Place, int] = {}
    for id_ in CURRENT:
        try:
            result = run_nft(["-j", "-t", "list", "table", id_.family.value, id_.name])
            if result.returncode == 0:
                found.update(decode(id_.family.value, result.stdout))
        except (EnforcerError, msgspec.DecodeError, KeyError, TypeError):
            continue  # a dormant table's listing is no JSON in nft 1.0.6
    return found


def decode(family: str, listing: str) -> dict[_Place, int]:
    """Return the counters of denying rules in the output of ``nft -j -t list table``."""
    items = msgspec.json.decode(listing)["nftables"]
    return {
        (family, rule["chain"], rule["handle"]): packets
        for rule in (item["rule"] for item in items if "rule" in item)
        if rule["chain"] in DROPS or _is_denial(rule)
        for packets in _packets(rule["expr"])
    }


def _is_denial(rule: Mapping[str, Any]) -> bool:
    return _direction(rule["chain"]) is not None and rule.get("comment", "").startswith(_DENIED)


def _packets(expression: Iterable[Any]) -> Iterator[int]:
    for part in expression:
        if isinstance(part, dict) and isinstance(part.get("counter"), dict):
            yield int(part["counter"]["packets"])
