"""Reads from the kernel how this node's pods are connected, and readies their bridges.

The reading is some ``ip -j`` processes of 3 ms and, for what is behind a bridge's ports, a netlink
message each; what they say is judged by pure functions.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import Any, Final

import msgspec

from enforcer import bridges, fastpath, programs
from enforcer.errors import KernelError
from enforcer.model.net import IPAddress, IPNetwork
from enforcer.policy.compiled import CompiledPolicy, LocalPod
from enforcer.rtnetlink import LinkWatch, Namespaces
from enforcer.selfcheck import PORTS
from enforcer.wiring import BridgePort, FastPath, PodBridge, SameNode, Wiring

Item = Mapping[str, Any]

_FAN_MAP: Final = re.compile(rb'fan-map [^,"}]*')
"""What Ubuntu's iproute2 prints of tunnels in the middle of JSON, as in ``"id":5fan-map ,``."""

OWN_ENTRIES: Final = frozenset({"permanent"})  # the ports' own addresses in a bridge's table


@dataclass(frozen=True, slots=True)
class Behind:
    """The end of a veth pair in another network namespace: its MAC address, its addresses."""

    mac: str
    addresses: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True, slots=True)
class Links:
    """What the kernel says: links, on-link routes, what is behind each bridge's ports.

    ``behind``                   by port, as the other end of its veth pair has it
    ``forwarding, neighbours``   by bridge: who was seen where
    """

    links: tuple[Item, ...]
    routes: tuple[Item, ...]
    forwarding: Mapping[str, tuple[Item, ...]]
    neighbours: Mapping[str, tuple[Item, ...]]
    behind: Mapping[str, Behind] = field(default_factory=dict)


class NodeLinks:
    """This node's links: readies pod bridges, and notices when something is plugged in or out."""

    def __init__(
        self,
        same_node: SameNode = SameNode.AUTO,
        forwarding: Sequence[str] = (),
        fast_path: FastPath = FastPath.OFF,
    ) -> None:
        """Make bridges show their packets by the ways that ``same_node`` allows.

        ``forwarding`` are patterns of ``namespace/name``: pods that forward for others.
        """
        self.same_node = same_node
        self._fast_path = fast_path
        self._forwarding = tuple(forwarding)
        self._bridges = bridges.Bridges(same_node)
        self._watch = LinkWatch()
        self._changed = False
        self._mtus: Mapping[str, int] = {}

    def connect(self, compiled: CompiledPolicy) -> Wiring:
        """Return how the local pods are connected, with every pod bridge readied to show packets.

        A bridge that cannot be made to is named in ``problems``.
        """
        self.changed()
        self._changed = False  # what has changed until now is read below
        addresses = frozenset(item for pod in compiled.pods for item in pod.addresses)
        read = _read(addresses, compiled.pod_networks)
        found = wiring_from(read, addresses, compiled.pod_networks, {})
        forward = forwarding_addresses(compiled.pods, self._forwarding)
        by_name = {link["ifname"]: link for link in read.links}
        shown = {
            bridge.name: self._bridges.show(
                by_name[bridge.name], [port.name for port in bridge.ports if port.uplink]
            )
            for bridge in found.bridges
        }
        wiring = wiring_from(read, addresses, compiled.pod_networks, shown)
        wiring = replace(wiring, fast=self._fast(read, wiring))
        return with_forwarders(wiring, read.routes, forward)

    def _fast(self, read: Links, wiring: Wiring) -> frozenset[str]:
        if self._fast_path is FastPath.OFF or not fastpath.is_supported():
            return frozenset()
        found = fastpath.interfaces(read.links, read.routes, wiring.pod_interfaces)
        known, self._mtus = self._mtus, fastpath.mtus(read.links, found)
        if any(known.get(name, mtu) != mtu for name, mtu in self._mtus.items()):
            # The kernel may remember a connection's MTU from when it joined: for a moment none is
            # on the short cut, and at the next look, which is due now, they join again.
            self._changed = True
            return frozenset()
        return found

    def confirm(self) -> Mapping[str, str]:
        """Return by bridge why its packets may not meet our rules, now that these are in."""
        return self._bridges.confirm()

    def changed(self) -> bool:
        """Whether a link or route has changed since the last :meth:`connect`."""
        self._changed = self._watch.changed() or self._changed
        return self._changed

    def close(self) -> None:
        """Stop noticing."""
        self._watch.close()

    def fileno(self) -> int:
        """Return the file that can be read when something may have changed."""
        return self._watch.fileno()


def _read(addresses: frozenset[IPAddress], networks: Iterable[IPNetwork]) -> Links:
    links = tuple(link for link in _ip("-d", "link", "show") if link["ifname"] not in PORTS)
    routes = (*_ip("-4", "route", "show"), *_ip("-6", "route", "show"))
    found = _pod_interfaces(links, routes, addresses, networks)
    names = sorted(found & _bridge_names(links))
    return Links(
        links,
        routes,
        {name: _run("bridge", "-j", "fdb", "show", "br", name) for name in names},
        {name: _ip("neigh", "show", "dev", name) for name in names},
        _behind([link for link in links if link.get("master") in names]),
    )


def _behind(ports: Iterable[Item]) -> dict[str, Behind]:
    """Return what is at the other end of each port's veth pair, if that is elsewhere."""
    with Namespaces() as namespaces:
        return {
            port["ifname"]: Behind(
                namespaces.mac(port["link_netnsid"], port["link_index"]),
                namespaces.addresses(port["link_netnsid"], port["link_index"]),
            )
            for port in ports
            if "link_netnsid" in port and "link_index" in port
        }


def wiring_from(
    read: Links,
    addresses: frozenset[IPAddress],
    networks: Iterable[IPNetwork],
    shown: Mapping[str, bridges.Shown],
) -> Wiring:
    """Return the wiring of pods with ``addresses`` on a node with these pod ``networks``.

    ``shown`` tells for each pod bridge what :mod:`enforcer.bridges` did to it.
    """
    interfaces = _pod_interfaces(read.links, read.routes, addresses, networks)
    names = sorted(interfaces & _bridge_names(read.links))
    found = tuple(_pod_bridge(name, read, addresses, shown.get(name)) for name in names)
    problems = tuple(shown[name].problem for name in names if name in shown and shown[name].problem)
    foreign = frozenset(
        link["ifname"]
        for link in read.links
        if link.get("master") in _bridge_names(read.links) - interfaces
    )
    return Wiring(interfaces, found, problems, foreign)


def forwarding_addresses(pods: Iterable[LocalPod], patterns: Iterable[str]) -> frozenset[IPAddress]:
    """Return the addresses of the pods that are named as forwarding for others."""
    named = tuple(patterns)
    return frozenset(
        known
        for pod in pods
        if any(fnmatchcase(str(pod.key), pattern) for pattern in named)
        for known in pod.addresses
    )


def with_forwarders(
    wiring: Wiring, routes: Iterable[Item], forward: frozenset[IPAddress]
) -> Wiring:
    """Return a wiring that knows behind which ports and interfaces pods forward for others.

    All pods of a bridge share its interface: there only the checks port by port are left.
    """
    bridges_ = tuple(
        replace(
            bridge,
            ports=tuple(
                replace(port, forwards=not forward.isdisjoint(port.addresses))
                for port in bridge.ports
            ),
        )
        for bridge in wiring.bridges
    )
    routed = {
        route["dev"]
        for route in routes
        if _is_direct(route) and any(_destination(route) == ip_network(item) for item in forward)
    }
    bridged = {item.name for item in bridges_ if any(port.forwards for port in item.ports)}
    return replace(wiring, bridges=bridges_, forwarders=frozenset(routed | bridged))


def _bridge_names(links: Iterable[Item]) -> frozenset[str]:
    return frozenset(
        link["ifname"] for link in links if link.get("linkinfo", {}).get("info_kind") == "bridge"
    )


def _pod_interfaces(
    links: Iterable[Item],
    routes: Iterable[Item],
    addresses: Iterable[IPAddress],
    networks: Iterable[IPNetwork],
) -> frozenset[str]:
    """Return the interfaces of on-link routes to pods.

    Every on-link route within the node's pod networks counts, so that a starting pod's interface
    is known before its pod is, and every route to one address in another network namespace, for
    nodes whose pod networks are not known; beyond them, the best route to each pod. The default
    route never counts: a pod that is not wired yet must not make the node's uplink a pod interface.
    """
    direct = [(_destination(route), route["dev"]) for route in routes if _is_direct(route)]
    inside = tuple(networks)
    found = {device for net, device in direct if any(_within(net, outer) for outer in inside)}
    exact = {net: device for net, device in direct if net.prefixlen == net.max_prefixlen}
    found |= {link["ifname"] for link in links if "link_netnsid" in link} & set(exact.values())
    for address in addresses:
        host = ipaddress.ip_network(address)
        if host in exact:
            found.add(exact[host])
        elif not any(address in net for net in inside):
            found.update(_best(direct, address))
    return frozenset(found)


def _is_direct(route: Item) -> bool:
    link_local = str(route["dst"]).startswith(("fe80:", "ff00:"))
    unicast = route.get("type", "unicast") == "unicast"
    usable = unicast and "dev" in route and "gateway" not in route and "via" not in route
    return usable and route["dst"] != "default" and not link_local


def _destination(route: Item) -> IPNetwork:
    return ipaddress.ip_network(route["dst"])


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and (
        inner.network_address in outer and inner.prefixlen >= outer.prefixlen
    )


def _best(routes: Iterable[tuple[IPNetwork, str]], address: IPAddress) -> list[str]:
    matching = [(net.prefixlen, device) for net, device in routes if address in net]
    return [max(matching)[1]] if matching else []


def _pod_bridge(
    name: str, read: Links, addresses: frozenset[IPAddress], shown: bridges.Shown | None
) -> PodBridge:
    """Return a bridge and what is behind its ports, by their other ends, else by who was seen."""
    mac = next(str(link.get("address", "")) for link in read.links if link["ifname"] == name)
    seen = _seen(name, read, addresses)
    ports = tuple(
        _port(link, read.behind.get(link["ifname"]), seen.get(link["ifname"]), addresses)
        for link in sorted(read.links, key=lambda link: str(link["ifname"]))
        if link.get("master") == name
    )
    if shown is None:
        return PodBridge(name, ports, mac=mac)
    return PodBridge(name, ports, shown.changed, mac, shown.way, shown.problem)


def _port(
    link: Item, behind: Behind | None, seen: Behind | None, pods: frozenset[IPAddress]
) -> BridgePort:
    name, uplink = link["ifname"], "link_netnsid" not in link
    mine = behind.addresses & pods if behind is not None else frozenset[IPAddress]()
    if behind is not None and mine:
        local = frozenset(item for item in behind.addresses if item.is_link_local)
        return BridgePort(name, mine | local, behind.mac, uplink)
    # A sandbox may take its addresses away from the interface (gVisor does).
    if seen is not None:
        return BridgePort(name, seen.addresses, behind.mac if behind else seen.mac, uplink)
    return BridgePort(name, mac=behind.mac if behind else "", uplink=uplink)


def _seen(name: str, read: Links, addresses: frozenset[IPAddress]) -> dict[str, Behind]:
    """Return who was seen at which port of a bridge, by neighbour entry, then by MAC address.

    Only addresses that no port's other end has: what a pod says of itself can be a lie.
    """
    certain = {known for behind in read.behind.values() for known in behind.addresses}
    port_of = {
        entry["mac"]: entry["ifname"]
        for entry in read.forwarding.get(name, ())
        if entry.get("state") not in OWN_ENTRIES and entry.get("master") == name
    }
    found: dict[str, Behind] = {}
    for entry in read.neighbours.get(name, ()):
        mac = entry.get("lladdr", "")
        address = ipaddress.ip_address(entry["dst"])
        if mac in port_of and address in addresses - certain:
            before = found.get(port_of[mac], Behind(mac)).addresses
            found[port_of[mac]] = Behind(mac, before | {address})
    return found


def _ip(*arguments: str) -> tuple[Item, ...]:
    return _run("ip", "-j", *arguments)


def _run(*command: str) -> tuple[Item, ...]:
    argv = [programs.find(command[0]), *command[1:]]
    result = subprocess.run(argv, capture_output=True, check=False)  # noqa: S603
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()
        raise KernelError(f"{' '.join(command)} failed: {said}")
    try:
        return _decoded(result.stdout) if result.stdout.strip() else ()
    except msgspec.DecodeError as error:
        raise KernelError(f"{' '.join(command)} printed what cannot be read: {error}") from error


def _decoded(text: bytes) -> tuple[Item, ...]:
    try:
        return tuple(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return tuple(msgspec.json.decode(_FAN_MAP.sub(b"", text)))
