"""Which pods stand behind which Service port: no I/O, nothing of nftables.

A Service's endpoints are the Ready pods that its selector matches, each with the port that
``targetPort`` names *there*; without a selector (as ``kubernetes``, the API server's own), they
are what its EndpointSlices say. An index by label keeps the work proportional to what changed.
https://kubernetes.io/docs/concepts/services-networking/service/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from harness.clusters.pods import is_ready as says_ready

Object = Mapping[str, Any]
_PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})
_VERSION4, _VERSION6 = 4, 6
_FAMILIES = {"IPv4": _VERSION4, "IPv6": _VERSION6}
_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where a connection may end: a pod's address and port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Front:
    """Where clients connect to. No address: a NodePort, on every address of every node.

    ``version`` is that of IP; a front and its endpoints have the same one.
    """

    address: str
    protocol: str
    port: int
    version: int = _VERSION4


Table = dict[Front, tuple[Endpoint, ...]]


def is_ready(pod: Object) -> bool:
    """Whether a pod takes traffic: it has an address, is Ready, and is not on its way out."""
    addressed = bool((pod.get("status") or {}).get("podIP"))
    return addressed and says_ready(pod) and "deletionTimestamp" not in pod["metadata"]


class Endpoints:
    """Services and pods as they are now, and the table that follows from them."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._services: dict[str, Object] = {}
        self._pods: dict[str, Object] = {}
        self._pods_with: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._services_with: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._slices: defaultdict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
        self._dirty: set[str] = set()
        self._fronts: dict[str, Table] = {}

    @property
    def dirty(self) -> bool:
        """Whether something changed since :meth:`refresh`."""
        return bool(self._dirty)

    def set_service(self, service: Object) -> None:
        """Note a new or changed Service."""
        self.drop_service(service)
        uid = service["metadata"]["uid"]
        self._services[uid] = service
        selector = _selector(service)
        if selector:
            self._services_with[_first(service, selector)].add(uid)
        self._dirty.add(uid)

    def drop_service(self, service: Object) -> None:
        """Note a Service that is gone."""
        uid = service["metadata"]["uid"]
        old = self._services.pop(uid, None)
        if old is not None and (selector := _selector(old)):
            self._services_with[_first(old, selector)].discard(uid)
        self._dirty.add(uid)

    def set_pod(self, pod: Object) -> None:
        """Note a new or changed pod; only what endpoints depend on makes work."""
        uid = pod["metadata"]["uid"]
        old = self._pods.get(uid)
        if old is not None and _relevant(old) == _relevant(pod):
            return
        if old is not None:
            self.drop_pod(old)
        self._pods[uid] = pod
        for key in _label_keys(pod):
            self._pods_with[key].add(uid)
            self._dirty |= self._services_with.get(key, set())

    def drop_pod(self, pod: Object) -> None:
        """Note a pod that is gone."""
        uid = pod["metadata"]["uid"]
        old = self._pods.pop(uid, None)
        for key in _label_keys(old or pod):
            self._pods_with[key].discard(uid)
            self._dirty |= self._services_with.get(key, set())

    def set_slice(self, item: Object) -> None:
        """Note a new or changed EndpointSlice of a Service that has no selector."""
        self._slices[_service_of(item)][item["metadata"]["uid"]] = item
        self._touch(_service_of(item))

    def drop_slice(self, item: Object) -> None:
        """Note an EndpointSlice that is gone."""
        self._slices[_service_of(item)].pop(item["metadata"]["uid"], None)
        self._touch(_service_of(item))

    def _touch(self, name: tuple[str, str]) -> None:
        """Work a Service out again that has no selector: there are few."""
        for uid, service in self._services.items():
            if _name(service) == name:
                self._dirty.add(uid)

    def refresh(self) -> Table:
        """Work out what changed and return the whole table."""
        for uid in self._dirty:
            service = self._services.get(uid)
            self._fronts.pop(uid, None)
            if service is not None:
                self._fronts[uid] = self._table_of(service)
        self._dirty.clear()
        whole: Table = {}
        for table in self._fronts.values():
            whole |= table
        return whole

    def forget_changes(self) -> None:
        """Take every change as noticed, for those who make no table of it."""
        self._dirty.clear()

    def ready_addresses(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield each Service that has a selector, ``namespace/name``, with its pods' addresses."""
        for service in self._services.values():
            if _selector(service):
                meta = service["metadata"]
                pods = self._selected(service)
                versions = _versions(service["spec"])
                addresses = frozenset(
                    address for pod in pods for address in _addresses(pod, versions)
                )
                yield f"{meta['namespace']}/{meta['name']}", addresses

    def _table_of(self, service: Object) -> Table:
        pods = self._selected(service)
        slices = () if _selector(service) else tuple(self._slices[_name(service)].values())
        table: Table = {}
        for port in service["spec"].get("ports") or ():
            protocol = port.get("protocol", "TCP")
            if protocol in _PROTOCOLS:
                for front in _fronts(service["spec"], port, protocol):
                    found = {*_ends(pods, port, front), *_written(slices, port, front)}
                    table[front] = tuple(sorted(found))
        return table

    def _selected(self, service: Object) -> list[Object]:
        selector = _selector(service)
        if not selector:
            return []
        candidates = (self._pods[uid] for uid in self._pods_with[_first(service, selector)])
        return [
            pod for pod in candidates if is_ready(pod) and selector.items() <= _labels(pod).items()
        ]


def _fronts(spec: Object, port: Object, protocol: str) -> Iterator[Front]:
    for address in _cluster_ips(spec):
        yield Front(address, protocol, port["port"], version_of(address))
    if port.get("nodePort"):
        for version in _versions(spec):
            yield Front("", protocol, port["nodePort"], version)


def _cluster_ips(spec: Object) -> list[str]:
    listed = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
    return [address for address in listed if address != "None"]


def _versions(spec: Object) -> list[int]:
    """Return the versions of IP that a Service has; of one without any word on it, IPv4."""
    families = spec.get("ipFamilies")
    if families:
        return [_FAMILIES[family] for family in families]
    return [version_of(address) for address in _cluster_ips(spec)] or [_VERSION4]


def version_of(address: str) -> int:
    """Return the version of an IP address."""
    return _VERSION6 if ":" in address else _VERSION4


def _addresses(pod: Object, versions: Iterable[int]) -> Iterator[str]:
    status = pod["status"]
    listed = [item["ip"] for item in status.get("podIPs") or ()] or [status["podIP"]]
    wanted = set(versions)
    return (address for address in listed if version_of(address) in wanted)


def _ends(pods: Iterable[Object], port: Object, front: Front) -> Iterator[Endpoint]:
    target = port.get("targetPort") or port["port"]
    for pod in pods:
        number = target if isinstance(target, int) else _named_port(pod, target, front.protocol)
        if number is not None:
            for address in _addresses(pod, [front.version]):
                yield Endpoint(address, number)


def _written(slices: Iterable[Object], port: Object, front: Front) -> Iterator[Endpoint]:
    """Yield the ready endpoints of a front's family that slices name for a Service's port."""
    for item in slices:
        if _FAMILIES.get(item["addressType"]) != front.version:
            continue
        numbers = [
            one["port"]
            for one in item.get("ports") or ()
            if (one.get("name") or "", one.get("protocol", "TCP"))
            == (port.get("name") or "", front.protocol)
        ]
        for endpoint in item.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready", True)
            addresses = endpoint["addresses"] if ready else ()
            yield from (Endpoint(*pair) for pair in product(addresses, numbers))


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                number: int = port["containerPort"]
                return number
    return None


def _relevant(pod: Object) -> tuple[bool, str | None, int, Mapping[str, str]]:
    status = pod.get("status") or {}
    addresses = len(status.get("podIPs") or ())
    return is_ready(pod), status.get("podIP"), addresses, _labels(pod)


def _labels(item: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = item["metadata"].get("labels") or {}
    return labels


def _label_keys(pod: Object) -> list[tuple[str, str, str]]:
    namespace = pod["metadata"]["namespace"]
    return [(namespace, key, value) for key, value in _labels(pod).items()]


def _name(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _service_of(item: Object) -> tuple[str, str]:
    """Return the namespace and name of the Service that an EndpointSlice belongs to."""
    return item["metadata"]["namespace"], _labels(item).get(_SERVICE_LABEL, "")


def _selector(service: Object) -> dict[str, str]:
    return dict(service["spec"].get("selector") or {})


def _first(service: Object, selector: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the selector's last pair in order of keys: rarely the one that all pods share."""
    key = max(selector)
    return service["metadata"]["namespace"], key, selector[key]
