"""The cells of the matrix: every client, server, address and port, as one real connection each."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.clusters.base import NodeInfo, NodeRef, OutsideRef, Place, PodRef, Probe
from harness.errors import ClusterError
from harness.matrix.axes import EVERYTHING, AddressKind, Family, Placement, Protocol, Selection
from harness.matrix.model import NODES, Expectation, PodSpec, Workload

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service, the pod's own port behind it, and every node's (0: they have none)."""

    protocol: Protocol
    port: int
    target: int
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """A client or server of the matrix.

    ``name`` is how reports call it, ``groups`` are the names that expectations may use for it,
    ``node`` is where it runs (empty outside), ``addresses`` are its own, one a family; a pod's
    ``services`` are its own Service's ClusterIPs.
    """

    name: str
    groups: frozenset[str]
    place: Place
    node: str
    addresses: tuple[str, ...]
    services: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = field(default=(), hash=False)
    """Those of its Service."""

    def behind(self, protocol: Protocol, port: int) -> int:
        """Return its own port that a port of its Service leads to."""
        found = (one.target for one in self.ports if (one.protocol, one.port) == (protocol, port))
        return next(found, port)

    @property
    def address(self) -> str:
        """Return its first address."""
        return self.addresses[0]

    def at(self, family: Family) -> str | None:
        """Return its address of a family, if it has one."""
        return next((one for one in self.addresses if family_of(one) is family), None)

    def probes_from(self, family: Family) -> Place:
        """Return the place from which it probes: hosts outside have one an address."""
        if isinstance(self.place, OutsideRef):
            return OutsideRef(self.at(family) or self.address)
        return self.place


@functools.lru_cache(maxsize=1 << 16)
def family_of(address: str) -> Family:
    """Say which family an address is of."""
    return Family.IPV6 if ipaddress.ip_address(address).version == 6 else Family.IPV4  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Cell:
    """One connection of the matrix, with all that a judge needs to know of it.

    ``port`` is the server's, as policies see it; a NodePort's number is in the probe.
    """

    client: End
    server: End
    kind: AddressKind
    placement: Placement
    probe: Probe
    port: int

    @property
    def target(self) -> tuple[str, int, str]:
        """Return address, port and protocol that the client connects to."""
        return self.probe.address, self.probe.port, self.probe.protocol

    @property
    def protocol(self) -> Protocol:
        """Return what it speaks."""
        return Protocol(self.probe.protocol)

    @property
    def family(self) -> Family:
        """Return the family of its addresses."""
        return family_of(self.probe.address)

    @property
    def source(self) -> str:
        """Return the client's own address, of the family that it uses here."""
        return self.client.at(self.family) or self.client.address

    def __str__(self) -> str:
        """Write it as a person would: from, to, by which address."""
        address, port, protocol = self.target
        target = f"{protocol} {address}" + (f":{port}" if port else "")
        return f"{self.client.name} -> {self.server.name} ({target})"


@dataclass(frozen=True, slots=True)
class Ends:
    """Everybody in the matrix."""

    pods: tuple[End, ...]
    nodes: tuple[End, ...]
    outside: tuple[End, ...]
    served_nodes: frozenset[str] = frozenset()
    """Nodes that have a server of the matrix's: a pod on their network."""


def locate(workload: Workload, nodes: Sequence[NodeInfo], manifests: Iterable[Manifest]) -> Ends:
    """Find out from the API's objects where everybody is; ClusterError where somebody is not."""
    objects = list(manifests)
    pods, services = _by_name(objects, "Pod"), _by_name(objects, "Service")
    known = _by_name(objects, "Node")
    return Ends(
        pods=tuple(
            _pod(spec, pods.get(str(spec), {}), services.get(str(spec), {}))
            for spec in workload.pods
        ),
        nodes=tuple(_node(node, known.get(f"default/{node.name}", {})) for node in nodes),
        outside=tuple(
            End(
                one.name,
                frozenset({one.name}),
                OutsideRef(one.address),
                "",
                (one.address, *([one.address6] if one.address6 else [])),
            )
            for one in workload.outside
        ),
        served_nodes=frozenset(
            pods[str(spec)]["spec"]["nodeName"] for spec in workload.hosts if str(spec) in pods
        ),
    )


def _by_name(objects: Iterable[Manifest], kind: str) -> dict[str, Manifest]:
    return {
        f"{one['metadata'].get('namespace', 'default')}/{one['metadata']['name']}": one
        for one in objects
        if one["kind"] == kind
    }


def _pod(spec: PodSpec, manifest: Manifest, service: Manifest) -> End:
    status = manifest.get("status", {})
    listed = [one["ip"] for one in status.get("podIPs") or []]
    addresses = tuple(dict.fromkeys([*filter(None, [status.get("podIP")]), *listed]))
    if not addresses:
        raise ClusterError(f"pod {spec} has no address, although the cluster said it was ready")
    node, own = manifest["spec"]["nodeName"], service.get("spec", {})
    return End(
        str(spec),
        frozenset({spec.namespace, str(spec)}),
        PodRef(spec.namespace, spec.name),
        node,
        addresses,
        _cluster_ips(own),
        tuple(map(_service_port, own.get("ports") or [])),
    )


def _service_port(port: Manifest) -> ServicePort:
    return ServicePort(
        Protocol(port.get("protocol", "TCP")),
        port["port"],
        port.get("targetPort", port["port"]),
        port.get("nodePort", 0),
    )


def _cluster_ips(spec: Manifest) -> tuple[str, ...]:
    listed = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    return tuple(one for one in listed if one != "None")


def _node(node: NodeInfo, manifest: Manifest) -> End:
    listed = (manifest.get("status") or {}).get("addresses") or []
    addresses = [one["address"] for one in listed if one["type"] == "InternalIP"]
    place = NodeRef(node.name)
    told = tuple(dict.fromkeys([node.address, *addresses]))
    return End(f"node/{node.name}", frozenset({NODES}), place, node.name, told)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every pair: ports and protocols, and what a person selected."""

    ports: tuple[int, ...]
    protocols: tuple[Protocol, ...] = (Protocol.TCP,)
    selection: Selection = EVERYTHING


def cells(ends: Ends, asked: Asked) -> tuple[Cell, ...]:
    """Return the whole matrix; its order is that of clients, servers, addresses and ports."""
    return tuple(
        Cell(client, server, kind, placement, probe, port)
        for client, server, placement in _pairs(ends)
        for family in (Family.IPV4, Family.IPV6)
        if asked.selection.takes("family", family)
        for kind, probe, port in _probes(ends, asked, (client, server), family)
        if _selected(asked.selection, placement, kind)
    )


def _selected(selection: Selection, placement: Placement, kind: AddressKind) -> bool:
    """Whether a cell is asked for; controls always are."""
    if placement is Placement.CONTROL:
        return True
    return selection.takes("placement", placement) and selection.takes("address", kind)


def _pairs(ends: Ends) -> Iterator[tuple[End, End, Placement]]:
    hosts = tuple(node for node in ends.nodes if node.node in ends.served_nodes)
    for client in (*ends.pods, *ends.nodes):
        for server in (*ends.pods, *hosts):
            placement = placement_of(client, server)
            if placement is not Placement.CONTROL:
                yield client, server, placement
    for pod in ends.pods:
        for host in ends.outside:
            yield pod, host, Placement.TO_OUTSIDE
            yield host, pod, Placement.FROM_OUTSIDE
    # What proves the hosts outside, where every pod is cut off from them: they reach a node, and a
    # node reaches them
    for host in ends.outside:
        for node in hosts[:1]:
            yield host, node, Placement.CONTROL
        for node in ends.nodes[:1]:
            yield node, host, Placement.CONTROL


def placement_of(client: End, server: End) -> Placement:
    """Say where two ends within the cluster are to each other."""
    near = client.node == server.node
    match client.place, server.place:
        case NodeRef(), NodeRef():
            return Placement.CONTROL
        case NodeRef(), _:
            return Placement.HOST_TO_OWN_POD if near else Placement.HOST_TO_REMOTE_POD
        case _, NodeRef():
            return Placement.POD_TO_OWN_HOST if near else Placement.POD_TO_REMOTE_HOST
    if client is server:
        return Placement.SELF
    return Placement.SAME_NODE if near else Placement.OTHER_NODE


Asking = tuple[AddressKind, Probe, int]


def _probes(ends: Ends, asked: Asked, pair: tuple[End, End], family: Family) -> Iterator[Asking]:
    client, server = pair
    if client.at(family) is None:
        return
    place = client.probes_from(family)
    for kind, address in _addresses(pair, family):
        for protocol in asked.protocols:
            if protocol is Protocol.ICMP:
                if kind in _OWN_ADDRESS:
                    yield kind, Probe(place, address, 0, protocol.value), 0
                continue
            for port in asked.ports:
                own = server.behind(protocol, port) if kind in _OF_SERVICE else port
                yield kind, Probe(place, address, port, protocol.value), own
    for kind, entry in _entries(ends, pair, family):
        for one in server.ports:
            # One port will do: which one makes no difference to where the packet goes
            chosen = one.node_port and one.target == asked.ports[0]
            if chosen and one.protocol in asked.protocols:
                yield kind, Probe(place, entry, one.node_port, one.protocol.value), one.target


_OF_SERVICE = {AddressKind.CLUSTER_IP, AddressKind.HAIRPIN}
_OWN_ADDRESS = {AddressKind.POD_IP, AddressKind.NODE_IP, AddressKind.EXTERNAL}


def _addresses(pair: tuple[End, End], family: Family) -> Iterator[tuple[AddressKind, str]]:
    client, server = pair
    own = server.at(family)
    if own is None:
        return
    match server.place:
        case OutsideRef():
            yield AddressKind.EXTERNAL, own
        case NodeRef():
            yield AddressKind.NODE_IP, own
        case _:
            yield AddressKind.POD_IP, own
            # A ClusterIP means nothing outside of the cluster
            if not isinstance(client.place, OutsideRef):
                kind = AddressKind.HAIRPIN if client is server else AddressKind.CLUSTER_IP
                yield from ((kind, one) for one in server.services if family_of(one) is family)


def _entries(
    ends: Ends, pair: tuple[End, End], family: Family
) -> Iterator[tuple[AddressKind, str]]:
    """Yield the nodes at which a NodePort is tried: the near one, and one that is not."""
    client, server = pair
    # A NodePort is there for the families of its Service alone
    exposed = any(one.node_port for one in server.ports)
    if not exposed or family not in map(family_of, server.services):
        return
    home = server.node if isinstance(client.place, OutsideRef) else client.node
    near = next((node.at(family) for node in ends.nodes if node.node == home), None)
    # The other node is the server's where that is not the client's: who has both ends knows all
    others = [node for node in ends.nodes if node.node != home]
    others.sort(key=lambda node: node.node != server.node)
    away = others[0].at(family) if others else None
    if near:
        yield AddressKind.NODE_PORT, near
    if away:
        yield AddressKind.NODE_PORT_ELSEWHERE, away


def fits(expectation: Expectation, cell: Cell) -> bool:
    """Whether an expectation speaks of a cell; an empty list of names means anybody."""
    return (
        _named(expectation.clients, cell.client)
        and _named(expectation.servers, cell.server)
        and (not expectation.ports or cell.port in expectation.ports)
        and (not expectation.protocols or cell.protocol in expectation.protocols)
        and (not expectation.placements or cell.placement in expectation.placements)
        and (not expectation.addresses or cell.kind in expectation.addresses)
    )


def _named(names: Iterable[str], end: End) -> bool:
    wanted = frozenset(names)
    return not wanted or not wanted.isdisjoint(end.groups)


def first_fit(expectations: Iterable[Expectation], cell: Cell) -> Expectation | None:
    """Return the first expectation that speaks of a cell, if any does."""
    return next((one for one in expectations if fits(one, cell)), None)
