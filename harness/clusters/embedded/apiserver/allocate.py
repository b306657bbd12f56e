"""ClusterIPs and NodePorts: who has which, and which is next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from harness.clusters.embedded.apiserver import families
from harness.clusters.embedded.apiserver.errors import ApiError, Cause, Reason
from harness.clusters.embedded.apiserver.resources import Object

Network = IPv4Network | IPv6Network
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


@dataclass(frozen=True, slots=True)
class _Range:
    """The ClusterIPs of one IP family."""

    cidr: Network
    pool: Pool

    @classmethod
    def of(cls, cidr: Network) -> _Range:
        first, last = int(cidr.network_address) + 1, int(cidr.broadcast_address)
        return cls(cidr, Pool(range(first, last), f"ClusterIP in {cidr}"))

    def take(self) -> str:
        return str(self.cidr[self.pool.take() - int(self.cidr.network_address)])

    def claim(self, address: str) -> None:
        self.pool.claim(int(ip_address(address)))

    def free(self, address: str) -> None:
        self.pool.free(int(ip_address(address)))


class ServiceAllocator:
    """Gives each Service its ClusterIP and its NodePorts, and takes them back."""

    def __init__(self, *cidrs: Network) -> None:
        """Own a range of addresses for each IP family, the primary one first.

        The first and the last address of a range are not used.
        """
        self._ranges = {
            families.name_of(cidr.version): _Range.of(cidr)
            for cidr in cidrs or (DEFAULT_SERVICE_CIDR,)
        }
        self._ports = Pool(NODE_PORTS, "NodePort")

    def inherit(self, service: Object, old: Object) -> None:
        """Carry over what an update leaves out, as long as the type still has it."""
        spec, was = service["spec"], old["spec"]
        if _has_address(spec) and not spec.get("clusterIP") and "clusterIP" in was:
            spec["clusterIP"] = was["clusterIP"]
            for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(field) and field in was:
                    spec[field] = was[field]
        families.leave_dual_stack(spec, was)
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
        elif _has_address(spec):
            own = families.asked_addresses(was)
            for address in families.asked_addresses(spec):
                if address not in own:
                    yield from self._address_conflict(address)
            yield from families.conflicts(spec, tuple(self._ranges))
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
            families.settle(spec, tuple(self._ranges))
            if spec.get("clusterIP") != "None":
                self._assign_addresses(spec)
            spec["clusterIPs"] = spec.get("clusterIPs") or [spec["clusterIP"]]
            spec.setdefault("internalTrafficPolicy", "Cluster")
        for port in _node_ports(spec):
            port["nodePort"] = port.get("nodePort") or self._ports.take()
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if old is not None:
            self.release(old)
        for address in families.asked_addresses(spec):
            self._range_of(address).claim(address)
        for port in _node_ports(spec):
            self._ports.claim(port["nodePort"])

    def release(self, service: Object) -> None:
        """Take back what a Service had."""
        for address in families.asked_addresses(service["spec"]):
            self._range_of(address).free(address)
        for port in _node_ports(service["spec"]):
            self._ports.free(port["nodePort"])

    def _assign_addresses(self, spec: Object) -> None:
        asked = families.asked_addresses(spec)
        have = {families.family_of(address): address for address in asked}
        spec["clusterIPs"] = [
            have.get(family) or self._ranges[family].take() for family in spec["ipFamilies"]
        ]
        spec["clusterIP"] = spec["clusterIPs"][0]

    def _range_of(self, address: str) -> _Range:
        return self._ranges[families.family_of(address)]

    def _address_conflict(self, asked: str) -> Iterator[Cause]:
        try:
            number = int(ip_address(asked))
        except ValueError:
            yield Cause("spec.clusterIP", f'Invalid value: "{asked}": must be an IP address')
            return
        found = self._ranges.get(families.family_of(asked))
        if found is None or number not in found.pool.numbers:
            ranges = ", ".join(str(one.cidr) for one in self._ranges.values())
            message = f"the provided IP is not in the valid range {ranges}"
            yield Cause("spec.clusterIP", f'Invalid value: "{asked}": {message}')
        elif number in found.pool:
            message = f'Invalid value: "{asked}": provided IP is already allocated'
            yield Cause("spec.clusterIP", message)


def _has_address(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


def _node_ports(spec: Object) -> Iterator[dict[str, Any]]:
    if spec.get("type") in {"NodePort", "LoadBalancer"}:
        yield from spec.get("ports", ())
