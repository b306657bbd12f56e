"""The words a person uses for places: ``namespace/pod``, ``node/name``, ``outside/14.215.0.10``.

``svc/namespace/name`` stands for a Service's ClusterIP, and any IP address for itself; an IPv6
address before a port is written in brackets: ``[2001:db8:14:215::10]:80``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, assert_never

from kubernetes.client.exceptions import ApiException

from harness.clusters.base import NodeRef, OutsideRef, Place, PodRef
from harness.clusters.embedded.addresses import Address
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.endpoints import version_of
from harness.clusters.pods import ref_of
from harness.clusters.public import PUBLIC_NETWORKS, PUBLIC_NETWORKS6
from harness.errors import UsageError

FORMS = "namespace/pod, pod (in default), node/NAME, outside/ADDRESS or an address"
_LAST_PORT = 65535
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a probe goes: an address and a port, and the place that owns the address if known."""

    address: str
    port: int
    owner: Place | None


def find_place(cluster: EmbeddedCluster, word: str) -> Place:
    """Return the place that a word names. Raises UsageError for one that is not there."""
    match word.split("/"):
        case ["node", name]:
            return _node(cluster, name)
        case ["outside", address]:
            return _outside(address)
        case [namespace, name]:
            return _pod(cluster, namespace, name)
        case ["pod", namespace, name]:
            return _pod(cluster, namespace, name)
        case [single]:
            ip = _address(single)
            if ip is None:
                return _pod(cluster, _DEFAULT, single)
            return _owner(cluster, ip) or _outside(single)
    message = f"{word!r} names no place; write {FORMS}"
    raise UsageError(message)


def find_target(cluster: EmbeddedCluster, word: str, version: int | None = None) -> Target:
    """Return the address and port that ``TO:PORT`` means.

    Of a place with several addresses it is the primary one, or that of an IP ``version``.
    """
    name, _, number = word.rpartition(":")
    if not name or not number.isdigit() or not 0 < int(number) <= _LAST_PORT:
        message = f"{word!r} is no target; write TO:PORT, for example default/web:80"
        raise UsageError(message)
    port = int(number)
    name = name.removeprefix("[").removesuffix("]")
    match name.split("/"):
        case ["svc", namespace, service]:
            found = _get(cluster, f"/api/v1/namespaces/{namespace}/services/{service}", name)
            return Target(_of_version(_cluster_ips(found, name), version, name), port, None)
        case [single] if (ip := _address(single)) is not None:
            owner = _owner(cluster, ip)
            if owner is None and _is_public(ip):
                owner = OutsideRef(single)
            return Target(single, port, owner)
    place = find_place(cluster, name)
    return Target(_of_version(addresses_of(cluster, place), version, name), port, place)


def addresses_of(cluster: EmbeddedCluster, place: Place) -> Sequence[str]:
    """Return the addresses of a place, the primary one first."""
    match place:
        case OutsideRef(address):
            return (address,)
        case NodeRef(name):
            return next(node.addresses for node in cluster.nodes() if node.name == name)
        case PodRef(namespace, name):
            pod = _get(cluster, f"/api/v1/namespaces/{namespace}/pods/{name}", str(place))
            return _pod_addresses(pod, place)
    assert_never(place)


def _of_version(addresses: Sequence[str], version: int | None, word: str) -> str:
    for address in addresses:
        if version in {None, version_of(address)}:
            return address
    message = f"{word} has no IPv{version} address; it has {', '.join(addresses)}"
    raise UsageError(message)


def _pod_addresses(pod: Any, place: Place) -> Sequence[str]:
    status = pod.get("status", {})
    if not status.get("podIP"):
        message = f"pod {place} has no address yet (phase {status.get('phase', 'unknown')})"
        raise UsageError(message)
    return [item["ip"] for item in status.get("podIPs") or ()] or [str(status["podIP"])]


def _pod(cluster: EmbeddedCluster, namespace: str, name: str) -> Place:
    word = f"{namespace}/{name}"
    pod = _get(cluster, f"/api/v1/namespaces/{namespace}/pods/{name}", word)
    _pod_addresses(pod, PodRef(namespace, name))  # before it has one, it has no network either
    if pod["spec"].get("hostNetwork"):
        return NodeRef(pod["spec"]["nodeName"])
    return PodRef(namespace, name)


def _node(cluster: EmbeddedCluster, name: str) -> Place:
    names = [node.name for node in cluster.nodes()]
    if name not in names:
        message = f"there is no node {name!r}; there are: {', '.join(names)}"
        raise UsageError(message)
    return NodeRef(name)


def _outside(text: str) -> Place:
    address = _address(text)
    if address is None or not _is_public(address):
        owned = ", ".join(map(str, (*PUBLIC_NETWORKS, *PUBLIC_NETWORKS6)))
        message = f"{text!r} is nobody's address here; the outside host owns {owned}"
        raise UsageError(message)
    return OutsideRef(text)


def _owner(cluster: EmbeddedCluster, address: Address) -> Place | None:
    for node in cluster.nodes():
        if str(address) in node.addresses:
            return NodeRef(node.name)
    for pod in cluster.objects.get("/api/v1/pods")["items"]:
        if not pod["spec"].get("hostNetwork") and _has(pod, address):
            return ref_of(pod)
    return None


def _has(pod: Any, address: Address) -> bool:
    status = pod.get("status", {})
    running = status.get("phase") == "Running"
    return running and any(item["ip"] == str(address) for item in status.get("podIPs") or ())


def _cluster_ips(service: Any, word: str) -> Sequence[str]:
    spec = service["spec"]
    addresses: list[str] = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    if "None" in addresses:
        message = f"{word} is headless: it has no ClusterIP; probe its pods"
        raise UsageError(message)
    return addresses


def _get(cluster: EmbeddedCluster, path: str, word: str) -> Any:
    try:
        return cluster.objects.get(path)
    except ApiException as error:
        message = f"cannot find {word} in cluster {cluster.name}: {error.reason}"
        raise UsageError(message) from error


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    return any(address in network for network in (*PUBLIC_NETWORKS, *PUBLIC_NETWORKS6))
