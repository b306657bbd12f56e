"""Reads from the kernel how this node's pods are connected, and readies their bridges.

The reading is four or five ``ip -j`` processes of 3 ms; what they say is judged by pure functions.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from enforcer import bridges, programs
from enforcer.errors import KernelError
from enforcer.model.net import IPAddress, IPNetwork
from enforcer.policy.compiled import CompiledPolicy
from enforcer.wiring import BridgePort, PodBridge, Wiring

Item = Mapping[str, Any]

OWN_ENTRIES: Final = frozenset({"permanent"})  # the ports' own addresses in a bridge's table


@dataclass(frozen=True, slots=True)
class Links:
    """What ``ip -j`` says: links, on-link routes, and for each bridge who was seen where."""

    links: tuple[Item, ...]
    routes: tuple[Item, ...]
    forwarding: Mapping[str, tuple[Item, ...]]
    neighbours: Mapping[str, tuple[Item, ...]]


def connect(compiled: CompiledPolicy) -> Wiring:
    """Return how the local pods are connected, with every pod bridge made to show its packets.

    A bridge that cannot be made to is named in ``problems``.
    """
    addresses = frozenset(item for pod in compiled.pods for item in pod.addresses)
    links = _ip("-d", "link", "show")
    routes = (*_ip("-4", "route", "show"), *_ip("-6", "route", "show"))
    found = _pod_interfaces(routes, addresses, compiled.pod_networks)
    names = sorted(found & _bridge_names(links))
    read = Links(
        links,
        routes,
        {name: _run("bridge", "-j", "fdb", "show", "br", name) for name in names},
        {name: _ip("neigh", "show", "dev", name) for name in names},
    )
    shown = {name: bridges.show_packets(name, links) for name in names}
    return wiring_from(read, addresses, compiled.pod_networks, shown)


def wiring_from(
    read: Links,
    addresses: frozenset[IPAddress],
    networks: Iterable[IPNetwork],
    shown: Mapping[str, bridges.Shown],
) -> Wiring:
    """Return the wiring of pods with ``addresses`` on a node with these pod ``networks``.

    ``shown`` tells for each pod bridge what :mod:`enforcer.bridges` did to it.
    """
    interfaces = _pod_interfaces(read.routes, addresses, networks)
    names = sorted(interfaces & _bridge_names(read.links))
    found = tuple(
        replace(_pod_bridge(name, read, addresses), switched_on=shown[name].switched_on)
        for name in names
    )
    problems = tuple(shown[name].problem for name in names if shown[name].problem)
    return Wiring(interfaces, found, problems)


def _bridge_names(links: Iterable[Item]) -> frozenset[str]:
    return frozenset(
        link["ifname"] for link in links if link.get("linkinfo", {}).get("info_kind") == "bridge"
    )


def _pod_interfaces(
    routes: Iterable[Item], addresses: Iterable[IPAddress], networks: Iterable[IPNetwork]
) -> frozenset[str]:
    """Return the interfaces of on-link routes to pods.

    Every on-link route within the node's pod networks counts, so that a starting pod's interface
    is known before its pod is; beyond them, the best route to each pod. The default route never
    counts: a pod that is not wired yet must not make the node's uplink a pod interface.
    """
    direct = [(_destination(route), route["dev"]) for route in routes if _is_direct(route)]
    inside = tuple(networks)
    found = {device for net, device in direct if any(_within(net, outer) for outer in inside)}
    exact = {net: device for net, device in direct if net.prefixlen == net.max_prefixlen}
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


def _pod_bridge(name: str, read: Links, addresses: frozenset[IPAddress]) -> PodBridge:
    """Return a bridge and what was seen behind its ports: by neighbour entry, then by MAC."""
    ports = [link["ifname"] for link in read.links if link.get("master") == name]
    port_of = {
        entry["mac"]: entry["ifname"]
        for entry in read.forwarding.get(name, ())
        if entry.get("state") not in OWN_ENTRIES and entry.get("master") == name
    }
    behind: dict[str, set[IPAddress]] = {}
    for entry in read.neighbours.get(name, ()):
        port = port_of.get(entry.get("lladdr", ""))
        address = ipaddress.ip_address(entry["dst"])
        if port is not None and address in addresses:
            behind.setdefault(port, set()).add(address)
    return PodBridge(
        name, tuple(BridgePort(port, frozenset(behind.get(port, ()))) for port in sorted(ports))
    )


def _ip(*arguments: str) -> tuple[Item, ...]:
    return _run("ip", "-j", *arguments)


def _run(*command: str) -> tuple[Item, ...]:
    argv = [programs.find(command[0]), *command[1:]]
    result = subprocess.run(argv, capture_output=True, check=False)  # noqa: S603
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()
        raise KernelError(f"{' '.join(command)} failed: {said}")
    return tuple(msgspec.json.decode(result.stdout)) if result.stdout.strip() else ()
