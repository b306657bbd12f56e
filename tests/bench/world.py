"""The cluster that is measured, as functions of its size: manifests, nothing at random.

Namespaces of ten applications; each application is named by one policy, of the shapes that people
write. One pod a namespace lives on the measured node, so that its pods share few policies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

NODE: Final = "node-0"
APPS: Final = 10
HOSTS: Final = 254
PADDING: Final = "x" * 64


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; ``local`` pods are on :data:`NODE`."""

    pods: int = 8000
    policies: int = 1000
    local: int = 80

    @property
    def namespaces(self) -> int:
        """One for each ten policies, and enough that local pods can differ."""
        return max(self.policies // APPS, 1)

    @property
    def nodes(self) -> int:
        """As many as it takes if each is as full as the measured one."""
        return max(self.pods // self.local, 2)


def namespace_of(number: int, size: Size) -> str:
    """Return the namespace of a pod."""
    return f"ns-{number % size.namespaces}"


def app_of(number: int, size: Size) -> int:
    """Return the application of a pod: the pods of a namespace take turns."""
    return (number // size.namespaces + number) % APPS


def address_of(number: int, size: Size) -> str:
    """Return the address of a pod; the local ones' are in the measured node's network."""
    place = number if number < size.local else number + HOSTS
    return f"10.{64 + place // (256 * HOSTS)}.{place // HOSTS % 256}.{place % HOSTS + 1}"


def node_of(number: int, size: Size) -> str:
    """Return the node of a pod."""
    return NODE if number < size.local else f"node-{1 + number % (size.nodes - 1)}"


def namespaces(size: Size) -> Iterator[Json]:
    """Yield every namespace."""
    for number in range(size.namespaces):
        labels = {"team": f"team-{number % 10}", "stage": "live" if number % 4 else "test"}
        yield {"metadata": {"name": f"ns-{number}", "labels": labels}}


def nodes(size: Size) -> Iterator[Json]:
    """Yield every node."""
    for number in range(size.nodes):
        address = f"192.168.{number // 250}.{number % 250 + 1}"
        yield {
            "metadata": {"name": f"node-{number}"},
            "spec": {"podCIDRs": ["10.64.0.0/24"] if number == 0 else []},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }


def pods(size: Size) -> Iterator[Json]:
    """Yield every pod."""
    return (pod(number, size) for number in range(size.pods))


def pod(number: int, size: Size) -> Json:
    """Return a running pod, as long as pods are: about 5 KB of JSON."""
    address, app = address_of(number, size), f"app-{app_of(number, size)}"
    return {
        "metadata": {
            "name": f"pod-{number}",
            "namespace": namespace_of(number, size),
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": app, "tier": "web", "pod-template-hash": f"7d9c{number % 1000:05}"},
            "annotations": {f"example.org/note-{item}": PADDING for item in range(4)},
            "managedFields": [
                {"manager": name, "operation": "Update", "fieldsV1": _fields()}
                for name in ("kube-controller-manager", "kubelet")
            ],
        },
        "spec": {
            "nodeName": node_of(number, size),
            "containers": [_container("web", 8080), _container("metrics", 9090)],
            "tolerations": [{"key": f"node.example.org/{item}"} for item in range(3)],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
        },
    }


def _fields() -> Json:
    return {f"f:field-{item}": {f"f:part-{part}": {} for part in range(4)} for item in range(8)}


def _container(name: str, port: int) -> Json:
    return {
        "name": name,
        "image": f"registry.example.org/{name}:1",
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"}],
        "env": [{"name": f"SETTING_{item}", "value": PADDING} for item in range(8)],
        "volumeMounts": [{"name": "data", "mountPath": f"/data/{item}"} for item in range(3)],
    }


def policies(size: Size) -> Iterator[Json]:
    """Yield every policy."""
    return (policy(number) for number in range(size.policies))


def policy(number: int) -> Json:
    """Return the policy of one application of one namespace."""
    app = number % APPS
    return {
        "metadata": {"name": f"policy-{app}", "namespace": f"ns-{number // APPS}"},
        "spec": {
            "podSelector": {"matchLabels": {"app": f"app-{app}"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [*_ingress(number, app)],
            "egress": [*_egress(app)],
        },
    }


def _ingress(number: int, app: int) -> Iterator[Json]:
    neighbour = {"matchLabels": {"app": f"app-{(app + 1) % APPS}"}}
    team = {"matchLabels": {"team": f"team-{number % 10}"}}
    yield {"from": [{"podSelector": neighbour}], "ports": [{"port": 8080}]}
    yield {
        "from": [{"namespaceSelector": team, "podSelector": neighbour}],
        "ports": [{"port": "metrics"}],
    }
    if number % 200 == 0:
        yield {"from": [{"namespaceSelector": {}}], "ports": [{"port": 9090}]}
    if app in {1, 2}:
        block = {"cidr": "14.0.0.0/8", "except": ["14.216.0.0/16", "14.5.0.0/16"]}
        yield {"from": [{"ipBlock": block}], "ports": [{"port": 8000, "endPort": 8099}]}


def _egress(app: int) -> Iterator[Json]:
    yield {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
    others = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [f"app-{app}"]}]}
    yield {"to": [{"podSelector": others}], "ports": [{"port": 8080}]}
    if app == 3:
        yield {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}
