"""Who is who: pods, namespaces, nodes and Services, read from raw manifests.

Everything here is a question of addresses: whose is it, and where does a connection to it end?
Written from the Kubernetes API reference, for the oracle alone.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = Mapping[str, Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

address_of = functools.lru_cache(maxsize=1 << 16)(ipaddress.ip_address)
"""Parse an address: a matrix asks about the same few hundred again and again."""


@functools.lru_cache(maxsize=1 << 16)
def network_of(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Parse a CIDR, whose host bits may be set."""
    return ipaddress.ip_network(cidr, strict=False)


_FINISHED = {"Succeeded", "Failed"}
_NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container declares; ``name`` may be empty."""

    name: str
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A live pod with addresses of its own (neither finished nor on its host's network)."""

    namespace: str
    name: str
    node: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    ports: tuple[ContainerPort, ...]
    ready: bool

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def number_of(self, name: str, protocol: str) -> int | None:
        """Resolve a named port of this pod; ``None`` where it has none of that name."""
        numbers = [p.port for p in self.ports if (p.name, p.protocol) == (name, protocol)]
        return numbers[0] if numbers else None


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a connection as policies see it: an address, and whose it is.

    ``pod`` is set for a pod with an address of its own, ``node`` for a node's address (and so for
    every pod on its host's network); neither for an address outside of the cluster.
    """

    address: Address
    pod: Pod | None = None
    node: str | None = None

    def __str__(self) -> str:
        """Name it as a person would."""
        return str(self.pod or (self.node and f"node/{self.node}") or self.address)


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a connection ends: address and port of the true server.

    ``through`` names the node whose address the client connected to, if it was a NodePort's.
    """

    address: Address
    port: int
    through: str | None = None


@dataclass(frozen=True, slots=True)
class _Front:
    """An address and port of a Service, and what is behind it."""

    selector: Mapping[str, str]
    namespace: str
    target: int | str
    protocol: str
    through: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """What the manifests say, indexed by address."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: tuple[Pod, ...]
    _pods_at: Mapping[Address, Pod]
    _nodes_at: Mapping[Address, str]
    _fronts: Mapping[tuple[Address, int, str], _Front] = field(repr=False)

    @classmethod
    def read(cls, manifests: Iterable[Manifest]) -> World:
        """Read Pods, Namespaces, Nodes and Services; other kinds are passed over."""
        objects = list(manifests)
        pods = tuple(_read_pods(_of(objects, "Pod")))
        nodes = dict(_read_nodes(_of(objects, "Node")))
        return cls(
            namespaces=dict(map(_namespace, _of(objects, "Namespace"))),
            pods=pods,
            _pods_at={address: pod for pod in pods for address in pod.addresses},
            _nodes_at=nodes,
            _fronts=dict(_read_services(_of(objects, "Service"), nodes)),
        )

    def peer(self, address: str | Address) -> Peer:
        """Say whose an address is."""
        known = address_of(address)
        return Peer(known, self._pods_at.get(known), self._nodes_at.get(known))

    def backends(self, address: str, port: int, protocol: str) -> tuple[Backend, ...]:
        """Say where a connection to an address and port may end: itself, unless a Service's."""
        known = address_of(address)
        front = self._fronts.get((known, port, protocol))
        if front is None:
            return (Backend(known, port),)
        return tuple(_endpoints(front, self.pods, known.version))

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """Return a namespace's labels; its name is always one of them."""
        # Doc: "The Kubernetes control plane sets an immutable label kubernetes.io/metadata.name on
        # all namespaces, the value of the label is the namespace name."
        return {_NAME_LABEL: namespace, **self.namespaces.get(namespace, {})}


def _of(objects: Iterable[Manifest], kind: str) -> Iterator[Manifest]:
    return (one for one in objects if one["kind"] == kind)


def _namespace(manifest: Manifest) -> tuple[str, Mapping[str, str]]:
    metadata = manifest["metadata"]
    return metadata["name"], metadata.get("labels") or {}


def _read_pods(manifests: Iterable[Manifest]) -> Iterator[Pod]:
    for manifest in manifests:
        spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
        if not spec.get("hostNetwork") and status.get("phase") not in _FINISHED:
            yield _read_pod(manifest["metadata"], spec, status)


def _read_pod(metadata: Manifest, spec: Manifest, status: Manifest) -> Pod:
    listed = [entry["ip"] for entry in status.get("podIPs") or []]
    alone = [status["podIP"]] if status.get("podIP") else []
    return Pod(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        node=spec.get("nodeName") or "",
        labels=metadata.get("labels") or {},
        addresses=tuple(ipaddress.ip_address(ip) for ip in dict.fromkeys(alone + listed)),
        ports=tuple(_read_ports(spec)),
        ready=_is_ready(status),
    )


def _read_ports(spec: Manifest) -> Iterator[ContainerPort]:
    # Sidecars are init containers with restartPolicy Always; their ports count as well
    sidecars = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or []), *sidecars]:
        for port in container.get("ports") or []:
            yield ContainerPort(
                port.get("name") or "", port["containerPort"], port.get("protocol") or "TCP"
            )


def _is_ready(status: Manifest) -> bool:
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    return bool(conditions.get("Ready", "True") == "True")


def _read_nodes(manifests: Iterable[Manifest]) -> Iterator[tuple[Address, str]]:
    for manifest in manifests:
        for entry in (manifest.get("status") or {}).get("addresses") or []:
            if entry["type"] in {"InternalIP", "ExternalIP"}:
                yield ipaddress.ip_address(entry["address"]), manifest["metadata"]["name"]


def _read_services(
    manifests: Iterable[Manifest], nodes: Mapping[Address, str]
) -> Iterator[tuple[tuple[Address, int, str], _Front]]:
    for manifest in manifests:
        spec = manifest["spec"]
        for port in spec.get("ports") or []:
            number, protocol = port["port"], port.get("protocol") or "TCP"
            namespace = manifest["metadata"].get("namespace", "default")
            target = port.get("targetPort") or number
            front = _Front(spec.get("selector") or {}, namespace, target, protocol)
            for address in _cluster_addresses(spec):
                yield (address, number, protocol), front
            for address, node in nodes.items() if port.get("nodePort") else ():
                exposed = _Front(front.selector, namespace, target, protocol, node)
                yield (address, port["nodePort"], protocol), exposed


def _cluster_addresses(spec: Manifest) -> Iterator[Address]:
    listed = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    return (ipaddress.ip_address(one) for one in listed if one != "None")


def _endpoints(front: _Front, pods: Iterable[Pod], version: int) -> Iterator[Backend]:
    for pod in pods:
        chosen = front.selector and front.selector.items() <= pod.labels.items()
        if not chosen or pod.namespace != front.namespace or not pod.ready:
            continue
        port = _target_port(front, pod)
        for address in pod.addresses if port is not None else ():
            if address.version == version:
                yield Backend(address, port or 0, front.through)


def _target_port(front: _Front, pod: Pod) -> int | None:
    if isinstance(front.target, int):
        return front.target
    return pod.number_of(front.target, front.protocol)
