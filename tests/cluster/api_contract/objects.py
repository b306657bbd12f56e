"""Paths and bodies of the objects that the suite makes."""

from __future__ import annotations

from typing import Any

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def pods(namespace: str, *more: str) -> str:
    """Return the path of pods, or of one, or of a part of one."""
    return "/".join([f"/api/v1/namespaces/{namespace}/pods", *more])


def policies(namespace: str, *more: str) -> str:
    """Return the path of network policies."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
    return "/".join([path, *more])


def services(namespace: str, *more: str) -> str:
    """Return the path of services."""
    return "/".join([f"/api/v1/namespaces/{namespace}/services", *more])


NOBODY = "node-of-nobody"
"""A node without a kubelet: what happens to its pods is the API server's doing alone."""


def pod(name: str, node: str = NOBODY, **metadata: Any) -> dict[str, Any]:
    """Return a pod that a scheduler leaves alone."""
    containers = [{"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name} | metadata,
        "spec": {"containers": containers, "nodeName": node, "terminationGracePeriodSeconds": 7},
    }


def policy(name: str, **spec: Any) -> dict[str, Any]:
    """Return a network policy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {}} | spec,
    }


def service(name: str, kind: str = "ClusterIP", **spec: Any) -> dict[str, Any]:
    """Return a service with one port."""
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]} | spec}


def config_maps(namespace: str, *more: str) -> str:
    """Return the path of config maps."""
    return "/".join([f"/api/v1/namespaces/{namespace}/configmaps", *more])


def leases(namespace: str, *more: str) -> str:
    """Return the path of leases: in a test's namespace no controller makes any."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return "/".join([path, *more])
