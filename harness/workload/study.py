"""The performance study's workload: one service that is measured, many that only stand there.

The study deploys one nginx Service with 2 pods to be measured, 1,000 Services with 2, then 6,
then 8 nginx pods each to make rules, and one policy that selects every pod. Here each of these
is a function of numbers. A larger size adds pods to a smaller one and rebuilds nothing: pod
``k`` of a service has the same name, node and labels in every size.

All pods of a Service are on one node, and the Services are dealt to the nodes in turn. So a
client outside of the cluster can ask a Service at the node that has its pods, with its own
address all the way, as behind a load balancer with ``externalTrafficPolicy: Local``; by any
other node it would have to be masqueraded, and the policy would judge the node instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.clusters.base import Manifest

NAMESPACE = "default"
"""The study's policy is in ``default``, and so are the pods that it selects."""

TEST_SERVICE = "measured"
TEST_PODS = 2
PORT = 80

ALLOWED_CLIENT = "14.215.0.10"
"""Inside of the policy's 14.215.0.0/16: the load comes from here."""

DENIED_CLIENT = "14.216.0.10"
"""Outside of it: whether its connections are dropped tells whether enforcement acts."""

PLACED_SERVICE = "placed"
"""Asked by clients that are pods: two nginx pods on the measured node, with a policy for them."""

CLIENTS_NAMESPACE = "clients"
"""Of the pods that load comes from; the study's policy does not select them."""

CLIENT_IMAGE = "busybox:1.36"

POLICY_PORTS = (9090, 8080, 80)
POLICY_CIDR = "14.215.0.0/16"

IMAGE = "nginx:1.27"


@dataclass(frozen=True, slots=True)
class Crowd:
    """The interfering services: how many, and on which nodes their pods are spread."""

    nodes: tuple[str, ...]
    services: int

    def node_of(self, number: int) -> str:
        """Return the node that has the pods of service ``number``."""
        return self.nodes[number % len(self.nodes)]

    def pods(self, size: int) -> int:
        """Return how many interfering pods there are at ``size`` pods a service."""
        return self.services * size

    def density(self, size: int) -> float:
        """Return the pods a node at ``size``, the two measured ones included."""
        return (self.pods(size) + TEST_PODS) / len(self.nodes)


def service(name: str) -> Manifest:
    """Return a ClusterIP Service on port 80 for the pods labelled ``app: name``."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "protocol": "TCP", "port": PORT, "targetPort": PORT}],
        },
    }


def pod(app: str, index: int, node: str) -> Manifest:
    """Return nginx pod ``index`` of the service ``app``, bound to ``node``."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(app, index),
            "namespace": NAMESPACE,
            "labels": {"app": app},
        },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "nginx", "image": IMAGE, "ports": [{"containerPort": PORT}]},
            ],
        },
    }


def pod_name(app: str, index: int) -> str:
    """Return the name of pod ``index`` of the service ``app``."""
    return f"{app}-{index}"


def service_name(number: int) -> str:
    """Return the name of interfering service ``number``."""
    return f"interfering-{number:04d}"


def measured(nodes: Sequence[str]) -> list[Manifest]:
    """Return the measured Service and its two pods, on the first node."""
    pods = [pod(TEST_SERVICE, index, nodes[0]) for index in range(TEST_PODS)]
    return [service(TEST_SERVICE), *pods]


def placed(nodes: Sequence[str]) -> list[Manifest]:
    """Return a Service on the first node for clients that are pods, and a client on two nodes.

    The study's policy lets no pod in, so these pods have a policy more, which allows the clients.
    """
    pods = [pod(PLACED_SERVICE, index, nodes[0]) for index in range(TEST_PODS)]
    namespace: Manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": CLIENTS_NAMESPACE},
    }
    clients = [client(node) for node in nodes[:2]]
    return [namespace, service(PLACED_SERVICE), *pods, *clients]


def client(node: str) -> Manifest:
    """Return the pod that load comes from on a node; it listens nowhere."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"on-{node}", "namespace": CLIENTS_NAMESPACE},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "client", "image": CLIENT_IMAGE}],
        },
    }


def homes(crowd: Crowd) -> dict[str, str]:
    """Return the node that has the pods of each Service, the measured ones included."""
    dealt = {service_name(number): crowd.node_of(number) for number in range(crowd.services)}
    return {TEST_SERVICE: crowd.nodes[0], PLACED_SERVICE: crowd.nodes[0], **dealt}


def growth(crowd: Crowd, have: int, want: int) -> Iterator[Manifest]:
    """Yield what takes the crowd from ``have`` to ``want`` pods a service; 0 is nothing at all."""
    if have == 0:
        yield from (service(service_name(number)) for number in range(crowd.services))
    for index in range(have, want):
        for number in range(crowd.services):
            yield pod(service_name(number), index, crowd.node_of(number))


def placed_policy() -> Manifest:
    """Return the policy that lets the client pods ask the pods of :func:`placed`, and no other."""
    name = "kubernetes.io/metadata.name"
    clients = {"namespaceSelector": {"matchLabels": {name: CLIENTS_NAMESPACE}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": PLACED_SERVICE, "namespace": NAMESPACE},
        "spec": {
            "ingress": [{"from": [clients], "ports": [{"protocol": "TCP", "port": PORT}]}],
            "podSelector": {"matchLabels": {"app": PLACED_SERVICE}},
            "policyTypes": ["Ingress"],
        },
    }


def policy(cidr: str = POLICY_CIDR) -> Manifest:
    """Return the study's policy: every pod, from a range, on three ports, each its rule."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "npd", "namespace": NAMESPACE},
        "spec": {
            "ingress": [
                {
                    "from": [{"ipBlock": {"cidr": cidr}}],
                    "ports": [{"protocol": "TCP", "port": port}],
                }
                for port in POLICY_PORTS
            ],
            "podSelector": {},
            "policyTypes": ["Ingress"],
        },
    }


def admission(namespace: str, labels: Mapping[str, str]) -> Manifest:
    """Return a policy that lets pods with these labels, of another namespace, reach every pod."""
    name = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    peer = {"namespaceSelector": name, "podSelector": {"matchLabels": dict(labels)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "npd-load", "namespace": NAMESPACE},
        "spec": {
            "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": PORT}]}],
            "podSelector": {},
            "policyTypes": ["Ingress"],
        },
    }
