"""What makes an object invalid: every mistake at once, in the words that Kubernetes uses.

A small part of https://github.com/kubernetes/kubernetes/tree/master/pkg/apis/core/validation: the
mistakes that would otherwise surface as something that silently does not work.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

import msgspec

from harness.clusters.embedded.apiserver import shapes
from harness.clusters.embedded.apiserver.errors import ApiError, Cause, Reason
from harness.clusters.embedded.apiserver.resources import NETWORK_POLICIES, Kind, Object

Causes = Iterator[Cause]

PROTOCOLS = ("TCP", "UDP", "SCTP")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")


def validate(kind: Kind, value: Object) -> tuple[Cause, ...]:
    """Return every mistake of an object; a value of the wrong type is refused at once (400)."""
    shape = check_types(kind, value)
    rule = _RULES.get(kind.name)
    return (*_metadata(kind, shape.metadata), *(rule(shape) if rule else ()))


def check_types(kind: Kind, value: Object) -> shapes.Plain:
    """Return what is read of an object, typed; 400 where a value has the wrong type."""
    try:
        return msgspec.convert(value, _SHAPES.get(kind.name, shapes.Plain))
    except msgspec.ValidationError as error:
        message = f"{kind.name} in version {kind.version!r} cannot be handled: {error}"
        raise ApiError(Reason.BAD_REQUEST, message) from error


def refuse_unknown_fields(kind: Kind, value: Any) -> None:
    """Refuse a NetworkPolicy with a field that there is not, as ``fieldValidation=Strict`` asks.

    The shapes of other kinds know the fields that are read alone; they are not looked at.
    """
    spec = value.get("spec") if isinstance(value, dict) else None
    if kind is not NETWORK_POLICIES or not spec:
        return
    unknown = [f'unknown field "{path}"' for path in _unknown("spec", spec, shapes.PolicySpec)]
    if unknown:
        message = f"{kind.name} in version {kind.version!r} cannot be handled: "
        raise ApiError(Reason.BAD_REQUEST, f"{message}strict decoding error: {', '.join(unknown)}")


def _unknown(path: str, value: Any, kind: Any) -> Iterator[str]:
    """Yield the paths of fields that a shape, or a part of it, does not have."""
    inner = [one for one in get_args(kind) if one not in {type(None), Ellipsis}]
    match value:
        case dict() if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
            for key, part in value.items():
                if key in known:
                    yield from _unknown(f"{path}.{key}", part, known[key])
                else:
                    yield f"{path}.{key}"
        case dict() if get_origin(kind) is not dict and inner:
            yield from _unknown(path, value, inner[0])
        case list() if inner:
            for number, part in enumerate(value):
                yield from _unknown(f"{path}[{number}]", part, inner[0])


def check_metadata(value: Object) -> shapes.Metadata:
    """Return an object's metadata, typed; 400 where a value has the wrong type."""
    try:
        return msgspec.convert(value, shapes.Plain).metadata
    except msgspec.ValidationError as error:
        raise ApiError(Reason.BAD_REQUEST, f"the object cannot be handled: {error}") from error


def _metadata(kind: Kind, metadata: shapes.Metadata) -> Causes:
    pattern, words = _NAMES.get(kind.name, (_SUBDOMAIN, "RFC 1123 subdomain"))
    if not metadata.name:
        yield _required("metadata.name", "name or generateName is required")
    elif not pattern.fullmatch(metadata.name):
        yield _bad("metadata.name", metadata.name, f"must be a valid {words}: {pattern.pattern}")
    yield from _labels("metadata.labels", metadata.labels)
    for key in metadata.annotations:
        if not _is_label_key(key.lower()):
            yield _bad("metadata.annotations", key, "must be a valid qualified name")


def _labels(path: str, labels: Mapping[str, str]) -> Causes:
    for key, value in labels.items():
        yield from _label(path, key, (value,))


def _label(path: str, key: str, values: Iterable[str]) -> Causes:
    if not _is_label_key(key):
        yield _bad(path, key, "must be a valid label key, like app or example.com/app")
    for value in values:
        if value and not _QUALIFIED.fullmatch(value):
            yield _bad(path, value, f"must be a valid label value: {_QUALIFIED.pattern}")


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_QUALIFIED.fullmatch(name)) and (not slash or bool(_SUBDOMAIN.fullmatch(prefix)))


def _pod(pod: shapes.Pod) -> Causes:
    if not pod.spec.containers:
        yield _required("spec.containers")
    for group, containers in (
        ("containers", pod.spec.containers),
        ("initContainers", pod.spec.init_containers),
    ):
        for number, container in enumerate(containers):
            yield from _container(f"spec.{group}[{number}]", container)
    names = [c.name for c in (*pod.spec.containers, *pod.spec.init_containers)]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        yield _duplicate("spec.containers[*].name", name)
    yield from _one_of("spec.restartPolicy", pod.spec.restart_policy, _RESTART_POLICIES)
    if pod.spec.termination_grace_period_seconds < 0:
        grace = pod.spec.termination_grace_period_seconds
        yield _bad("spec.terminationGracePeriodSeconds", grace, "must be 0 or more")
    yield from _labels("spec.nodeSelector", pod.spec.node_selector)


def _container(path: str, container: shapes.Container) -> Causes:
    if not _LABEL.fullmatch(container.name):
        yield _bad(f"{path}.name", container.name, "must be a valid RFC 1123 label")
    if not container.image:
        yield _required(f"{path}.image")
    for number, port in enumerate(container.ports):
        where = f"{path}.ports[{number}]"
        yield from _port_number(f"{where}.containerPort", port.container_port)
        yield from _one_of(f"{where}.protocol", port.protocol, PROTOCOLS)
        if port.name and not _PORT_NAME.fullmatch(port.name):
            yield _bad(f"{where}.name", port.name, _PORT_NAME_RULE)
    names = [port.name for port in container.ports if port.name]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _duplicate(f"{path}.ports[*].name", name)


def _service(service: shapes.Service) -> Causes:
    spec = service.spec
    yield from _one_of("spec.type", spec.type, _SERVICE_TYPES)
    if spec.type == "ExternalName":
        if not spec.external_name:
            yield _required("spec.externalName")
    elif not spec.ports and spec.cluster_ip != "None":
        yield _required("spec.ports")
    if spec.cluster_ips:
        yield from _cluster_ips(spec)
    for number, port in enumerate(spec.ports):
        yield from _service_port(f"spec.ports[{number}]", port, several=len(spec.ports) > 1)
    pairs = [(port.port, port.protocol) for port in spec.ports]
    names = [port.name for port in spec.ports if port.name]
    for pair in sorted({pair for pair in pairs if pairs.count(pair) > 1}):
        yield _duplicate("spec.ports", f"{pair[0]}/{pair[1]}")
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _duplicate("spec.ports[*].name", name)
    yield from _labels("spec.selector", spec.selector)


def _cluster_ips(spec: shapes.ServiceSpec) -> Causes:
    """Yield what is wrong with the addresses: spec.clusterIP first, and one of the other family."""
    listed = list(spec.cluster_ips)
    if listed[0] != spec.cluster_ip:
        yield _bad("spec.clusterIPs", listed, "must begin with spec.clusterIP")
    if len({":" in address for address in listed}) != len(listed):
        yield _bad("spec.clusterIPs", listed, "may hold one address of each IP family")


def _service_port(path: str, port: shapes.ServicePort, *, several: bool) -> Causes:
    yield from _port_number(f"{path}.port", port.port)
    yield from _one_of(f"{path}.protocol", port.protocol, PROTOCOLS)
    if several and not port.name:
        yield _required(f"{path}.name")
    if port.name and not _LABEL.fullmatch(port.name):
        yield _bad(f"{path}.name", port.name, "must be a valid RFC 1123 label")
    if port.target_port != 0:
        yield from _port(f"{path}.targetPort", port.target_port)


def _network_policy(policy: shapes.NetworkPolicy) -> Causes:
    spec = policy.spec
    yield from _selector("spec.podSelector", spec.pod_selector)
    for number, word in enumerate(spec.policy_types):
        yield from _one_of(f"spec.policyTypes[{number}]", word, ("Ingress", "Egress"))
    for direction, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        for number, rule in enumerate(rules):
            yield from _policy_rule(f"spec.{direction}[{number}]", rule)


def _policy_rule(path: str, rule: shapes.PolicyRule) -> Causes:
    for number, port in enumerate(rule.ports):
        yield from _policy_port(f"{path}.ports[{number}]", port)
    for word, peers in (("from", rule.sources), ("to", rule.destinations)):
        for number, peer in enumerate(peers):
            yield from _peer(f"{path}.{word}[{number}]", peer)


def _policy_port(path: str, port: shapes.PolicyPort) -> Causes:
    yield from _one_of(f"{path}.protocol", port.protocol, PROTOCOLS)
    if port.port is not None:
        yield from _port(f"{path}.port", port.port)
    match port.port, port.end_port:
        case _, None:
            return
        case int(first), last if last < first:
            yield _bad(f"{path}.endPort", last, "must be greater than or equal to `port`")
        case int(), last:
            yield from _port_number(f"{path}.endPort", last)
        case _, last:
            yield _bad(f"{path}.endPort", last, "may be specified only beside a numeric `port`")


def _peer(path: str, peer: shapes.Peer) -> Causes:
    selectors = (
        ("podSelector", peer.pod_selector),
        ("namespaceSelector", peer.namespace_selector),
    )
    named = [(word, selector) for word, selector in selectors if selector is not None]
    for word, selector in named:
        yield from _selector(f"{path}.{word}", selector)
    if peer.ip_block is None:
        if not named:
            yield _required(path, "must specify a peer")
        return
    if named:
        message = "may not specify both ipBlock and another peer"
        yield Cause(path, f"Forbidden: {message}", "FieldValueForbidden")
    yield from _ip_block(f"{path}.ipBlock", peer.ip_block)


def _ip_block(path: str, block: shapes.IPBlock) -> Causes:
    whole = _network(block.cidr)
    if not block.cidr:
        yield _required(f"{path}.cidr")
    elif whole is None:
        yield _bad(f"{path}.cidr", block.cidr, _CIDR_RULE)
    for number, text in enumerate(block.exclude):
        part = _network(text)
        if part is None:
            yield _bad(f"{path}.except[{number}]", text, _CIDR_RULE)
        elif whole is not None and not _strictly_within(part, whole):
            message = f"must be a strict subset of `cidr` {block.cidr}"
            yield _bad(f"{path}.except[{number}]", text, message)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> Network | None:
    """Read a CIDR; host bits may be set, as Kubernetes allows for old manifests."""
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _strictly_within(part: Network, whole: Network) -> bool:
    return (
        part.version == whole.version
        and part.prefixlen > whole.prefixlen
        and part.supernet(new_prefix=whole.prefixlen) == whole
    )


def _selector(path: str, selector: shapes.LabelSelector) -> Causes:
    yield from _labels(f"{path}.matchLabels", selector.match_labels)
    for number, expression in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{number}]"
        yield from _one_of(f"{where}.operator", expression.operator, _OPERATORS)
        yield from _label(where, expression.key, expression.values)
        if expression.operator in {"In", "NotIn"} and not expression.values:
            yield _required(f"{where}.values", "must be specified when `operator` is In or NotIn")
        if expression.operator in {"Exists", "DoesNotExist"} and expression.values:
            message = "Forbidden: may not be specified when `operator` is Exists or DoesNotExist"
            yield Cause(f"{where}.values", message, "FieldValueForbidden")


def _port(path: str, port: int | str) -> Causes:
    match port:
        case int(number):
            yield from _port_number(path, number)
        case str(name) if not _PORT_NAME.fullmatch(name):
            yield _bad(path, name, _PORT_NAME_RULE)


def _port_number(path: str, number: int) -> Causes:
    if not 1 <= number <= 65535:  # noqa: PLR2004  # the range of ports is known by its numbers
        yield _bad(path, number, "must be between 1 and 65535, inclusive")


def _one_of(path: str, found: str, allowed: Iterable[str]) -> Causes:
    if found not in allowed:
        listed = ", ".join(f'"{word}"' for word in allowed)
        message = f'Unsupported value: "{found}": supported values: {listed}'
        yield Cause(path, message, "FieldValueNotSupported")


def _required(path: str, message: str = "") -> Cause:
    return Cause(path, f"Required value{message and f': {message}'}", "FieldValueRequired")


def _bad(path: str, found: Any, message: str) -> Cause:
    shown = f'"{found}"' if isinstance(found, str) else found
    return Cause(path, f"Invalid value: {shown}: {message}")


def _duplicate(path: str, found: str) -> Cause:
    return Cause(path, f'Duplicate value: "{found}"', "FieldValueDuplicate")


_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_CIDR_RULE = "must be a valid CIDR, like 10.9.8.0/24 or 2001:db8::/64"
_PORT_NAME_RULE = "a port name has at most 15 of a-z, 0-9 and -, and at least one letter"
_NAMES = {
    "Namespace": (_LABEL, "RFC 1123 label"),
    "Service": (_SERVICE, "RFC 1035 label"),
}
_SHAPES: Mapping[str, type[shapes.Plain]] = {
    "Node": shapes.Node,
    "Pod": shapes.Pod,
    "Service": shapes.Service,
    "NetworkPolicy": shapes.NetworkPolicy,
}
_RULES: Mapping[str, Callable[[Any], Causes]] = {
    "Pod": _pod,
    "Service": _service,
    "NetworkPolicy": _network_policy,
}
