"""Endpoints and EndpointSlices of Services with a selector, worked out when they are read.

Nothing here is stored, so thousands of pods that come to life cost nothing; the price is that
watches do not tell of them: list again. What a client made under such a name goes first.
https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from harness.clusters.embedded.apiserver.families import family_of
from harness.clusters.embedded.apiserver.resources import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    PODS,
    SERVICES,
    Kind,
    Object,
)
from harness.clusters.embedded.apiserver.store import Key, Record, Store, encode

_Port = tuple[str, str, int]
"""Name, protocol and number."""

_Index = Mapping[tuple[str, str, str], Sequence[Record]]
"""Pods that have an address, by namespace, label and value."""


def listed(store: Store, kind: Kind, namespace: str = "") -> list[Record]:
    """Return a kind's objects (of one namespace), those that follow from others included."""
    stored = store.list(kind, namespace)
    if kind not in {ENDPOINTS, ENDPOINT_SLICES}:
        return stored
    found = {record.key: record for record in _derived(store, kind, namespace)}
    found |= {record.key: record for record in stored}
    return [found[key] for key in sorted(found)]


def get(store: Store, kind: Kind, key: Key) -> Record:
    """Return an object, or refuse with NotFound."""
    if kind in {ENDPOINTS, ENDPOINT_SLICES} and store.find(kind, key) is None:
        for record in _derived(store, kind, key[0]):
            if record.key == key:
                return record
    return store.get(kind, key)


def _derived(store: Store, kind: Kind, namespace: str) -> Iterator[Record]:
    index = _index(store.list(PODS, namespace))
    for service in store.list(SERVICES, namespace):
        if service.value["spec"].get("selector"):
            yield from _of_service(kind, service, _selected(index, service.value))


def _index(pods: Sequence[Record]) -> _Index:
    index: defaultdict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for pod in pods:
        status = pod.value.get("status", {})
        if status.get("podIP") and status.get("phase") not in {"Succeeded", "Failed"}:
            for name, value in pod.value["metadata"].get("labels", {}).items():
                index[pod.key[0], name, value].append(pod)
    return index


def _selected(index: _Index, service: Object) -> list[Record]:
    selector = service["spec"]["selector"].items()
    namespace = service["metadata"]["namespace"]
    fewest = min((index.get((namespace, *pair), ()) for pair in selector), key=len)
    return [pod for pod in fewest if selector <= pod.value["metadata"]["labels"].items()]


def _of_service(kind: Kind, service: Record, pods: Sequence[Record]) -> Iterator[Record]:
    """Yield the one Endpoints, or an EndpointSlice for each set of ports that pods have."""
    groups: defaultdict[tuple[_Port, ...], list[Object]] = defaultdict(list)
    for pod in pods:
        groups[_ports(service.value, pod.value)].append(pod.value)
    version = max(record.version for record in (service, *pods))
    name = service.key[1]
    if kind is ENDPOINTS:
        subsets = [_subset(ports, members) for ports, members in groups.items()]
        yield _record(kind, service, name, version, {"subsets": subsets})
        return
    families = service.value["spec"].get("ipFamilies") or ["IPv4"]
    slices = ((family, *group) for group in groups.items() or [((), [])] for family in families)
    for number, (family, ports, members) in enumerate(slices, 1):
        body = {
            "addressType": family,
            "endpoints": [_endpoint(pod, family) for pod in members if _ip(pod, family)],
            "ports": [_port(port) for port in ports],
        }
        yield _record(kind, service, f"{name}-{number}", version, body)


def _record(kind: Kind, service: Record, name: str, version: int, body: Object) -> Record:
    meta = service.value["metadata"]
    labels = meta.get("labels", {})
    if kind is ENDPOINT_SLICES:
        labels = labels | {"kubernetes.io/service-name": meta["name"]}
    owner = {"apiVersion": "v1", "kind": "Service", "name": meta["name"], "uid": meta["uid"]}
    metadata = {
        "name": name,
        "namespace": meta["namespace"],
        "uid": str(uuid.uuid5(uuid.UUID(meta["uid"]), f"{kind.name} {name}")),
        "creationTimestamp": meta["creationTimestamp"],
        "resourceVersion": str(version),
        "labels": labels,
        "ownerReferences": [owner | {"controller": True}],
    }
    value = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata} | body
    return Record((meta["namespace"], name), version, value, encode(value))


def _ports(service: Object, pod: Object) -> tuple[_Port, ...]:
    """Return the Service's ports as this pod has them; a name that it has not is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        target = port.get("targetPort") or port["port"]
        number = target if isinstance(target, int) else _named_port(pod, target, protocol)
        if number is not None:
            found.append((port.get("name", ""), protocol, number))
    return tuple(found)


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _subset(ports: Sequence[_Port], pods: Sequence[Object]) -> Object:
    ready = [_address(pod) for pod in pods if _is_ready(pod)]
    waiting = [_address(pod) for pod in pods if not _is_ready(pod) and not _is_ending(pod)]
    subset = {"addresses": ready, "notReadyAddresses": waiting}
    return {k: v for k, v in subset.items() if v} | {"ports": [_port(port) for port in ports]}


def _port(port: _Port) -> Object:
    name, protocol, number = port
    return ({"name": name} if name else {}) | {"port": number, "protocol": protocol}


def _address(pod: Object) -> Object:
    return {"ip": pod["status"]["podIP"]} | _whose(pod)


def _ip(pod: Object, family: str) -> str:
    """Return a pod's address of a family; "" where it has none."""
    status = pod["status"]
    listed = [item["ip"] for item in status.get("podIPs") or ()] or [status["podIP"]]
    return next((address for address in listed if family_of(address) == family), "")


def _endpoint(pod: Object, family: str) -> Object:
    ready, ending = _has_condition(pod), _is_ending(pod)
    conditions = {"ready": ready and not ending, "serving": ready, "terminating": ending}
    return {"addresses": [_ip(pod, family)], "conditions": conditions} | _whose(pod)


def _whose(pod: Object) -> Object:
    meta = pod["metadata"]
    target = {"kind": "Pod"} | {field: meta[field] for field in ("namespace", "name", "uid")}
    return {"nodeName": pod["spec"].get("nodeName", ""), "targetRef": target}


def _is_ready(pod: Object) -> bool:
    return _has_condition(pod) and not _is_ending(pod)


def _is_ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _has_condition(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
