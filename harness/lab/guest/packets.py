"""What one packet costs: the first of a connection, and a later one of an established connection.

They are sent one by one, and end at a counter at the server's door, so that nothing else runs: the
clock tells the instructions of a packet's whole way, which repeat within some tens. A rate of ab
has requests, answers and two processes in it, and repeats within some hundreds.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Sequence
from statistics import median

from harness.lab.guest.network import PORT, Ends, NetworkFailed, inside, run

LOADS = FIRST, LATER = "first", "later"
ROUNDS = 5
"""Of which the median counts, as with ab."""

WARM_UP = 20
PORTS = 20000
"""The first of the clients' ports, below those that ab is given."""

SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
CLIENTS_SEQUENCE, SERVERS_SEQUENCE = 1000, 5000

_DOOR = """
table ip door {
	counter arrived { }
	chain shut {
		type filter hook prerouting priority raw - 10
		meta l4proto tcp counter name arrived drop
	}
}
"""
"""At both ends, before connections are tracked there: nobody answers what nobody has asked for."""

_ARRIVED = re.compile(r"packets (\d+)")


def rates(ends: Ends, count: int) -> dict[str, float]:
    """Return packets per second, of either kind; NetworkFailed where one did not arrive."""
    for space in (ends.client_space, ends.server_space):
        run("nft", "-f", "-", space=space, text=_DOOR)
    with _raw(ends.client_space) as client, _raw(ends.server_space) as server:
        wire = _Wire(ends, client, server)
        rounds = [
            wire.round(PORTS + number * (count + 2 * WARM_UP), count) for number in range(ROUNDS)
        ]
    _check_arrived(ends, wire.sent)
    return {kind: 1e9 / median(it[kind] for it in rounds) for kind in LOADS}


def _raw(space: str) -> socket.socket:
    with inside(space):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


class _Wire:
    """Both ends of the way, and what the client has sent along it."""

    def __init__(self, ends: Ends, client: socket.socket, server: socket.socket) -> None:
        self._ends = ends
        self._client = client
        self._server = server
        self.sent = 0

    def round(self, port: int, count: int) -> dict[str, float]:
        """Return nanoseconds for a packet of either kind, with clients' ports from ``port`` on."""
        first = [self._syn(port + number) for number in range(WARM_UP + count)]
        known = port + WARM_UP + count
        return {FIRST: self._timed(first), LATER: self._timed(self._established(known, count))}

    def _established(self, port: int, count: int) -> Sequence[bytes]:
        """Open a connection and return packets of its client."""
        self._send([self._syn(port)])
        answer = _segment(
            (self._ends.server, PORT),
            (self._ends.client, port),
            (SYN_ACK, SERVERS_SEQUENCE, CLIENTS_SEQUENCE + 1),
        )
        self._server.sendto(answer, (self._ends.client, 0))
        return [self._segment(port, (ACK, CLIENTS_SEQUENCE + 1, SERVERS_SEQUENCE + 1))] * (
            WARM_UP + count
        )

    def _timed(self, packets: Sequence[bytes]) -> float:
        self._send(packets[:WARM_UP])
        began = time.perf_counter_ns()
        self._send(packets[WARM_UP:])
        return (time.perf_counter_ns() - began) / len(packets[WARM_UP:])

    def _send(self, packets: Sequence[bytes]) -> None:
        send, to = self._client.sendto, (self._ends.server, 0)
        for packet in packets:
            send(packet, to)
        self.sent += len(packets)

    def _syn(self, port: int) -> bytes:
        return self._segment(port, (SYN, CLIENTS_SEQUENCE, 0))

    def _segment(self, port: int, head: tuple[int, int, int]) -> bytes:
        return _segment((self._ends.client, port), (self._ends.server, PORT), head)


def _segment(source: tuple[str, int], target: tuple[str, int], head: tuple[int, int, int]) -> bytes:
    """Return an IPv4 packet with a TCP header of these flags, sequence and acknowledged numbers.

    The kernel fills in the sum of the outer header (``raw(7)``).
    """
    flags, sequence, acknowledged = head
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    ports = struct.pack("!HH", source[1], target[1])
    numbers = struct.pack("!IIBBH", sequence, acknowledged, 5 << 4, flags, 64000)
    pseudo = addresses + struct.pack("!HH", socket.IPPROTO_TCP, 20)
    total = _sum(pseudo + ports + numbers)
    outer = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0)
    return outer + addresses + ports + numbers + struct.pack("!HH", total, 0)


def _sum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _check_arrived(ends: Ends, sent: int) -> None:
    said = run("nft", "list", "counter", "ip", "door", "arrived", space=ends.server_space)
    found = _ARRIVED.search(said)
    arrived = int(found[1]) if found else 0
    if arrived != sent:
        message = f"of {sent} packets {arrived} arrived"
        raise NetworkFailed(message)
