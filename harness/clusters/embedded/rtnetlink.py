"""Links, addresses, routes and neighbours through raw rtnetlink, many in one system call.

A process for each ``ip`` command would cost 2 ms; a message here costs some 20 microseconds.
Sources: rtnetlink(7) and the kernel's uapi headers linux/if_link.h, linux/rtnetlink.h,
linux/neighbour.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.clusters.embedded.addresses import Address, Network

LOOPBACK = 1
"""The interface index of ``lo`` in every network namespace."""

_NEWLINK, _DELLINK, _SETLINK = 16, 17, 19
_NEWADDR, _NEWROUTE, _NEWNEIGH = 20, 24, 28
_REQUEST, _ACK, _CREATE, _REPLACE = 0x1, 0x4, 0x400, 0x100
_NLMSG_ERROR = 2
_UP = 0x1
_PERMANENT, _NOARP = 0x80, 0x40
_NOPREFIXROUTE = 0x200
_NTF_MASTER = 0x4
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_CHUNK = 128
_UNSPEC, _BRIDGE = 0, 7
_VERSION6 = 6


@dataclass(frozen=True, slots=True)
class Message:
    """One request to the kernel, and in words what it asks for."""

    kind: int
    flags: int
    body: bytes
    what: str


class Routes:
    """An rtnetlink socket of the network namespace in which it was made."""

    def __init__(self) -> None:
        """Open the socket in the calling thread's network namespace."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def run(self, messages: Iterable[Message]) -> None:
        """Carry out all messages in their order; raise OSError that names the ones refused."""
        pending = list(messages)
        for start in range(0, len(pending), _CHUNK):
            self._run_chunk(pending[start : start + _CHUNK])

    def _run_chunk(self, messages: Sequence[Message]) -> None:
        first = self._sequence + 1
        self._sequence += len(messages)
        parts = []
        for number, message in enumerate(messages, first):
            # The kernel always reports failures; only the last message asks for an answer.
            wanted = _ACK if number == self._sequence else 0
            flags = _REQUEST | message.flags | wanted
            head = struct.pack("=IHHII", 16 + len(message.body), message.kind, flags, number, 0)
            parts.append(head + message.body)
        self._socket.send(b"".join(parts))
        refused = self._answers()
        if refused:
            number, sequence = refused[0]
            what = messages[sequence - first].what
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise OSError(number, f"{what}: {os.strerror(number)}{more}")

    def _answers(self) -> list[tuple[int, int]]:
        refused: list[tuple[int, int]] = []
        while True:
            data = self._socket.recv(1 << 17)
            while data:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data, 16)[0]
                    if code:
                        refused.append((code, sequence))
                    if sequence == self._sequence:
                        return refused
                data = data[(length + 3) & ~3 :]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair: name, hardware address, interface index, and where it goes."""

    name: str
    hardware: bytes
    index: int
    netns: int | None = None
    """Descriptor of the namespace that gets it; None: the socket's own."""

    def attributes(self) -> bytes:
        """Return the link attributes of this end."""
        named = _attribute(3, self.name.encode() + b"\0") + _attribute(1, self.hardware)
        return named if self.netns is None else named + _attribute(28, _u32(self.netns))


def veth(near: End, far: End) -> Message:
    """Make a veth pair, its near end up; the far end cannot be as long as it has no peer."""
    peer = _attribute(1, _link(far.index) + far.attributes())
    info = _attribute(1, b"veth\0") + _attribute(2, peer)
    body = _link(near.index, _UP) + near.attributes() + _attribute(18, info)
    return Message(_NEWLINK, _CREATE, body, f"veth pair {near.name}, {far.name}")


def bridge(name: str, hardware: bytes, index: int) -> Message:
    """Make a Linux bridge that is up, without multicast snooping or spanning tree."""
    data = _attribute(5, _u32(0)) + _attribute(23, b"\0")
    info = _attribute(1, b"bridge\0") + _attribute(2, data)
    attributes = _attribute(3, name.encode() + b"\0") + _attribute(1, hardware)
    body = _link(index, _UP) + attributes + _attribute(18, info)
    return Message(_NEWLINK, _CREATE, body, f"bridge {name}")


def set_bridge_netfilter(index: int) -> Message:
    """Show one bridge's frames to iptables and ip6tables (IFLA_BR_NF_CALL_IPTABLES and -IP6-)."""
    data = _attribute(36, b"\1") + _attribute(37, b"\1")
    info = _attribute(1, b"bridge\0") + _attribute(2, data)
    body = _link(index) + _attribute(18, info)
    return Message(_NEWLINK, 0, body, f"netfilter on bridge {index}")


def set_up(index: int) -> Message:
    """Set an interface up."""
    return Message(_NEWLINK, 0, _link(index, _UP), f"set interface {index} up")


def set_alias(index: int, alias: str) -> Message:
    """Say in words what an interface is (``ip link`` shows it)."""
    body = _link(index) + _attribute(20, alias.encode()[:255])
    return Message(_NEWLINK, 0, body, f"alias {alias}")


def set_master(index: int, master: int) -> Message:
    """Make an interface a port of a bridge."""
    body = _link(index) + _attribute(10, _u32(master))
    return Message(_NEWLINK, 0, body, f"put interface {index} into bridge {master}")


def set_hairpin(index: int) -> Message:
    """Let a bridge port send a frame back to where it came from (brport hairpin_mode)."""
    nested = 0x8000
    port = _attribute(4, b"\1")
    body = struct.pack("=BxHiII", _BRIDGE, 0, index, 0, 0) + _attribute(12 | nested, port)
    return Message(_SETLINK, 0, body, f"hairpin mode of interface {index}")


def delete_link(index: int) -> Message:
    """Delete an interface, and with it its veth peer."""
    return Message(_DELLINK, 0, _link(index), f"delete interface {index}")


def address(index: int, value: Address, prefix: int, *, on_link: bool = True) -> Message:
    """Give an interface an address, good at once: nobody else can have it (no DAD, RFC 4862).

    Without ``on_link`` no route to its network comes with it.
    """
    without_detection = 0x02 if value.version == _VERSION6 else 0
    body = struct.pack("=BBBBi", _family(value), prefix, without_detection, 0, index)
    body += _attribute(2, value.packed) + _attribute(1, value.packed)
    if not on_link:
        body += _attribute(8, _u32(_NOPREFIXROUTE | without_detection))
    return Message(_NEWADDR, _CREATE | _REPLACE, body, f"address {value}/{prefix}")


def route(
    network: Network, index: int, via: Address | None = None, *, onlink: bool = False
) -> Message:
    """Add a route; without ``via`` the network is on the link itself."""
    universe, link = 0, 253
    scope = link if via is None and network.version != _VERSION6 else universe
    flags = 4 if onlink else 0
    body = _route(network, _TABLE_MAIN, scope, 1, flags)
    if via is not None:
        body += _attribute(5, via.packed)
    body += _attribute(4, _u32(index))
    return Message(_NEWROUTE, _CREATE | _REPLACE, body, f"route to {network}")


def any_local(network: Network) -> Message:
    """Own every address of a network (AnyIP: ``ip route add local ... dev lo``)."""
    host, local = 254, 2
    scope = host if network.version != _VERSION6 else 0
    body = _route(network, _TABLE_LOCAL, scope, local, 0) + _attribute(4, _u32(LOOPBACK))
    return Message(_NEWROUTE, _CREATE | _REPLACE, body, f"own {network}")


def unreachable(network: Network) -> Message:
    """Answer packets to a network with an ICMP error unless a longer route takes them."""
    universe, kind = 0, 7
    body = _route(network, _TABLE_MAIN, universe, kind, 0)
    return Message(_NEWROUTE, _CREATE | _REPLACE, body, f"unreachable {network}")


def neighbour(index: int, value: Address, hardware: bytes) -> Message:
    """Write down a neighbour for good: it is never asked for, and never collected."""
    body = struct.pack("=BxHiHBB", _family(value), 0, index, _PERMANENT, 0, 0)
    body += _attribute(1, value.packed) + _attribute(2, hardware)
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {value}")


def forwarding_entry(index: int, hardware: bytes) -> Message:
    """Tell a bridge for good behind which port a hardware address lives."""
    body = struct.pack("=BxHiHBB", _BRIDGE, 0, index, _NOARP, _NTF_MASTER, 0)
    body += _attribute(2, hardware)
    return Message(_NEWNEIGH, _CREATE | _REPLACE, body, f"fdb entry {hardware.hex(':')}")


def _family(value: Address | Network) -> int:
    return socket.AF_INET6 if value.version == _VERSION6 else socket.AF_INET


def _link(index: int, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", _UNSPEC, 0, index, flags, flags)


def _route(network: Network, table: int, scope: int, kind: int, flags: int) -> bytes:
    boot = 3
    head = struct.pack(
        "=BBBBBBBBI", _family(network), network.prefixlen, 0, 0, table, boot, scope, kind, flags
    )
    return head + _attribute(1, network.network_address.packed)


def _attribute(kind: int, payload: bytes) -> bytes:
    head = struct.pack("=HH", 4 + len(payload), kind)
    return head + payload + b"\0" * (-len(payload) % 4)


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)
