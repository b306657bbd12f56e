"""Two nodes and a world around them as network namespaces: routed pods here, bridged ones there.

Pods come and go, addresses stay: a *slot* is a network namespace with an address of each family,
whose owner is whatever pod has these addresses at the moment, or none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Final, Self

from tests.kernel.netlab import Namespace, Wire, run

SLOTS_OF_A_NODE: Final = 3
WIRES: Final = {1: Wire.ROUTED, 2: Wire.BRIDGED}
SERVICES4: Final = "10.96.0."
SERVICES6: Final = "fd00:96::"
UDP_MEMORY: Final = 600
"""Seconds; no entry of conntrack ends by itself while a history lasts."""

_fleets = count()


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody who sends and answers: an address of each family in a network namespace.

    ``node`` is where a slot or a node is; 0 for hosts outside. ``service`` numbers the Service
    that leads to a slot; 0 where there is none.
    """

    name: str
    space: str
    ip4: str
    ip6: str
    node: int = 0
    service: int = 0

    @property
    def is_slot(self) -> bool:
        """Whether pods live here."""
        return self.service > 0

    def address(self, version: int) -> str:
        """Return the address of a family."""
        return self.ip4 if version == 4 else self.ip6

    def front(self, version: int) -> str:
        """Return the address of the Service that leads here."""
        return f"{SERVICES4 if version == 4 else SERVICES6}{self.service}"


def _slot(node: int, number: int) -> Place:
    service = (node - 1) * SLOTS_OF_A_NODE + number
    name = f"s{node}{number}"
    return Place(name, name, f"10.{node}.0.{number}", f"fd00:{node}::{number}", node, service)


NODES: Final = tuple(
    Place(f"n{node}", f"n{node}", f"172.20.{node}.1", f"fd00:2{node}::1", node) for node in WIRES
)
SLOTS: Final = tuple(
    _slot(node, number) for node in WIRES for number in range(1, SLOTS_OF_A_NODE + 1)
)
OUTSIDE: Final = (
    Place("here", "outside", "14.215.0.10", "fd00:3::10"),
    Place("there", "outside", "14.216.0.10", "fd00:4::10"),
)
PLACES: Final = (*SLOTS, *NODES, *OUTSIDE)


class Fleet:
    """The namespaces of all places, wired and addressed; ``with`` builds them."""

    def __init__(self) -> None:
        """Choose names that nobody else has.

        ``barrier`` names two namespaces with a link of their own, and their addresses on it.
        """
        self._prefix = f"npdfleet-{os.getpid()}-{next(_fleets)}"
        self._stack = ExitStack()
        self.spaces: dict[str, Namespace] = {}
        self.barrier = (("left", "192.168.9.1"), ("right", "192.168.9.2"))

    def __enter__(self) -> Self:
        """Build everything."""
        names = sorted({place.space for place in PLACES} | {name for name, _ in self.barrier})
        self._stack.callback(self._delete, names)
        run("ip", "-batch", "-", text="".join(f"netns add {self.netns(n)}\n" for n in names))
        for name in names:
            self.spaces[name] = Namespace(self.netns(name))
            self._stack.callback(self.spaces[name].close)
            self.spaces[name].run("sysctl", "-qw", *_sysctls())
        run("ip", "-batch", "-", text=_lines(self._links()))
        for node in NODES:
            self._batch(node.space, _node_setup(node))
            self.spaces[node.space].run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            self.spaces[node.space].run("nft", "-f", "-", text=_services())
            self.spaces[node.space].run("sysctl", "-qw", *_conntrack())
        for slot in SLOTS:
            self._batch(slot.space, _slot_setup(slot))
        self._batch("outside", _outside_setup())
        for name, address in self.barrier:
            self._batch(name, iter((f"addr add {address}/24 dev eth0", "link set eth0 up")))
        self.spaces["outside"].run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return self

    def __exit__(self, *_: object) -> None:
        """Delete everything."""
        self._stack.close()

    def netns(self, name: str) -> str:
        """Return the name of a network namespace of ours."""
        return f"{self._prefix}-{name}"

    def forget_connections(self) -> None:
        """Empty the nodes' conntrack tables."""
        for node in NODES:
            self.spaces[node.space].run("sh", "-c", "conntrack -F 2>&1")

    def _batch(self, name: str, lines: Iterator[str]) -> None:
        self.spaces[name].run("ip", "-batch", "-", text=_lines(lines))

    def _delete(self, names: list[str]) -> None:
        text = _lines(f"netns del {self.netns(name)}" for name in names)
        run("ip", "-force", "-batch", "-", text=text)

    def _links(self) -> Iterator[str]:
        outside = self.netns("outside")
        left, right = (self.netns(name) for name, _ in self.barrier)
        yield f"link add eth0 netns {left} type veth peer name eth0 netns {right}"
        for node in NODES:
            here = self.netns(node.space)
            yield f"link add up0 netns {here} type veth peer name up{node.node} netns {outside}"
        for slot in SLOTS:
            here, there = self.netns(f"n{slot.node}"), self.netns(slot.space)
            yield (
                f"link add {slot.name} address {_port_mac(slot)} netns {here} "
                f"type veth peer name eth0 address {_mac(slot)} netns {there}"
            )


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _mac(slot: Place) -> str:
    return f"02:00:00:00:02:{slot.service:02x}"


def _port_mac(slot: Place) -> str:
    return f"fe:ff:ff:ff:ff:{slot.service:02x}"


def _sysctls() -> tuple[str, ...]:
    scopes = ("all", "default")
    return (
        *(f"net.ipv6.conf.{scope}.accept_dad=0" for scope in scopes),
        "net.ipv6.conf.all.forwarding=1",
    )


def _conntrack() -> tuple[str, ...]:
    kinds = ("udp_timeout", "udp_timeout_stream", "icmp_timeout", "icmpv6_timeout")
    return tuple(f"net.netfilter.nf_conntrack_{kind}={UDP_MEMORY}" for kind in kinds)


def _node_setup(node: Place) -> Iterator[str]:
    yield from ("link set lo up", "link set up0 up")
    yield f"addr add {node.ip4}/24 dev up0"
    yield f"addr add {node.ip6}/64 dev up0 nodad"
    yield f"route add default via 172.20.{node.node}.254"
    yield f"route add default via fd00:2{node.node}::fe"
    bridged = WIRES[node.node] is Wire.BRIDGED
    if bridged:
        yield "link add br0 address fe:00:00:00:00:01 type bridge"
        yield "link set br0 up"
        yield f"addr add 10.{node.node}.0.254/24 dev br0"
        yield f"addr add fd00:{node.node}::fe/64 dev br0 nodad"
    for slot in (slot for slot in SLOTS if slot.node == node.node):
        device = "br0" if bridged else slot.name
        yield f"link set {slot.name}{' master br0' if bridged else ''} up"
        if bridged:  # a pod that reaches itself through its Service
            yield f"link set {slot.name} type bridge_slave hairpin on"
        for address, bits in ((slot.ip4, 32), (slot.ip6, 128)):
            if not bridged:
                yield f"route add {address}/{bits} dev {device}"
            yield f"neigh replace {address} lladdr {_mac(slot)} dev {device} nud permanent"


def _slot_setup(slot: Place) -> Iterator[str]:
    yield from ("link set lo up", "link set eth0 up")
    if WIRES[slot.node] is Wire.BRIDGED:
        yield f"addr add {slot.ip4}/24 dev eth0"
        yield f"addr add {slot.ip6}/64 dev eth0 nodad"
        gateways, gateway_mac = (f"10.{slot.node}.0.254", f"fd00:{slot.node}::fe"), ""
    else:
        yield f"addr add {slot.ip4}/32 dev eth0"
        yield f"addr add {slot.ip6}/128 dev eth0 nodad"
        gateways, gateway_mac = ("169.254.1.1", f"fd00:{slot.node}::ffff"), _port_mac(slot)
    for gateway in gateways:
        if gateway_mac:
            yield f"route add {gateway} dev eth0"
            yield f"neigh replace {gateway} lladdr {gateway_mac} dev eth0 nud permanent"
        yield f"route add default via {gateway}"


def _outside_setup() -> Iterator[str]:
    yield "link set lo up"
    for place in OUTSIDE:
        yield f"addr add {place.ip4} dev lo"
        yield f"addr add {place.ip6} dev lo nodad"
    for node in NODES:
        number = node.node
        yield f"link set up{number} up"
        yield f"addr add 172.20.{number}.254/24 dev up{number}"
        yield f"addr add fd00:2{number}::fe/64 dev up{number} nodad"
        yield f"route add 10.{number}.0.0/24 via {node.ip4}"
        yield f"route add fd00:{number}::/64 via {node.ip6}"


def _services() -> str:
    """Return a service proxy: one Service for each slot, hairpin included."""
    pairs4 = ", ".join(f"{slot.front(4)} : {slot.ip4}" for slot in SLOTS)
    pairs6 = ", ".join(f"{slot.front(6)} : {slot.ip6}" for slot in SLOTS)
    self4 = ", ".join(f"{slot.ip4} . {slot.ip4}" for slot in SLOTS)
    self6 = ", ".join(f"{slot.ip6} . {slot.ip6}" for slot in SLOTS)
    return f"""
    table inet services {{
      chain prerouting {{
        type nat hook prerouting priority -100;
        meta l4proto {{ tcp, udp }} dnat ip to ip daddr map {{ {pairs4} }}
        meta l4proto {{ tcp, udp }} dnat ip6 to ip6 daddr map {{ {pairs6} }}
      }}
      chain postrouting {{
        type nat hook postrouting priority 100;
        ct status dnat ip saddr . ip daddr {{ {self4} }} masquerade
        ct status dnat ip6 saddr . ip6 daddr {{ {self6} }} masquerade
      }}
    }}
    """
