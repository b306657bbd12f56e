"""The service proxy of every node: ClusterIPs and NodePorts as nftables maps.

A packet that opens a connection meets one lookup for its front and one for its endpoint, however
many Services there are: ``services`` sends it to the chain for its *number* of endpoints, which
draws a random one out of ``endpoints``. Services are elements, never rules.

As kube-proxy does it: the client's address is kept, but for connections to a NodePort and for a
pod that reaches itself through a Service (hairpin), which are masqueraded; a ClusterIP that
nobody answers for is rejected. One thing kube-proxy does not do: on a bridge whose frames
netfilter does not see, replies between two pods of one node would go past the address translation
and such connections could never work, with whatever enforcer; they are masqueraded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from harness.clusters.embedded.addresses import (
    FABRIC_NETWORK,
    POD_NETWORK,
    SERVICE_NETWORK,
    NodePlan,
)
from harness.clusters.embedded.endpoints import Endpoint, Front, Table
from harness.clusters.embedded.settings import Cni, Shape

TABLE = "ip service-proxy"
"""The proxy's own table on every node."""

_NODE_TABLE = "ip node-masquerade"

MARK = 0x4000
"""The packet mark of what is to be masqueraded: kube-proxy's."""

_PER_LINE = 200
_DRAW = "numgen random mod"
_PROTOCOLS = ("tcp", "udp")


def _endpoint_maps() -> str:
    """Return the maps of endpoints: a front and a number, to an address and a port.

    One for each protocol, because nft 1.0.6 cannot read a map of ``th dport`` back.
    """
    return "".join(
        f"  map {protocol}_{name} {{\n"
        f"    typeof {front}{protocol} dport . {_DRAW} 65536 : ip daddr . {protocol} dport\n"
        "  }\n"
        for protocol in _PROTOCOLS
        for name, front in (("endpoints", "ip daddr . "), ("node_endpoints", ""))
    )


_ENDPOINT_MAPS = _endpoint_maps()


def base_rules(shape: Shape, node: NodePlan) -> str:
    """Return the rules that never change; loading them again starts from an empty table."""
    return f"""\
table {TABLE}
delete table {TABLE}
table {TABLE} {{
  map services {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  map node_ports {{
    type inet_proto . inet_service : verdict
  }}
{_ENDPOINT_MAPS}  set hairpin {{
    type ipv4_addr . ipv4_addr
  }}
  chain fronts {{
    ip daddr . meta l4proto . th dport vmap @services
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @node_ports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto {{ tcp, udp }} goto fronts
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp }} goto fronts
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & {MARK:#x} == {MARK:#x} masquerade fully-random
    ip saddr . ip daddr @hairpin ct status dnat masquerade fully-random
{_masquerading(shape, node)}  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip daddr {SERVICE_NETWORK} reject
  }}
  chain local {{
    type filter hook output priority filter; policy accept;
    ip daddr {SERVICE_NETWORK} reject
  }}
}}
"""


def masquerade_rules(shape: Shape, node: NodePlan) -> str:
    """Return what a node masquerades beside Services, where those are kube-proxy's."""
    return f"""\
table {_NODE_TABLE}
delete table {_NODE_TABLE}
table {_NODE_TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{_masquerading(shape, node)}  }}
}}
"""


def _masquerading(shape: Shape, node: NodePlan) -> str:
    rules = []
    if shape.cni is Cni.BRIDGED and not shape.bridge_netfilter:
        own = node.pod_network
        rules.append(f"ip saddr {own} ip daddr {own} ct status dnat masquerade fully-random")
    if shape.masquerade:
        inside = _set_of((POD_NETWORK, FABRIC_NETWORK, SERVICE_NETWORK))
        own = node.pod_network
        rules.append(f"ip saddr {own} ip daddr != {inside} masquerade fully-random")
    return "".join(f"    {rule}\n" for rule in rules)


def _set_of(networks: Iterable[IPv4Network]) -> str:
    return "{ " + ", ".join(map(str, networks)) + " }"


@dataclass(frozen=True, slots=True)
class Change:
    """The way from one table to another: elements to delete and to add, for each map."""

    sizes: frozenset[int]
    gone: tuple[tuple[str, str], ...]
    come: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.gone or self.come)

    def script(self) -> str:
        """Return one nft transaction."""
        lines = [line for size in sorted(self.sizes) for line in _chains(size)]
        lines += _elements("delete", self.gone)
        lines += _elements("add", self.come)
        return "\n".join(lines) + "\n"


def change(have: Table, want: Table) -> Change:
    """Compare two tables."""
    old, new = dict(_all_elements(have)), dict(_all_elements(want))
    gone = tuple(key for key, value in old.items() if new.get(key) != value)
    come = tuple(
        (name, f"{element} : {value}" if value else element)
        for (name, element), value in new.items()
        if old.get((name, element)) != value
    )
    sizes = frozenset(len(ends) for ends in want.values() if ends)
    return Change(sizes, gone, come)


def _all_elements(table: Table) -> Iterator[tuple[tuple[str, str], str]]:
    for front, ends in table.items():
        if ends:
            yield from _elements_of(front, ends)
    for address in {end.address for ends in table.values() for end in ends}:
        yield ("hairpin", f"{address} . {address}"), ""


def _elements_of(front: Front, ends: tuple[Endpoint, ...]) -> Iterator[tuple[tuple[str, str], str]]:
    protocol, size = front.protocol.lower(), len(ends)
    if front.address:
        yield (
            ("services", f"{front.address} . {protocol} . {front.port}"),
            f"goto {protocol}_{size}",
        )
        backs, key = f"{protocol}_endpoints", f"{front.address} . {front.port}"
    else:
        yield ("node_ports", f"{protocol} . {front.port}"), f"goto node_{protocol}_{size}"
        backs, key = f"{protocol}_node_endpoints", str(front.port)
    for number, end in enumerate(ends):
        yield (backs, f"{key} . {number}"), f"{end.address} . {end.port}"


def _chains(size: int) -> Iterator[str]:
    """Yield the chains that draw one endpoint out of ``size``."""
    for protocol in _PROTOCOLS:
        port = f"{protocol} dport . {_DRAW} {size} map @{protocol}"
        yield from _chain(f"{protocol}_{size}", f"dnat to ip daddr . {port}_endpoints")
        yield from _chain(
            f"node_{protocol}_{size}",
            f"meta mark set meta mark | {MARK:#x} dnat to {port}_node_endpoints",
        )


def _chain(name: str, rule: str) -> tuple[str, str, str]:
    return (
        f"add chain {TABLE} {name}",
        f"flush chain {TABLE} {name}",
        f"add rule {TABLE} {name} {rule}",
    )


def _elements(verb: str, elements: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield commands with a limited number of elements a line."""
    by_map: dict[str, list[str]] = {}
    for name, element in elements:
        by_map.setdefault(name, []).append(element)
    for name, whole in by_map.items():
        for start in range(0, len(whole), _PER_LINE):
            part = ",\n".join(whole[start : start + _PER_LINE])
            yield f"{verb} element {TABLE} {name} {{\n{part}\n}}"
