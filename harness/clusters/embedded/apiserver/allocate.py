"""ClusterIPs and NodePorts: who has which, and which is next."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from harness.clusters.embedded.apiserver.errors import ApiError, Cause, Reason
from harness.clusters.embedded.apiserver.resources import Object

DEFAULT_SERVICE_CIDR = IPv4Network("10.96.0.0/16")
NODE_PORTS = range(30_000, 32_768)
_WITHOUT_NODE_PORTS = {"ClusterIP", "ExternalName"}


class Pool:
    """Numbers of a range, each given once; the search goes round, so a freed one rests a while."""

    def __init__(self, numbers: range, what: str) -> None:
        """Begin with every number free; ``what`` names them in messages."""
        self.numbers = numbers
        self._what = what
        self._taken: set[int] = set()
        self._next = 0

    def __contains__(self, number: int) -> bool:
        """Whether a number is taken."""
        return number in self._taken

    def claim(self, number: int) -> None:
        """Take this very number."""
        self._taken.add(number)

    def take(self) -> int:
        """Take the next free number; refuses when there is none."""
        for step in range(len(self.numbers)):
            number = self.numbers[(self._next + step) % len(self.numbers)]
            if number not in self._taken:
                self._next = (self.numbers.index(number) + 1) % len(self.numbers)
                self._taken.add(number)
                return number
        raise ApiError(Reason.INTERNAL_ERROR, f"every {self._what} is taken")

    def free(self, number: int) -> None:
        """Give a number back."""
        self._taken.discard(number)


class ServiceAllocator:
    """Gives each Service its ClusterIP and its NodePorts, and takes them back."""

    def __init__(self, cidr: IPv4Network = DEFAULT_SERVICE_CIDR) -> None:
        """Own a range of addresses; its network and broadcast addresses are not used."""
        first, last = int(cidr.network_address) + 1, int(cidr.broadcast_address)
        self._cidr = cidr
        self._addresses = Pool(range(first, last), f"ClusterIP in {cidr}")
        self._ports = Pool(NODE_PORTS, "NodePort")

    def inherit(self, service: Object, old: Object) -> None:
        """Carry over what an update leaves out, as long as the type still has it."""
        spec, was = service["spec"], old["spec"]
        if _has_address(spec) and not spec.get("clusterIP") and "clusterIP" in was:
            spec["clusterIP"] = was["clusterIP"]
        ports = {(p["port"], p["protocol"]): p.get("nodePort") for p in was.get("ports", ())}
        for port in spec.get("ports", ()):
            kept = ports.get((port.get("port"), port.get("protocol")))
            if spec["type"] in _WITHOUT_NODE_PORTS and port.get("nodePort") == kept:
                port.pop("nodePort", None)
            elif kept and not port.get("nodePort"):
                port["nodePort"] = kept

    def conflicts(self, service: Object, old: Object | None = None) -> Iterator[Cause]:
        """Yield what is wrong with the values that a Service asks for."""
        spec, was = service["spec"], old["spec"] if old else {}
        asked = spec.get("clusterIP") or ""
        if was.get("clusterIP") and _has_address(spec) and asked != was["clusterIP"]:
            yield Cause("spec.clusterIP", f'Invalid value: "{asked}": field is immutable')
        elif asked not in {"", "None", was.get("clusterIP")}:
            yield from self._address_conflict(asked)
        mine = {port.get("nodePort") for port in _node_ports(was)}
        seen: set[int] = set()
        for number, port in enumerate(spec.get("ports", ())):
            wanted = port.get("nodePort")
            path = f"spec.ports[{number}].nodePort"
            if wanted and spec["type"] in _WITHOUT_NODE_PORTS:
                message = "Forbidden: may not be used when `type` is 'ClusterIP'"
                yield Cause(path, message, "FieldValueForbidden")
            elif wanted and wanted not in self._ports.numbers:
                yield Cause(path, f"Invalid value: {wanted}: the valid range is 30000-32767")
            elif wanted in seen or (wanted in self._ports and wanted not in mine):
                yield Cause(path, f"Invalid value: {wanted}: provided port is already allocated")
            seen |= {wanted} if wanted else set()

    def assign(self, service: Object, old: Object | None = None) -> None:
        """Fill in what is missing, take what is named, give back what is no longer used."""
        spec = service["spec"]
        if _has_address(spec):
            spec["clusterIP"] = spec.get("clusterIP") or str(IPv4Address(self._addresses.take()))
            spec["clusterIPs"] = [spec["clusterIP"]]
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            spec.setdefault("internalTrafficPolicy", "Cluster")
        for port in _node_ports(spec):
            port["nodePort"] = port.get("nodePort") or self._ports.take()
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if old is not None:
            self.release(old)
        for number in _addresses(spec):
            self._addresses.claim(number)
        for port in _node_ports(spec):
            self._ports.claim(port["nodePort"])

    def release(self, service: Object) -> None:
        """Take back what a Service had."""
        for number in _addresses(service["spec"]):
            self._addresses.free(number)
        for port in _node_ports(service["spec"]):
            self._ports.free(port["nodePort"])

    def _address_conflict(self, asked: str) -> Iterator[Cause]:
        try:
            number = int(IPv4Address(asked))
        except ValueError:
            yield Cause("spec.clusterIP", f'Invalid value: "{asked}": must be an IPv4 address')
            return
        if number not in self._addresses.numbers:
            message = f"the provided IP is not in the valid range {self._cidr}"
            yield Cause("spec.clusterIP", f'Invalid value: "{asked}": {message}')
        elif number in self._addresses:
            message = f'Invalid value: "{asked}": provided IP is already allocated'
            yield Cause("spec.clusterIP", message)


def _has_address(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


def _addresses(spec: Object) -> Iterator[int]:
    if spec.get("clusterIP") not in {None, "", "None"}:
        yield int(IPv4Address(spec["clusterIP"]))


def _node_ports(spec: Object) -> Iterator[dict[str, Any]]:
    if spec.get("type") in {"NodePort", "LoadBalancer"}:
        yield from spec.get("ports", ())
