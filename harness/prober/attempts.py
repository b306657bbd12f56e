"""One connection attempt and its verdict: the only place where kernel errors become verdicts.

What the kernel tells, and what it means for a probe:

===================================  =====================================================
the handshake is done, an echo came  open
nothing until the deadline           dropped (EPERM too: dropped on this host's way out)
an ICMP error                        rejected
a reset, or the server's own ICMP    reset: *refused* or *rejected*, which only a control
port-unreachable for a datagram      probe can tell
no route, no neighbour answers       unreachable: this host itself says so
anything else                        error
===================================  =====================================================
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.clusters.base import Outcome, Verdict
from harness.prober.protocol import Attempt
from harness.prober.sockets import (
    Namespaces,
    Noted,
    close_at_once,
    is_ipv6,
    noted_error,
    send_from,
)

_IPPROTO_SCTP = 132
_RESETS = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED}
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.EACCES, errno.EINVAL}
# (is IPv6, type, code): RFC 792 and RFC 4443
_PORT_UNREACHABLE = {(False, 3, 3), (True, 1, 4)}
_NO_NEIGHBOUR = {(False, 3, 1), (True, 1, 3)}
_NONCE_BYTES = 16


async def attempt(namespaces: Namespaces, wanted: Attempt, wait: float) -> Outcome:
    """Try one connection and say how it ended; ``wait`` is in seconds. Never raises."""
    try:
        made, run = _prepare(namespaces, wanted)
    except (OSError, ValueError, LookupError) as problem:
        return Outcome(Verdict.ERROR, 0.0, f"{wanted.netns}: {problem}")
    started = time.perf_counter()
    try:
        await run(made, wanted, asyncio.get_running_loop().time() + wait)
        verdict, detail = Verdict.OPEN, ""
    except TimeoutError:
        verdict, detail = Verdict.DROPPED, f"silence for {wait:.3g} s"
    except OSError as problem:
        verdict, detail = judge(problem.errno or 0, noted_error(made), wanted)
    finally:
        seconds = time.perf_counter() - started
        close_at_once(made)
    return Outcome(verdict, seconds, detail)


def judge(number: int, noted: Noted | None, wanted: Attempt) -> tuple[Verdict, str]:
    """Turn an error number, and what the error queue knew about it, into a verdict."""
    name = errno.errorcode.get(number, str(number))
    if noted is not None and not noted.local:
        return _judge_icmp(noted, wanted), f"{name}, {noted}"
    if number in _RESETS:
        return Verdict.RESET, name
    if number == errno.EPERM:
        return Verdict.DROPPED, "EPERM: dropped on the way out of its own host"
    if number in _NO_ROUTE:
        return Verdict.UNREACHABLE, f"{name}: {os.strerror(number)}"
    return Verdict.ERROR, f"{name}: {os.strerror(number)}"


def _judge_icmp(noted: Noted, wanted: Attempt) -> Verdict:
    seen = (is_ipv6(wanted.address), noted.kind, noted.code)
    if noted.own and seen in _NO_NEIGHBOUR:
        return Verdict.UNREACHABLE
    if seen in _PORT_UNREACHABLE and wanted.protocol == "UDP":
        return Verdict.RESET if noted.offender == wanted.address else Verdict.REJECTED
    return Verdict.REJECTED


async def _handshake(made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once the handshake is complete (TCP, and SCTP's one-to-one sockets)."""
    target = (wanted.address, wanted.port)
    if _connected(made, target) or _connected(made, target):
        # Between namespaces of one kernel the answer is mostly there already: to ask a second
        # time keeps this program's own slowness out of the figure.
        return
    await _ready(made, select.POLLOUT, deadline)
    number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def _connected(made: socket.socket, target: tuple[str, int]) -> bool:
    number = made.connect_ex(target)
    if number in {errno.EINPROGRESS, errno.EALREADY}:
        return False
    if number not in {0, errno.EISCONN}:
        raise OSError(number, os.strerror(number))
    return True


async def _echo(made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once a datagram of ours has come back."""
    nonce = os.urandom(_NONCE_BYTES)
    made.connect((wanted.address, wanted.port))
    made.send(nonce)
    while await _datagram(made, deadline) != nonce:
        pass


# type, code, checksum, identifier, sequence; RFC 792 and RFC 4443
_PING = struct.Struct("!BBHHH")
_ECHO_REQUEST = {False: 8, True: 128}
_ECHO_REPLY = {False: 0, True: 129}


async def _ping(made: socket.socket, wanted: Attempt, deadline: float) -> None:
    """Return once an ICMP echo request of ours has been answered."""
    nonce = os.urandom(_NONCE_BYTES)
    version6 = is_ipv6(wanted.address)
    blank = _PING.pack(_ECHO_REQUEST[version6], 0, 0, 0, 0) + nonce
    made.connect((wanted.address, 0))
    made.send(blank[:2] + _checksum(blank).to_bytes(2, "big") + blank[4:])
    while True:
        packet = await _datagram(made, deadline)
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


async def _datagram(made: socket.socket, deadline: float) -> bytes:
    while True:
        try:
            return made.recv(2048)
        except BlockingIOError:
            await _ready(made, select.POLLIN, deadline)


async def _ready(made: socket.socket, event: int, deadline: float) -> None:
    """Wait until a socket is ready; raises TimeoutError if it is not at the deadline.

    The socket itself has the last word: an answer that waited for this program is no silence.
    """
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    writing = event == select.POLLOUT
    (loop.add_writer if writing else loop.add_reader)(made, _wake, woken)
    timer = loop.call_at(deadline, _wake, woken)
    try:
        await woken
    finally:
        timer.cancel()
        (loop.remove_writer if writing else loop.remove_reader)(made)
    if not _ready_now(made, event):
        raise TimeoutError


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _ready_now(made: socket.socket, event: int) -> bool:
    poll = select.poll()
    poll.register(made, event)
    return bool(poll.poll(0))


Run = Callable[[socket.socket, Attempt, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a protocol is probed: which socket, and what has to happen on it."""

    kind: int
    protocol: int
    run: Run


_WAYS = {
    "TCP": _Way(socket.SOCK_STREAM, socket.IPPROTO_TCP, _handshake),
    "SCTP": _Way(socket.SOCK_STREAM, _IPPROTO_SCTP, _handshake),
    "UDP": _Way(socket.SOCK_DGRAM, socket.IPPROTO_UDP, _echo),
    "ICMP": _Way(socket.SOCK_RAW, socket.IPPROTO_ICMP, _ping),
    "ICMPv6": _Way(socket.SOCK_RAW, socket.IPPROTO_ICMPV6, _ping),
}


def _prepare(namespaces: Namespaces, wanted: Attempt) -> tuple[socket.socket, Run]:
    """Make the socket of an attempt, bound to its source."""
    if wanted.protocol not in _WAYS:
        message = f"cannot probe protocol {wanted.protocol}"
        raise LookupError(message)
    ping6 = wanted.protocol == "ICMP" and is_ipv6(wanted.address)
    way = _WAYS["ICMPv6" if ping6 else wanted.protocol]
    made = namespaces.socket(wanted.netns, wanted.address, way.kind, way.protocol)
    try:
        if wanted.source is not None:
            send_from(made, wanted.source)
    except OSError:
        made.close()
        raise
    return made, way.run
