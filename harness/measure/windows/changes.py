"""What is changed, and who is there: a client and a server, and a policy between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import Cluster, Manifest, PodRef

SPACE = "windows"
CLIENT, SERVER = PodRef(SPACE, "client"), PodRef(SPACE, "server")
PORT = 80
CLIENTS = "clients"
"""The namespace of a second client, which is admitted by its namespace's label."""
OTHER = PodRef(CLIENTS, "client")
Act = Callable[[Cluster], None]


@dataclass(frozen=True, slots=True)
class Toggle:
    """A state of the cluster that is switched there and back.

    ``opens`` and ``closes`` name the two changes in results. ``client`` is who is admitted by the
    one and not by the other. ``around`` are policies that stand all the while; ``left`` are those
    that opening made, which go in the end.
    """

    opens: str
    closes: str
    client: PodRef
    open: Act
    close: Act
    around: tuple[Manifest, ...] = ()
    left: tuple[Manifest, ...] = ()


def workload(node: str, other: str) -> list[Manifest]:
    """Return the server on one node and its clients on another."""
    return [
        _namespace(SPACE),
        _namespace(CLIENTS),
        _pod(SERVER, node),
        _pod(CLIENT, other),
        _pod(OTHER, other),
    ]


def denying() -> Toggle:
    """Return the policy that lets nobody in, deleted and applied."""
    return Toggle(
        "deny → allow",
        "allow → deny",
        CLIENT,
        lambda cluster: cluster.delete([deny()]),
        lambda cluster: cluster.apply([deny()]),
    )


def allowing() -> Toggle:
    """Return a policy that lets the client in beside one that lets nobody in."""
    return Toggle(
        "allowing policy created",
        "allowing policy deleted",
        CLIENT,
        lambda cluster: cluster.apply([admitting()]),
        lambda cluster: cluster.delete([admitting()]),
        (deny(),),
        (admitting(),),
    )


def toggles() -> Iterator[Toggle]:
    """Yield every kind of change that can be switched."""
    by_label = _policy("by-label", [{"podSelector": {"matchLabels": {"may": "in"}}}])
    by_space = _policy("by-space", [{"namespaceSelector": {"matchLabels": {"may": "in"}}}])
    yield denying()
    yield allowing()
    yield Toggle(
        "pod labelled, allowed",
        "pod unlabelled, denied",
        CLIENT,
        lambda cluster: cluster.apply([_labelled(cluster, CLIENT, may="in")]),
        lambda cluster: cluster.apply([_labelled(cluster, CLIENT)]),
        (by_label,),
    )
    yield Toggle(
        "namespace labelled, allowed",
        "namespace unlabelled, denied",
        OTHER,
        lambda cluster: cluster.apply([_namespace(CLIENTS, may="in")]),
        lambda cluster: cluster.apply([_namespace(CLIENTS)]),
        (by_space,),
    )


def _labelled(cluster: Cluster, pod: PodRef, **labels: str) -> Manifest:
    return _pod(pod, cluster.nodes()[-1].name, **labels)


def irrelevant(number: int) -> Manifest:
    """Return an object that no enforcer cares for."""
    data = {"number": str(number)}
    meta = {"namespace": SPACE, "name": "irrelevant"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def late(number: int, node: str) -> tuple[PodRef, Manifest]:
    """Return a server that starts while policies that select it are there already."""
    ref = PodRef(SPACE, f"late-{number}")
    return ref, _pod(ref, node)


def deny() -> Manifest:
    """Return the policy that lets nobody in."""
    return _policy("deny", [])


def admitting() -> Manifest:
    """Return a policy that lets in the clients of the server's namespace, and no others."""
    return _policy("admit", [{"podSelector": {"matchLabels": {"app": "client"}}}])


def _policy(name: str, peers: list[dict[str, Any]]) -> Manifest:
    ingress = [{"from": peers}] if peers else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": SPACE, "name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _namespace(name: str, **labels: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _pod(ref: PodRef, node: str, **labels: str) -> Manifest:
    app = "client" if ref in {CLIENT, OTHER} else "server"
    ports = [{"containerPort": PORT, "protocol": protocol} for protocol in ("TCP", "UDP")]
    container = {"name": "server", "image": "nginx", "ports": ports}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": ref.namespace,
            "name": ref.name,
            "labels": {"app": app, **labels},
        },
        "spec": {"nodeName": node, "containers": [container]},
    }
