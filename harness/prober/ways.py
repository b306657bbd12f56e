"""How each transport is probed: which socket, and what has to happen on it to be open.

Each attempt is a connection of its own to every conntrack on its way: a port, or for ICMP an
identifier, that was not used a moment ago.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.clusters.base import Transport
from harness.prober.hearing import ONE_WAY, Hearing
from harness.prober.protocol import Attempt
from harness.prober.sockets import IPPROTO_SCTP, Namespaces, is_ipv6, send_from
from harness.prober.verdicts import ToldLaterError
from harness.prober.waiting import ready, received

_NONCE_BYTES = 16
_UNDER_WAY = {errno.EINPROGRESS, errno.EALREADY}
_DONE = {0, errno.EISCONN}

Run = Callable[[socket.socket, Attempt, float], Awaitable[None]]
"""Returns once it is open; raises OSError, or TimeoutError at the deadline (loop time)."""


async def handshake(made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once the handshake is complete (TCP, and SCTP's one-to-one sockets)."""
    target = (wanted.address, wanted.port)
    if _connected(made, target) or _connected(made, target):
        # Between namespaces of one kernel the answer is mostly there already: to ask a second
        # time keeps this program's own slowness out of the figure.
        return
    await ready(made, select.POLLOUT, deadline)
    number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise ToldLaterError(number, os.strerror(number))


def _connected(made: socket.socket, target: tuple[str, int]) -> bool:
    number = made.connect_ex(target)
    if number in _UNDER_WAY:
        return False
    if number not in _DONE:
        raise OSError(number, os.strerror(number))
    return True


async def echo(made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once a datagram of ours has come back."""
    nonce = os.urandom(_NONCE_BYTES)
    made.connect((wanted.address, wanted.port))
    made.send(nonce)
    while await received(made, deadline) != nonce:
        pass


async def one_way(hearing: Hearing, made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once a server of ours has heard a datagram that it does not answer."""
    nonce = os.urandom(_NONCE_BYTES)
    made.connect((wanted.address, wanted.port))
    with hearing.expect(nonce) as heard:
        made.send(ONE_WAY + nonce)
        # An error that comes back ends the wait, as the deadline does.
        failure = asyncio.ensure_future(received(made, deadline))
        failure.add_done_callback(lambda _: heard.cancel())
        try:
            await heard
        except asyncio.CancelledError:
            if not failure.done():
                raise
            failure.result()  # raises; and a stranger who answers after all has heard it, too
        finally:
            failure.cancel()


# type, code, checksum, identifier, sequence; RFC 792 and RFC 4443
_PING = struct.Struct("!BBHHH")
_ECHO_REQUEST = {False: 8, True: 128}
_ECHO_REPLY = {False: 0, True: 129}


async def ping(made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once an ICMP echo request of ours, with an identifier of its own, is answered."""
    await ping_as(int.from_bytes(os.urandom(2), "big"), made, wanted, deadline)


async def ping_as(identifier: int, made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once an ICMP echo request with this identifier has been answered."""
    nonce = os.urandom(_NONCE_BYTES)
    version6 = is_ipv6(wanted.address)
    blank = _PING.pack(_ECHO_REQUEST[version6], 0, 0, identifier, 0) + nonce
    made.connect((wanted.address, 0))
    made.send(blank[:2] + _checksum(blank).to_bytes(2, "big") + blank[4:])
    while True:
        packet = await received(made, deadline)
        # A raw IPv4 socket gives the header too (raw(7)); IPv6's does not
        message = packet if version6 else packet[(packet[0] & 0xF) * 4 :]
        if message[0] == _ECHO_REPLY[version6] and message.endswith(nonce):
            return


def _checksum(packet: bytes) -> int:
    """Compute the Internet checksum (RFC 1071); the kernel replaces it for ICMPv6."""
    total = sum(int.from_bytes(packet[at : at + 2], "big") for at in range(0, len(packet), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, slots=True)
class _Kind:
    """The socket of a transport."""

    kind: int
    protocol: int
    protocol6: int


_KINDS = {
    Transport.TCP: _Kind(socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.IPPROTO_TCP),
    Transport.SCTP: _Kind(socket.SOCK_STREAM, IPPROTO_SCTP, IPPROTO_SCTP),
    Transport.UDP: _Kind(socket.SOCK_DGRAM, socket.IPPROTO_UDP, socket.IPPROTO_UDP),
    Transport.UDP_ONE_WAY: _Kind(socket.SOCK_DGRAM, socket.IPPROTO_UDP, socket.IPPROTO_UDP),
    Transport.ICMP: _Kind(socket.SOCK_RAW, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6),
}


def prepare(namespaces: Namespaces, wanted: Attempt) -> socket.socket:
    """Make the socket of an attempt, bound to its source; ValueError on an unknown transport."""
    kind = _KINDS[Transport(wanted.protocol)]
    protocol = kind.protocol6 if is_ipv6(wanted.address) else kind.protocol
    made = namespaces.socket(wanted.netns, wanted.address, kind.kind, protocol)
    try:
        if wanted.source is not None:
            send_from(made, wanted.source)
    except OSError:
        made.close()
        raise
    return made
