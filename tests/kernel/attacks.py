"""What a pod that holds NET_RAW tries: a table of frames, each with the wirings it makes sense on.

The attacker is pod 1. Each attack carries a mark; it has succeeded when the mark arrives where it
should not: mostly at pod 2, whom policies allow to hear pod 3, an outside peer, the node, itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.kernel import frames
from tests.kernel.frames import BROADCAST, VLAN, Flags, ethernet, icmp, ip, tcp, udp
from tests.kernel.netlab import NODE, OUTSIDE, Pod, Wire

ATTACKER, VICTIM, FRIEND = Pod(1), Pod(2), Pod(3)
INSIDE: Final = {4: "14.215.0.10", 6: "fd00:3::10"}
ON_NODE: Final = {4: "192.168.7.1", 6: "fd00:7::1"}
OTHER_NODE: Final = {4: "192.168.7.2", 6: "fd00:7::2"}
OVERLAY_PEER: Final = {4: "10.5.0.9", 6: "fd00:5::9"}
OVERLAY_MAC: Final = "0e:00:00:00:00:05"
ALL_NODES: Final = "ff02::1"
VICTIMS_PORT: Final = 5555
"""The port from which the victim speaks to the outside, which forged errors are about."""

SWITCHED = frozenset(wire for wire in Wire if wire.has_bridge)
EVERYWHERE = frozenset(Wire)
BOTH = (4, 6)


@dataclass(frozen=True)
class Scene:
    """One try: who is who on this wiring in this family, and the mark to carry."""

    wire: Wire
    version: int
    mark: bytes

    @property
    def me(self) -> str:
        """The attacker's own address."""
        return address(ATTACKER, self.version)

    @property
    def victim(self) -> str:
        """The victim's address."""
        return address(VICTIM, self.version)

    @property
    def friend(self) -> str:
        """The address of the pod that may reach the victim."""
        return address(FRIEND, self.version)

    @property
    def gateway(self) -> tuple[str, str]:
        """MAC addresses of attacker and node."""
        port = f"fe:ff:ff:ff:ff:{ATTACKER.number:02x}"
        return ATTACKER.mac, "fe:00:00:00:00:01" if self.wire in SWITCHED else port

    @property
    def hop(self) -> tuple[str, str]:
        """MAC addresses of attacker and next hop to the victim."""
        return (ATTACKER.mac, VICTIM.mac) if self.wire in SWITCHED else self.gateway

    def datagram(self, source: str = "", target: str = "") -> bytes:
        """Return a UDP packet that carries the mark."""
        ends = source or self.me, target or self.victim
        return ip(ends, frames.UDP, udp(ends, (40000, 80), self.mark))


Build = Callable[[Scene], list[bytes]]


@dataclass(frozen=True)
class Attack:
    """One attack.

    ``name``      for the test's id
    ``build``     the frames that the attacker sends
    ``wires``     where it makes sense; elsewhere no such frame reaches anybody
    ``versions``  of IP in which it makes sense
    ``place``     where its mark must not arrive
    ``stopped``   (wire, version) where Linux itself stops it, so that no control is possible
    """

    name: str
    build: Build
    wires: frozenset[Wire] = EVERYWHERE
    versions: tuple[int, ...] = BOTH
    place: str = VICTIM.name
    stopped: frozenset[tuple[Wire, int]] = frozenset()


def address(pod: Pod, version: int) -> str:
    """Return a pod's address of a version."""
    return pod.ip4 if version == 4 else pod.ip6


def link_local(pod: Pod) -> str:
    """Return the link-local address that a pod's interface makes of its MAC address."""
    return f"fe80::ff:fe00:2{pod.number:02x}"


def forged(source: Callable[[Scene], str], through: str = "hop") -> Build:
    """Return an attack that sends in somebody else's name, directly or through the node."""
    return lambda at: [ethernet(getattr(at, through), at.datagram(source(at)))]


def tagged(
    *tags: int, source: Callable[[Scene], str] = lambda at: at.me, through: str = "hop"
) -> Build:
    """Return an attack whose frame wears VLAN tags with the number 0."""
    return lambda at: [ethernet(getattr(at, through), at.datagram(source(at)), tags=tags)]


def segment(ports: tuple[int, int], flags: Flags) -> Build:
    """Return an attack with one TCP segment of the attacker's own."""

    def build(at: Scene) -> list[bytes]:
        ends = at.me, at.victim
        return [ethernet(at.hop, ip(ends, frames.TCP, tcp(ends, ports, flags, at.mark)))]

    return build


def spoken(protocol: int, body: Callable[[Scene], bytes]) -> Build:
    """Return an attack with a packet of the attacker's own."""
    return lambda at: [ethernet(at.hop, ip((at.me, at.victim), protocol, body(at)))]


def echo(kind: tuple[int, int]) -> Build:
    """Return an ICMP message by its IPv4 and IPv6 types."""

    def build(at: Scene) -> list[bytes]:
        ends = at.me, at.victim
        body = icmp(ends, (kind[at.version == 6], 0), struct.pack("!HH", 9, 1) + at.mark)
        return [ethernet(at.hop, ip(ends, _icmp(at), body))]

    return build


def cut(at: Scene) -> list[bytes]:
    """Return a datagram in fragments, of which each carries the mark."""
    ends = at.me, at.victim
    padded = at.mark.ljust(24, b".")
    whole = udp(ends, (40000, 80), padded * 4)
    return [ethernet(at.hop, part) for part in frames.fragments(ends, frames.UDP, whole, 48)]


def extended(first: int, header: bytes) -> Build:
    """Return a datagram behind an IPv6 extension header; its first byte becomes UDP's number."""

    def build(at: Scene) -> list[bytes]:
        ends = at.me, at.victim
        body = bytes([frames.UDP]) + header[1:] + udp(ends, (40000, 80), at.mark)
        return [ethernet(at.hop, ip(ends, first, body))]

    return build


def optioned(at: Scene) -> list[bytes]:
    """Return a datagram with an IPv4 option (router alert)."""
    ends = at.me, at.victim
    body = udp(ends, (40000, 80), at.mark)
    packet = frames.ip4_options(ends, frames.UDP, body, bytes((148, 4, 0, 0)))
    return [ethernet(at.hop, packet)]


def shouted(*targets: str) -> Build:
    """Return datagrams to a broadcast or multicast address in frames to everybody."""

    def build(at: Scene) -> list[bytes]:
        chosen = targets[at.version == 6]
        return [ethernet((ATTACKER.mac, BROADCAST), at.datagram(target=chosen))]

    return build


def to_link_local(source: Callable[[Scene], str]) -> Build:
    """Return a datagram to the victim's link-local address."""
    return lambda at: [ethernet(at.hop, at.datagram(source(at), link_local(VICTIM)))]


def _icmp(at: Scene) -> int:
    return frames.ICMP if at.version == 4 else frames.ICMPV6


def error(kinds: tuple[tuple[int, int], tuple[int, int]], rest: int) -> Build:
    """Return a forged ICMP error about the victim's own connection to the outside."""

    def build(at: Scene) -> list[bytes]:
        inner = at.victim, INSIDE[at.version]
        about = ip(inner, frames.UDP, udp(inner, (VICTIMS_PORT, 80), at.mark))
        ends = at.me, at.victim
        body = icmp(ends, kinds[at.version == 6], struct.pack("!I", rest) + about)
        return [ethernet(at.hop, ip(ends, _icmp(at), body))]

    return build


def redirect(at: Scene) -> list[bytes]:
    """Return an ICMP redirect that makes the attacker the victim's way to the outside."""
    if at.version == 4:
        inner = at.victim, INSIDE[4]
        about = ip(inner, frames.UDP, udp(inner, (VICTIMS_PORT, 80), at.mark))
        ends = at.me, at.victim
        body = icmp(ends, (5, 1), frames.packed(at.me) + about)
        return [ethernet(at.hop, ip(ends, frames.ICMP, body))]
    ends = link_local(ATTACKER), at.victim
    body = bytes(4) + frames.packed(ends[0]) + frames.packed(INSIDE[6]) + option(4, at.mark)
    return [_neighbour_frame(at.hop, ends, (137, 0), body)]


def advertisement(at: Scene) -> list[bytes]:
    """Return a router advertisement that takes nobody for its router, and is heard all the same."""
    ends = link_local(ATTACKER), ALL_NODES
    body = struct.pack("!BBHII", 64, 0, 0, 0, 0) + option(253, at.mark)
    return [_neighbour_frame((ATTACKER.mac, "33:33:00:00:00:01"), ends, (134, 0), body)]


def neighbour_advert(source: Callable[[Scene], str]) -> Build:
    """Return an advertisement that the friend's address lives at the attacker's MAC address."""

    def build(at: Scene) -> list[bytes]:
        ends = source(at), at.victim
        body = struct.pack("!I", 0x20000000) + frames.packed(at.friend)
        body += bytes((2, 1)) + frames.mac(ATTACKER.mac) + option(253, at.mark)
        return [_neighbour_frame(at.hop, ends, (136, 0), body)]

    return build


def neighbour_solicit(at: Scene) -> list[bytes]:
    """Return a question in the friend's name, which tells the attacker's MAC address."""
    ends = at.friend, at.victim
    body = bytes(4) + frames.packed(at.victim)
    body += bytes((1, 1)) + frames.mac(ATTACKER.mac) + option(253, at.mark)
    return [_neighbour_frame(at.hop, ends, (135, 0), body)]


def option(kind: int, mark: bytes) -> bytes:
    """Return a neighbour discovery option around a mark."""
    padded = mark.ljust(-(-(len(mark) + 2) // 8) * 8 - 2, b"\0")
    return bytes((kind, (len(padded) + 2) // 8)) + padded


def _neighbour_frame(
    macs: tuple[str, str], ends: tuple[str, str], kind: tuple[int, int], body: bytes
) -> bytes:
    message = icmp(ends, kind, body)
    return ethernet(macs, ip(ends, frames.ICMPV6, message, frames.NEIGHBOURS_ONLY))


def arp_lie(
    operation: int, claimed: Callable[[Scene], str], hardware: int = 1, **how: object
) -> Build:
    """Return an ARP message that says that an address lives at the attacker's MAC address."""

    def build(at: Scene) -> list[bytes]:
        sender, target = (ATTACKER.mac, claimed(at)), (VICTIM.mac, at.victim)
        body = frames.arp(operation, sender, target, hardware) + at.mark
        return [ethernet(at.hop, body, frames.ARP, **how)]  # type: ignore[arg-type]

    return build


def stolen_mac(at: Scene) -> list[bytes]:
    """Return a frame that tells the bridge that the friend lives at the attacker's port."""
    macs = FRIEND.mac, VICTIM.mac
    if at.version == 4:
        body = frames.arp(1, (FRIEND.mac, at.me), (VICTIM.mac, at.victim)) + at.mark
        return [ethernet(macs, body, frames.ARP)]
    body = bytes(4) + frames.packed(at.victim) + option(253, at.mark)
    return [_neighbour_frame(macs, (at.me, at.victim), (135, 0), body)]


def arp_other_mac(at: Scene) -> list[bytes]:
    """Return an ARP message in which the attacker's address lives at the friend's MAC address."""
    body = frames.arp(2, (FRIEND.mac, at.me), (VICTIM.mac, at.victim)) + at.mark
    return [ethernet(at.hop, body, frames.ARP)]


def vxlan(port: int, target: Callable[[Scene], str]) -> Build:
    """Return a tunnel packet that brings the victim a packet from the overlay."""

    def build(at: Scene) -> list[bytes]:
        inner = ethernet((ATTACKER.mac, OVERLAY_MAC), at.datagram(OVERLAY_PEER[at.version]))
        header = struct.pack("!II", 0x08000000, 42 << 8)
        ends = address(ATTACKER, 4 if "." in target(at) else 6), target(at)
        body = udp(ends, (50000, port), header + inner)
        return [ethernet(at.gateway, ip(ends, frames.UDP, body))]

    return build


def encapsulated(protocol: int) -> Build:
    """Return a packet in a packet to another node, which would unpack it."""

    def build(at: Scene) -> list[bytes]:
        ends = at.me, OTHER_NODE[at.version]
        return [ethernet(at.gateway, ip(ends, protocol, at.datagram(INSIDE[at.version])))]

    return build


SOURCES: Final[dict[str, Callable[[Scene], str]]] = {
    "outside": lambda at: INSIDE[at.version],
    "pod": lambda at: at.friend,
    "node": lambda at: ON_NODE[at.version],
    "victim": lambda at: at.victim,
    "nobody": lambda at: "10.2.0.77" if at.version == 4 else "fd00:2::77",
}
MARTIAN: Final = frozenset((wire, 4) for wire in Wire)
"""IPv4 never takes in a packet from one of the node's own addresses."""


def _sources() -> Iterator[Attack]:
    for name, source in SOURCES.items():
        # Switched frames meet no such test of Linux's own, packets to be routed do.
        routed = MARTIAN if name == "node" else frozenset[tuple[Wire, int]]()
        direct = frozenset((wire, version) for wire, version in routed if wire not in SWITCHED)
        yield Attack(f"source-{name}", forged(source), stopped=direct)
        yield Attack(
            f"source-{name}-through-gateway", forged(source, "gateway"), SWITCHED, stopped=routed
        )
        yield Attack(
            f"source-{name}-through-gateway-vlan-0",
            tagged(VLAN, source=source, through="gateway"),
            SWITCHED,
            stopped=routed,
        )


def _hidden() -> Iterator[Attack]:
    yield Attack("plain", forged(lambda at: at.me))
    yield Attack("vlan-0", tagged(VLAN))
    yield Attack("vlan-0-twice", tagged(VLAN, VLAN))
    yield Attack("service-vlan-0", tagged(frames.SERVICE_VLAN))
    yield Attack(
        "unicast-in-a-broadcast-frame",
        lambda at: [ethernet((ATTACKER.mac, BROADCAST), at.datagram())],
        SWITCHED,
    )
    yield Attack("broadcast", shouted("255.255.255.255", ALL_NODES), SWITCHED)
    yield Attack("subnet-broadcast", shouted("10.2.0.255", "ff05::1:3"), SWITCHED)
    yield Attack("multicast", shouted("224.0.0.251", "ff02::fb"), SWITCHED)
    yield Attack("fragments", cut)
    yield Attack("ip-option", optioned, versions=(4,))
    yield Attack("hop-by-hop", extended(0, bytes((0, 0, 1, 4, 0, 0, 0, 0))), versions=(6,))
    yield Attack(
        "destination-options", extended(60, bytes((0, 0, 1, 4, 0, 0, 0, 0))), versions=(6,)
    )
    yield Attack("routing-header", extended(43, bytes((0, 0, 253, 0, 0, 0, 0, 0))), versions=(6,))
    yield Attack("link-local", to_link_local(lambda _: link_local(ATTACKER)), SWITCHED, (6,))
    yield Attack("link-local-from-global", to_link_local(lambda at: at.me), SWITCHED, (6,))


def _mid_stream() -> Iterator[Attack]:
    for name, ports in (("client", (40000, 80)), ("server", (80, 40000)), ("equal", (80, 80))):
        for flags in (Flags.ACK, Flags.SYN | Flags.ACK, Flags.FIN | Flags.ACK, Flags.RST):
            yield Attack(f"segment-as-{name}-{flags!s}", segment(ports, flags))
    yield Attack("segment-without-flags", segment((40001, 80), Flags(0)))
    yield Attack("segment-syn-fin", segment((40002, 80), Flags.SYN | Flags.FIN))


def _other_protocols() -> Iterator[Attack]:
    yield Attack("echo-request", echo((8, 128)))
    yield Attack("echo-reply", echo((0, 129)))
    yield Attack("timestamp", echo((13, 141)))
    yield Attack("protocol-253", spoken(253, lambda at: at.mark))
    yield Attack("sctp", spoken(132, lambda at: struct.pack("!HHII", 40000, 80, 0, 0) + at.mark))


def _forged_messages() -> Iterator[Attack]:
    yield Attack("error-port-unreachable", error(((3, 3), (1, 4)), 0))
    yield Attack("error-fragmentation-needed", error(((3, 4), (2, 0)), 1280))
    yield Attack("error-time-exceeded", error(((11, 0), (3, 0)), 0))
    yield Attack("redirect", redirect, SWITCHED)
    yield Attack("redirect-routed", redirect, EVERYWHERE - SWITCHED, (4,))
    yield Attack("router-advertisement", advertisement, SWITCHED, (6,))


def _neighbours() -> Iterator[Attack]:
    friend, gateway = (lambda at: at.friend), (lambda _: "10.2.0.254")
    for name, claimed in (("friend", friend), ("gateway", gateway)):
        yield Attack(f"arp-reply-{name}", arp_lie(2, claimed), SWITCHED, (4,))
        yield Attack(f"arp-request-{name}", arp_lie(1, claimed), SWITCHED, (4,))
    yield Attack("arp-of-802-networks", arp_lie(2, friend, 6), SWITCHED, (4,))
    yield Attack("arp-vlan-0", arp_lie(2, friend, tags=(VLAN,)), SWITCHED, (4,))
    yield Attack("arp-with-another-mac", arp_other_mac, SWITCHED, (4,))
    yield Attack("nd-advert", neighbour_advert(lambda at: at.me), SWITCHED, (6,))
    yield Attack(
        "nd-advert-link-local", neighbour_advert(lambda _: link_local(ATTACKER)), SWITCHED, (6,)
    )
    yield Attack("nd-advert-as-friend", neighbour_advert(lambda at: at.friend), SWITCHED, (6,))
    yield Attack("nd-solicit", neighbour_solicit, SWITCHED, (6,))
    yield Attack("stolen-mac", stolen_mac, SWITCHED)


def _tunnels() -> Iterator[Attack]:
    node, other = (lambda _: ON_NODE[4]), (lambda at: OTHER_NODE[at.version])
    yield Attack("vxlan-to-the-node", vxlan(4789, node))
    for name, port in (("vxlan", 4789), ("flannel", 8472), ("geneve", 6081)):
        yield Attack(f"{name}-to-another-node", vxlan(port, other), place=OUTSIDE)
    yield Attack("ipip-to-another-node", encapsulated(frames.IPIP), versions=(4,), place=OUTSIDE)
    yield Attack("6in4-to-another-node", encapsulated(frames.IPV6_IN_IP), place=OUTSIDE)
    yield Attack("gre-to-another-node", encapsulated(frames.GRE), place=OUTSIDE)


ATTACKS: Final = (
    *_sources(),
    *_hidden(),
    *_mid_stream(),
    *_other_protocols(),
    *_forged_messages(),
    *_tunnels(),
    *_neighbours(),
)
"""Those that poison caches come last: what follows them would find its way changed."""

__all__ = ["ATTACKS", "NODE", "Attack", "Scene"]
