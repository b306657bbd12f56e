"""A scenario's workload as manifests: namespaces, pods on named nodes, a Service for each pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.clusters.base import Manifest
from harness.matrix.axes import Protocol
from harness.matrix.model import NamespaceSpec, PodSpec, Workload

IMAGE = "nginx"
POD_LABEL = "pod"
"""The label by which a pod's own Service finds it."""
_WITH_PORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)


def of(workload: Workload, nodes: Sequence[str]) -> list[Manifest]:
    """Write down the workload for a cluster with ``nodes``, two or more."""
    return [
        *(namespace(spec) for spec in workload.namespaces if spec.name != "default"),
        *(pod(spec, nodes, workload) for spec in workload.pods),
        *(host(spec, nodes, workload) for spec in workload.hosts),
        *(service(spec, workload) for spec in workload.pods),
    ]


def namespace(spec: NamespaceSpec) -> Manifest:
    """Write down a namespace."""
    metadata = {"name": spec.name, "labels": dict(spec.labels or {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def pod(spec: PodSpec, nodes: Sequence[str], workload: Workload) -> Manifest:
    """Write down a pod on its node, with a server on each port of each protocol."""
    named = {**(workload.named or {}), **(spec.named or {})}
    names = {number: name for name, number in named.items()}
    ports = [
        {
            "name": _port_name(protocol, port, names),
            "containerPort": port,
            "protocol": protocol.value,
        }
        for protocol, port in _served(workload)
    ]
    container = {"name": "server", "image": IMAGE, "ports": ports}
    labels = {POD_LABEL: spec.name, **(spec.labels or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": spec.namespace, "name": spec.name, "labels": labels},
        "spec": {
            "nodeName": node_of(spec, nodes),
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }


def host(spec: PodSpec, nodes: Sequence[str], workload: Workload) -> Manifest:
    """Write down a pod on its node's own network: no policy speaks of it."""
    made = pod(spec, nodes, workload)
    return made | {"spec": made["spec"] | {"hostNetwork": True}}


def service(spec: PodSpec, workload: Workload) -> Manifest:
    """Write down a pod's own Service, with the same port numbers where it does not say others."""
    targets = spec.targets or {}
    ports = [
        {
            "name": _port_name(protocol, port, {}),
            "port": port,
            "targetPort": targets.get(str(port), port),
            "protocol": protocol.value,
        }
        for protocol, port in _served(workload)
    ]
    kind = {"type": "NodePort"} if workload.node_ports else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": spec.namespace, "name": spec.name},
        "spec": {
            "selector": {POD_LABEL: spec.name},
            "ports": ports,
            "ipFamilyPolicy": "PreferDualStack",
            **kind,
        },
    }


def _served(workload: Workload) -> Iterator[tuple[Protocol, int]]:
    for protocol in _WITH_PORTS:
        if protocol in workload.protocols:
            yield from ((protocol, port) for port in workload.ports)


def _port_name(protocol: Protocol, port: int, names: dict[int, str]) -> str:
    if protocol is not Protocol.TCP:
        return f"{protocol.value.lower()}-{port}"
    return names.get(port, f"p{port}")


def node_of(spec: PodSpec, nodes: Sequence[str]) -> str:
    """Say which node a pod is for."""
    return nodes[spec.node - 1] if spec.node > 0 else nodes[-1]


def deny_all(workload: Workload) -> Iterator[Manifest]:
    """Isolate every pod of the workload in both directions: the guard's question."""
    for spec in workload.namespaces:
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": spec.name, "name": "guard-deny-all"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        }
