"""The matrix's workload as manifests: namespaces, pods on named nodes, a Service for each pod."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.matrix.scenario import NamespaceSpec, PodSpec, Workload

Manifest = dict[str, Any]

IMAGE = "nginx"
POD_LABEL = "pod"
"""The label by which a pod's own Service finds it."""


def manifests(workload: Workload, nodes: Sequence[str]) -> list[Manifest]:
    """Write down the workload for a cluster with ``nodes``, two or more."""
    return [
        *(namespace(spec) for spec in workload.namespaces if spec.name != "default"),
        *(pod(spec, nodes, workload.ports) for spec in workload.pods),
        *(service(spec, workload.ports) for spec in workload.pods),
    ]


def namespace(spec: NamespaceSpec) -> Manifest:
    """Write down a namespace."""
    metadata = {"name": spec.name, "labels": dict(spec.labels or {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def pod(spec: PodSpec, nodes: Sequence[str], ports: Sequence[int]) -> Manifest:
    """Write down a pod on its node, with a server on each port."""
    container = {
        "name": "server",
        "image": IMAGE,
        "ports": [{"name": f"p{port}", "containerPort": port} for port in ports],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(spec),
        "spec": {"nodeName": node_of(spec, nodes), "containers": [container]},
    }


def service(spec: PodSpec, ports: Sequence[int]) -> Manifest:
    """Write down a pod's own Service, with the same port numbers."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": spec.namespace, "name": spec.name},
        "spec": {
            "selector": {POD_LABEL: spec.name},
            "ports": [{"name": f"p{port}", "port": port, "targetPort": port} for port in ports],
        },
    }


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


def _metadata(spec: PodSpec) -> Manifest:
    return {"namespace": spec.namespace, "name": spec.name, "labels": {POD_LABEL: spec.name}}
