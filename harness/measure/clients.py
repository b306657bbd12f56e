"""Who asks: a client that the policy allows, and one that it denies.

On an embedded cluster both are outside, as in the study, inside and beside of the policy's CIDR. On
a real one they are pods of the cluster, on its last node: load never comes from the machine that
the harness runs on, and kube-proxy would masquerade a client that is outside of the pods' ranges.
The policy then admits the one pod's address, and not the other's.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from harness.clusters.base import Cluster, Manifest, OutsideRef, Place, PodRef
from harness.clusters.kube.cluster import KubeCluster
from harness.workload import study as workload

NAMESPACE = "npd-load"
_ALLOWED, _DENIED = "client", "denied"
_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Clients:
    """Where connections come from, and what the policy says of it."""

    allowed: Place
    denied: Place
    source: str
    """The address that load is sent from."""

    cidr: str
    """What the policy admits."""

    nodes: tuple[str, ...] = ()
    """The nodes that they run on; none where they are outside."""

    def __str__(self) -> str:
        """Say who asks, in words for a report."""
        if self.nodes:
            return f"a pod on {', '.join(self.nodes)}, at {self.source}"
        return f"a host outside of the cluster, at {self.source}"


OUTSIDE = Clients(
    OutsideRef(workload.ALLOWED_CLIENT),
    OutsideRef(workload.DENIED_CLIENT),
    workload.ALLOWED_CLIENT,
    workload.POLICY_CIDR,
)
"""The study's."""


def deploy(cluster: Cluster) -> Clients:
    """Return the clients, once they are there."""
    if not isinstance(cluster, KubeCluster):
        return OUTSIDE
    node = cluster.nodes()[-1].name
    cluster.apply(manifests(node, cluster.images.workload))
    cluster.wait_ready(NAMESPACE, timeout=_SECONDS)
    allowed, denied = (PodRef(NAMESPACE, name) for name in (_ALLOWED, _DENIED))
    address = cluster.address_of(allowed)
    cidr = f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
    return Clients(allowed, denied, address, cidr, (node,))


def manifests(node: str, image: str) -> list[Manifest]:
    """Return both pods on a node, in a namespace of their own; ``image`` has the load's programs.

    They are privileged: ports and TIME_WAIT of the load are settings of their own network.
    """
    level = {"pod-security.kubernetes.io/enforce": "privileged"}
    space = {"apiVersion": "v1", "kind": "Namespace"}
    made = [space | {"metadata": {"name": NAMESPACE, "labels": level}}]
    for name in (_ALLOWED, _DENIED):
        pod = workload.pod(name, 0, node)
        pod["metadata"] |= {"name": name, "namespace": NAMESPACE}
        (container,) = pod["spec"]["containers"]
        container |= {"image": image, "securityContext": {"privileged": True}}
        made.append(pod)
    return made
