"""API JSON -> changes of model objects. Slim structs: what enforcement does not need is skipped.

An object that cannot be understood never stops the others, and never opens anything:

Pod        unreadable labels or ports: its addresses stay known, it is denied in both directions
           and is nobody's peer. Unreadable ``spec`` or ``status``: it has no addresses, so that
           the rule for unknown pods drops its traffic.
Namespace  unreadable labels: no namespaceSelector selects it.
Node       unreadable addresses and ranges are left out.
Policy     see :mod:`enforcer.kube.policies`.

Each of them carries a ``problem``; one without a readable name, and a pod without a readable
namespace, becomes ``Unreadable``. Not so a policy: without a readable name it denies its whole
namespace, and without a readable namespace every namespace, since it may be any's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from enforcer.errors import DecodeError
from enforcer.kube.parse import parse_address, parse_network
from enforcer.kube.policies import MALFORMED, decode_policy
from enforcer.model.changes import Kind, Object, Unreadable
from enforcer.model.net import LAST_PORT, Direction, IPAddress, Protocol
from enforcer.model.objects import Key, NamedPort, Namespace, Node, Pod, Policy
from enforcer.model.selectors import EVERYTHING

NAME_LABEL = "kubernetes.io/metadata.name"
_NO_NAME = "?"
"""Stands for a name that cannot be read; no object has it."""

_NAMESPACED = (Kind.PODS, Kind.POLICIES)
_FINISHED = ("Succeeded", "Failed")
_IP_TYPES = ("InternalIP", "ExternalIP")


class _Object(msgspec.Struct):
    """Any object, opened one layer deep."""

    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    spec: msgspec.Raw = msgspec.Raw(b"null")
    status: msgspec.Raw = msgspec.Raw(b"null")


class _Meta(msgspec.Struct):
    name: str
    namespace: str = ""


class _Labels(msgspec.Struct):
    labels: dict[str, str] | None = None
    uid: str = ""


class _ContainerPort(msgspec.Struct):
    containerPort: int  # noqa: N815  # the API's name
    name: str | None = None
    protocol: Protocol | None = None


class _Container(msgspec.Struct):
    ports: list[_ContainerPort] | None = None
    restartPolicy: str | None = None  # noqa: N815  # the API's name


class _Containers(msgspec.Struct):
    containers: list[_Container] | None = None
    initContainers: list[_Container] | None = None  # noqa: N815  # the API's name


class _PodSpec(msgspec.Struct):
    nodeName: str | None = None  # noqa: N815  # the API's name
    hostNetwork: bool | None = None  # noqa: N815  # the API's name


class _PodIP(msgspec.Struct):
    ip: str = ""


class _PodStatus(msgspec.Struct):
    phase: str | None = None
    podIP: str | None = None  # noqa: N815  # the API's name
    podIPs: list[_PodIP] | None = None  # noqa: N815  # the API's name


class _NodeSpec(msgspec.Struct):
    podCIDR: str | None = None  # noqa: N815  # the API's name
    podCIDRs: list[str] | None = None  # noqa: N815  # the API's name


class _NodeAddress(msgspec.Struct):
    type: str
    address: str


class _NodeStatus(msgspec.Struct):
    addresses: list[_NodeAddress] | None = None


_T = TypeVar("_T")
_Raw = msgspec.Raw | bytes
_object = msgspec.json.Decoder(_Object)
_meta = msgspec.json.Decoder(_Meta)
_loose_meta = msgspec.json.Decoder(dict[str, Any])
_labels = msgspec.json.Decoder(_Labels)
_containers = msgspec.json.Decoder(_Containers | None)
_pod_spec = msgspec.json.Decoder(_PodSpec | None)
_pod_status = msgspec.json.Decoder(_PodStatus | None)
_node_spec = msgspec.json.Decoder(_NodeSpec | None)
_node_status = msgspec.json.Decoder(_NodeStatus | None)


def decode_object(kind: Kind, raw: _Raw) -> Object | Unreadable:
    """Decode one object; never fails: what cannot be understood is said in its ``problem``."""
    try:
        opened = _object.decode(raw)
        meta = _meta.decode(opened.metadata)
    except MALFORMED as error:
        return _unreadable(kind, _what_is_left(raw), f"cannot be read: {error}")
    if not meta.name:
        return _unreadable(kind, Key(meta.namespace, _NO_NAME), "metadata.name is empty")
    if kind in _NAMESPACED and not meta.namespace:
        return _unreadable(kind, Key("", meta.name), "metadata.namespace is missing")
    return _DECODERS[kind](Key(sys.intern(meta.namespace), meta.name), opened)


def _unreadable(kind: Kind, key: Key, problem: str) -> Object | Unreadable:
    if kind is Kind.POLICIES:
        return Policy(key, EVERYTHING, dict.fromkeys(Direction, ()), problem)
    return Unreadable(kind, key, problem)


def _what_is_left(raw: _Raw) -> Key:
    try:
        meta = _loose_meta.decode(_object.decode(raw).metadata)
    except MALFORMED:
        return Key("", _NO_NAME)
    namespace, name = meta.get("namespace"), meta.get("name")
    return Key(
        namespace if isinstance(namespace, str) else "",
        name if isinstance(name, str) and name else _NO_NAME,
    )


class _Reader:
    """Reads the parts of one object and keeps what was wrong with each."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def part(self, where: str, decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw) -> _T | None:
        """Decode a part; None for one that is missing or cannot be understood."""
        try:
            return decoder.decode(raw)
        except MALFORMED as error:
            self.mistakes.append(f"{where}: {error}")
            return None

    def each(self, where: str, parse: Callable[[str], _T], texts: Iterable[str]) -> tuple[_T, ...]:
        """Parse texts, each one once and in order; those that are wrong are left out."""
        parsed: dict[_T, None] = {}
        for text in texts:
            try:
                parsed[parse(text)] = None
            except ValueError as error:
                self.mistakes.append(f"{where}: {error}")
        return tuple(parsed)

    @property
    def problem(self) -> str:
        """All mistakes in one line; empty if there is none."""
        return "; ".join(self.mistakes)


def _pod(key: Key, opened: _Object) -> Pod:
    reader = _Reader()
    labels = reader.part("metadata.labels", _labels, opened.metadata)
    spec = reader.part("spec", _pod_spec, opened.spec)
    status = reader.part("status", _pod_status, opened.status)
    # Without its spec a pod might use the host's network, and denying it would deny the node.
    addresses = _pod_addresses(reader, status) if spec and status else ()
    named_ports = _named_ports(reader, opened.spec) if spec else ()
    return Pod(
        key=key,
        node=sys.intern(spec.nodeName or "") if spec else "",
        labels=_shared_labels((labels.labels or {}) if labels else {}),
        addresses=addresses,
        host_network=bool(spec and spec.hostNetwork),
        named_ports=named_ports,
        problem=reader.problem,
        uid=labels.uid if labels else "",
    )


def _pod_addresses(reader: _Reader, status: _PodStatus) -> tuple[IPAddress, ...]:
    if status.phase in _FINISHED:
        return ()
    texts = [status.podIP or "", *(item.ip for item in status.podIPs or ())]
    return reader.each("status.podIPs", parse_address, filter(None, texts))


def _named_ports(reader: _Reader, spec: msgspec.Raw) -> tuple[NamedPort, ...]:
    """Return the named ports of the containers and of the sidecars among the init containers.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    found = reader.part("spec", _containers, spec)
    if found is None:
        return ()
    sidecars = [item for item in found.initContainers or () if item.restartPolicy == "Always"]
    ports = [port for item in (*(found.containers or ()), *sidecars) for port in item.ports or ()]
    for port in ports:
        if not 1 <= port.containerPort <= LAST_PORT:
            reader.mistakes.append(f"spec: containerPort {port.containerPort} is no port")
    named = {
        NamedPort(port.name, port.protocol or Protocol.TCP, port.containerPort): None
        for port in ports
        if port.name
    }
    return _shared_ports(tuple(named))


@lru_cache(maxsize=1 << 12)
def _shared_ports(ports: tuple[NamedPort, ...]) -> tuple[NamedPort, ...]:
    """Return one tuple for all equal ones: thousands of pods are made from some templates."""
    return ports


def _shared_labels(labels: dict[str, str]) -> Mapping[str, str]:
    """Return one mapping for all equal ones, for the same reason."""
    return _labels_of(frozenset(labels.items()))


@lru_cache(maxsize=1 << 12)
def _labels_of(items: frozenset[tuple[str, str]]) -> Mapping[str, str]:
    return MappingProxyType(dict(items))


def _namespace(key: Key, opened: _Object) -> Namespace:
    reader = _Reader()
    found = reader.part("metadata.labels", _labels, opened.metadata)
    labels = (found.labels or {}) if found else {}
    return Namespace(key.name, labels | {NAME_LABEL: key.name}, reader.problem)


def _node(key: Key, opened: _Object) -> Node:
    reader = _Reader()
    spec = reader.part("spec", _node_spec, opened.spec) or _NodeSpec()
    status = reader.part("status", _node_status, opened.status) or _NodeStatus()
    addresses = (item.address for item in status.addresses or () if item.type in _IP_TYPES)
    ranges = filter(None, [spec.podCIDR or "", *(spec.podCIDRs or ())])
    return Node(
        name=key.name,
        addresses=reader.each("status.addresses", parse_address, addresses),
        pod_networks=reader.each("spec.podCIDRs", parse_network, ranges),
        problem=reader.problem,
    )


_DECODERS: dict[Kind, Callable[[Key, _Object], Object]] = {
    Kind.PODS: _pod,
    Kind.NAMESPACES: _namespace,
    Kind.NODES: _node,
    Kind.POLICIES: lambda key, opened: decode_policy(key, opened.spec),
}


class _ListMeta(msgspec.Struct):
    resourceVersion: str = ""  # noqa: N815  # the API's name
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_list = msgspec.json.Decoder(_List)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list; ``next_page`` is the ``continue`` token, empty on the last page."""

    objects: tuple[Object | Unreadable, ...]
    version: str
    next_page: str


def decode_page(kind: Kind, body: bytes) -> Page:
    """Decode a list; DecodeError if the list itself (not an object in it) is no list."""
    try:
        found = _list.decode(body)
    except MALFORMED as error:
        raise DecodeError(f"the list of {kind.value} cannot be read: {error}") from error
    objects = tuple(decode_object(kind, raw) for raw in found.items or ())
    return Page(objects, found.metadata.resourceVersion, found.metadata.continue_)
