"""Whom a policy selects and whom it names as peers, by the book, from the API's JSON."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]
Labels = Mapping[str, str]

_FINISHED = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Pod:
    """A live pod with an IPv4 address of its own."""

    namespace: str
    name: str
    node: str
    labels: Labels
    address: str
    ports: Mapping[tuple[str, str], int]
    """Named ports: name and protocol -> number."""

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class World:
    """The cluster at one moment."""

    pods: tuple[Pod, ...]
    namespaces: Mapping[str, Labels]
    policies: tuple[Manifest, ...]

    @classmethod
    def of(
        cls, pods: Iterable[Manifest], namespaces: Iterable[Manifest], policies: Iterable[Manifest]
    ) -> World:
        """Read the API's objects; leaves out finished pods, hosts' pods, those without address."""
        return cls(
            tuple(_pods(pods)),
            {one["metadata"]["name"]: _labels(one) for one in namespaces},
            tuple(policies),
        )

    def selected(self, policy: Manifest) -> tuple[Pod, ...]:
        """Return the pods that a policy isolates."""
        return self._pods(
            lambda space: space == policy["metadata"]["namespace"],
            policy["spec"].get("podSelector"),
        )

    def peers(self, policy: Manifest, peer: Manifest) -> tuple[Pod, ...]:
        """Return the pods that one peer of a rule names."""
        if "ipBlock" in peer:
            return ()
        if "namespaceSelector" not in peer:
            return self._pods(
                lambda space: space == policy["metadata"]["namespace"], peer["podSelector"]
            )
        spaces = peer["namespaceSelector"]
        return self._pods(
            lambda space: matches(spaces, self.namespaces.get(space, {})), peer.get("podSelector")
        )

    def _pods(self, inside: Any, selector: Manifest | None) -> tuple[Pod, ...]:
        return tuple(
            pod for pod in self.pods if inside(pod.namespace) and matches(selector, pod.labels)
        )


def matches(selector: Manifest | None, labels: Labels) -> bool:
    """Whether labels meet every requirement of a selector; an empty one has none."""
    wanted = selector or {}
    equal = all(labels.get(k) == v for k, v in (wanted.get("matchLabels") or {}).items())
    return equal and all(_meets(one, labels) for one in wanted.get("matchExpressions") or ())


def _meets(requirement: Manifest, labels: Labels) -> bool:
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _pods(manifests: Iterable[Manifest]) -> Iterator[Pod]:
    for one in manifests:
        spec, status = one["spec"], one.get("status") or {}
        address = _ipv4(status)
        if address and not spec.get("hostNetwork") and status.get("phase") not in _FINISHED:
            meta = one["metadata"]
            yield Pod(
                meta["namespace"],
                meta["name"],
                spec.get("nodeName", ""),
                _labels(one),
                address,
                dict(_named_ports(spec)),
            )


def _ipv4(status: Manifest) -> str:
    listed = [one["ip"] for one in status.get("podIPs") or ()] or [status.get("podIP", "")]
    return next((ip for ip in listed if ip and ipaddress.ip_address(ip).version == 4), "")  # noqa: PLR2004  # IP's own name


def _named_ports(spec: Manifest) -> Iterator[tuple[tuple[str, str], int]]:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name"):
                yield (port["name"], port.get("protocol", "TCP")), port["containerPort"]


def _labels(manifest: Manifest) -> Labels:
    return manifest["metadata"].get("labels") or {}
