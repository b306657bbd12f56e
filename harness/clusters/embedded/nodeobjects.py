"""The Node and the Lease of each node: what a kubelet tells the API about itself."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

import aiohttp

from harness.clusters.embedded import podstatus
from harness.clusters.embedded.addresses import NodePlan
from harness.clusters.embedded.api import Api, Refused
from harness.clusters.embedded.log import say
from harness.clusters.embedded.settings import Shape

Object = dict[str, Any]
_BUILTIN_VERSION = "v1.34.0"
_LEASE_SECONDS = 40
_RENEW_SECONDS = 15
KUBELET_PORT = 10250
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "all nodes share this machine's"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "all nodes share this machine's"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "all nodes share this machine's"),
    ("Ready", "True", "KubeletReady", "the node's network namespace is up"),
)
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


async def register(api: Api, shape: Shape) -> None:
    """Create every Node and its Lease, Ready at once."""
    for node in shape.plan():
        await api.create("/api/v1/nodes", node_object(node))
        status = node_status(node, shape.pods_per_node, shape.kubernetes or _BUILTIN_VERSION)
        await api.patch(f"/api/v1/nodes/{node.name}/status", {"status": status})
        # A real API server makes nodes with a taint, not-ready, that a controller takes away
        # sooner or later: the node is ready now.
        await api.patch(f"/api/v1/nodes/{node.name}", {"spec": {"taints": None}})
        await api.create(_LEASES, lease(node))


async def keep_leases(api: Api, shape: Shape) -> None:
    """Renew the leases for ever."""
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        for node in shape.plan():
            try:
                body = {"spec": {"renewTime": _precise_now()}}
                await api.patch(f"{_LEASES}/{node.name}", body)
            except (aiohttp.ClientError, TimeoutError, Refused) as error:
                say(f"lease of {node.name}: {error}")


def node_object(node: NodePlan) -> Object:
    """Return a Node without its status."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64" if os.uname().machine == "x86_64" else "arm64",
            },
        },
        "spec": {
            "podCIDR": str(node.pod_network),
            "podCIDRs": [str(network) for network in node.pod_networks],
        },
    }


def node_status(node: NodePlan, pods: int, kubernetes: str) -> Object:
    """Return the status of a healthy Node with room for ``pods`` pods."""
    room = {"cpu": str(os.cpu_count()), "memory": _memory(), "pods": str(pods)}
    uname = os.uname()
    now = podstatus.now()
    return {
        "addresses": [
            *({"type": "InternalIP", "address": str(one)} for one in node.host.addresses),
            {"type": "Hostname", "address": node.name},
        ],
        "capacity": room,
        "allocatable": room,
        "conditions": [
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, state, reason, message in _CONDITIONS
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": {
            "kubeletVersion": f"{kubernetes}-embedded",
            "kernelVersion": uname.release,
            "osImage": "network namespace",
            "containerRuntimeVersion": "embedded://1",
            "operatingSystem": "linux",
            "architecture": "amd64" if uname.machine == "x86_64" else "arm64",
        },
    }


def lease(node: NodePlan) -> Object:
    """Return the Lease of a node."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node.name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": node.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "acquireTime": _precise_now(),
            "renewTime": _precise_now(),
        },
    }


def _precise_now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 1024}Ki"
