"""The cells of the matrix: every client, server, address and port, as one real connection each."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import NodeInfo, NodeRef, OutsideRef, Place, PodRef, Probe
from harness.errors import ClusterError
from harness.matrix.scenario import NODES, Expectation, Placement, PodSpec, Workload

Manifest = Mapping[str, Any]


class AddressKind(enum.Enum):
    """By which address of the server the client comes."""

    POD_IP = "pod_ip"
    CLUSTER_IP = "cluster_ip"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class End:
    """A client or server of the matrix.

    ``name`` is how reports call it, ``groups`` are the names that expectations may use for it,
    ``node`` is where it runs (empty outside), ``address`` its own address.
    """

    name: str
    groups: frozenset[str]
    place: Place
    node: str
    address: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One connection of the matrix, with all that a judge needs to know of it."""

    client: End
    server: End
    kind: AddressKind
    placement: Placement
    probe: Probe

    @property
    def target(self) -> tuple[str, int, str]:
        """Return address, port and protocol that the client connects to."""
        return self.probe.address, self.probe.port, self.probe.protocol

    def __str__(self) -> str:
        """Write it as a person would: from, to, by which address."""
        address, port, protocol = self.target
        return f"{self.client.name} -> {self.server.name} ({protocol} {address}:{port})"


@dataclass(frozen=True, slots=True)
class Ends:
    """Everybody in the matrix, and the ClusterIP of each pod's own Service, by the pod's name."""

    pods: tuple[End, ...]
    hosts: tuple[End, ...]
    outside: tuple[End, ...]
    cluster_ips: Mapping[str, str]


def locate(workload: Workload, nodes: Sequence[NodeInfo], manifests: Iterable[Manifest]) -> Ends:
    """Find out from the API's objects where everybody is; ClusterError where somebody is not."""
    objects = list(manifests)
    pods, services = _by_name(objects, "Pod"), _by_name(objects, "Service")
    return Ends(
        pods=tuple(_pod(spec, pods.get(str(spec), {})) for spec in workload.pods),
        hosts=tuple(
            End(f"node/{n.name}", frozenset({NODES}), NodeRef(n.name), n.name, n.address)
            for n in nodes
        ),
        outside=tuple(
            End(one.name, frozenset({one.name}), OutsideRef(one.address), "", one.address)
            for one in workload.outside
        ),
        cluster_ips={str(s): _cluster_ip(s, services.get(str(s), {})) for s in workload.pods},
    )


def _by_name(objects: Iterable[Manifest], kind: str) -> dict[str, Manifest]:
    return {
        f"{one['metadata'].get('namespace', 'default')}/{one['metadata']['name']}": one
        for one in objects
        if one["kind"] == kind
    }


def _pod(spec: PodSpec, manifest: Manifest) -> End:
    address = manifest.get("status", {}).get("podIP")
    if not address:
        raise ClusterError(f"pod {spec} has no address, although the cluster said it was ready")
    groups = frozenset({spec.namespace, str(spec)})
    place = PodRef(spec.namespace, spec.name)
    return End(str(spec), groups, place, manifest["spec"]["nodeName"], address)


def _cluster_ip(spec: PodSpec, manifest: Manifest) -> str:
    address = manifest.get("spec", {}).get("clusterIP")
    if not address:
        raise ClusterError(f"the Service of pod {spec} has no ClusterIP")
    return str(address)


def cells(ends: Ends, ports: Iterable[int]) -> tuple[Cell, ...]:
    """Return the whole matrix; its order is that of clients, servers, addresses and ports."""
    numbers = tuple(ports)
    pairs = (*_pairs_inside(ends), *_pairs_outside(ends))
    return tuple(
        Cell(client, server, kind, placement, Probe(client.place, address, port))
        for client, server, placement in pairs
        for kind, address in _addresses(ends, client, server)
        for port in numbers
    )


def _pairs_inside(ends: Ends) -> Iterator[tuple[End, End, Placement]]:
    for client in (*ends.pods, *ends.hosts):
        for server in ends.pods:
            yield client, server, _placement(client, server)


def _placement(client: End, server: End) -> Placement:
    if client is server:
        return Placement.SELF
    near = client.node == server.node
    if isinstance(client.place, NodeRef):
        return Placement.HOST_TO_OWN_POD if near else Placement.HOST_TO_REMOTE_POD
    return Placement.SAME_NODE if near else Placement.OTHER_NODE


def _pairs_outside(ends: Ends) -> Iterator[tuple[End, End, Placement]]:
    for pod in ends.pods:
        for host in ends.outside:
            yield pod, host, Placement.TO_OUTSIDE
            yield host, pod, Placement.FROM_OUTSIDE


def _addresses(ends: Ends, client: End, server: End) -> Iterator[tuple[AddressKind, str]]:
    if isinstance(server.place, OutsideRef):
        yield AddressKind.EXTERNAL, server.address
        return
    yield AddressKind.POD_IP, server.address
    # A ClusterIP means nothing outside of the cluster
    if not isinstance(client.place, OutsideRef):
        yield AddressKind.CLUSTER_IP, ends.cluster_ips[server.name]


def fits(expectation: Expectation, cell: Cell) -> bool:
    """Whether an expectation speaks of a cell; an empty list of names means anybody."""
    return (
        _named(expectation.clients, cell.client)
        and _named(expectation.servers, cell.server)
        and (not expectation.ports or cell.probe.port in expectation.ports)
        and (not expectation.placements or cell.placement in expectation.placements)
    )


def _named(names: Iterable[str], end: End) -> bool:
    wanted = frozenset(names)
    return not wanted or not wanted.isdisjoint(end.groups)


def first_fit(expectations: Iterable[Expectation], cell: Cell) -> Expectation | None:
    """Return the first expectation that speaks of a cell, if any does."""
    return next((one for one in expectations if fits(one, cell)), None)
