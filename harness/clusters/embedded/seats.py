"""Who may have which addresses on a node, and who has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from harness.clusters.embedded.addresses import NodePlan
from harness.clusters.embedded.podnet import Seat
from harness.clusters.embedded.wishes import Wishes


class NoSeatError(Exception):
    """No address that a pod may have is free."""


class Seats:
    """The addresses of one node's pods; a freed one is used again last."""

    def __init__(self, node: NodePlan) -> None:
        """Begin with all of them free."""
        self._node = node
        self._free = deque(_all_seats(node))

    def take(self, wishes: Wishes) -> Seat:
        """Return a free seat that is as wished for; raises NoSeatError, with a sentence."""
        for seat in self._free:
            if _suits(seat, wishes):
                self._free.remove(seat)
                return seat
        wish = wishes.address or ("" if wishes.bridge is None else f"on bridge {wishes.bridge}")
        message = f"no pod address {wish} is free on {self._node.name}".replace("  ", " ")
        raise NoSeatError(message)

    def give_back(self, seat: Seat) -> None:
        """Let somebody else have it."""
        self._free.append(seat)


def _suits(seat: Seat, wishes: Wishes) -> bool:
    if wishes.bridge is not None and wishes.bridge != seat.segment:
        return False
    return not wishes.address or wishes.address in map(str, seat.host.addresses)


def _all_seats(node: NodePlan) -> Iterator[Seat]:
    """Yield every pod's place on a node; neighbours in this order are on different bridges."""
    for hosts in zip(*(segment.pods for segment in node.segments), strict=True):
        yield from (Seat(host, number) for number, host in enumerate(hosts))
