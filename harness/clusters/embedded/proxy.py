"""The service proxy of every node: ClusterIPs and NodePorts as nftables maps.

A packet that opens a connection meets one lookup for its front and one for its endpoint, however
many Services there are: ``services`` sends it to the chain for its *number* of endpoints, which
draws a random one out of ``endpoints``. Services are elements, never rules.

As kube-proxy does it: the client's address is kept, but for connections to a NodePort and for a
pod that reaches itself through a Service (hairpin), which are masqueraded; a ClusterIP that
nobody answers for is rejected. One thing kube-proxy does not do: on a bridge whose frames
netfilter does not see, replies between two pods of one node would go past the address translation
and such connections could never work, with whatever enforcer; they are masqueraded here. And a node
reaches its NodePorts by 127.0.0.1, too, as with kube-proxy's iptables mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.clusters.embedded.addresses import (
    FABRIC_NETWORK,
    FABRIC_NETWORK6,
    POD_NETWORK,
    POD_NETWORK6,
    SERVICE_NETWORK,
    SERVICE_NETWORK6,
    Network,
    NodePlan,
)
from harness.clusters.embedded.endpoints import Endpoint, Front, Table, version_of
from harness.clusters.embedded.settings import Cni, Shape

TABLE = "service-proxy"
"""The proxy's own table on every node, one for each IP family (``ip``, ``ip6``)."""

_NODE_TABLE = "node-masquerade"

MARK = 0x4000
"""The packet mark of what is to be masqueraded: kube-proxy's."""

_PER_LINE = 200
_DRAW = "numgen random mod"
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class _Family:
    """What nft calls things in one IP family, and which networks are whose."""

    word: str
    version: int
    address: str
    loopback: str
    fabric: Network
    pods: Network
    services: Network

    @property
    def own_node_ports(self) -> str:
        """Match what the node itself sends to its NodePorts; ``::1`` never leaves the loopback."""
        loopback = "" if self.version == 4 else f"ip6 daddr != {self.loopback} "  # noqa: PLR2004
        return f"{loopback}fib daddr type local"

    def table(self, name: str) -> str:
        """Return a table's name with its family."""
        return f"{self.word} {name}"


_FAMILIES = {
    4: _Family("ip", 4, "ipv4_addr", "127.0.0.0/8", FABRIC_NETWORK, POD_NETWORK, SERVICE_NETWORK),
    6: _Family("ip6", 6, "ipv6_addr", "::1", FABRIC_NETWORK6, POD_NETWORK6, SERVICE_NETWORK6),
}


def _endpoint_maps(ip: str) -> str:
    """Return the maps of endpoints: a front and a number, to an address and a port.

    One for each protocol, because nft 1.0.6 cannot read a map of ``th dport`` back.
    """
    return "".join(
        f"  map {protocol}_{name} {{\n"
        f"    typeof {front}{protocol} dport . {_DRAW} 65536 : {ip} daddr . {protocol} dport\n"
        "  }\n"
        for protocol in _PROTOCOLS
        for name, front in (("endpoints", f"{ip} daddr . "), ("node_endpoints", ""))
    )


def base_rules(shape: Shape, node: NodePlan) -> str:
    """Return the rules that never change; loading them again starts from empty tables."""
    return "".join(_base_rules(shape, node, family) for family in _families(shape))


def _families(shape: Shape) -> Iterator[_Family]:
    return (_FAMILIES[version] for version in shape.ip_family.versions)


def _base_rules(shape: Shape, node: NodePlan, family: _Family) -> str:
    ip, table = family.word, family.table(TABLE)
    return f"""\
table {table}
delete table {table}
table {table} {{
  map services {{
    type {family.address} . inet_proto . inet_service : verdict
  }}
  map node_ports {{
    type inet_proto . inet_service : verdict
  }}
{_endpoint_maps(ip)}  set hairpin {{
    type {family.address} . {family.address}
  }}
  chain fronts {{
    {ip} daddr . meta l4proto . th dport vmap @services
    {ip} daddr != {family.loopback} fib daddr type local meta l4proto . th dport vmap @node_ports
  }}
  chain own_fronts {{
    {ip} daddr . meta l4proto . th dport vmap @services
    {family.own_node_ports} meta l4proto . th dport vmap @node_ports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto {{ tcp, udp, sctp }} goto fronts
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} goto own_fronts
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & {MARK:#x} == {MARK:#x} masquerade fully-random
    {ip} saddr . {ip} daddr @hairpin ct status dnat masquerade fully-random
{_masquerading(shape, node, family)}  }}
  chain martians {{
    type filter hook prerouting priority raw; policy accept;
    iif != "lo" {ip} daddr {family.loopback} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    {ip} daddr {family.services} reject
  }}
  chain local {{
    type filter hook output priority filter; policy accept;
    {ip} daddr {family.services} reject
  }}
}}
"""


def masquerade_rules(shape: Shape, node: NodePlan) -> str:
    """Return what a node masquerades beside Services, where those are kube-proxy's."""
    return "".join(_masquerade_rules(shape, node, family) for family in _families(shape))


def _masquerade_rules(shape: Shape, node: NodePlan, family: _Family) -> str:
    table = family.table(_NODE_TABLE)
    return f"""\
table {table}
delete table {table}
table {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{_masquerading(shape, node, family)}  }}
}}
"""


def _masquerading(shape: Shape, node: NodePlan, family: _Family) -> str:
    ip, rules = family.word, []
    if shape.cni is Cni.BRIDGED and not shape.bridge_netfilter:
        rules += [
            f"{ip} saddr {own} {ip} daddr {own} ct status dnat masquerade fully-random"
            for segment in node.segments
            for own in segment.networks
            if own.version == family.version
        ]
    if shape.masquerade:
        inside = f"{{ {family.pods}, {family.fabric}, {family.services} }}"
        rules += [
            f"{ip} saddr {own} {ip} daddr != {inside} masquerade fully-random"
            for own in node.pod_networks
            if own.version == family.version
        ]
    return "".join(f"    {rule}\n" for rule in rules)


@dataclass(frozen=True, slots=True, order=True)
class Element:
    """An element's key: the IP version of its table, its map or set, and the key there."""

    version: int
    container: str
    key: str


@dataclass(frozen=True, slots=True)
class Change:
    """The way from one table to another: elements to delete and to add, for each map."""

    sizes: frozenset[tuple[int, int]]
    """IP version and number of endpoints, of the chains that are needed."""
    gone: tuple[Element, ...]
    come: tuple[tuple[Element, str], ...]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.gone or self.come)

    def script(self) -> str:
        """Return one nft transaction."""
        lines = [line for version, size in sorted(self.sizes) for line in _chains(version, size)]
        lines += _commands("delete", ((one, one.key) for one in self.gone))
        lines += _commands(
            "add", ((one, f"{one.key} : {value}" if value else one.key) for one, value in self.come)
        )
        return "\n".join(lines) + "\n"


def change(have: Table, want: Table) -> Change:
    """Compare two tables."""
    old, new = dict(_all_elements(have)), dict(_all_elements(want))
    gone = tuple(one for one, value in old.items() if new.get(one) != value)
    come = tuple((one, value) for one, value in new.items() if old.get(one) != value)
    sizes = frozenset((front.version, len(ends)) for front, ends in want.items() if ends)
    return Change(sizes, gone, come)


def _all_elements(table: Table) -> Iterator[tuple[Element, str]]:
    for front, ends in table.items():
        if ends:
            yield from _elements_of(front, ends)
    for address in {end.address for ends in table.values() for end in ends}:
        yield Element(version_of(address), "hairpin", f"{address} . {address}"), ""


def _elements_of(front: Front, ends: tuple[Endpoint, ...]) -> Iterator[tuple[Element, str]]:
    protocol, size, version = front.protocol.lower(), len(ends), front.version
    if front.address:
        service = f"{front.address} . {protocol} . {front.port}"
        yield Element(version, "services", service), f"goto {protocol}_{size}"
        backs, key = f"{protocol}_endpoints", f"{front.address} . {front.port}"
    else:
        node_port = f"{protocol} . {front.port}"
        yield Element(version, "node_ports", node_port), f"goto node_{protocol}_{size}"
        backs, key = f"{protocol}_node_endpoints", str(front.port)
    for number, end in enumerate(ends):
        yield Element(version, backs, f"{key} . {number}"), f"{end.address} . {end.port}"


def _chains(version: int, size: int) -> Iterator[str]:
    """Yield the chains that draw one endpoint out of ``size``."""
    ip, table = _FAMILIES[version].word, _FAMILIES[version].table(TABLE)
    for protocol in _PROTOCOLS:
        port = f"{protocol} dport . {_DRAW} {size} map @{protocol}"
        yield from _chain(table, f"{protocol}_{size}", f"dnat to {ip} daddr . {port}_endpoints")
        yield from _chain(
            table,
            f"node_{protocol}_{size}",
            f"meta mark set meta mark | {MARK:#x} dnat to {port}_node_endpoints",
        )


def _chain(table: str, name: str, rule: str) -> tuple[str, str, str]:
    return (
        f"add chain {table} {name}",
        f"flush chain {table} {name}",
        f"add rule {table} {name} {rule}",
    )


def _commands(verb: str, elements: Iterable[tuple[Element, str]]) -> Iterator[str]:
    """Yield commands with a limited number of elements a line."""
    by_map: dict[str, list[str]] = {}
    for one, text in elements:
        name = f"{_FAMILIES[one.version].table(TABLE)} {one.container}"
        by_map.setdefault(name, []).append(text)
    for name, whole in by_map.items():
        for start in range(0, len(whole), _PER_LINE):
            part = ",\n".join(whole[start : start + _PER_LINE])
            yield f"{verb} element {name} {{\n{part}\n}}"
